//! What a table says about our commits: the marker in its property, and in the snapshots of its branch.

use floe_core::committable::{CommittedSnapshot, ManifestRef};
use floe_core::epoch::{EntryId, Epoch};
use floe_core::ports::MarkerSnapshot;
use floe_core::protocol::judge::{BaseFacts, Marker};
use iceberg::spec::{MAIN_BRANCH, SnapshotRef, TableMetadata};
use iceberg::table::Table;

pub(super) fn base_facts(table: &Table, key: &str) -> BaseFacts {
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
    let summary =
        ancestors(metadata).find_map(|it| marker_text(&it, key).cloned()).and_then(|it| read(&it));
    BaseFacts { table_uuid: *metadata.uuid().as_bytes(), property, summary, unreadable }
}

fn marker_text<'a>(snapshot: &'a SnapshotRef, key: &str) -> Option<&'a String> {
    snapshot.summary().additional_properties.get(key)
}

/// The head of the branch and its parents, as far as they are kept.
pub(super) fn ancestors(metadata: &TableMetadata) -> impl Iterator<Item = SnapshotRef> + '_ {
    let head = metadata.snapshot_for_ref(MAIN_BRANCH).cloned();
    std::iter::successors(head, |it| metadata.snapshot_by_id(it.parent_snapshot_id()?).cloned())
}

/// The newest epoch that was committed ahead of its checkpoint, as far as snapshots are kept.
pub(super) fn newest_appended(table: &Table, key: &str) -> Option<Epoch> {
    ancestors(table.metadata())
        .find_map(|it| it.summary().additional_properties.get(key)?.parse().ok().map(Epoch))
}

/// The snapshot whose summary names the manifest, if it is kept.
pub(super) fn snapshot_of(table: &Table, key: &str, manifest: EntryId) -> Option<SnapshotRef> {
    ancestors(table.metadata()).find(|it| {
        marker_text(it, key)
            .and_then(|text| Marker::parse(text))
            .is_some_and(|it| it.manifest.id == manifest)
    })
}

/// Walks the parents of the head: found, rolled back, or expired.
pub(super) fn look_for_marker(
    table: &Table,
    key: &str,
    marker: Option<&Marker>,
    expected: Option<&CommittedSnapshot>,
) -> MarkerSnapshot {
    let Some(marker) = marker else { return MarkerSnapshot::NoMarker };
    let metadata = table.metadata();
    let mut last_parent = None;
    for snapshot in ancestors(metadata) {
        let own = marker_text(&snapshot, key).and_then(|it| Marker::parse(it));
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
