//! The rows of either side, batch by batch: from the pipeline's source, a file, or a table.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use floe_core::ports::{Decoder, DecoderFactory};
use floe_core::{Error, EventTime, Offset, Records, Result, TopicPartition};
use floe_operator::{Format, InputDecoder};
use floe_sink::iceberg::RowStream;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::csv::Csv;
use super::recompute::RecomputedReader;
use crate::replay::input::Reading;

/// Rows, and where each comes from.
pub(super) struct Rows {
    pub(super) batch: RecordBatch,
    pub(super) places: Places,
}

pub(super) enum Places {
    /// One offset a row.
    Offsets(TopicPartition, Vec<i64>),
    /// The number of the first, of a file's rows or lines.
    Numbers(&'static str, u64),
    /// Of each row, in words.
    Each(Vec<String>),
    None,
}

impl Places {
    pub(super) fn of(&self, row: usize) -> Option<String> {
        match self {
            Places::Offsets(task, offsets) => offsets.get(row).map(|it| format!("{task} @ {it}")),
            Places::Numbers(what, first) => Some(format!("{what} {}", first + row as u64)),
            Places::Each(all) => all.get(row).cloned(),
            Places::None => None,
        }
    }
}

pub(super) enum Reader {
    Source(Box<SourceReader>),
    Lines(Box<Lines>),
    Csv(Box<Csv>),
    Recomputed(Box<RecomputedReader>),
    Parquet(ParquetRecordBatchReader, u64),
    Table(RowStream),
}

impl Reader {
    pub(super) async fn next(&mut self) -> Result<Option<Rows>> {
        match self {
            Reader::Source(source) => source.next(),
            Reader::Lines(lines) => lines.next(),
            Reader::Csv(csv) => csv.next(),
            Reader::Recomputed(made) => made.next().await,
            Reader::Parquet(rows, read) => {
                let Some(batch) = rows.next() else { return Ok(None) };
                let batch =
                    batch.map_err(|it| Error::invalid(format!("the Parquet file: {it}")))?;
                let places = Places::Numbers("row", *read + 1);
                *read += batch.num_rows() as u64;
                Ok(Some(Rows { batch, places }))
            }
            Reader::Table(rows) => {
                let next = rows.next().await?;
                Ok(next.map(|batch| Rows { batch, places: Places::None }))
            }
        }
    }
}

/// Records of the pipeline's source as its first operator gets them.
pub(super) struct SourceReader {
    reading: Reading,
    decoder: Box<dyn Decoder>,
    waiting: VecDeque<Records>,
    /// Records to pass over at the beginning of each partition, and then what was taken of it.
    pub(super) partitions: Vec<Partition>,
    /// Records that the decoder would not take: no operator sees them.
    pub(super) rejected: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Partition {
    pub(super) task: TopicPartition,
    pub(super) skip: u64,
    pub(super) records: u64,
}

impl SourceReader {
    pub(super) fn new(
        reading: Reading,
        decoder: &InputDecoder,
        partitions: Vec<Partition>,
    ) -> SourceReader {
        let (decoder, waiting) = (decoder.decoder(), VecDeque::new());
        SourceReader { reading, decoder, waiting, partitions, rejected: 0 }
    }

    pub(super) fn left(&self) -> u64 {
        self.reading.left()
    }

    fn next(&mut self) -> Result<Option<Rows>> {
        loop {
            let Some(mut records) = self.waiting.pop_front() else {
                match self.reading.next()? {
                    None => return Ok(None),
                    Some(runs) => self.waiting.extend(runs),
                }
                continue;
            };
            let task = records.topic_partition().clone();
            if let Some(of) = self.partitions.iter_mut().find(|it| it.task == task) {
                let skip = of.skip.min(records.len() as u64);
                of.skip -= skip;
                if skip > 0 {
                    records = records.slice(skip as usize..records.len());
                }
                of.records += records.len() as u64;
            }
            let decoded = self.decoder.decode(&records)?;
            self.rejected += decoded.rejected.len() as u64;
            let offset = |index: usize| records.get(index).offset().0;
            let offsets = match &decoded.rows {
                None => (0..records.len()).map(offset).collect(),
                Some(rows) => rows.iter().map(|it| offset(*it as usize)).collect(),
            };
            let places = Places::Offsets(task, offsets);
            return Ok(Some(Rows { batch: decoded.batch, places }));
        }
    }
}

/// A file of JSON objects, one a line.
pub(super) struct Lines {
    file: PathBuf,
    lines: std::io::Lines<BufReader<File>>,
    decoder: Box<dyn Decoder>,
    read: u64,
}

const LINES: usize = 8192;

pub(super) fn open(file: &Path) -> Result<File> {
    File::open(file)
        .map_err(|error| Error::invalid(format!("{} cannot be read: {error}", file.display())))
}

impl Lines {
    pub(super) fn open(file: &Path, columns: SchemaRef) -> Result<Lines> {
        let decoder = InputDecoder::new(Format::Json, columns)?.decoder();
        let lines = BufReader::new(open(file)?).lines();
        Ok(Lines { file: file.to_owned(), lines, decoder, read: 0 })
    }

    fn next(&mut self) -> Result<Option<Rows>> {
        let name = self.file.display();
        let mut records = Records::new(TopicPartition::new("file", 0), Offset(0));
        let first = self.read + 1;
        while records.len() < LINES {
            let Some(line) = self.lines.next() else { break };
            let line = line.map_err(|it| Error::invalid(format!("{name} cannot be read: {it}")))?;
            records.push(Offset(self.read as i64), EventTime(0), None, Some(line.as_bytes()));
            self.read += 1;
        }
        if records.is_empty() {
            return Ok(None);
        }
        let decoded = self.decoder.decode(&records)?;
        // What the table is held against is sound, or it is held against nothing.
        if let Some(wrong) = decoded.rejected.first() {
            let line = first + wrong.row as u64;
            return Err(Error::invalid(format!("{name}, line {line}: {}", wrong.reason)));
        }
        Ok(Some(Rows { batch: decoded.batch, places: Places::Numbers("line", first) }))
    }
}

/// A Parquet file's columns.
pub(super) fn parquet_columns(file: &Path) -> Result<SchemaRef> {
    Ok(Arc::clone(parquet_file(file)?.schema()))
}

/// These columns of a Parquet file, in the file's order.
pub(super) fn parquet(file: &Path, columns: &[String]) -> Result<Reader> {
    let builder = parquet_file(file)?;
    let mask =
        ProjectionMask::columns(builder.parquet_schema(), columns.iter().map(String::as_str));
    let rows = builder.with_projection(mask).with_batch_size(LINES).build();
    rows.map(|it| Reader::Parquet(it, 0)).map_err(|it| wrong_parquet(file, &it))
}

fn parquet_file(file: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    ParquetRecordBatchReaderBuilder::try_new(open(file)?).map_err(|it| wrong_parquet(file, &it))
}

fn wrong_parquet(file: &Path, error: &parquet::errors::ParquetError) -> Error {
    Error::invalid(format!("{} cannot be read as Parquet: {error}", file.display()))
}

/// Columns that a JSON file must have, with the types that they have elsewhere.
pub(super) fn typed(names: &[String], types: &Schema) -> Result<SchemaRef> {
    let find = |name: &String| {
        types.field_with_name(name).cloned().map_err(|_| {
            Error::invalid(format!(
                "column {name:?} is not in the table, so its type is not known\n→ --against a Parquet file says types by itself"
            ))
        })
    };
    let fields = names.iter().map(find).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(Schema::new(fields)))
}
