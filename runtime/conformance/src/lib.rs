//! Conformance: does a module keep the operator ABI, clause by clause?
//!
//! It runs one operator, written in any language, that does what each row commands
//! (`sdk/abi/CONFORMANCE.md`). Whatever a check runs, it runs twice: straight, and captured and restored
//! between any two calls; outputs and final state must be equal to the bit.

mod report;
mod schema;
mod rows;
mod lines;
mod lab;
mod checks;

pub use report::{CLAUSES, Check, ClauseResult, Outcome, Report};

use std::sync::Arc;

use floe_operator::Engine;

/// Runs every check; of a module whose columns depend on its configuration, those of A27. `path` is for
/// messages.
pub fn run(engine: &Arc<Engine>, path: &str, bytes: &[u8]) -> Report {
    checks::all(engine, path, bytes)
}
