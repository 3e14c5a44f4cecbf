//! The table of a sink: opened, or made from the operator's output, and checked column by column.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use floe_core::ports::{Committer, SinkWriter};
use floe_core::{Error, Result};
use iceberg::spec::{FormatVersion, MAIN_BRANCH, Schema};
use iceberg::table::Table;
use iceberg::{Catalog, ErrorKind, NamespaceIdent, TableCreation, TableIdent};

use super::commit::IcebergCommitter;
use super::config::{CatalogConfig, SchemaEvolution, TableConfig, WriteMode};
use super::connect::connect;
use super::error::{describe, read_failed};
use super::evolve::evolve;
use super::evolving::{EvolvingWriter, WriterOf};
use super::names::{Commits, Names};
use super::partition::partition_spec;
use super::schema::{Mismatch, compare, table_schema};
use super::update::Updater;
use super::upsert::{self, UpsertWriter};
use super::writer::IcebergWriter;

pub struct IcebergSink {
    pipeline: String,
    sink: String,
    catalog: Arc<dyn Catalog>,
    updater: Arc<Updater>,
    table: Table,
    /// As the operator emits them.
    rows: SchemaRef,
    /// What the table lacks for them.
    lacks: Looked,
    stored: SchemaRef,
    branch: String,
    mode: WriteMode,
    /// The partition specs that rows of the table have.
    specs: Vec<i32>,
    commits: Commits,
}

/// Upkeep of tables that floe makes (`history.expire.*` decide it, and may be set): an epoch a second
/// leaves 3,600 snapshots an hour, and each commit writes all of them into the metadata again.
const SNAPSHOT_AGE_MS_MAX: &str = "3600000";
const SNAPSHOTS_KEPT_MIN: &str = "100";
const METADATA_FILES_KEPT: &str = "20";

impl IcebergSink {
    /// Opens the table, or makes it if `create` says so. `rows` is what will be written.
    pub async fn open(
        pipeline: &str,
        sink: &str,
        catalog: &CatalogConfig,
        config: &TableConfig,
        rows: SchemaRef,
    ) -> Result<IcebergSink> {
        let stored = stored(config, &rows)?;
        let connected = connect(catalog).await?;
        let ident = identifier(&config.table)?;
        let table = match connected.load_table(&ident).await {
            Ok(table) => table,
            Err(error) if is_absent(&error) && config.create => {
                create(connected.as_ref(), &ident, config, &stored).await?
            }
            Err(error) if is_absent(&error) => {
                return Err(Error::invalid(format!(
                    "table {} does not exist in catalog {}\n  → create = true in [sink] makes it from the operator's output",
                    config.table,
                    catalog.place()
                )));
            }
            Err(error) => return Err(read_failed(&format!("load table {}", config.table), &error)),
        };
        let lacks = look(&table, config, &stored)?;
        if !lacks.mismatches.is_empty() && lacks.changes.is_empty() {
            return Err(disagreement(&table, catalog, &lacks.mismatches));
        }
        let specs = upsert::specs_in_use(&table, &config.branch).await?;
        if let WriteMode::Upsert(upsert) = &config.mode {
            upsert::check_table(&table, &upsert.key, &specs)?;
        }
        check_branch(&table, &config.branch)?;
        check_partitions(&table, &config.mode)?;
        Ok(IcebergSink {
            pipeline: pipeline.to_owned(),
            sink: sink.to_owned(),
            catalog: connected,
            updater: Arc::new(Updater::new(catalog)),
            table,
            rows,
            lacks,
            stored,
            branch: config.branch.clone(),
            mode: config.mode.clone(),
            specs,
            commits: Commits::Guarded,
        })
    }

    /// Its epochs are committed ahead of their checkpoints (`Committer::append`), so its files are left to
    /// whoever removes orphans by their age.
    pub fn unguarded(self) -> IcebergSink {
        IcebergSink { commits: Commits::Unguarded, ..self }
    }

    /// For `check`: what an existing table and the operator disagree about; `None` where there is no table.
    pub async fn check_schema(
        catalog: &CatalogConfig,
        config: &TableConfig,
        rows: &SchemaRef,
    ) -> Result<Option<Looked>> {
        let stored = stored(config, rows)?;
        let connected = connect(catalog).await?;
        let table = match connected.load_table(&identifier(&config.table)?).await {
            Ok(table) => table,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(read_failed(&format!("load table {}", config.table), &error)),
        };
        if let WriteMode::Upsert(upsert) = &config.mode {
            let specs = upsert::specs_in_use(&table, &config.branch).await?;
            upsert::check_table(&table, &upsert.key, &specs)?;
        }
        check_branch(&table, &config.branch)?;
        check_partitions(&table, &config.mode)?;
        look(&table, config, &stored).map(Some)
    }

