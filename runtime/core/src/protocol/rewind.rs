//! Decides where a rewind to a branch begins: a checkpoint, and the snapshot of each table that holds exactly
//! what was committed up to it. From there the branch repeats what comes, and nothing that is on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::committable::ManifestRef;
use crate::epoch::{EntryId, Epoch};
use crate::error::{Error, Result};
use crate::event_time::EventTime;
use crate::manifest::{CheckpointManifest, SinkEntry};
use crate::position::{Offset, Position, TopicPartition};

/// What a table's history shows of one sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableHistory {
    pub sink: String,
    pub table: String,
    /// The manifests that end a snapshot, each with the snapshot.
    pub commits: Vec<(EntryId, i64)>,
    /// The snapshot before the sink's first commit; the head where there was none yet.
    pub before: Option<i64>,
    /// The branch's newest snapshot, whoever made it.
    pub head: Option<i64>,
    /// The watermarks of the pipeline's snapshots, under whatever guarantee they were made.
    pub watermarks: Vec<(EventTime, i64)>,
}

/// A checkpoint, and for each table the snapshot at which the branch begins. `None`: the table is empty.
#[derive(Clone, Debug)]
pub struct BranchPoint {
    pub place: ManifestRef,
    pub manifest: Arc<CheckpointManifest>,
    pub snapshots: Vec<Option<i64>>,
}

/// The checkpoint that was asked for, or else the newest one whose rows are in the tables.
pub fn branch_point(
    kept: &[(ManifestRef, Arc<CheckpointManifest>)],
    tables: &[TableHistory],
    wanted: Option<Epoch>,
) -> Result<BranchPoint> {
    let at = |(place, manifest): &(ManifestRef, Arc<CheckpointManifest>)| {
        let snapshots = tables.iter().map(|it| snapshot_at(*place, manifest, it));
        let snapshots = snapshots.collect::<Option<Vec<_>>>()?;
        Some(BranchPoint { place: *place, manifest: Arc::clone(manifest), snapshots })
    };
    let Some(wanted) = wanted else {
        return kept.iter().rev().find_map(at).ok_or_else(|| {
            Error::refused(
                "no checkpoint that is kept has its rows in the table as a snapshot of its own\n  → start it again once an epoch is committed",
            )
        });
    };
    let Some(found) = kept.iter().find(|it| it.0.epoch == wanted) else {
        let epochs: Vec<Epoch> = kept.iter().map(|it| it.0.epoch).collect();
        return Err(Error::refused(format!(
            "checkpoint {wanted} is not kept: there are {}\n  → floe checkpoint list shows them",
            listed(&epochs)
        )));
    };
    at(found).ok_or_else(|| {
        let epochs: Vec<Epoch> = kept.iter().filter_map(at).map(|it| it.place.epoch).collect();
        Error::refused(format!(
            "no snapshot holds the rows up to epoch {wanted} and no others: it is not committed yet, was committed together with later ones, or its snapshot expired\n  → these have one: {}",
            listed(&epochs)
        ))
    })
}

/// The snapshot that holds the rows up to a checkpoint; in it `None` where the table is empty then. `None`: there
/// is none that holds this and nothing behind it.
pub fn snapshot_at(
    place: ManifestRef,
    manifest: &CheckpointManifest,
    table: &TableHistory,
) -> Option<Option<i64>> {
    let newest = |entry: &SinkEntry| match entry.committable.is_empty() {
        true => entry.predecessor,
        false => Some(place),
    };
    match manifest.sink(&table.sink).and_then(newest) {
        None => Some(table.before),
        Some(committing) => {
            table.commits.iter().find(|it| it.0 == committing.id).map(|it| Some(it.1))
        }
    }
}

/// The position with some partitions set back. Forward is refused: it would pass over records.
pub fn set_back(
    position: &Position,
    to: &BTreeMap<TopicPartition, Offset>,
    epoch: Epoch,
) -> Result<Position> {
    let mut position = position.clone();
    for (task, offset) in to {
        let Some(at) = position.0.get_mut(task) else {
            return Err(Error::invalid(format!("checkpoint {epoch} knows no partition {task}")));
        };
        if offset > at {
            return Err(Error::refused(format!(
                "{task}: offset {offset} lies ahead of checkpoint {epoch}, which is at {at}: the records between them would be passed over"
            )));
        }
        *at = *offset;
    }
    Ok(position)
}

/// "3, 7 to 9"
fn listed(epochs: &[Epoch]) -> String {
    let mut ranges: Vec<(Epoch, Epoch)> = Vec::new();
    for epoch in epochs {
        match ranges.last_mut() {
            Some(range) if range.1.next() == *epoch => range.1 = *epoch,
            Some(_) | None => ranges.push((*epoch, *epoch)),
        }
    }
    let texts: Vec<String> = ranges
        .iter()
        .map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first} to {last}"),
        })
        .collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}

#[cfg(test)]
mod tests;
