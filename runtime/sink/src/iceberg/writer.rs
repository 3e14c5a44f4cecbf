//! The first phase: rows of an epoch become Parquet files that no snapshot names yet.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrow_select::concat::concat_batches;
use async_trait::async_trait;
use floe_core::committable::Committable;
use floe_core::ports::SinkWriter;
use floe_core::{Epoch, Error, Result};
use iceberg::spec::{DataFile, DataFileFormat};
use iceberg::table::Table;
use iceberg::writer::base_writer::data_file_writer::{DataFileWriter, DataFileWriterBuilder};
use iceberg::writer::file_writer::ParquetWriterBuilder;
use iceberg::writer::file_writer::location_generator::{
    DefaultFileNameGenerator, DefaultLocationGenerator,
};
use iceberg::writer::file_writer::rolling_writer::RollingFileWriterBuilder;
use iceberg::writer::partitioning::PartitioningWriter;
use iceberg::writer::partitioning::fanout_writer::FanoutWriter;
use iceberg::writer::{IcebergWriter as _, IcebergWriterBuilder};
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

use super::committable::{encode, encode_replacing};
use super::delta::BySpec;
use super::dictionary::without_dictionary;
use super::error::describe;
use super::names::Names;
use super::rows::RowCaster;
use super::split::Splitter;

type FileBuilder =
    DataFileWriterBuilder<ParquetWriterBuilder, DefaultLocationGenerator, DefaultFileNameGenerator>;
type FileWriter =
    DataFileWriter<ParquetWriterBuilder, DefaultLocationGenerator, DefaultFileNameGenerator>;

pub(super) struct IcebergWriter {
    making: Making,
    /// What the partitions had goes.
    replaces: bool,
    open: BTreeMap<Epoch, OpenEpoch>,
}

/// What it takes to make files; it stays the same over all epochs.
pub(super) struct Making {
    pub(super) table: Table,
    pub(super) names: Names,
    pub(super) caster: RowCaster,
    /// Absent for a table without partitions.
    splitter: Option<Splitter>,
    pub(super) properties: WriterProperties,
    pub(super) target_file_bytes: usize,
}

/// Rows gathered before they are split by partition: slices of a few hundred rows would cost more in
/// the writer than in the table.
const GATHERED_ROWS_MAX: usize = 65_536;
/// Files open at once in an epoch; past that they are closed, and later rows begin new ones. Each holds
/// a row group in memory.
const OPEN_PARTITIONS_MAX: usize = 128;
/// Rows of a row group: at 60 bytes a row compressed some 8 MB, which readers skip by.
const ROW_GROUP_ROWS_MAX: usize = 131_072;

#[derive(Default)]
pub(super) struct OpenEpoch {
    gathered: Vec<RecordBatch>,
    gathered_rows: usize,
    rows: u64,
    files: Vec<DataFile>,
    writer: Option<OpenFiles>,
}

enum OpenFiles {
    Plain(Box<FileWriter>),
    Fanout { writer: Box<FanoutWriter<FileBuilder>>, partitions: BTreeSet<String> },
}

impl IcebergWriter {
    pub(super) fn appending(table: Table, rows: SchemaRef, names: Names) -> Result<IcebergWriter> {
        let making = Making::new(table, rows, names)?;
        Ok(IcebergWriter { making, replaces: false, open: BTreeMap::new() })
    }

    pub(super) fn replacing(table: Table, rows: SchemaRef, names: Names) -> Result<IcebergWriter> {
        let making = Making::new(table, rows, names)?;
        Ok(IcebergWriter { making, replaces: true, open: BTreeMap::new() })
    }
}

