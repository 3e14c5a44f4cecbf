//! Replay: what a run did between two checkpoints, done again from its journal, and compared.
//!
//! It is handed records and never fetches any; it knows no topic, no table and no clock. What it must not
//! decide again (batches, watermarks, skipped records) it takes from the journal.

pub mod plan;
mod pending;
mod merge;
mod rows;
pub mod task;
pub mod step;
pub mod compare;
pub mod bundle;

pub use merge::{Origin, Passed, PassedBatch};
pub use plan::{Plan, PlannedEpoch, PlannedTask};
pub use rows::RowHasher;
pub use step::Examine;
pub use task::{CallAt, Difference, EpochDone, Link, Nobody, SinkRows, TaskReplay, Watch};
