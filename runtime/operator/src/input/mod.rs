//! Raw records become the columns that the first operator declares (A8).

mod cell;
mod column;
pub(crate) mod json;
mod record_field;
mod several;

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, SchemaRef};
use floe_core::ports::{Decoded, Decoder, DecoderFactory, RejectedRow};
use floe_core::{Error, Records, Result};

use column::Column;
use json::RowParser;
use record_field::RecordField;

pub use several::{SeveralDecoders, SourceDecoder};

/// How values are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON object whose members are the columns.
    Json,
    /// Not at all: the operator takes record fields only.
    Raw,
}

/// Makes decoders for one input schema.
pub struct InputDecoder {
    format: Format,
    schema: SchemaRef,
    source: Arc<str>,
}

/// The name of a source that is alone and has been given none.
const SOURCE: &str = "source";

impl InputDecoder {
    /// Refuses schemas that the format cannot fill.
    pub fn new(format: Format, schema: SchemaRef) -> Result<InputDecoder> {
        for field in schema.fields() {
            let own = RecordField::of(field)?;
            if own.is_none() && format == Format::Raw {
                return Err(Error::invalid(format!(
                    "column {:?} of the operator's input is decoded from the value, and format is \"raw\"\n  → set format = \"json\" in [source], or let the operator take _value",
                    field.name()
                )));
            }
        }
        Ok(InputDecoder { format, schema, source: Arc::from(SOURCE) })
    }

    /// What `_source` says.
    pub fn of_source(self, name: &str) -> InputDecoder {
        InputDecoder { source: Arc::from(name), ..self }
    }
}

impl DecoderFactory for InputDecoder {
    fn name(&self) -> &str {
        match self.format {
            Format::Json => "json-1",
            Format::Raw => "raw-1",
        }
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        let mut sources = Vec::new();
        let mut value_fields: Vec<Field> = Vec::new();
        let mut columns = Vec::new();
        for field in self.schema.fields() {
            match RecordField::of(field).expect("checked when the factory was made") {
                Some(own) => sources.push(Source::Record(own)),
                None => {
                    sources.push(Source::Value(value_fields.len()));
                    value_fields.push(field.as_ref().clone());
                    columns.push(Column::new(field.data_type()));
                }
            }
        }
        let parser = RowParser::new(value_fields);
        let (schema, source) = (Arc::clone(&self.schema), Arc::clone(&self.source));
        Box::new(RowDecoder { schema, source, sources, parser, columns })
    }
}

/// Where a column comes from.
enum Source {
    Record(RecordField),
    /// The n-th column that is decoded from the value.
    Value(usize),
}

struct RowDecoder {
    schema: SchemaRef,
    /// Its name.
    source: Arc<str>,
    sources: Vec<Source>,
    parser: RowParser,
    columns: Vec<Column>,
}

impl Decoder for RowDecoder {
    fn decode(&mut self, records: &Records) -> Result<Decoded> {
        let mut rejected = Vec::new();
        let mut rows: Option<Vec<u32>> = None;
        // Arrow's 32-bit offsets reach no farther.
        if records.byte_len() > i32::MAX as usize {
            return Err(Error::invalid(format!(
                "{} records of {} in one batch have {} bytes, and a column holds 2 GiB\n  → lower batch-records",
                records.len(),
                records.topic_partition(),
                records.byte_len()
            )));
        }
        let mut cells = Vec::new();
        if !self.columns.is_empty() {
            for (index, record) in records.iter().enumerate() {
                match self.parser.parse(record.value(), &mut cells) {
                    Ok(()) => {
                        for (column, cell) in self.columns.iter_mut().zip(cells.drain(..)) {
                            column.push(cell);
                        }
                        if let Some(rows) = &mut rows {
                            rows.push(index as u32);
                        }
                    }
                    Err(reason) => {
                        rows.get_or_insert_with(|| (0..index as u32).collect());
                        rejected.push(RejectedRow { row: index, reason });
                    }
                }
            }
        }
        let row_count = rows.as_ref().map_or(records.len(), Vec::len);
        let mut decoded: Vec<Option<ArrayRef>> =
            self.columns.iter_mut().map(|it| Some(it.finish())).collect();
        let arrays = self
            .sources
            .iter()
            .zip(self.schema.fields())
            .map(|(source, field)| match source {
                Source::Record(own) => own.column(field, (&self.source, records), rows.as_deref()),
                Source::Value(index) => {
                    decoded[*index].take().expect("each decoded column is used once")
                }
            })
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(row_count));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)
            .map_err(|error| {
            Error::invalid(format!("decoded rows do not fit the operator's input: {error}"))
        })?;
        Ok(Decoded { batch, rows, rejected })
    }
}

#[cfg(test)]
mod tests;
