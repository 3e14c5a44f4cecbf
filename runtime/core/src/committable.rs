//! The data files of one epoch for one sink, ready to commit, and what makes the commit repeatable.

use bytes::Bytes;

use crate::epoch::{EntryId, Epoch, Slot};

/// What a writer prepared for one epoch. Core never looks into `content`: only the sink that wrote it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committable {
    pub rows: u64,
    pub file_count: u32,
    pub file_bytes: u64,
    /// The sink's own versioned encoding of its data files; empty when there are no rows.
    pub content: Bytes,
}

impl Committable {
    pub const EMPTY: Committable =
        Committable { rows: 0, file_count: 0, file_bytes: 0, content: Bytes::new() };

    /// An epoch without rows writes nothing to the table.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }
}

/// One commit to one table: the committable of a completed checkpoint, and its place among the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitRequest {
    pub pipeline: String,
    pub sink: String,
    pub table_uuid: [u8; 16],
    /// The completed checkpoint that carries the committable.
    pub manifest: ManifestRef,
    /// The newest earlier manifest that carried a non-empty committable for this sink.
    pub predecessor: Option<ManifestRef>,
    pub committable: Committable,
    pub gap: GapRule,
    /// Information for people, written beside the marker: generation, positions, watermark.
    pub information: Vec<(String, String)>,
}

/// What an epoch between the table's marker and this commit means that was never committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapRule {
    /// Rows would be lost: don't commit.
    Refuse,
    /// Rows are lost, as at-most-once allows.
    Pass,
}

/// A commit ahead of its checkpoint: no marker, no guard, and a repeat adds the rows again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendRequest {
    pub pipeline: String,
    pub sink: String,
    pub table_uuid: [u8; 16],
    pub epoch: Epoch,
    pub committable: Committable,
    /// As in `CommitRequest`.
    pub information: Vec<(String, String)>,
}

/// A manifest by its place in the log and its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ManifestRef {
    pub slot: Slot,
    pub id: EntryId,
    pub epoch: Epoch,
}

/// What a commit left in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommittedSnapshot {
    pub manifest: ManifestRef,
    pub snapshot_id: i64,
    pub sequence_number: i64,
}

/// How a commit ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitOutcome {
    pub snapshot: CommittedSnapshot,
    /// The table already held it: an earlier attempt had been applied.
    pub already: bool,
}
