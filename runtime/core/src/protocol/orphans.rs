//! Which prepared files nobody names now, nor ever can: decided from facts, without a clock.
//!
//! A file belongs to an attempt at an epoch, and its name says which. Only a commit brings it into a table,
//! and each commit is judged on the base that it swaps (I4, I5). So once the table's marker names an epoch of
//! our log at or behind the file's, whatever still holds the file is judged `Already`, `Fenced` or refused,
//! and a request that is under way was made for an older base. The file is in that table by then, or never.

use crate::committable::ManifestRef;
use crate::epoch::{EntryId, Epoch};
use crate::manifest::{CheckpointManifest, SinkEntry};
use crate::protocol::judge::Marker;

/// What one reading of the log says of a sink. The table is looked at after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkLog {
    /// What the kept checkpoints carry for the sink, savepoints included.
    pub kept: Vec<(ManifestRef, SinkEntry)>,
    pub newest: Option<Epoch>,
}

impl SinkLog {
    pub fn of<'a>(
        manifests: impl IntoIterator<Item = (ManifestRef, &'a CheckpointManifest)>,
        sink: &str,
    ) -> SinkLog {
        let mut log = SinkLog::default();
        for (at, manifest) in manifests {
            log.newest = log.newest.max(Some(at.epoch));
            log.kept.extend(manifest.sink(sink).map(|it| (at, it.clone())));
        }
        log
    }

    /// The epoch up to which the table has all that it will ever have of our log. `None`: it says nothing
    /// that this log knows, and nothing of the table is decided.
    pub fn settled(&self, table_uuid: [u8; 16], marker: Option<&Marker>) -> Option<Epoch> {
        let marker = marker.filter(|it| it.table_uuid == table_uuid)?;
        let is_ours = |id: EntryId| {
            let committed = |it: &SinkEntry| it.committed.is_some_and(|it| it.manifest.id == id);
            self.kept.iter().any(|(at, entry)| at.id == id || committed(entry))
        };
        // A table that was set back behind what the log has seen in it is a person's to judge.
        let seen = self.kept.iter().filter(|(_, it)| it.table_uuid == table_uuid);
        let seen = seen.filter_map(|(_, it)| it.committed).map(|it| it.manifest.slot).max();
        let went_back = seen.is_some_and(|it| marker.manifest.slot < it);
        (is_ours(marker.manifest.id) && !went_back).then_some(marker.manifest.epoch)
    }
}

/// A file that a listing showed, whose name says that an attempt of ours wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedFile {
    pub epoch: Epoch,
    /// A kept checkpoint carries it.
    pub carried: bool,
    /// A snapshot of the table names it: of any branch or tag, or of none.
    pub in_table: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PreparedFate {
    /// Nobody names it, nor ever can.
    Orphan,
    InTable,
    Carried,
    /// An attempt at its epoch may still complete, or be committed.
    MayBeCommitted,
}

/// Decides for one file. `settled` is of a table that was loaded after the log was read, and `in_table` of
/// that same load.
pub fn decide_prepared(settled: Option<Epoch>, file: &PreparedFile) -> PreparedFate {
    if file.in_table {
        return PreparedFate::InTable;
    }
    if file.carried {
        return PreparedFate::Carried;
    }
    match settled {
        Some(settled) if file.epoch <= settled => PreparedFate::Orphan,
        Some(_) | None => PreparedFate::MayBeCommitted,
    }
}

/// A file that was deleted, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    pub path: String,
    pub bytes: u64,
    pub epoch: Epoch,
}

/// What a sweep of a sink found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrphansFound {
    pub orphans: Vec<Orphan>,
    /// Files of ours that stay, in the table or on their way.
    pub kept: u64,
    /// Files whose names don't say that this pipeline's sink wrote them: others', or of an older floe.
    pub not_ours: u64,
    /// `None`: nothing could be told, so nothing was deleted.
    pub settled: Option<Epoch>,
}

#[cfg(test)]
mod tests;
