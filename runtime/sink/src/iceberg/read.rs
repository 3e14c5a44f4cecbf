//! Reads a table's rows back, for people and for the demo.

use arrow_array::RecordBatch;
use floe_core::{Error, Result};
use futures::TryStreamExt;
use iceberg::spec::MAIN_BRANCH;

use super::committable;
use super::config::CatalogConfig;
use super::connect::connect;
use super::error::read_failed;
use super::facts::{ancestors, epoch_in};
use super::rewrite::rows_of;
use super::table::identifier;

/// All rows of the table, at a snapshot or at the newest.
pub async fn read_rows(
    catalog: &CatalogConfig,
    table: &str,
    snapshot: Option<i64>,
) -> Result<Vec<RecordBatch>> {
    let failed = |error: iceberg::Error| read_failed(&format!("read table {table}"), &error);
    let connected = connect(catalog).await?;
    let loaded = connected.load_table(&identifier(table)?).await.map_err(failed)?;
    if loaded.metadata().current_snapshot().is_none() {
        return Ok(Vec::new());
    }
    let mut scan = loaded.scan();
    if let Some(snapshot) = snapshot {
        scan = scan.snapshot_id(snapshot);
    }
    let rows = scan.build().map_err(failed)?.to_arrow().await.map_err(failed)?;
    rows.try_collect().await.map_err(failed)
}

/// The rows that an epoch appended, from the data files that its committable names: in the order in which they
/// were written, whatever became of the table since. An error where a file is gone.
pub async fn read_epoch_rows(
    catalog: &CatalogConfig,
    table: &str,
    table_uuid: [u8; 16],
    bytes: &[u8],
) -> Result<Vec<RecordBatch>> {
    let failed = |error: iceberg::Error| read_failed(&format!("read table {table}"), &error);
    let connected = connect(catalog).await?;
    let loaded = connected.load_table(&identifier(table)?).await.map_err(failed)?;
    if *loaded.metadata().uuid().as_bytes() != table_uuid {
        return Err(Error::refused(format!("table {table} was dropped and made anew since")));
    }
    let delta = committable::decode(&loaded, bytes)?;
    let mut rows = Vec::new();
    for (spec, files) in &delta.data {
        let Some(spec) = loaded.metadata().partition_spec_by_id(*spec) else { continue };
        let stream = rows_of(&loaded, files, &delta.schema, spec).map_err(failed)?;
        rows.extend(stream.try_collect::<Vec<RecordBatch>>().await.map_err(failed)?);
    }
    Ok(rows)
}

/// One snapshot that a pipeline of ours left in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableCommit {
    pub snapshot_id: i64,
    /// The oldest and the newest epoch in it.
    pub first_epoch: u64,
    pub epoch: u64,
}

/// The snapshots of one pipeline that are kept in the branch's history, oldest first.
pub async fn read_commits(
    catalog: &CatalogConfig,
    table: &str,
    pipeline: &str,
) -> Result<Vec<TableCommit>> {
    let failed = |error: iceberg::Error| read_failed(&format!("read table {table}"), &error);
    let connected = connect(catalog).await?;
    let loaded = connected.load_table(&identifier(table)?).await.map_err(failed)?;
    let mut commits: Vec<TableCommit> = ancestors(loaded.metadata(), MAIN_BRANCH)
        .filter_map(|snapshot| {
            let summary = &snapshot.summary().additional_properties;
            let epoch = epoch_in(summary, pipeline)?;
            let first = summary.get("floe.first-epoch").and_then(|it| it.parse().ok());
            Some(TableCommit {
                snapshot_id: snapshot.snapshot_id(),
                first_epoch: first.unwrap_or(epoch),
                epoch,
            })
        })
        .collect();
    commits.reverse();
    Ok(commits)
}
