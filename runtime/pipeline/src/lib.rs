//! Pipeline: the loop that joins source, operators, sink and checkpoints, through the ports of core alone.

pub mod config;
mod wiring;
pub mod run;
mod recovery;
mod start;
mod alarm;
mod coordinator;
mod drive;
mod reader;
mod idle;
mod worker;
mod link;
mod task;
mod passed;
mod overdue;
mod inbox;
mod keyed;
mod refusal;
pub mod retry;
pub mod rewind;
mod writer;
mod complete;
mod commit;
pub mod dead_letter;
pub mod telemetry;
pub mod upgrade;

pub use drive::Driving;
pub use overdue::Overtaking;
