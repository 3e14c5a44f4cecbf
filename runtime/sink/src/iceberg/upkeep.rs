//! Upkeep: small files are rewritten, snapshots expire, and files that only these named are deleted.
//!
//! A data file is deleted in one case alone: a rewrite of ours replaced it, and no snapshot from before the
//! rewrite is kept.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use floe_core::crash_point::{CrashPoint, hit};
use floe_core::{Error, Result};
use iceberg::spec::{SnapshotRef, TableMetadata};
use iceberg::table::Table;
use iceberg::transaction::{ApplyTransactionAction, Transaction};
use iceberg::{Catalog, TableIdent};
use tokio::sync::Mutex;

use super::error::{describe, read_failed};
use super::rewrite::{Fence, REPLACED, replaced_files, rewrite};
use super::update::Updater;

/// Where the table does not say (Iceberg's own defaults).
const SNAPSHOT_AGE_MS_MAX: i64 = 5 * 24 * 3600 * 1000;
const SNAPSHOTS_KEPT_MIN: usize = 1;

/// The table's property says that nobody but its owner tidies it.
pub(super) fn is_off(metadata: &TableMetadata) -> bool {
    metadata.properties().get("floe.upkeep.enabled").is_some_and(|it| it == "false")
}

/// One round, by the table's properties; `floe.upkeep.enabled` switches it off as a whole.
pub(super) async fn upkeep(
    catalog: &Arc<dyn Catalog>,
    updater: &Updater,
    ident: &TableIdent,
    writing: &Mutex<()>,
    fence: &Fence<'_>,
) -> Result<()> {
    rewrite(catalog, updater, ident, writing, fence).await?;
    expire(catalog.as_ref(), ident, writing).await
}

/// Expires snapshots by `history.expire.max-snapshot-age-ms` and `history.expire.min-snapshots-to-keep`,
/// then deletes manifest lists and manifests that no kept snapshot names.
///
/// The marker survives in the table's property. The request asserts the uuid and the branch's snapshot, so
/// a commit in between makes it fail, and the next round tries again.
async fn expire(catalog: &dyn Catalog, ident: &TableIdent, writing: &Mutex<()>) -> Result<()> {
    let before =
        catalog.load_table(ident).await.map_err(|error| read_failed("load the table", &error))?;
    let properties = before.metadata().properties();
    let property = |key: &str| properties.get(key);
    if is_off(before.metadata()) {
        return Ok(());
    }
    let age_ms = property("history.expire.max-snapshot-age-ms").and_then(|it| it.parse().ok());
    let keep = property("history.expire.min-snapshots-to-keep").and_then(|it| it.parse().ok());
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_millis() as i64);
    let older_than_ms = now_ms - age_ms.unwrap_or(SNAPSHOT_AGE_MS_MAX);
    let keep: usize = keep.unwrap_or(SNAPSHOTS_KEPT_MIN).max(1);
    let old = before.metadata().snapshots().filter(|it| it.timestamp_ms() < older_than_ms).count();
    if old == 0 || before.metadata().snapshots().len() <= keep {
        return Ok(());
    }
    let failed = |error: iceberg::Error| {
        Error::retry(format!("expire snapshots of {ident}: {}", describe(&error)))
    };
    let transaction = Transaction::new(&before);
    let expire =
        transaction.expire_snapshots().expire_older_than_ms(older_than_ms).retain_last(keep);
    let swapping = writing.lock().await;
    expire.apply(transaction).map_err(failed)?.commit(catalog).await.map_err(failed)?;
    drop(swapping);
    let after = catalog.load_table(ident).await.map_err(failed)?;
    delete_replaced(&before, &after).await.map_err(failed)?;
    delete_unnamed(&before, &after).await.map_err(failed)?;
    delete_old_metadata(&before, &after).await;
    Ok(())
}

