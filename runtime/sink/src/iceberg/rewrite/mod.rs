//! Rewriting what many small commits leave: table manifests are merged, and small data files become large.
//!
//! Out comes a snapshot of operation `replace` over the rewritten list, sent as our own update with the
//! requirements (table uuid, head of the branch) of its base. Files stand in it as existing ones, so nobody
//! who reads what was appended sees a row twice.
//!
//! The marker of our commits is not touched: it stays in the property and in the snapshots that made it.

mod files;
mod plan;
mod swap;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use floe_core::Result;
use futures::future::try_join_all;
use iceberg::spec::{
    DataFile, FormatVersion, ManifestContentType, ManifestEntryRef, ManifestFile,
    ManifestWriterBuilder, PartitionSpecRef, SnapshotRef, Struct,
};
use iceberg::table::Table;
use iceberg::{Catalog, TableIdent};
use tokio::sync::Mutex;

use super::entry;
use super::error::read_failed;
use super::update::Updater;
use super::upkeep::delete_old_metadata;
use plan::{Limits, choose};
pub(super) use swap::{REPLACED, replaced_files};

/// Manifests read at a time.
const READS_MAX: usize = 8;

/// What a rewrite puts in place of what.
struct Rewritten {
    /// Of the snapshot that holds it: tells whether a swap without an answer was applied.
    id: String,
    /// The manifests that go, by their paths.
    taken: BTreeSet<String>,
    manifests: Vec<ManifestFile>,
    replaced: Vec<DataFile>,
    made: Vec<DataFile>,
}

/// Rewrites if there is enough to rewrite. `writing` is held by whoever swaps the table's head, so that the
/// writer never loses to its own upkeep.
pub(super) async fn rewrite(
    catalog: &Arc<dyn Catalog>,
    updater: &Updater,
    ident: &TableIdent,
    writing: &Mutex<()>,
) -> Result<()> {
    let table =
        catalog.load_table(ident).await.map_err(|error| read_failed("load the table", &error))?;
    let limits = Limits::of(table.metadata().properties());
    // The first version has no sequence numbers, the third numbers rows: neither is rewritten.
    let head = table.metadata().current_snapshot().cloned();
    let (FormatVersion::V2, Some(head)) = (table.metadata().format_version(), head) else {
        return Ok(());
    };
    let off = table.metadata().properties().get("floe.upkeep.enabled");
    if !limits.merge || off.is_some_and(|it| it == "false") {
        return Ok(());
    }
    let failed = |error: iceberg::Error| swap::failed(ident, &error);
    let Some(rewritten) = prepare(&table, &head, &limits).await.map_err(failed)? else {
        return Ok(());
    };
    let swapping = writing.lock().await;
    swap::swap(catalog, updater, &table, rewritten).await?;
    drop(swapping);
    // The swap's metadata pushed an older one out of the log, and no commit looks for that one again.
    let after = catalog.load_table(ident).await.map_err(failed)?;
    delete_old_metadata(&table, &after).await;
    Ok(())
}

/// Writes the new files and manifests. Nothing names them yet.
async fn prepare(
    table: &Table,
    head: &SnapshotRef,
    limits: &Limits,
) -> iceberg::Result<Option<Rewritten>> {
    let list = table.manifest_list_reader(head).load().await?;
    let spec = table.metadata().default_partition_spec();
    let of_data = |it: &&ManifestFile| it.content == ManifestContentType::Data;
    let candidates: Vec<&ManifestFile> = list
        .entries()
        .iter()
        .filter(of_data)
        .filter(|it| it.partition_spec_id == spec.spec_id())
        .collect();
    let sizes: Vec<u64> = candidates.iter().map(|it| it.manifest_length.max(0) as u64).collect();
    let chosen = choose(&sizes, limits.manifest_bytes, limits.manifests_min, u64::MAX);
    if chosen.is_empty() {
        return Ok(None);
    }
    let taken: Vec<&ManifestFile> = chosen.iter().map(|index| candidates[*index]).collect();
    let mut loaded = Vec::new();
    for some in taken.chunks(READS_MAX) {
        loaded.extend(try_join_all(some.iter().map(|it| it.load_manifest(table.file_io()))).await?);
    }
    let alive: Vec<ManifestEntryRef> =
        loaded.iter().flat_map(|it| it.entries()).filter(|it| it.is_alive()).cloned().collect();

    let deletes = list.entries().iter().any(|it| !of_data(&it));
    let mut replaced = BTreeSet::new();
    let mut made = Vec::new();
    if limits.compact && deletes {
        tracing::debug!(table = %table.identifier(), "small data files stay: the table has deletes, which would have to be applied");
    }
    if limits.compact && !deletes {
        for group in small_files(&alive, limits) {
            let old: Vec<DataFile> = group.iter().map(|it| it.data_file().clone()).collect();
            made.extend(files::write_again(table, &old, limits.file_bytes).await?);
            replaced.extend(group.iter().map(|it| it.file_path().to_owned()));
        }
    }
    let id = uuid::Uuid::new_v4().to_string();
    let (gone, stay): (Vec<_>, Vec<_>) =
        alive.into_iter().partition(|it| replaced.contains(it.file_path()));
    let manifest = write_manifest(table, head, spec, &id, &stay, &made).await?;
    Ok(Some(Rewritten {
        id,
        taken: taken.iter().map(|it| it.manifest_path.clone()).collect(),
        manifests: vec![manifest],
        replaced: gone.iter().map(|it| it.data_file().clone()).collect(),
        made,
    }))
}

/// The files that are written together, partition by partition.
fn small_files(alive: &[ManifestEntryRef], limits: &Limits) -> Vec<Vec<ManifestEntryRef>> {
    let mut partitions: HashMap<&Struct, Vec<&ManifestEntryRef>> = HashMap::new();
    for entry in alive.iter().filter(|it| files::can_be_written_again(it.data_file())) {
        partitions.entry(entry.data_file().partition()).or_default().push(entry);
    }
    partitions
        .into_values()
        .filter_map(|entries| {
            let sizes: Vec<u64> = entries.iter().map(|it| it.file_size_in_bytes()).collect();
            let small = limits.file_bytes / 4 * 3;
            let chosen = choose(&sizes, small, limits.files_min, limits.round_bytes);
            (!chosen.is_empty())
                .then(|| chosen.into_iter().map(|index| Arc::clone(entries[index])).collect())
        })
        .collect()
}

/// One manifest over files that stay as they are, and files that hold the rows of several.
async fn write_manifest(
    table: &Table,
    head: &SnapshotRef,
    spec: &PartitionSpecRef,
    id: &str,
    stay: &[ManifestEntryRef],
    made: &[DataFile],
) -> iceberg::Result<ManifestFile> {
    let metadata = table.metadata();
    let path = format!("{}/metadata/{id}-rewritten.avro", metadata.location());
    let output = table.file_io().new_output(path)?;
    let (snapshot, number) = (head.snapshot_id(), head.sequence_number());
    let schema = metadata.current_schema().clone();
    let builder = ManifestWriterBuilder::new(output, Some(snapshot), schema, spec.as_ref().clone());
    let mut writer = builder.build_v2_data();
    for it in stay {
        entry::keep(&mut writer, it)?;
    }
    for file in made {
        writer.add_existing_file(file.clone(), snapshot, number, Some(number))?;
    }
    let mut manifest = writer.write_manifest_file().await?;
    manifest.sequence_number = number;
    Ok(manifest)
}
