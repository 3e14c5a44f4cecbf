//! What the table must hold, made anew: the source's records read again and the operators run again, in the
//! order that the checkpoints' journals have.

mod base;
mod execute;
mod newest;
mod partitions;
mod reader;
mod spool;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_schema::SchemaRef;
use floe_core::{Result, TopicPartition};
use floe_operator::Engine;
use floe_pipeline::config::{NamedSink, PipelineSpec, TableSpec, WriteMode};
use floe_sink::iceberg::{Partitioning, TableAt, takes_rows_out};

use crate::replay::folder::TemporaryFolder;
use crate::replay::subject::Subject;
use crate::terminal::Terminal;
use crate::wire;
use base::Base;
use newest::Newest;
use partitions::Partitions;
pub(super) use reader::RecomputedReader;
use spool::Spool;

use super::span::Span;

/// Several tasks made rows of the key in the epoch that wrote it last, and no journal says in which order they
/// came to the sink: any of them is right. In place of a place.
pub(super) const ANY_OF_SEVERAL: &str = "any of several";

pub(super) struct Recomputed {
    columns: SchemaRef,
    /// Rows up to here are the table's own.
    base: Base,
    base_table: Option<TableAt>,
    to: u64,
    tasks: Vec<TopicPartition>,
    spool: PathBuf,
    stands: Stands,
    records: u64,
    _folder: TemporaryFolder,
}

/// Which of the rows that were made are in the table at the end.
#[derive(Clone)]
enum Stands {
    All,
    /// Of a table of mode "upsert": the last of their keys.
    Newest(Newest),
    /// Of mode "overwrite-partition".
    Partitions(Arc<Partitions>),
}

impl Recomputed {
    /// Runs the operators over all that the table holds and checkpoints are kept of.
    pub(super) async fn of(
        (spec, file): (&PipelineSpec, &Path),
        sink: &NamedSink,
        (table_spec, table): (&TableSpec, &TableAt),
        span: &Span,
        terminal: &Terminal,
    ) -> anyhow::Result<Recomputed> {
        let number = spec.sinks.iter().position(|it| it.name == sink.name).unwrap_or(0);
        let base = Base::of(span, table)?;
        let base_table = match base.snapshot {
            Some(snapshot) => {
                Some(wire::table_at(&spec.id, &sink.name, table_spec, Some(snapshot)).await?)
            }
            None => None,
        };
        let engine = Engine::new(Some(wire::module_cache()))?;
        let subject = {
            let spec = Arc::new(spec.clone());
            wire::blocking(move || Subject::of(spec, engine)).await?
        };
        let folder = TemporaryFolder::new()?;
        let spooled = folder.path().join("made.parquet");
        let mode = (table_spec.clone(), table.clone());
        let stored = move |rows: &SchemaRef| wire::stored_rows(&mode.1, &mode.0, rows);
        let spool = Spool::create(&spooled, &table.columns, Box::new(stored))?;
        let epochs = (base.epoch, span.epoch);
        let made = execute::execute((&subject, file), epochs, number, spool, terminal).await?;
        let stands = match &table_spec.mode {
            WriteMode::Append => Stands::All,
            WriteMode::Upsert { key, .. } => {
                let file = folder.path().join("newest.db");
                Stands::Newest(Newest::of(&file, &spooled, key.clone()).await?)
            }
            WriteMode::OverwritePartition => {
                let replacing = replacing(span, &sink.name)?;
                let partitioning = Partitioning::of(table)?;
                Stands::Partitions(Arc::new(Partitions::of(partitioning, &replacing, &spooled)?))
            }
        };
        Ok(Recomputed {
            columns: Arc::clone(&table.columns),
            base,
            base_table,
            to: span.epoch,
            tasks: made.tasks,
            spool: spooled,
            stands,
            records: made.records,
            _folder: folder,
        })
    }

    pub(super) fn columns(&self) -> SchemaRef {
        Arc::clone(&self.columns)
    }

    pub(super) fn label(&self) -> String {
        format!(
            "the operators, run again over epochs {} to {}: {} records",
            self.base.epoch + 1,
            self.to,
            crate::show::grouped(self.records)
        )
    }

    /// What is taken for granted.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(snapshot) = self.base.snapshot {
            notes.push(format!(
                "checkpoints are kept from epoch {} on: what the table held then (snapshot {snapshot}), and the operators' state then, are taken as they are",
                self.base.epoch
            ));
        }
        notes.push(
            "the same modules ran again: what they compute wrongly is as wrong here".to_owned(),
        );
        notes
    }

    pub(super) async fn open(&self, names: &[String]) -> Result<RecomputedReader> {
        RecomputedReader::open(self, names).await
    }
}

/// The epochs that replaced what was in their partitions.
fn replacing(span: &Span, sink: &str) -> Result<BTreeSet<i64>> {
    let mut epochs = BTreeSet::new();
    for manifest in &span.manifests {
        let Some(entry) = manifest.sink(sink).filter(|it| !it.committable.is_empty()) else {
            continue;
        };
        if takes_rows_out(&entry.committable.content)? {
            epochs.insert(manifest.epoch.0 as i64);
        }
    }
    Ok(epochs)
}
