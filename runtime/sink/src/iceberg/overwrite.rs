//! Partitions of a table, taken out for what replaces them (Spark's dynamic partition overwrite).

use std::collections::HashSet;
use std::sync::Arc;

use iceberg::spec::{
    DataFile, ManifestContentType, ManifestEntryRef, ManifestFile, ManifestWriterBuilder, Struct,
};
use iceberg::table::Table;
use iceberg::{Error, ErrorKind, Result};

use super::entry;

/// What stays of a table beside the partitions that are replaced.
pub(super) struct Beside {
    pub(super) manifests: Vec<ManifestFile>,
    /// The files that go.
    pub(super) gone: Vec<DataFile>,
}

/// Takes every file out that is in a partition of one of `data`, which have the table's partition spec.
///
/// A manifest without such a file stays as it is. Deletes stay: they are older than what comes, and reach none
/// of it. Rows of another partition spec are in partitions that none of these can be told to be.
pub(super) async fn take_out(
    base: &Table,
    snapshot_id: i64,
    folder: &str,
    data: &[DataFile],
    manifests: Vec<ManifestFile>,
) -> Result<Beside> {
    let spec = base.metadata().default_partition_spec();
    let partitions: HashSet<&Struct> = data.iter().map(DataFile::partition).collect();
    let mut beside = Beside { manifests: Vec::new(), gone: Vec::new() };
    for manifest in manifests {
        let has_files = manifest.has_added_files() || manifest.has_existing_files();
        if manifest.content != ManifestContentType::Data || !has_files {
            beside.manifests.push(manifest);
            continue;
        }
        if manifest.partition_spec_id != spec.spec_id() {
            return Err(Error::new(
                ErrorKind::DataInvalid,
                format!(
                    "it has rows of partition spec {}, and those of spec {} replace partitions of their own alone",
                    manifest.partition_spec_id,
                    spec.spec_id()
                ),
            ));
        }
        let loaded = manifest.load_manifest(base.file_io()).await?;
        let alive = loaded.entries().iter().filter(|it| it.is_alive()).cloned();
        let (goes, stays): (Vec<ManifestEntryRef>, Vec<ManifestEntryRef>) =
            alive.partition(|it| partitions.contains(it.data_file().partition()));
        if goes.is_empty() {
            beside.manifests.push(manifest);
            continue;
        }
        let path = format!("{folder}/{}-replaced.avro", uuid::Uuid::new_v4());
        let output = base.file_io().new_output(path)?;
        let schema = Arc::clone(base.metadata().current_schema());
        let builder =
            ManifestWriterBuilder::new(output, Some(snapshot_id), schema, spec.as_ref().clone());
        let mut writer = builder.build_v2_data();
        for it in &stays {
            entry::keep(&mut writer, it)?;
        }
        for it in &goes {
            entry::remove(&mut writer, it)?;
        }
        beside.manifests.push(writer.write_manifest_file().await?);
        beside.gone.extend(goes.iter().map(|it| it.data_file().clone()));
    }
    Ok(beside)
}
