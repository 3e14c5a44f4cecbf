//! Write floe operators in Rust: the fields of a struct are the state, rows are structs, and one function
//! takes a row and emits rows.
//!
//! ```
//! use floe_sdk::prelude::*;
//! use std::collections::HashMap;
//!
//! #[derive(Row)]
//! struct Payment { merchant_id: String, amount_minor: i64 }
//!
//! #[derive(Row)]
//! struct Total { merchant_id: String, running_total: i64 }
//!
//! #[derive(Default)]
//! struct Totals { by_merchant: HashMap<String, i64> } // the state, checkpointed as it is
//!
//! #[operator]
//! impl Operator for Totals {
//!     type Input = Payment;
//!     type Output = Total;
//!
//!     fn process(&mut self, payment: Payment, out: &mut Emit<Total>) -> Result<()> {
//!         ensure!(payment.amount_minor >= 0, "negative amount"); // rejects this record only
//!         let total = self.by_merchant.entry(payment.merchant_id.clone()).or_default();
//!         *total += payment.amount_minor;
//!         out.emit(Total { merchant_id: payment.merchant_id, running_total: *total })
//!     }
//! }
//! ```
//!
//! `cargo build --target wasm32-unknown-unknown` makes the module; `cargo test` tests it natively, with
//! [`testing::Tester`]. The chapters are in the crate's `README.md`.

#![deny(missing_docs)]

// The macros write `::floe_sdk`, here as everywhere.
extern crate self as floe_sdk;

pub mod prelude;
mod operator;
pub mod outputs;
pub mod row;
pub mod types;
mod record;
mod error;
mod config;
pub mod json;
#[cfg(feature = "state")]
pub mod state;
pub mod log;
mod world;
pub mod collections;
pub mod event_time;
mod column;
mod copy;
mod batch;
pub mod dynamic;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
#[doc(hidden)]
pub mod abi;
#[cfg(not(target_arch = "wasm32"))]
mod stub;

pub use config::{Config, FromConfig};
pub use error::{Error, Result};
pub use floe_sdk_derive::{Row, operator};
pub use operator::{Emit, Operator};
pub use record::Header;
pub use row::Row;
pub use world::{now, random_u64};