impl Making {
    pub(super) fn new(table: Table, rows: SchemaRef, names: Names) -> Result<Making> {
        let metadata = table.metadata();
        let caster = RowCaster::new(metadata.current_schema(), &rows)?;
        let spec = metadata.default_partition_spec();
        let splitter = match spec.is_unpartitioned() {
            true => None,
            false => Some(
                Splitter::new(Arc::clone(metadata.current_schema()), Arc::clone(spec)).map_err(
                    |error| Error::invalid(format!("the table's partitions: {}", describe(&error))),
                )?,
            ),
        };
        let property = |key: &str| metadata.properties().get(key).map(String::as_str);
        let target_file_bytes =
            property("write.target-file-size-bytes").and_then(|it| it.parse().ok());
        Ok(Making {
            properties: properties_of(metadata.properties())?,
            target_file_bytes: target_file_bytes.unwrap_or(128 << 20),
            table,
            names,
            caster,
            splitter,
        })
    }

    /// Adds rows that are the table's already.
    pub(super) async fn add(
        &self,
        epoch: Epoch,
        mut open: OpenEpoch,
        rows: RecordBatch,
    ) -> Result<OpenEpoch> {
        if rows.num_rows() == 0 {
            return Ok(open);
        }
        open.rows += rows.num_rows() as u64;
        open.gathered_rows += rows.num_rows();
        open.gathered.push(rows);
        match open.gathered_rows >= GATHERED_ROWS_MAX {
            true => self.flush(epoch, open).await,
            false => Ok(open),
        }
    }

    /// The files of an epoch that gets no more rows.
    pub(super) async fn close(&self, epoch: Epoch, open: OpenEpoch) -> Result<Vec<DataFile>> {
        let mut open = self.flush(epoch, open).await?;
        if let Some(files) = open.writer.take() {
            open.files.extend(files.close().await?);
        }
        let written: u64 = open.files.iter().map(DataFile::record_count).sum();
        // I1: what the checkpoint will name holds exactly the rows that were handed in.
        assert_eq!(written, open.rows, "rows in the files of epoch {epoch}");
        Ok(open.files)
    }

    fn files(&self, epoch: Epoch, first_rows: &RecordBatch) -> Result<FileBuilder> {
        let metadata = self.table.metadata();
        let locations = DefaultLocationGenerator::new(metadata).map_err(failed)?;
        // The crate's counters begin at 0 in each process.
        let attempt = self.names.of_attempt(epoch);
        let names = DefaultFileNameGenerator::new(attempt, None, DataFileFormat::Parquet);
        let mut properties = self.properties.clone().into_builder();
        for column in without_dictionary(first_rows, ROW_GROUP_ROWS_MAX) {
            properties =
                properties.set_column_dictionary_enabled(ColumnPath::from(vec![column]), false);
        }
        let parquet =
            ParquetWriterBuilder::new(properties.build(), Arc::clone(metadata.current_schema()));
        let rolling = RollingFileWriterBuilder::new(
            parquet,
            self.target_file_bytes,
            self.table.file_io().clone(),
            locations,
            names,
        );
        Ok(DataFileWriterBuilder::new(rolling))
    }

    /// Writes what was gathered.
    async fn flush(&self, epoch: Epoch, mut open: OpenEpoch) -> Result<OpenEpoch> {
        if open.gathered.is_empty() {
            return Ok(open);
        }
        let batches = std::mem::take(&mut open.gathered);
        open.gathered_rows = 0;
        let batch = concat_batches(self.caster.schema(), &batches).map_err(|error| {
            Error::invalid(format!("rows of an epoch do not fit together: {error}"))
        })?;
        let mut files = match open.writer.take() {
            Some(files) => files,
            None => self.open_files(epoch, &batch).await?,
        };
        match &mut files {
            OpenFiles::Plain(writer) => writer.write(batch).await.map_err(failed)?,
            OpenFiles::Fanout { writer, partitions } => {
                let splitter = self.splitter.as_ref().expect("a fan-out is of a partitioned table");
                for (key, rows) in splitter.split(&batch).map_err(failed)? {
                    partitions.insert(key.to_path());
                    writer.write(key, rows).await.map_err(failed)?;
                }
            }
        }
        let full = matches!(&files, OpenFiles::Fanout { partitions, .. } if partitions.len() > OPEN_PARTITIONS_MAX);
        if full {
            open.files.extend(files.close().await?);
        } else {
            open.writer = Some(files);
        }
        Ok(open)
    }

