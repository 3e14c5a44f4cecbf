//! What an epoch changes in a table, made into a snapshot on the very base that the swap requires.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use iceberg::spec::{
    DataContentType, DataFile, FormatVersion, MAIN_BRANCH, ManifestContentType, ManifestFile,
    ManifestListWriter, ManifestWriterBuilder, Operation, SchemaRef, Snapshot, SnapshotRef,
    SnapshotReference, SnapshotRetention, Summary, TableMetadata,
};
use iceberg::table::Table;
use iceberg::{Error, ErrorKind, Result, TableRequirement, TableUpdate};

use super::update::Change;

/// The files of an epoch, by the partition spec that they were written with.
pub(super) struct Delta {
    pub(super) schema: SchemaRef,
    pub(super) data: BySpec,
    /// Equality deletes: what of the table's rows the epoch's keys take out.
    pub(super) deletes: BySpec,
}

pub(super) type BySpec = BTreeMap<i32, Vec<DataFile>>;

impl Delta {
    pub(super) fn files(&self) -> impl Iterator<Item = &DataFile> {
        self.data.values().chain(self.deletes.values()).flatten()
    }

    /// This, and the files of a later epoch. Neither has deletes, or there would be two snapshots.
    pub(super) fn and(mut self, later: Delta) -> Delta {
        assert!(self.deletes.is_empty());
        assert!(later.deletes.is_empty());
        self.schema = later.schema;
        for (spec, files) in later.data {
            self.data.entry(spec).or_default().extend(files);
        }
        self
    }

    fn operation(&self) -> Operation {
        match (self.data.is_empty(), self.deletes.is_empty()) {
            (_, true) => Operation::Append,
            (true, false) => Operation::Delete,
            (false, false) => Operation::Overwrite,
        }
    }
}

/// A change that waits to be sent.
pub(super) struct Built {
    pub(super) change: Change,
    pub(super) snapshot_id: i64,
}

/// The branch's head, and for a branch that is not there yet main's: it begins there.
pub(super) fn parent_of(metadata: &TableMetadata, branch: &str) -> Option<SnapshotRef> {
    let own = metadata.snapshot_for_ref(branch);
    own.or_else(|| metadata.snapshot_for_ref(MAIN_BRANCH)).cloned()
}

/// Writes manifests and their list. Nothing names them until the change is applied.
pub(super) async fn build(
    base: &Table,
    branch: &str,
    delta: &Delta,
    summary: HashMap<String, String>,
    properties: HashMap<String, String>,
) -> Result<Built> {
    let metadata = base.metadata();
    if metadata.format_version() != FormatVersion::V2 {
        return Err(Error::new(
            ErrorKind::FeatureUnsupported,
            format!(
                "it is of format version {}, and this needs 2",
                metadata.format_version() as u8
            ),
        ));
    }
    let parent = parent_of(metadata, branch);
    let mut manifests = match &parent {
        None => Vec::new(),
        Some(parent) => {
            base.manifest_list_reader(parent).load().await?.consume_entries().into_iter().collect()
        }
    };
    reaches_all(delta, &manifests)?;
    let id = new_snapshot_id(metadata);
    let attempt = uuid::Uuid::new_v4();
    let folder = format!("{}/metadata", metadata.location());
    let mut made = 0;
    let all =
        [(ManifestContentType::Data, &delta.data), (ManifestContentType::Deletes, &delta.deletes)];
    for (content, by_spec) in all {
        for (spec, added) in by_spec {
            let path = format!("{folder}/{attempt}-m{made}.avro");
            made += 1;
            manifests.push(write_manifest(base, delta, id, path, content, *spec, added).await?);
        }
    }
    let sequence_number = metadata.next_sequence_number();
    let list = format!("{folder}/snap-{id}-0-{attempt}.avro");
    let output = base.file_io().new_output(&list)?.writer().await?;
    let parent_id = parent.as_ref().map(|it| it.snapshot_id());
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
        .with_summary(summarize(delta, summary, parent.as_ref()))
        .with_schema_id(metadata.current_schema_id())
        .build();
    let retention = SnapshotRetention::branch(None, None, None);
    let change = Change {
        requirements: vec![
            TableRequirement::UuidMatch { uuid: metadata.uuid() },
            TableRequirement::RefSnapshotIdMatch {
                r#ref: branch.to_owned(),
                snapshot_id: metadata.snapshot_for_ref(branch).map(|it| it.snapshot_id()),
            },
        ],
        updates: vec![
            TableUpdate::AddSnapshot { snapshot },
            TableUpdate::SetSnapshotRef {
                ref_name: branch.to_owned(),
                reference: SnapshotReference::new(id, retention),
            },
            TableUpdate::SetProperties { updates: properties },
        ],
    };
    Ok(Built { change, snapshot_id: id })
}

