//! Pipeline: the loop that joins source, operators, sink and checkpoints, through the ports of core alone.

mod commit;
pub mod config;
pub mod dead_letter;
mod drive;
mod reader;
mod recovery;
pub mod run;
mod task;
pub mod telemetry;
mod worker;
mod writer;

pub use drive::Driving;
