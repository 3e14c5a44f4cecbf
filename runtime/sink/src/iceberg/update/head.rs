//! A snapshot as the new head of a branch, on the very base that the swap requires.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use iceberg::spec::{
    MAIN_BRANCH, ManifestFile, ManifestListWriter, Snapshot, SnapshotRef, SnapshotReference,
    SnapshotRetention, Summary, TableMetadata,
};
use iceberg::table::Table;
use iceberg::{Result, TableRequirement, TableUpdate};

use super::Change;

/// The branch's head, and for a branch that is not there yet main's: it begins there.
pub(in super::super) fn parent_of(metadata: &TableMetadata, branch: &str) -> Option<SnapshotRef> {
    let own = metadata.snapshot_for_ref(branch);
    own.or_else(|| metadata.snapshot_for_ref(MAIN_BRANCH)).cloned()
}

pub(in super::super) fn new_snapshot_id(metadata: &TableMetadata) -> i64 {
    loop {
        let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
        let id = ((high ^ low) >> 1) as i64;
        if id != 0 && metadata.snapshot_by_id(id).is_none() {
            return id;
        }
    }
}

/// Writes the list of the manifests. Nothing names it until the change is applied.
pub(in super::super) async fn new_head(
    base: &Table,
    branch: &str,
    id: i64,
    manifests: Vec<ManifestFile>,
    summary: Summary,
    properties: HashMap<String, String>,
) -> Result<Change> {
    let metadata = base.metadata();
    let sequence_number = metadata.next_sequence_number();
    let attempt = uuid::Uuid::new_v4();
    let list = format!("{}/metadata/snap-{id}-0-{attempt}.avro", metadata.location());
    let output = base.file_io().new_output(&list)?.writer().await?;
    let parent_id = parent_of(metadata, branch).map(|it| it.snapshot_id());
    let mut writer = ManifestListWriter::v2(output, id, parent_id, sequence_number);
    writer.add_manifests(manifests.into_iter())?;
    writer.close().await?;

    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_millis() as i64);
    let snapshot = Snapshot::builder()
        .with_snapshot_id(id)
        .with_parent_snapshot_id(parent_id)
        .with_sequence_number(sequence_number)
        .with_timestamp_ms(now_ms.max(metadata.last_updated_ms()))
        .with_manifest_list(list)
        .with_summary(summary)
        .with_schema_id(metadata.current_schema_id())
        .build();
    let retention = SnapshotRetention::branch(None, None, None);
    let mut updates = vec![
        TableUpdate::AddSnapshot { snapshot },
        TableUpdate::SetSnapshotRef {
            ref_name: branch.to_owned(),
            reference: SnapshotReference::new(id, retention),
        },
    ];
    if !properties.is_empty() {
        updates.push(TableUpdate::SetProperties { updates: properties });
    }
    Ok(Change {
        requirements: vec![
            TableRequirement::UuidMatch { uuid: metadata.uuid() },
            TableRequirement::RefSnapshotIdMatch {
                r#ref: branch.to_owned(),
                snapshot_id: metadata.snapshot_for_ref(branch).map(|it| it.snapshot_id()),
            },
        ],
        updates,
    })
}