/// A delete reaches rows of its own partition spec alone. Rows of a spec without deletes would stay beside
/// their newer version.
fn reaches_all(delta: &Delta, manifests: &[ManifestFile]) -> Result<()> {
    if delta.deletes.is_empty() {
        return Ok(());
    }
    for manifest in manifests {
        let has_rows = manifest.content == ManifestContentType::Data
            && (manifest.has_added_files() || manifest.has_existing_files());
        if has_rows && !delta.deletes.contains_key(&manifest.partition_spec_id) {
            return Err(Error::new(
                ErrorKind::DataInvalid,
                format!(
                    "rows were written with partition spec {} since this process started, and its deletes don't reach them",
                    manifest.partition_spec_id
                ),
            ));
        }
    }
    Ok(())
}

async fn write_manifest(
    base: &Table,
    delta: &Delta,
    snapshot_id: i64,
    path: String,
    content: ManifestContentType,
    spec: i32,
    added: &[DataFile],
) -> Result<ManifestFile> {
    let Some(spec) = base.metadata().partition_spec_by_id(spec) else {
        return Err(Error::new(
            ErrorKind::DataInvalid,
            format!("partition spec {spec} is no longer in the table"),
        ));
    };
    let output = base.file_io().new_output(path)?;
    let builder = ManifestWriterBuilder::new(
        output,
        Some(snapshot_id),
        Arc::clone(&delta.schema),
        spec.as_ref().clone(),
    );
    let mut writer = match content {
        ManifestContentType::Data => builder.build_v2_data(),
        ManifestContentType::Deletes => builder.build_v2_deletes(),
    };
    for file in added {
        // Below zero: the number of the snapshot that names it.
        writer.add_file(file.clone(), -1)?;
    }
    writer.write_manifest_file().await
}

fn new_snapshot_id(metadata: &TableMetadata) -> i64 {
    loop {
        let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
        let id = ((high ^ low) >> 1) as i64;
        if id != 0 && metadata.snapshot_by_id(id).is_none() {
            return id;
        }
    }
}

/// What the snapshot adds, and what the branch then holds, in the words of the specification.
fn summarize(
    delta: &Delta,
    mut summary: HashMap<String, String>,
    parent: Option<&SnapshotRef>,
) -> Summary {
    let of =
        |content: DataContentType| delta.files().filter(move |it| it.content_type() == content);
    let count = |content| of(content).count() as u64;
    let rows = |content| of(content).map(DataFile::record_count).sum::<u64>();
    let bytes = delta.files().map(DataFile::file_size_in_bytes).sum::<u64>();
    let (data, deletes) = (DataContentType::Data, DataContentType::EqualityDeletes);
    let added = [
        ("added-data-files", count(data)),
        ("added-records", rows(data)),
        ("added-delete-files", count(deletes)),
        ("added-equality-delete-files", count(deletes)),
        ("added-equality-deletes", rows(deletes)),
        ("added-files-size", bytes),
    ];
    for (key, number) in added.iter().filter(|it| it.1 > 0) {
        summary.insert((*key).to_owned(), number.to_string());
    }
    let totals = [
        ("total-data-files", count(data)),
        ("total-records", rows(data)),
        ("total-delete-files", count(deletes)),
        ("total-equality-deletes", rows(deletes)),
        ("total-position-deletes", 0),
        ("total-files-size", bytes),
    ];
    for (key, more) in totals {
        let before = match parent {
            None => Some(0),
            Some(it) => it.summary().additional_properties.get(key).and_then(|it| it.parse().ok()),
        };
        // A total that the parent does not know is not made up.
        if let Some(before) = before {
            let before: u64 = before;
            summary.insert(key.to_owned(), (before + more).to_string());
        }
    }
    Summary { operation: delta.operation(), additional_properties: summary }
}