    /// For `check`: whether a table can be made from these rows, and written like that.
    pub fn check_config(config: &TableConfig, rows: &SchemaRef) -> Result<()> {
        let stored = stored(config, rows)?;
        partition_spec(&config.partition_by, &table_schema(&stored)?).map(|_| ())
    }

    pub fn name(&self) -> &str {
        &self.sink
    }

    pub fn table_name(&self) -> String {
        self.table.identifier().to_string()
    }

    pub fn table_uuid(&self) -> [u8; 16] {
        *self.table.metadata().uuid().as_bytes()
    }

    pub fn location(&self) -> &str {
        self.table.metadata().location()
    }

    /// What `begin` of the writer will change of the table: nothing where it has the columns.
    pub fn lacks(&self) -> &Looked {
        &self.lacks
    }

    /// How it is said that the table is not changed.
    pub fn disagreement(&self, catalog: &CatalogConfig) -> Error {
        disagreement(&self.table, catalog, &self.lacks.mismatches)
    }

    pub fn writer(&self) -> Result<Box<dyn SinkWriter>> {
        let (rows, mode) = (Arc::clone(&self.rows), self.mode.clone());
        let (specs, names) = (self.specs.clone(), self.names());
        let writer_of: WriterOf = Box::new(move |table| {
            let (rows, names) = (Arc::clone(&rows), names.clone());
            Ok(match &mode {
                WriteMode::Append => Box::new(IcebergWriter::appending(table, rows, names)?),
                WriteMode::OverwritePartition => {
                    Box::new(IcebergWriter::replacing(table, rows, names)?)
                }
                WriteMode::Upsert(upsert) => {
                    Box::new(UpsertWriter::new(table, &rows, upsert, &specs, names)?)
                }
            })
        });
        if self.lacks.changes.is_empty() {
            return writer_of(self.table.clone());
        }
        Ok(Box::new(EvolvingWriter {
            catalog: Arc::clone(&self.catalog),
            updater: Arc::clone(&self.updater),
            ident: self.table.identifier().clone(),
            table_uuid: self.table.metadata().uuid(),
            stored: Arc::clone(&self.stored),
            writer_of,
            writer: None,
        }))
    }

    pub fn committer(&self) -> Arc<dyn Committer> {
        Arc::new(IcebergCommitter::new(
            Arc::clone(&self.catalog),
            Arc::clone(&self.updater),
            self.table.identifier().clone(),
            (&self.pipeline, &self.sink, &self.branch),
            self.names(),
        ))
    }

    fn names(&self) -> Names {
        let whose = (self.pipeline.as_str(), self.sink.as_str(), self.branch.as_str());
        Names::of(whose, self.table_uuid(), self.commits)
    }
}

/// A table beside what will be written to it.
#[derive(Clone, Debug)]
pub struct Looked {
    /// Columns in which they disagree.
    pub mismatches: Vec<Mismatch>,
    /// What a run may change of the table, after which they agree. None where that would not do, or where
    /// the configuration does not want it.
    pub changes: Vec<String>,
    pub table_uuid: [u8; 16],
}

fn look(table: &Table, config: &TableConfig, stored: &SchemaRef) -> Result<Looked> {
    let metadata = table.metadata();
    let mismatches = compare(metadata, stored);
    let changes = match config.schema_evolution {
        SchemaEvolution::Additive => {
            evolve(metadata, stored)?.filter(|it| it.is_all).map_or_else(Vec::new, |it| it.changes)
        }
        SchemaEvolution::None => Vec::new(),
    };
    Ok(Looked { mismatches, changes, table_uuid: *metadata.uuid().as_bytes() })
}

/// What of the operator's rows is stored, after a look at whether the mode can be kept with them.
pub(super) fn stored(config: &TableConfig, rows: &SchemaRef) -> Result<SchemaRef> {
    match &config.mode {
        WriteMode::Append | WriteMode::OverwritePartition => Ok(Arc::clone(rows)),
        WriteMode::Upsert(upsert) => {
            let stored = upsert::stored_rows(rows, upsert)?;
            upsert::check_config(&upsert.key, config, &stored)?;
            Ok(stored)
        }
    }
}

fn check_branch(table: &Table, branch: &str) -> Result<()> {
    if branch == MAIN_BRANCH || table.metadata().format_version() == FormatVersion::V2 {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "branch {branch:?} needs a table of format version 2, and {} is of {}",
        table.identifier(),
        table.metadata().format_version() as u8
    )))
}

