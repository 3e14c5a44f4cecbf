//! Data files that were prepared in vain: found by a listing of the table's data folder, decided by
//! `protocol::orphans`, and deleted.

use std::collections::{BTreeMap, BTreeSet};

use floe_core::crash_point::{CrashPoint, hit};
use floe_core::protocol::orphans::{
    Orphan, OrphansFound, PreparedFate, PreparedFile, SinkLog, decide_prepared,
};
use floe_core::{Epoch, Error, Result};
use futures::future::try_join_all;
use iceberg::spec::{ManifestFile, SnapshotRef};
use iceberg::table::Table;
use iceberg::writer::file_writer::location_generator::{
    DefaultLocationGenerator, LocationGenerator,
};

use super::committable::decode;
use super::config::{CatalogConfig, TableConfig};
use super::connect::connect;
use super::error::{describe, read_failed};
use super::facts::{MarkerPlace, base_facts};
use super::names::{Commits, Names, file_name};
use super::storage::{ListedFile, ObjectStorage};
use super::table::{identifier, is_absent};

/// Files of the table's metadata that are read at a time.
const READS_MAX: usize = 8;

/// Finds what attempts of the pipeline's sink left in its table, without a run, and deletes it unless `dry_run`.
/// `None` where there is no table.
pub async fn sweep_table(
    catalog: &CatalogConfig,
    config: &TableConfig,
    (pipeline, sink): (&str, &str),
    log: &SinkLog,
    dry_run: bool,
) -> Result<Option<OrphansFound>> {
    let connected = connect(catalog).await?;
    let table = match connected.load_table(&identifier(&config.table)?).await {
        Ok(table) => table,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(read_failed(&format!("load table {}", config.table), &error)),
    };
    let branch = config.branch.as_str();
    let place = MarkerPlace::of(pipeline, sink, branch);
    let uuid = *table.metadata().uuid().as_bytes();
    let names = Names::of((pipeline, sink, branch), uuid, Commits::Guarded);
    let found = find_orphans(&table, &place, &names, log).await?;
    if !dry_run {
        delete(&table, &found).await?;
    }
    Ok(Some(found))
}

pub(super) async fn delete(table: &Table, found: &OrphansFound) -> Result<()> {
    for orphan in &found.orphans {
        hit(CrashPoint::BeforeOrphanDelete);
        table.file_io().delete(&orphan.path).await.map_err(|error| failed(table, &error))?;
        hit(CrashPoint::AfterOrphanDelete);
    }
    Ok(())
}

/// `table` was loaded after `log` was read: marker and snapshots are of one version of its metadata.
pub(super) async fn find_orphans(
    table: &Table,
    place: &MarkerPlace,
    names: &Names,
    log: &SinkLog,
) -> Result<OrphansFound> {
    let failed = |error: iceberg::Error| failed(table, &error);
    let facts = base_facts(table, place);
    let settled = match &facts.unreadable {
        None => log.settled(facts.table_uuid, facts.marker()),
        Some(_) => None,
    };
    let listed = list_data(table).await.map_err(failed)?;
    let mut found = OrphansFound { settled, ..OrphansFound::default() };
    let mut ours: BTreeMap<&str, (Epoch, &ListedFile)> = BTreeMap::new();
    for file in &listed {
        let name = file_name(&file.location);
        match names.epoch_in(name) {
            Some(epoch) => {
                ours.insert(name, (epoch, file));
            }
            None => found.not_ours += 1,
        }
    }
    let carried = carried(table, log)?;
    // What is settled by these is not looked for in the table, which may have thousands of manifests.
    let undecided: BTreeSet<&str> = ours
        .iter()
        .filter(|(name, (epoch, _))| {
            let carried = carried.contains(**name);
            let file = PreparedFile { epoch: *epoch, carried, in_table: false };
            decide_prepared(settled, &file) == PreparedFate::Orphan
        })
        .map(|(name, _)| *name)
        .collect();
    let in_no_snapshot =
        without_those_in_snapshots(table, undecided.clone()).await.map_err(failed)?;
    for (name, (epoch, file)) in &ours {
        let carried = carried.contains(*name);
        let in_table = undecided.contains(name) && !in_no_snapshot.contains(name);
        match decide_prepared(settled, &PreparedFile { epoch: *epoch, carried, in_table }) {
            PreparedFate::Orphan => found.orphans.push(Orphan {
                path: file.location.clone(),
                bytes: file.bytes,
                epoch: *epoch,
            }),
            PreparedFate::InTable | PreparedFate::Carried | PreparedFate::MayBeCommitted => {
                found.kept += 1;
            }
        }
    }
    Ok(found)
}

/// The names of the files that kept checkpoints carry for this table.
fn carried(table: &Table, log: &SinkLog) -> Result<BTreeSet<String>> {
    let uuid = *table.metadata().uuid().as_bytes();
    let mut names = BTreeSet::new();
    for (_, entry) in &log.kept {
        if entry.table_uuid != uuid || entry.committable.is_empty() {
            continue;
        }
        let delta = decode(table, &entry.committable.content)?;
        names.extend(delta.files().map(|it| file_name(it.file_path()).to_owned()));
    }
    Ok(names)
}

/// Everything below the folders that the writer puts files into.
async fn list_data(table: &Table) -> iceberg::Result<Vec<ListedFile>> {
    let generator = DefaultLocationGenerator::new(table.metadata())?;
    let folder = generator.generate_location(None, "");
    let storage = ObjectStorage::with(table.file_io().config().props().clone());
    storage.list(folder.trim_end_matches('/')).await
}

/// Those of the names that no snapshot has, be it of a branch, of a tag or of neither.
///
/// The head names nearly all that any snapshot names, so where nothing is left over it alone is read.
async fn without_those_in_snapshots<'a>(
    table: &Table,
    mut names: BTreeSet<&'a str>,
) -> iceberg::Result<BTreeSet<&'a str>> {
    let metadata = table.metadata();
    let mut snapshots: Vec<&SnapshotRef> = metadata.snapshots().collect();
    snapshots.sort_by_key(|it| std::cmp::Reverse(it.sequence_number()));
    let mut read: BTreeSet<String> = BTreeSet::new();
    // The newest alone, then several at a time.
    let (newest, others) = snapshots.split_at(snapshots.len().min(1));
    for some in std::iter::once(newest).chain(others.chunks(READS_MAX)) {
        if names.is_empty() {
            break;
        }
        let lists = some.iter().map(|it| {
            let reader = table.manifest_list_reader(it);
            async move { reader.load().await }
        });
        let mut manifests: Vec<ManifestFile> = Vec::new();
        for list in try_join_all(lists).await? {
            let new = list.consume_entries().into_iter();
            manifests.extend(new.filter(|it| read.insert(it.manifest_path.clone())));
        }
        for some in manifests.chunks(READS_MAX) {
            let loads = some.iter().map(|it| it.load_manifest(table.file_io()));
            for manifest in try_join_all(loads).await? {
                for entry in manifest.entries().iter().filter(|it| it.is_alive()) {
                    names.remove(file_name(entry.file_path()));
                }
            }
        }
    }
    Ok(names)
}

fn failed(table: &Table, error: &iceberg::Error) -> Error {
    Error::retry(format!("sweep data files of {}: {}", table.identifier(), describe(error)))
}
