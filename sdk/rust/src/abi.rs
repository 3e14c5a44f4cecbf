//! ABI version 1, from the guest's side: the only module with raw pointers and imports.

// Every pointer of the SDK is here, so that the rest can be read without thinking of one.

mod arrow;
#[cfg(target_arch = "wasm32")]
mod schema;
#[cfg(target_arch = "wasm32")]
mod guest;
#[cfg(target_arch = "wasm32")]
mod dynamic;
#[cfg(target_arch = "wasm32")]
pub mod imports;
#[cfg(not(target_arch = "wasm32"))]
mod native;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use arrow::leak_view;
pub(crate) use arrow::utf8;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use arrow::view_exported;
pub use arrow::{ArrayView, Exported};
#[cfg(target_arch = "wasm32")]
pub use dynamic::DynamicGuest;
#[cfg(target_arch = "wasm32")]
pub use guest::Guest;
#[cfg(not(target_arch = "wasm32"))]
pub use native::Native;

/// Is instantiated for the operator of a crate that is built natively.
#[cfg(not(target_arch = "wasm32"))]
pub const fn is_operator<T: crate::operator::Operator>() {}

/// Is instantiated for an operator whose columns depend on its configuration, natively.
#[cfg(not(target_arch = "wasm32"))]
pub const fn is_dynamic_operator<T: crate::dynamic::DynamicOperator>() {}
