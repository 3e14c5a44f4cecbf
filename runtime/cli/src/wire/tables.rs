//! The tables of a pipeline, looked at, changed and read without a run.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use floe_checkpoint::{kept_manifests, read_log};
use floe_core::manifest::SinkEntry;
use floe_core::ports::ObjectStore;
use floe_core::protocol::orphans::{OrphansFound, SinkLog};
use floe_core::protocol::rewind::TableHistory;
use floe_core::{Error, Result};
use floe_pipeline::config::{PipelineSpec, SinkSpec, TableSpec};
use floe_pipeline::dead_letter::dead_letter_schema;
use floe_sink::iceberg::{
    IcebergSink, Published, StoredRows, TableAt, TableCommit, begin_branch, fix_table,
    read_commits, read_epoch_rows, read_rows, sweep_table, table_history,
};

use super::{
    DEAD_LETTERS, DISAGREE, Modules, catalog_config, catalog_exists, catalog_text, name_operator,
    store_to_read, table_config, topic,
};

/// Each table against what will be written to it.
pub(crate) async fn check_tables(spec: &PipelineSpec, modules: &Modules) -> Vec<Result<String>> {
    let mut checked = Vec::new();
    for (number, sink) in spec.sinks.iter().enumerate() {
        let found = match (modules.output(number), &sink.spec) {
            (Ok(rows), SinkSpec::Table(table)) => check_table(spec, &sink.name, table, rows).await,
            (Ok(rows), SinkSpec::Topic(topic)) => {
                topic::check(spec, &sink.name, topic, &rows).await
            }
            (Err(error), _) => Err(error),
        };
        checked.push(found.map_err(|error| name_operator(error, modules, number)));
    }
    if let Some(dead_letters) = &spec.dead_letters {
        let rows = dead_letter_schema();
        checked.push(match &dead_letters.sink {
            SinkSpec::Table(table) => check_table(spec, DEAD_LETTERS, table, rows).await,
            SinkSpec::Topic(topic) => topic::check(spec, DEAD_LETTERS, topic, &rows).await,
        });
    }
    checked
}

/// Each table's columns, changed to what will be written where no row is touched by it.
pub(crate) async fn fix_tables(spec: &PipelineSpec, modules: &Modules) -> Vec<Result<String>> {
    let mut fixed = Vec::new();
    for (number, sink) in spec.sinks.iter().enumerate() {
        let (Ok(rows), Some(table)) = (modules.output(number), sink.spec.table()) else { continue };
        if !catalog_exists(&table.catalog) {
            continue;
        }
        match fix_table(&catalog_config(&table.catalog), &table_config(table), &rows).await {
            Ok(changes) => {
                fixed.extend(changes.into_iter().map(|it| Ok(format!("{}  {it}", table.table))));
            }
            Err(error) => fixed.push(Err(error)),
        }
    }
    fixed
}

/// Sets main to the branch of each table that has one.
pub(crate) async fn publish(spec: &PipelineSpec) -> Result<Vec<Published>> {
    let mut published = Vec::new();
    for table in spec.sinks.iter().filter_map(|it| it.spec.table()) {
        if table.branch == "main" {
            continue;
        }
        let (catalog, config) = (catalog_config(&table.catalog), table_config(table));
        published.push(floe_sink::iceberg::publish(&catalog, &config).await?);
    }
    Ok(published)
}

/// Did this pipeline write to this very table? Only such a one is changed without being asked.
pub(super) async fn is_ours(spec: &PipelineSpec, sink: &str, table_uuid: [u8; 16]) -> Result<bool> {
    let Some(store) = store_to_read(spec)? else { return Ok(false) };
    let reading = read_log(&*store, &spec.id).await?;
    let newest = reading.newest_manifest();
    Ok(newest.and_then(|it| it.1.sink(sink)).is_some_and(|it| it.table_uuid == table_uuid))
}

/// The history of each table on the branch that the file names.
pub(crate) async fn table_histories(spec: &PipelineSpec) -> Result<Vec<TableHistory>> {
    let mut histories = Vec::new();
    for (name, table) in tables(spec) {
        let (catalog, config) = (catalog_config(&table.catalog), table_config(table));
        histories.push(table_history(&catalog, &config, &spec.id, name).await?);
    }
    Ok(histories)
}

/// Begins the branch of each table at its snapshot, in the order of `table_histories`.
pub(crate) async fn begin_branches(spec: &PipelineSpec, at: &[Option<i64>]) -> Result<()> {
    for ((_, table), snapshot) in tables(spec).into_iter().zip(at) {
        let Some(snapshot) = snapshot else { continue };
        begin_branch(&catalog_config(&table.catalog), &table.table, &table.branch, *snapshot)
            .await?;
    }
    Ok(())
}

/// Each table with the name of its sink.
fn tables(spec: &PipelineSpec) -> Vec<(&str, &TableSpec)> {
    let dead_letters = spec.dead_letters.iter().map(|it| (DEAD_LETTERS, &it.sink));
    let sinks = spec.sinks.iter().map(|it| (it.name.as_str(), &it.spec)).chain(dead_letters);
    sinks.filter_map(|(name, sink)| Some((name, sink.table()?))).collect()
}

