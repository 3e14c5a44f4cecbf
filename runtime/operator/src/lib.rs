//! Operator: users' code as deterministic, sandboxed functions over Arrow batches.
//!
//! A module is checked, rewritten and compiled once; each task has an instance of it, whose whole state can
//! be captured between two calls and restored into a fresh instance.

mod abi;
mod engine;
mod limits;
mod module;
mod check;
mod rewrite;
mod poll;
mod cache;
mod code;
mod factory;
mod instance;
mod dirty;
mod staging;
mod stack;
mod host;
mod memory;
mod schema;
mod arrow_in;
mod arrow_out;
mod trap;
mod symbols;
mod input;
mod script;
#[cfg(test)]
mod tests;

pub use abi::BATCH_ROWS_MAX;
pub use check::Anatomy;
pub use dirty::DirtyPages;
pub use engine::{Engine, Optimisation, STACK_BYTES};
pub use factory::Factory;
pub use input::{Fit, Format, InputDecoder, SeveralDecoders, SourceDecoder, Written};
pub use limits::{Limits, Metering};
pub use module::{ColumnInspection, Inspection, Module, OutputInspection};
pub use script::{SCRIPT_BYTES_MAX, with_script};
pub use symbols::Symbols;
