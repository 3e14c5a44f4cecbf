//! The deterministic simulation: one seed makes the input, the store, the table, the clock, the processes
//! and every fault; what runs inside is the production code.

pub mod rng;
pub mod mutant;
pub mod plan;
pub mod history;
pub mod world;
pub mod process;
pub mod store;
pub mod log;
pub mod table;
pub mod sink;
pub mod committer;
pub mod source;
pub mod operator;
pub mod merged;
pub mod guest;
pub mod host;
pub mod run;
pub mod shrink;

pub use mutant::Mutant;
pub use plan::Plan;
pub use run::{Outcome, simulate};
