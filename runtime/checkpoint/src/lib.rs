//! Checkpoints in an object store: one log of claims and manifests that fences, and the parts they name.

pub mod paths;

pub mod open;
pub mod store;
mod patient;

mod fill;
pub mod hint;
pub mod log;
mod spine;

pub mod claim;
pub mod owned;
pub mod register;
pub mod savepoint;
mod sweep;
pub mod garbage;
pub mod view;

mod compressor;
mod part;
mod in_flight;
pub mod state_hash;
mod chain;
pub mod write;
mod share;
mod pack;
mod clean;
pub mod read;

pub mod list;
mod modules;
mod schemas;
mod recordings;

pub use claim::{ClaimRequest, OwnerIdentity, claim, process_alive, random_ids};
pub use garbage::{GarbageFound, sweep_garbage};
pub use list::{CheckpointSummary, kept_manifests, list_checkpoints, show_checkpoint};
pub use log::{KeptEntry, LogReading, read_log};
pub use modules::{keep_module, module_hash, read_module};
pub use open::open_store;
pub use owned::OwnedLog;
pub use read::{read_heads, read_parts};
pub use recordings::Recordings;
pub use savepoint::{Runs, drop_savepoint, make_savepoint, savepoints};
pub use schemas::StoredSchemas;
pub use state_hash::{RunningStateHash, state_hash, with_in_flight};
pub use store::memory_store;
pub use write::write_parts;
