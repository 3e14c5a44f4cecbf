//! Write, audit, publish: main goes forward to what a branch holds, or stays where it is.

use floe_core::{Error, Result};
use iceberg::spec::{MAIN_BRANCH, SnapshotReference, SnapshotRetention, TableMetadata};
use iceberg::table::Table;
use iceberg::{TableRequirement, TableUpdate};

use super::config::{CatalogConfig, TableConfig};
use super::connect::connect;
use super::error::read_failed;
use super::table::identifier;
use super::update::{Answer, Change, Updater};

/// What main names after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub table: String,
    pub branch: String,
    pub snapshot_id: i64,
    /// Main's snapshot before; the same as `snapshot_id` where there was nothing to publish.
    pub before: Option<i64>,
    /// Snapshots between the two.
    pub snapshots: usize,
}

/// Sets main to the head of the table's branch, if main is one of the head's ancestors.
///
/// Repeating it is harmless: the request names both heads, and a lost answer is settled by looking.
pub async fn publish(catalog: &CatalogConfig, config: &TableConfig) -> Result<Published> {
    let connected = connect(catalog).await?;
    let ident = identifier(&config.table)?;
    let load = || async {
        let table = connected.load_table(&ident).await;
        table.map_err(|error| read_failed(&format!("load table {ident}"), &error))
    };
    let table = load().await?;
    let published = plan(&table, &config.branch)?;
    if published.before == Some(published.snapshot_id) {
        return Ok(published);
    }
    let ref_is = |name: &str, snapshot_id: Option<i64>| TableRequirement::RefSnapshotIdMatch {
        r#ref: name.to_owned(),
        snapshot_id,
    };
    let retention = SnapshotRetention::branch(None, None, None);
    let change = Change {
        requirements: vec![
            TableRequirement::UuidMatch { uuid: table.metadata().uuid() },
            ref_is(MAIN_BRANCH, published.before),
            ref_is(&config.branch, Some(published.snapshot_id)),
        ],
        updates: vec![TableUpdate::SetSnapshotRef {
            ref_name: MAIN_BRANCH.to_owned(),
            reference: SnapshotReference::new(published.snapshot_id, retention),
        }],
    };
    let answer = Updater::new(catalog).update(&table, change).await?;
    // Whatever was answered: what counts is where main is.
    let after = load().await?;
    if head(after.metadata(), MAIN_BRANCH) == Some(published.snapshot_id) {
        return Ok(published);
    }
    Err(match answer {
        Answer::Applied | Answer::Unknown(_) => Error::unknown(format!(
            "nobody knows whether main of table {ident} was set to snapshot {}\n  → run it again: it finds out",
            published.snapshot_id
        )),
        Answer::Conflict => Error::retry(format!(
            "table {ident} changed meanwhile, and main stays where it is\n  → run it again"
        )),
        Answer::Refused(why) => {
            Error::refused(format!("main of table {ident} cannot be set: {why}"))
        }
    })
}

fn plan(table: &Table, branch: &str) -> Result<Published> {
    let (metadata, ident) = (table.metadata(), table.identifier());
    let Some(newest) = head(metadata, branch) else {
        return Err(Error::refused(format!(
            "table {ident} has no branch {branch:?}: nothing was committed to it yet"
        )));
    };
    let before = head(metadata, MAIN_BRANCH);
    let mut between = 0;
    let mut at = Some(newest);
    while at != before {
        let parent =
            at.and_then(|it| metadata.snapshot_by_id(it)).map(|it| it.parent_snapshot_id());
        match parent {
            Some(parent) => at = parent,
            None => {
                return Err(Error::refused(format!(
                    "main of table {ident} has snapshot {}, which branch {branch:?} does not come from: somebody wrote to main\n  → bring those rows in by hand, or begin the branch anew from main with another [pipeline] id",
                    before.map_or("none".to_owned(), |it| it.to_string())
                )));
            }
        }
        between += 1;
    }
    Ok(Published {
        table: ident.to_string(),
        branch: branch.to_owned(),
        snapshot_id: newest,
        before,
        snapshots: between,
    })
}

fn head(metadata: &TableMetadata, branch: &str) -> Option<i64> {
    metadata.snapshot_for_ref(branch).map(|it| it.snapshot_id())
}
