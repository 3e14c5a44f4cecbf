//! What a table says about our commits: the marker in its property, and in the snapshots of its branch.

use std::collections::HashMap;

use floe_core::committable::{CommittedSnapshot, ManifestRef};
use floe_core::epoch::{EntryId, Epoch};
use floe_core::ports::MarkerSnapshot;
use floe_core::protocol::judge::{BaseFacts, Marker};
use iceberg::spec::{SnapshotRef, TableMetadata};
use iceberg::table::Table;

use super::update::parent_of;

/// Where the marker of a pipeline's sink is.
#[derive(Clone, Debug)]
pub(super) struct MarkerPlace {
    /// Of the property, and of the entry in a snapshot's summary.
    pub(super) key: String,
    pub(super) branch: String,
}

impl MarkerPlace {
    pub(super) fn of(pipeline: &str, sink: &str, branch: &str) -> MarkerPlace {
        MarkerPlace { key: Marker::key(pipeline, sink, branch), branch: branch.to_owned() }
    }
}

pub(super) fn base_facts(table: &Table, place: &MarkerPlace) -> BaseFacts {
    let key = &place.key;
    let metadata = table.metadata();
    let mut unreadable = None;
    let mut read = |text: &String| {
        let marker = Marker::parse(text);
        if marker.is_none() {
            unreadable = Some(text.clone());
        }
        marker
    };
    let property = metadata.properties().get(key).and_then(&mut read);
    let summary = ancestors(metadata, &place.branch)
        .find_map(|it| marker_text(&it, key).cloned())
        .and_then(|it| read(&it));
    BaseFacts { table_uuid: *metadata.uuid().as_bytes(), property, summary, unreadable }
}

fn marker_text<'a>(snapshot: &'a SnapshotRef, key: &str) -> Option<&'a String> {
    snapshot.summary().additional_properties.get(key)
}

/// The epoch of a snapshot that a pipeline of ours made.
pub(super) fn epoch_in(summary: &HashMap<String, String>, pipeline: &str) -> Option<u64> {
    let ours = summary.get("floe.pipeline").is_some_and(|it| it == pipeline);
    summary.get("floe.epoch").filter(|_| ours)?.parse().ok()
}

/// The head of the branch (of main, before there is one) and its parents, as far as they are kept.
pub(super) fn ancestors<'a>(
    metadata: &'a TableMetadata,
    branch: &str,
) -> impl Iterator<Item = SnapshotRef> + use<'a> {
    std::iter::successors(parent_of(metadata, branch), |it| {
        metadata.snapshot_by_id(it.parent_snapshot_id()?).cloned()
    })
}

/// The newest epoch that was committed ahead of its checkpoint, as far as snapshots are kept.
pub(super) fn newest_appended(table: &Table, key: &str, branch: &str) -> Option<Epoch> {
    ancestors(table.metadata(), branch)
        .find_map(|it| it.summary().additional_properties.get(key)?.parse().ok().map(Epoch))
}

/// The snapshot whose summary names the manifest, if it is kept.
pub(super) fn snapshot_of(
    table: &Table,
    place: &MarkerPlace,
    manifest: EntryId,
) -> Option<SnapshotRef> {
    ancestors(table.metadata(), &place.branch).find(|it| {
        marker_text(it, &place.key)
            .and_then(|text| Marker::parse(text))
            .is_some_and(|it| it.manifest.id == manifest)
    })
}

/// Walks the parents of the head: found, rolled back, or expired.
pub(super) fn look_for_marker(
    table: &Table,
    place: &MarkerPlace,
    marker: Option<&Marker>,
    expected: Option<&CommittedSnapshot>,
) -> MarkerSnapshot {
    let Some(marker) = marker else { return MarkerSnapshot::NoMarker };
    let metadata = table.metadata();
    let mut last_parent = None;
    for snapshot in ancestors(metadata, &place.branch) {
        let own = marker_text(&snapshot, &place.key).and_then(|it| Marker::parse(it));
        match own {
            Some(own) if own.manifest == marker.manifest => return MarkerSnapshot::Found,
            // An older commit of ours is newer in the branch: what came after it was taken out.
            Some(own) if own.manifest.slot < marker.manifest.slot => {
                return MarkerSnapshot::RolledBack;
            }
            _ => {}
        }
        if is_behind(&snapshot, marker.manifest, expected) {
            return MarkerSnapshot::RolledBack;
        }
        last_parent = snapshot.parent_snapshot_id();
    }
    match last_parent {
        // The chain ends at a snapshot that is not kept any more: the property counts.
        Some(_) => MarkerSnapshot::Expired,
        None => MarkerSnapshot::RolledBack,
    }
}

fn is_behind(
    snapshot: &SnapshotRef,
    manifest: ManifestRef,
    expected: Option<&CommittedSnapshot>,
) -> bool {
    expected.is_some_and(|it| {
        it.manifest == manifest && snapshot.sequence_number() < it.sequence_number
    })
}
