//! Expressions over the columns of a row: `amount >= 100 and currency in ('INR', 'USD')`.
//!
//! What is not known at all (null) makes what is computed of it unknown, as in SQL: `null = 1` is neither
//! true nor false. Types are checked when the pipeline starts; what only a value can break (a division by
//! zero, a number that grows too large) rejects the record.

mod scan;
mod parse;
mod kind;
mod value;
mod evaluate;
mod cast;

pub use cast::{cast, parse_time};
pub use evaluate::Expression;
pub use parse::parse_selected;
pub use value::Computed;
