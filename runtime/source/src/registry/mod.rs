//! The registry that knows by which schema a value was written: asked over HTTP, before records are handed on.

mod client;
mod resolve;
mod source;

pub use client::{Registry, RegistryConfig};
pub use resolve::Resolver;
pub use source::with_schemas;