async fn check_table(
    spec: &PipelineSpec,
    sink: &str,
    table: &TableSpec,
    rows: SchemaRef,
) -> Result<String> {
    let config = table_config(table);
    IcebergSink::check_config(&config, &rows)?;
    let catalog = catalog_config(&table.catalog);
    let place = catalog_text(&table.catalog);
    let found = match catalog_exists(&table.catalog) {
        false => None,
        true => IcebergSink::check_schema(&catalog, &config, &rows).await?,
    };
    match found {
        Some(looked) if looked.mismatches.is_empty() => {
            Ok(format!("{} in {place}: takes what the operator emits", table.table))
        }
        Some(looked)
            if !looked.changes.is_empty() && is_ours(spec, sink, looked.table_uuid).await? =>
        {
            Ok(format!(
                "{} in {place}: the next run changes it for what the operator emits\n    {}",
                table.table,
                looked.changes.join("\n    ")
            ))
        }
        Some(looked) => {
            let lines: Vec<String> = looked.mismatches.iter().map(ToString::to_string).collect();
            Err(Error::invalid(format!(
                "{DISAGREE}\n  table     {}  ({place})\n{}",
                table.table,
                lines.join("\n")
            )))
        }
        None if table.create => Ok(format!("{} in {place}: will be made", table.table)),
        None => Err(Error::invalid(format!(
            "{} does not exist in {place}\n→ create = true in [sink] makes it from the operator's output",
            table.table
        ))),
    }
}

/// What was found in one sink's files.
pub(crate) struct SinkSwept {
    pub(crate) sink: String,
    /// The table or topic.
    pub(crate) target: String,
    /// `None`: the table is not there.
    pub(crate) found: Result<Option<OrphansFound>>,
}

/// What attempts prepared in vain for each sink, deleted unless `dry_run`. Nothing is claimed or fenced.
pub(crate) async fn sweep_prepared(
    spec: &PipelineSpec,
    store: &Arc<dyn ObjectStore>,
    dry_run: bool,
) -> Result<Vec<SinkSwept>> {
    // The log before the tables: what was swept out of it before this was in the tables before this.
    let kept = kept_manifests(store.as_ref(), &spec.id).await?;
    let dead_letters = spec.dead_letters.iter().map(|it| (DEAD_LETTERS, &it.sink));
    let sinks = spec.sinks.iter().map(|it| (it.name.as_str(), &it.spec)).chain(dead_letters);
    let mut swept = Vec::new();
    for (name, sink) in sinks {
        let log = SinkLog::of(kept.iter().map(|(at, it)| (*at, it.as_ref())), name);
        let (target, found) = match sink {
            SinkSpec::Table(table) if !catalog_exists(&table.catalog) => (&table.table, Ok(None)),
            SinkSpec::Table(table) => {
                let (catalog, config) = (catalog_config(&table.catalog), table_config(table));
                let whose = (spec.id.as_str(), name);
                (&table.table, sweep_table(&catalog, &config, whose, &log, dry_run).await)
            }
            SinkSpec::Topic(topic) => {
                let outbox = topic::outbox(spec, name, Arc::clone(store))?;
                (&topic.topic, outbox.sweep(&log, dry_run).await.map(Some))
            }
        };
        swept.push(SinkSwept { sink: name.to_owned(), target: target.clone(), found });
    }
    Ok(swept)
}

/// All rows of a table, as any reader would see them.
pub(crate) async fn rows(table: &TableSpec, snapshot: Option<i64>) -> Result<Vec<RecordBatch>> {
    catalog_is_there(table)?;
    read_rows(&catalog_config(&table.catalog), &table.table, snapshot).await
}

/// What an epoch appended to its table, in the order in which it was written.
pub(crate) async fn epoch_rows(table: &TableSpec, epoch: &SinkEntry) -> Result<Vec<RecordBatch>> {
    catalog_is_there(table)?;
    if epoch.committable.rows == 0 {
        return Ok(Vec::new());
    }
    let (catalog, content) = (catalog_config(&table.catalog), &epoch.committable.content);
    read_epoch_rows(&catalog, &table.table, epoch.table_uuid, content).await
}

fn catalog_is_there(table: &TableSpec) -> Result<()> {
    if catalog_exists(&table.catalog) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{} is not there: there is no catalog at {} yet",
        table.table,
        table.catalog.uri.as_uri()
    )))
}

/// A table to be read batch by batch, and what it says of this pipeline's sink.
pub(crate) async fn table_at(
    pipeline: &str,
    sink: &str,
    table: &TableSpec,
    snapshot: Option<i64>,
) -> Result<TableAt> {
    catalog_is_there(table)?;
    let (catalog, config) = (catalog_config(&table.catalog), table_config(table));
    TableAt::look(&catalog, &config, (pipeline, sink), snapshot).await
}

/// What becomes of rows with these columns in the table.
pub(crate) fn stored_rows(at: &TableAt, table: &TableSpec, rows: &SchemaRef) -> Result<StoredRows> {
    StoredRows::of(at, rows, &table_config(table).mode)
}

/// The snapshots of the pipeline in its table, oldest first.
pub(crate) async fn commits(table: &TableSpec, pipeline: &str) -> Result<Vec<TableCommit>> {
    read_commits(&catalog_config(&table.catalog), &table.table, pipeline).await
}