    async fn open_files(&self, epoch: Epoch, first_rows: &RecordBatch) -> Result<OpenFiles> {
        let builder = self.files(epoch, first_rows)?;
        match self.splitter {
            None => Ok(OpenFiles::Plain(Box::new(builder.build(None).await.map_err(failed)?))),
            Some(_) => Ok(OpenFiles::Fanout {
                writer: Box::new(FanoutWriter::new(builder)),
                partitions: BTreeSet::new(),
            }),
        }
    }
}

impl OpenFiles {
    async fn close(self) -> Result<Vec<DataFile>> {
        match self {
            OpenFiles::Plain(mut writer) => writer.close().await.map_err(failed),
            OpenFiles::Fanout { writer, .. } => writer.close().await.map_err(failed),
        }
    }
}

pub(super) fn failed(error: iceberg::Error) -> Error {
    Error::retry(format!("a data file could not be written: {}", describe(&error)))
}

#[async_trait]
impl SinkWriter for IcebergWriter {
    async fn write(&mut self, epoch: Epoch, batch: RecordBatch) -> Result<()> {
        let rows = self.making.caster.cast(&batch)?;
        let open = self.open.remove(&epoch).unwrap_or_default();
        let open = self.making.add(epoch, open, rows).await?;
        self.open.insert(epoch, open);
        Ok(())
    }

    async fn prepare(&mut self, epoch: Epoch) -> Result<Committable> {
        let Some(open) = self.open.remove(&epoch) else { return Ok(Committable::EMPTY) };
        let rows = open.rows;
        let files = self.making.close(epoch, open).await?;
        if rows == 0 {
            return Ok(Committable::EMPTY);
        }
        Ok(Committable {
            rows,
            file_count: files.len() as u32,
            file_bytes: files.iter().map(DataFile::file_size_in_bytes).sum(),
            content: match self.replaces {
                false => encode(&self.making.table, files, BySpec::new())?,
                true => encode_replacing(&self.making.table, files)?,
            },
        })
    }

    /// Files that are open stay where they are, and nothing will ever name them: a sweep takes them.
    fn abandon(&mut self) {
        self.open.clear();
    }
}

/// How files are written, by the table's properties.
pub(super) fn properties_of(table: &HashMap<String, String>) -> Result<WriterProperties> {
    let property = |key: &str| table.get(key).map(String::as_str);
    writer_properties(
        property("write.parquet.compression-codec"),
        property("write.parquet.compression-level"),
    )
}

/// The crate ignores these properties and writes uncompressed. zstd-1 is floe's default: on payments it
/// takes 39 % less time than zstd-3 and its files are not larger.
fn writer_properties(codec: Option<&str>, level: Option<&str>) -> Result<WriterProperties> {
    let level: Option<i32> = match level.map(str::parse) {
        None => None,
        Some(Ok(level)) => Some(level),
        Some(Err(_)) => {
            return Err(Error::invalid(format!(
                "table property write.parquet.compression-level {:?} is no number",
                level.unwrap_or_default()
            )));
        }
    };
    let wrong_level = |_| {
        Error::invalid(
            "table property write.parquet.compression-level is out of its range".to_owned(),
        )
    };
    let compression = match codec.unwrap_or("zstd").to_ascii_lowercase().as_str() {
        "zstd" => Compression::ZSTD(ZstdLevel::try_new(level.unwrap_or(1)).map_err(wrong_level)?),
        "gzip" => {
            Compression::GZIP(GzipLevel::try_new(level.unwrap_or(6) as u32).map_err(wrong_level)?)
        }
        "snappy" => Compression::SNAPPY,
        "lz4" => Compression::LZ4_RAW,
        "uncompressed" | "none" => Compression::UNCOMPRESSED,
        other => {
            return Err(Error::invalid(format!(
                "table property write.parquet.compression-codec {other:?}: there are zstd, snappy, gzip, lz4 and uncompressed"
            )));
        }
    };
    Ok(WriterProperties::builder()
        .set_compression(compression)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX))
        .build())
}
