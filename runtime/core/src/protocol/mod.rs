//! The checkpoint protocol, as decisions without I/O.
//!
//! The invariants that every assertion and every test property cites:
//!
//! - **I1** A manifest is visible only when every object and data file it names is durable.
//! - **I2** Entries of the log are never replaced; each slot is filled once, in order, without gaps.
//! - **I3** Whoever fills a slot held the highest generation in all slots before it.
//! - **I4** A table holds the committables of a prefix of the log's manifests, each once, in order.
//! - **I5** A commit is judged on the very base that it swaps.
//! - **I6** Rows of an epoch become visible only after its manifest is visible.
//! - **I7** A run reads input only after its claim, from the newest manifest's position.
//! - **I8** What a kept manifest names is never deleted, nor anything newer than the newest manifest.
//!
//! I4 and I6 are what exactly-once adds. Under at-most-once a commit may be missing from I4's prefix, never
//! repeated; under at-least-once rows become visible before the manifest, and I4 and I6 do not hold.

pub mod advance;
pub mod align;
pub mod fence;
pub mod guarantee;
pub mod identity;
pub mod judge;
pub mod orphans;
pub mod recover;
pub mod rewind;
pub mod sweep;
pub mod upgrade;
