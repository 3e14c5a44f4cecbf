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

use floe_core::{Epoch, Result};
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
use super::facts::{MarkerPlace, base_facts};
use super::names::Names;
use super::update::Updater;
use super::upkeep::{delete_old_metadata, is_off};
pub(super) use files::rows_of;
use plan::{Limits, choose};
pub(super) use swap::{REPLACED, replaced_files};

/// Manifests read at a time.
const READS_MAX: usize = 8;

/// What keeps a rewrite that was forgotten, in a process that slept, from coming into the table when its files
/// were swept: they bear an epoch, as an attempt's files do, and no swap is made of a base that is as far.
pub(super) struct Fence<'a> {
    pub(super) place: &'a MarkerPlace,
    pub(super) names: &'a Names,
}

/// Epochs that may be committed while a rewrite goes on; then it is thrown away, and the next round tries again.
const EPOCHS_MAX: u64 = 1000;

impl Fence<'_> {
    /// `None` where no epoch of ours is in the table under the guard: then nothing is swept either.
    fn before(&self, table: &Table) -> Option<Epoch> {
        self.at(table).map(|it| Epoch(it.0 + EPOCHS_MAX))
    }

    fn at(&self, table: &Table) -> Option<Epoch> {
        base_facts(table, self.place).marker().map(|it| it.manifest.epoch)
    }

    fn lets_through(&self, base: &Table, before: Option<Epoch>) -> bool {
        match (self.at(base), before) {
            (Some(at), Some(before)) => at < before,
            (at, _) => at.is_none(),
        }
    }
}

/// What a rewrite puts in place of what.
struct Rewritten {
    /// Of the snapshot that holds it: tells whether a swap without an answer was applied.
    id: String,
    /// It is put into the table only while that is at an epoch before this.
    before: Option<Epoch>,
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
    fence: &Fence<'_>,
) -> Result<()> {
    let table =
        catalog.load_table(ident).await.map_err(|error| read_failed("load the table", &error))?;
    let limits = Limits::of(table.metadata().properties());
    // The first version has no sequence numbers, the third numbers rows: neither is rewritten.
    let head = table.metadata().current_snapshot().cloned();
    let (FormatVersion::V2, Some(head)) = (table.metadata().format_version(), head) else {
        return Ok(());
    };
    if !limits.merge || is_off(table.metadata()) {
        return Ok(());
    }
    let failed = |error: iceberg::Error| swap::failed(ident, &error);
    let Some(rewritten) = prepare(&table, &head, &limits, fence).await.map_err(failed)? else {
        return Ok(());
    };
    let swapping = writing.lock().await;
    swap::swap(catalog, updater, &table, rewritten, fence).await?;
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
    fence: &Fence<'_>,
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
    let before = fence.before(table);
    let name = fence.names.of_attempt(before.unwrap_or(Epoch(0)));
    let mut replaced = BTreeSet::new();
    let mut made = Vec::new();
    if limits.compact && deletes {
        tracing::debug!(table = %table.identifier(), "small data files stay: the table has deletes, which would have to be applied");
    }
    if limits.compact && !deletes {
        for group in small_files(&alive, limits) {
            let old: Vec<DataFile> = group.iter().map(|it| it.data_file().clone()).collect();
            let name = format!("{name}-{}", made.len());
            made.extend(files::write_again(table, &old, &name, limits.file_bytes).await?);
            replaced.extend(group.iter().map(|it| it.file_path().to_owned()));
        }
    }
    let id = uuid::Uuid::new_v4().to_string();
    let (gone, stay): (Vec<_>, Vec<_>) =
        alive.into_iter().partition(|it| replaced.contains(it.file_path()));
    let manifest = write_manifest(table, head, spec, &id, &stay, &made).await?;
    Ok(Some(Rewritten {
        id,
        before,
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
