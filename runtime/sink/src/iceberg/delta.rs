//! What an epoch changes in a table, made into a snapshot on the very base that the swap requires.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use iceberg::spec::{
    DataFile, FormatVersion, ManifestContentType, ManifestFile, ManifestWriterBuilder, Operation,
    SchemaRef, SnapshotRef, Summary,
};
use iceberg::table::Table;
use iceberg::{Error, ErrorKind, Result};

use super::counts::count_files;
use super::overwrite::take_out;
use super::update::{Change, new_head, new_snapshot_id, parent_of};

/// The files of an epoch, by the partition spec that they were written with.
pub(super) struct Delta {
    pub(super) schema: SchemaRef,
    pub(super) data: BySpec,
    /// Equality deletes: what of the table's rows the epoch's keys take out.
    pub(super) deletes: BySpec,
    /// The partitions of `data` hold nothing else afterwards.
    pub(super) replaces: bool,
}

pub(super) type BySpec = BTreeMap<i32, Vec<DataFile>>;

impl Delta {
    pub(super) fn files(&self) -> impl Iterator<Item = &DataFile> + Clone {
        self.data.values().chain(self.deletes.values()).flatten()
    }

    /// This, and the files of a later epoch. Neither takes rows out, or there would be two snapshots.
    pub(super) fn and(mut self, later: Delta) -> Delta {
        assert!(!self.replaces);
        assert!(!later.replaces);
        assert!(self.deletes.is_empty());
        assert!(later.deletes.is_empty());
        self.schema = later.schema;
        for (spec, files) in later.data {
            self.data.entry(spec).or_default().extend(files);
        }
        self
    }

    fn operation(&self) -> Operation {
        if self.replaces {
            return Operation::Overwrite;
        }
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
    let mut gone = Vec::new();
    if delta.replaces {
        let spec = metadata.default_partition_spec_id();
        let data = delta.data.get(&spec).filter(|_| delta.data.len() == 1).ok_or_else(|| {
            let why = "its partition spec changed since the rows were written";
            Error::new(ErrorKind::DataInvalid, why)
        })?;
        let beside = take_out(base, id, &folder, data, manifests).await?;
        (manifests, gone) = (beside.manifests, beside.gone);
    }
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
    let summary = summarize(delta, &gone, summary, parent.as_ref());
    let change = new_head(base, branch, id, manifests, summary, properties).await?;
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

/// What the snapshot adds, and what the branch then holds, in the words of the specification.
fn summarize(
    delta: &Delta,
    gone: &[DataFile],
    mut summary: HashMap<String, String>,
    parent: Option<&SnapshotRef>,
) -> Summary {
    if delta.replaces {
        summary.insert("replace-partitions".to_owned(), "true".to_owned());
    }
    count_files(&mut summary, delta.files(), gone, parent);
    Summary { operation: delta.operation(), additional_properties: summary }
}
