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

/// One commit to one table: the committable of a completed checkpoint, or of several that follow each other,
/// and their place among the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitRequest {
    pub pipeline: String,
    pub sink: String,
    pub table_uuid: [u8; 16],
    /// The completed checkpoint that carries the committable; of several, the last.
    pub manifest: ManifestRef,
    /// The newest manifest before all of these that carried a non-empty committable for this sink.
    pub predecessor: Option<ManifestRef>,
    /// What the earlier checkpoints of the commit carry, oldest first. None of it is empty.
    pub earlier: Vec<Carried>,
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

/// The committable of one of several checkpoints that are committed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    pub manifest: ManifestRef,
    pub committable: Committable,
}

impl CommitRequest {
    pub fn first_epoch(&self) -> Epoch {
        self.earlier.first().map_or(self.manifest.epoch, |it| it.manifest.epoch)
    }

    /// Everything that the commit carries, oldest first.
    pub fn committables(&self) -> impl Iterator<Item = &Committable> {
        self.earlier.iter().map(|it| &it.committable).chain([&self.committable])
    }

    /// Is this manifest one of those before the last?
    pub fn holds_earlier(&self, manifest: &ManifestRef) -> bool {
        self.earlier.iter().any(|it| it.manifest == *manifest)
    }

    /// What is left of the commit for a table that holds it up to this manifest, one of the earlier ones.
    pub fn behind(&self, manifest: ManifestRef) -> CommitRequest {
        assert!(self.holds_earlier(&manifest), "a part of the commit is in the table");
        let left = self.earlier.iter().filter(|it| it.manifest.slot > manifest.slot);
        CommitRequest {
            predecessor: Some(manifest),
            earlier: left.cloned().collect(),
            ..self.clone()
        }
    }

    /// The same as commits of one checkpoint each, for sinks that know no others.
    pub fn one_by_one(&self) -> Vec<CommitRequest> {
        let last = Carried { manifest: self.manifest, committable: self.committable.clone() };
        let mut predecessor = self.predecessor;
        let each = self.earlier.iter().cloned().chain([last]);
        each.map(|Carried { manifest, committable }| CommitRequest {
            manifest,
            predecessor: predecessor.replace(manifest),
            earlier: Vec::new(),
            committable,
            ..self.clone()
        })
        .collect()
    }
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