/// Deletes the data files that rewrites replaced, once every kept snapshot comes from the rewrite. A branch
/// that was set back behind it names them still, and then they stay.
async fn delete_replaced(before: &Table, after: &Table) -> iceberg::Result<()> {
    let oldest = oldest_kept(after.metadata());
    for rewrite in before.metadata().snapshots() {
        let Some(list) = rewrite.summary().additional_properties.get(REPLACED) else { continue };
        if !oldest.iter().all(|it| comes_from(before.metadata(), it, rewrite.snapshot_id())) {
            continue;
        }
        for file in replaced_files(after, rewrite).await? {
            hit(CrashPoint::BeforeReplacedDelete);
            after.file_io().delete(&file).await?;
            hit(CrashPoint::AfterReplacedDelete);
        }
        // Last: a round that dies before it does the same again.
        after.file_io().delete(list).await?;
    }
    Ok(())
}

/// The kept snapshots whose parents are not kept: every kept one is one of these, or comes from one.
fn oldest_kept(metadata: &TableMetadata) -> Vec<SnapshotRef> {
    let has_parent = |it: &&SnapshotRef| {
        it.parent_snapshot_id().is_some_and(|parent| metadata.snapshot_by_id(parent).is_some())
    };
    metadata.snapshots().filter(|it| !has_parent(it)).cloned().collect()
}

/// Is it that snapshot, or a descendant of it?
fn comes_from(history: &TableMetadata, snapshot: &SnapshotRef, ancestor: i64) -> bool {
    std::iter::successors(Some(snapshot), |it| history.snapshot_by_id(it.parent_snapshot_id()?))
        .any(|it| it.snapshot_id() == ancestor)
}

async fn delete_unnamed(before: &Table, after: &Table) -> iceberg::Result<()> {
    let (history, metadata) = (before.metadata(), after.metadata());
    let is_gone = |it: &&SnapshotRef| metadata.snapshot_by_id(it.snapshot_id()).is_none();
    let gone: Vec<SnapshotRef> = history.snapshots().filter(is_gone).cloned().collect();
    let mut named = BTreeSet::new();
    named.extend(metadata.snapshots().map(|it| it.manifest_list().to_owned()));
    for snapshot in may_name(history, metadata, &gone) {
        let list = after.manifest_list_reader(&snapshot).load().await?;
        named.extend(list.entries().iter().map(|it| it.manifest_path.clone()));
    }
    let mut garbage = BTreeSet::new();
    for snapshot in &gone {
        if let Ok(list) = before.manifest_list_reader(snapshot).load().await {
            garbage.extend(list.entries().iter().map(|it| it.manifest_path.clone()));
        }
        garbage.insert(snapshot.manifest_list().to_owned());
    }
    for location in garbage.difference(&named) {
        after.file_io().delete(location).await?;
    }
    tracing::debug!(snapshots = gone.len(), "expired snapshots");
    Ok(())
}

/// The kept snapshots that together name every table manifest that both a kept and an expired one names.
///
/// A snapshot names manifests of its parent again or leaves them out for ever. So where all that expired is
/// behind the one oldest kept snapshot, that one names what the others may have from there: two lists are
/// read, however many are kept. Where history has forks, all are read.
fn may_name(
    history: &TableMetadata,
    kept: &TableMetadata,
    gone: &[SnapshotRef],
) -> Vec<SnapshotRef> {
    let oldest = oldest_kept(kept);
    if let [oldest] = oldest.as_slice()
        && gone.iter().all(|it| comes_from(history, oldest, it.snapshot_id()))
    {
        return std::iter::once(oldest).chain(kept.current_snapshot()).cloned().collect();
    }
    kept.snapshots().cloned().collect()
}

/// Deletes metadata files that the newer metadata no longer lists, where the table's property
/// `write.metadata.delete-after-commit.enabled` says so.
pub(super) async fn delete_old_metadata(before: &Table, after: &Table) {
    let enabled = after.metadata().properties().get("write.metadata.delete-after-commit.enabled");
    if enabled.is_none_or(|it| it != "true") {
        return;
    }
    let listed: BTreeSet<&str> =
        after.metadata().metadata_log().iter().map(|it| it.metadata_file.as_str()).collect();
    let current = after.metadata_location();
    for old in before.metadata().metadata_log() {
        let location = old.metadata_file.as_str();
        if !listed.contains(location) && Some(location) != current {
            // What stays is garbage and harms nobody.
            if let Err(error) = after.file_io().delete(location).await {
                tracing::debug!("old metadata file stays: {}", describe(&error));
            }
        }
    }
}
