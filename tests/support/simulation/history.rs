//! History: what happened to a world, for the checkers to judge.

use std::collections::BTreeMap;

use floe_core::epoch::{Epoch, Generation, Slot};
use floe_core::error::ErrorKind;
use floe_core::log_entry::LogEntry;
use floe_core::protocol::judge::Marker;

use crate::simulation::table::Row;

#[derive(Debug, Default)]
pub struct History {
    /// Entries of the logs, in the order in which they became visible.
    pub entries: Vec<EntryWritten>,
    /// Snapshots of all tables, in the order in which they became visible.
    pub snapshots: Vec<SnapshotAdded>,
    pub ends: Vec<Ended>,
    /// For each manifest that was to be written, the rows that it has in flight.
    pub in_flight: BTreeMap<(Generation, Epoch), Vec<Row>>,
    /// The seed that `open` got, by task: the oracle draws from it.
    pub seeds: BTreeMap<i32, u64>,
    /// Data files that were prepared in vain and deleted.
    pub orphans: u64,
    /// What was wrong at the moment when it happened.
    pub noticed: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct EntryWritten {
    /// 0 is the pipeline's store, others are copies of it.
    pub store: usize,
    pub slot: Slot,
    pub entry: LogEntry,
    pub process: u32,
}

#[derive(Clone, Debug)]
pub struct SnapshotAdded {
    pub table: String,
    /// Rows that it added; a stranger's adds none of ours.
    pub rows: Vec<Row>,
    pub marker: Option<Marker>,
    pub process: Option<u32>,
}

/// The end of one process.
#[derive(Clone, Debug)]
pub struct Ended {
    pub host: usize,
    pub process: u32,
    pub how: How,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// All input is in the tables.
    Finished,
    /// Told to stop, it ended in order.
    Stopped,
    Killed,
    /// Before it owned the pipeline.
    NotClaimed(ErrorKind, String),
    Failed(ErrorKind, String),
    /// It neither ended nor failed.
    Hung,
}

impl History {
    pub fn notice(&mut self, what: impl Into<String>) {
        self.noticed.push(what.into());
    }

    pub fn entries_of(&self, store: usize) -> impl Iterator<Item = &EntryWritten> {
        self.entries.iter().filter(move |it| it.store == store)
    }
}
