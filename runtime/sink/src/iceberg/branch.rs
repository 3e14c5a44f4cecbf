//! A branch that begins at a snapshot of the table's past.

use floe_core::crash_point::{CrashPoint, hit};
use floe_core::protocol::judge::Marker;
use floe_core::protocol::rewind::TableHistory;
use floe_core::{Error, EventTime, Result};
use iceberg::spec::{SnapshotReference, SnapshotRetention};
use iceberg::{TableRequirement, TableUpdate};

use super::config::{CatalogConfig, TableConfig};
use super::connect::connect;
use super::error::read_failed;
use super::facts::ancestors;
use super::table::identifier;
use super::update::{Answer, Change, Updater};

/// What the history of the configuration's branch shows of a pipeline's sink, as far as snapshots are kept.
pub async fn table_history(
    catalog: &CatalogConfig,
    config: &TableConfig,
    pipeline: &str,
    sink: &str,
) -> Result<TableHistory> {
    let ident = identifier(&config.table)?;
    let loaded = connect(catalog).await?.load_table(&ident).await;
    let table = loaded.map_err(|error| read_failed(&format!("load table {ident}"), &error))?;
    let metadata = table.metadata();
    let key = Marker::key(pipeline, sink, &config.branch);
    let head = ancestors(metadata, &config.branch).next().map(|it| it.snapshot_id());
    let mut history = TableHistory {
        sink: sink.to_owned(),
        table: ident.to_string(),
        commits: Vec::new(),
        before: head,
        head,
        watermarks: Vec::new(),
    };
    for snapshot in ancestors(metadata, &config.branch) {
        let said = &snapshot.summary().additional_properties;
        if said.get("floe.pipeline").is_some_and(|it| it == pipeline)
            && let Some(Ok(watermark)) = said.get("floe.watermark-ms").map(|it| it.parse())
        {
            history.watermarks.push((EventTime(watermark), snapshot.snapshot_id()));
        }
        let marker = snapshot.summary().additional_properties.get(&key);
        if let Some(marker) = marker.and_then(|it| Marker::parse(it)) {
            history.commits.push((marker.manifest.id, snapshot.snapshot_id()));
            let parent = snapshot.parent_snapshot_id();
            history.before = parent.filter(|it| metadata.snapshot_by_id(*it).is_some());
        }
    }
    Ok(history)
}

/// Begins the branch at the snapshot. Repeating it is harmless: one that is there already is as it should be,
/// and one that stands elsewhere is refused.
pub async fn begin_branch(
    catalog: &CatalogConfig,
    table: &str,
    branch: &str,
    snapshot_id: i64,
) -> Result<()> {
    let ident = identifier(table)?;
    let connected = connect(catalog).await?;
    let load = || async {
        let table = connected.load_table(&ident).await;
        table.map_err(|error| read_failed(&format!("load table {ident}"), &error))
    };
    let before = load().await?;
    match before.metadata().snapshot_for_ref(branch).map(|it| it.snapshot_id()) {
        None => {}
        Some(head) if head == snapshot_id => return Ok(()),
        Some(head) => {
            return Err(Error::refused(format!(
                "table {ident} has a branch {branch:?} already, at snapshot {head} and not at {snapshot_id}\n  → another --branch name, or remove that branch"
            )));
        }
    }
    let retention = SnapshotRetention::branch(None, None, None);
    let change = Change {
        requirements: vec![
            TableRequirement::UuidMatch { uuid: before.metadata().uuid() },
            TableRequirement::RefSnapshotIdMatch { r#ref: branch.to_owned(), snapshot_id: None },
        ],
        updates: vec![TableUpdate::SetSnapshotRef {
            ref_name: branch.to_owned(),
            reference: SnapshotReference::new(snapshot_id, retention),
        }],
    };
    hit(CrashPoint::BeforeTableChange);
    let answer = Updater::new(catalog).update(&before, change).await?;
    hit(CrashPoint::AfterTableChange);
    // Whatever was answered: what counts is where the branch is.
    let head = load().await?.metadata().snapshot_for_ref(branch).map(|it| it.snapshot_id());
    if head == Some(snapshot_id) {
        return Ok(());
    }
    Err(match answer {
        Answer::Refused(why) => {
            Error::refused(format!("table {ident} takes no branch {branch:?}: {why}"))
        }
        Answer::Applied | Answer::Conflict | Answer::Unknown(_) => Error::retry(format!(
            "branch {branch:?} of table {ident} could not be begun at snapshot {snapshot_id}\n  → start it again"
        )),
    })
}