/// What replaces partitions needs some, and a snapshot of our own.
fn check_partitions(table: &Table, mode: &WriteMode) -> Result<()> {
    let metadata = table.metadata();
    let (is_v2, ident) = (metadata.format_version() == FormatVersion::V2, table.identifier());
    if *mode != WriteMode::OverwritePartition {
        return Ok(());
    }
    if metadata.default_partition_spec().is_unpartitioned() {
        return Err(Error::invalid(format!(
            "table {ident} has no partitions, and mode = \"overwrite-partition\" replaces partitions\n  → a partitioned table, or mode = \"append\""
        )));
    }
    match is_v2 {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "mode = \"overwrite-partition\" needs a table of format version 2, and {ident} is of {}",
            metadata.format_version() as u8
        ))),
    }
}

pub(super) fn identifier(table: &str) -> Result<TableIdent> {
    let parts: Vec<&str> = table.split('.').collect();
    if parts.len() < 2 || parts.iter().any(|it| it.is_empty()) {
        return Err(Error::invalid(format!("table {table:?}: write it as namespace.table")));
    }
    TableIdent::from_strs(parts)
        .map_err(|error| Error::invalid(format!("table {table:?}: {}", error.message())))
}

pub(super) fn is_absent(error: &iceberg::Error) -> bool {
    let known = matches!(error.kind(), ErrorKind::TableNotFound | ErrorKind::NamespaceNotFound);
    // The REST client reports an absent table as an error without a kind of its own.
    known || error.message().contains("does not exist") || error.message().contains("No such table")
}

async fn create(
    catalog: &dyn Catalog,
    ident: &TableIdent,
    config: &TableConfig,
    rows: &SchemaRef,
) -> Result<Table> {
    let failed = |error: iceberg::Error| {
        Error::retry(format!("table {} could not be made: {}", config.table, describe(&error)))
    };
    let mut schema = table_schema(rows)?;
    if let WriteMode::Upsert(upsert) = &config.mode {
        schema = with_key(schema, &upsert.key).map_err(failed)?;
    }
    let spec = partition_spec(&config.partition_by, &schema)?;
    make_namespaces(catalog, ident.namespace()).await.map_err(failed)?;
    let mut properties: HashMap<String, String> = HashMap::from([
        ("write.parquet.compression-codec".to_owned(), "zstd".to_owned()),
        ("write.parquet.compression-level".to_owned(), "1".to_owned()),
        ("history.expire.max-snapshot-age-ms".to_owned(), SNAPSHOT_AGE_MS_MAX.to_owned()),
        ("history.expire.min-snapshots-to-keep".to_owned(), SNAPSHOTS_KEPT_MIN.to_owned()),
        ("write.metadata.delete-after-commit.enabled".to_owned(), "true".to_owned()),
        ("write.metadata.previous-versions-max".to_owned(), METADATA_FILES_KEPT.to_owned()),
    ]);
    properties.extend(config.properties.clone());
    let creation = TableCreation::builder()
        .name(ident.name().to_owned())
        .schema(schema)
        .partition_spec(spec)
        .properties(properties)
        .build();
    match catalog.create_table(ident.namespace(), creation).await {
        Ok(table) => {
            tracing::info!(table = %ident, "made the table from the operator's output");
            Ok(table)
        }
        // Somebody else made it in between, or an answer was lost: what is there is checked as any table is.
        Err(error) => catalog.load_table(ident).await.map_err(|_| failed(error)),
    }
}

/// The key as the table's identifier fields: other writers and readers know it by them.
fn with_key(schema: Schema, key: &[String]) -> iceberg::Result<Schema> {
    let ids: Vec<i32> = key.iter().filter_map(|it| schema.field_id_by_name(it)).collect();
    schema.into_builder().with_identifier_field_ids(ids).build()
}

async fn make_namespaces(catalog: &dyn Catalog, namespace: &NamespaceIdent) -> iceberg::Result<()> {
    let levels: Vec<String> = namespace.as_ref().clone();
    for depth in 1..=levels.len() {
        let level = NamespaceIdent::from_vec(levels[..depth].to_vec())?;
        if !catalog.namespace_exists(&level).await? {
            let made = catalog.create_namespace(&level, HashMap::new()).await;
            if let Err(error) = made
                && !catalog.namespace_exists(&level).await?
            {
                return Err(error);
            }
        }
    }
    Ok(())
}

fn disagreement(table: &Table, catalog: &CatalogConfig, found: &[Mismatch]) -> Error {
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    Error::invalid(format!(
        "the table and the operator disagree, nothing was started\n  table     {}  ({}, snapshot {})\n{}",
        table.identifier(),
        catalog.place(),
        table.metadata().current_snapshot_id().map_or("none".to_owned(), |it| it.to_string()),
        lines.join("\n")
    ))
}
