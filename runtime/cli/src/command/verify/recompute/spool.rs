//! Rows that were made anew, on the disk in the order in which they were made, each with its epoch and its task.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use floe_core::{Error, Result};
use floe_sink::iceberg::StoredRows;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

/// Columns behind the table's own: which epoch and which task made the row, and whether it takes its key out.
const OWN: [&str; 3] = ["epoch made", "task made", "is deleted"];
/// Rows that are in memory before they are written.
const GROUP_ROWS: usize = 65_536;

/// How rows of these columns are stored.
type Storing = Box<dyn Fn(&SchemaRef) -> Result<StoredRows> + Send>;

pub(super) struct Spool {
    schema: SchemaRef,
    storing: Storing,
    /// For the columns that came last.
    stored: Option<(SchemaRef, StoredRows)>,
    writer: ArrowWriter<File>,
    failed: Option<Error>,
}

/// Rows of the spool, taken apart.
pub(super) struct Spooled {
    pub(super) rows: RecordBatch,
    pub(super) epochs: Int64Array,
    pub(super) tasks: Int32Array,
    pub(super) deleted: arrow_array::BooleanArray,
}

impl Spool {
    pub(super) fn create(file: &Path, table: &SchemaRef, storing: Storing) -> Result<Spool> {
        // Without the table's field ids: these are a file's own columns.
        let plain = |it: &Arc<Field>| Field::new(it.name(), it.data_type().clone(), true);
        let mut fields: Vec<Field> = table.fields().iter().map(plain).collect();
        let kinds = [DataType::Int64, DataType::Int32, DataType::Boolean];
        fields.extend(OWN.iter().zip(kinds).map(|(name, kind)| Field::new(*name, kind, false)));
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let properties = WriterProperties::builder()
            .set_compression(Compression::UNCOMPRESSED)
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .build();
        let made = File::create(file).map_err(|it| cannot_write(&it))?;
        let writer = ArrowWriter::try_new(made, Arc::clone(&schema), Some(properties));
        let writer = writer.map_err(|it| cannot_write(&it))?;
        Ok(Spool { schema, storing, stored: None, writer, failed: None })
    }

    /// What goes wrong is kept, and shows when the part is through.
    pub(super) fn add(&mut self, epoch: u64, task: usize, rows: &RecordBatch) {
        if self.failed.is_none()
            && let Err(error) = self.try_add(epoch, task, rows)
        {
            self.failed = Some(error);
        }
    }

    pub(super) fn failed(&self) -> Option<&Error> {
        self.failed.as_ref()
    }

    fn try_add(&mut self, epoch: u64, task: usize, rows: &RecordBatch) -> Result<()> {
        let columns = rows.schema();
        if self.stored.as_ref().is_none_or(|it| it.0 != columns) {
            self.stored = Some((Arc::clone(&columns), (self.storing)(&columns)?));
        }
        let Some((_, stored)) = &self.stored else { return Ok(()) };
        let (rows, deleted) = stored.store(rows)?;
        let count = rows.num_rows();
        let mut all: Vec<ArrayRef> = rows.columns().to_vec();
        all.push(Arc::new(Int64Array::from(vec![epoch as i64; count])));
        all.push(Arc::new(Int32Array::from(vec![task as i32; count])));
        all.push(Arc::new(deleted));
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), all);
        let batch = batch.map_err(|it| Error::invalid(format!("rows of the table: {it}")))?;
        self.writer.write(&batch).map_err(|it| cannot_write(&it))
    }

    pub(super) fn finish(self) -> Result<()> {
        self.writer.close().map(drop).map_err(|it| cannot_write(&it))
    }
}

pub(super) fn read(file: &Path, rows: usize) -> Result<ParquetRecordBatchReader> {
    let file = File::open(file).map_err(|it| cannot_read(&it))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|it| cannot_read(&it))?;
    builder.with_batch_size(rows).build().map_err(|it| cannot_read(&it))
}

impl Spooled {
    pub(super) fn next(reader: &mut ParquetRecordBatchReader) -> Result<Option<Spooled>> {
        let Some(batch) = reader.next() else { return Ok(None) };
        let batch = batch.map_err(|it| cannot_read(&it))?;
        let own = batch.num_columns() - OWN.len();
        let of_table: Vec<usize> = (0..own).collect();
        let rows = batch.project(&of_table).map_err(|it| cannot_read(&it))?;
        let column = |number: usize| batch.column(own + number).to_data();
        Ok(Some(Spooled {
            rows,
            epochs: column(0).into(),
            tasks: column(1).into(),
            deleted: column(2).into(),
        }))
    }
}

fn cannot_write(error: &dyn std::fmt::Display) -> Error {
    Error::retry(format!(
        "rows that were made anew cannot be kept in {}: {error}\n→ TMPDIR names another folder, with more room",
        std::env::temp_dir().display()
    ))
}

fn cannot_read(error: &dyn std::fmt::Display) -> Error {
    Error::retry(format!("rows that were made anew cannot be read: {error}"))
}
