//! What the table is held against: the pipeline's source or what its operators make of it, a file, or another table.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_schema::SchemaRef;
use floe_core::{Error, Result};
use floe_pipeline::config::{PipelineSpec, TableSpec};
use floe_sink::iceberg::TableAt;

use super::csv::Csv;
use super::reader::{self, Lines, Reader};
use super::recompute::Recomputed;
use super::source::SourceTruth;
use crate::wire;

pub(super) enum Truth {
    Source(Box<SourceTruth>),
    Recomputed(Box<Recomputed>),
    Lines(PathBuf, SchemaRef),
    Csv(PathBuf, SchemaRef),
    Parquet(PathBuf, SchemaRef),
    Table(String, Box<TableAt>),
}

impl Truth {
    /// What `--against` names.
    pub(super) async fn named(
        spec: &PipelineSpec,
        against: &str,
        table: &TableSpec,
        (names, types): (&[String], &SchemaRef),
    ) -> Result<Truth> {
        let file = Path::new(against);
        match file.extension().and_then(|it| it.to_str()) {
            Some("parquet") => Ok(Truth::Parquet(file.to_owned(), reader::parquet_columns(file)?)),
            Some("jsonl" | "ndjson" | "json") => {
                let columns = reader::typed(names, types)?;
                reader::open(file)?;
                Ok(Truth::Lines(file.to_owned(), columns))
            }
            Some("csv" | "tsv") => {
                let columns = reader::typed(names, types)?;
                Csv::open(file, Arc::clone(&columns))?;
                Ok(Truth::Csv(file.to_owned(), columns))
            }
            Some(_) if !file.exists() => {
                let other = TableSpec {
                    table: against.to_owned(),
                    branch: "main".to_owned(),
                    ..table.clone()
                };
                let at = wire::table_at(&spec.id, "", &other, None).await?;
                Ok(Truth::Table(against.to_owned(), Box::new(at)))
            }
            Some(_) | None => Err(Error::invalid(format!(
                "--against {against}: name FILE.parquet, FILE.jsonl, FILE.csv, or a table as namespace.table"
            ))),
        }
    }

    pub(super) fn columns(&self) -> SchemaRef {
        match self {
            Truth::Source(source) => Arc::clone(&source.columns),
            Truth::Recomputed(made) => made.columns(),
            Truth::Lines(_, columns) | Truth::Csv(_, columns) | Truth::Parquet(_, columns) => {
                Arc::clone(columns)
            }
            Truth::Table(_, at) => Arc::clone(&at.columns),
        }
    }

    pub(super) fn label(&self) -> String {
        match self {
            Truth::Source(source) => source.label(),
            Truth::Recomputed(made) => made.label(),
            Truth::Lines(file, _) | Truth::Csv(file, _) | Truth::Parquet(file, _) => {
                file.display().to_string()
            }
            Truth::Table(name, at) => match at.snapshot {
                Some(snapshot) => format!("{name} at snapshot {snapshot}"),
                None => format!("{name}, which is empty"),
            },
        }
    }

    pub(super) async fn open(&self, names: &[String]) -> Result<Reader> {
        match self {
            Truth::Source(source) => Ok(Reader::Source(Box::new(source.open().await?))),
            Truth::Lines(file, columns) => {
                Lines::open(file, Arc::clone(columns)).map(|it| Reader::Lines(Box::new(it)))
            }
            Truth::Recomputed(made) => Ok(Reader::Recomputed(Box::new(made.open(names).await?))),
            Truth::Csv(file, columns) => {
                Csv::open(file, Arc::clone(columns)).map(|it| Reader::Csv(Box::new(it)))
            }
            Truth::Parquet(file, _) => reader::parquet(file, names),
            Truth::Table(_, at) => at.rows(names).await.map(Reader::Table),
        }
    }
}
