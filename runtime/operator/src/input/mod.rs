//! Raw records become the columns that the first operator declares (A8).

mod cell;
mod column;
pub(crate) mod json;
mod written;
mod avro;
mod protobuf;
mod record_field;
mod several;

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, FieldRef, SchemaRef};
use floe_core::ports::{Decoded, Decoder, DecoderFactory, RejectedRow};
use floe_core::schema::{SchemaKind, SchemaUse, WriterSchema};
use floe_core::{Error, Record, Records, Result};

use cell::Cell;
use column::Column;
use json::RowParser;
use record_field::RecordField;
use written::{Columns, ValueReader};
pub use written::{Fit, Written};

pub use several::{SeveralDecoders, SourceDecoder};

/// How values are decoded.
#[derive(Clone, Debug)]
pub enum Format {
    /// A JSON object whose members are the columns.
    Json,
    /// Not at all: the operator takes record fields only.
    Raw,
    /// Avro's binary encoding of a record whose fields are the columns.
    Avro(Written),
    /// A Protobuf message whose fields are the columns. `message` is its full name, where values do not say it.
    Protobuf { written: Written, message: Option<String> },
}

/// Makes decoders for one input schema.
#[derive(Clone)]
pub struct InputDecoder {
    format: Format,
    name: String,
    schema: SchemaRef,
    source: Arc<str>,
    tombstone_rows: bool,
}

/// The name of a source that is alone and has been given none.
const SOURCE: &str = "source";

impl InputDecoder {
    /// Refuses schemas that the format cannot fill.
    pub fn new(format: Format, schema: SchemaRef) -> Result<InputDecoder> {
        for field in schema.fields() {
            let own = RecordField::of(field)?;
            if own.is_none() && matches!(format, Format::Raw) {
                return Err(Error::invalid(format!(
                    "column {:?} of the operator's input is decoded from the value, and format is \"raw\"\n  → set format = \"json\" in [source], or let the operator take _value",
                    field.name()
                )));
            }
        }
        let name = match &format {
            Format::Json => "json-1".to_owned(),
            Format::Raw => "raw-1".to_owned(),
            Format::Avro(written) => name_of("avro-1", written),
            Format::Protobuf { written, message } => {
                let of = message.as_ref().map_or(String::new(), |it| format!(" {it}"));
                format!("{}{of}", name_of("protobuf-1", written))
            }
        };
        let source = Arc::from(SOURCE);
        let decoder = InputDecoder { format, name, schema, source, tombstone_rows: false };
        // One schema for all values is held against the columns before the first of them.
        decoder.parser()?;
        Ok(decoder)
    }

    /// What `_source` says.
    pub fn of_source(self, name: &str) -> InputDecoder {
        InputDecoder { source: Arc::from(name), ..self }
    }

    /// A record without a value is no longer rejected: it has the columns that its key has, where that is a JSON
    /// object, and the others are null. Whatever values are written in; a raw one is a row by itself.
    pub fn with_tombstone_rows(self) -> InputDecoder {
        let name = format!("{}-tombstones", self.name);
        InputDecoder { name, tombstone_rows: true, ..self }
    }

    /// What a schema has for each column that is decoded from the value. `None`: the format needs no schema.
    pub fn fits(&self, writer: &WriterSchema) -> Option<Result<Vec<Fit>>> {
        let (_, columns) = self.written()?;
        Some(written::fits(writer, &columns).map_err(Error::invalid))
    }

    fn value_fields(&self) -> Vec<Field> {
        let fields = self.schema.fields().iter();
        let of_value = |it: &&FieldRef| RecordField::of(it).is_ok_and(|it| it.is_none());
        fields.filter(of_value).map(|it| it.as_ref().clone()).collect()
    }

    fn parser(&self) -> Result<Parser> {
        Ok(match self.written() {
            None => Parser::Json {
                rows: RowParser::new(self.value_fields()),
                tombstone_rows: self.tombstone_rows,
            },
            Some((written, columns)) => {
                let tombstones = self.tombstone_rows.then(|| RowParser::new(self.value_fields()));
                Parser::Written(Box::new(ValueReader::new(columns, written)?), tombstones)
            }
        })
    }

    /// Where the format needs a schema: that, and what values become.
    fn written(&self) -> Option<(&Written, Columns)> {
        let (written, kind, message) = match &self.format {
            Format::Json | Format::Raw => return None,
            Format::Avro(written) => (written, SchemaKind::Avro, None),
            Format::Protobuf { written, message } => {
                (written, SchemaKind::Protobuf, message.clone())
            }
        };
        let framed = matches!(written, Written::Registered(_));
        Some((written, Columns { kind, fields: self.value_fields(), message, framed }))
    }
}

/// A schema for all values is part of what decides them; of those by id the journal tells.
fn name_of(format: &str, written: &Written) -> String {
    match written {
        Written::Registered(_) => format!("{format}-registered"),
        Written::By(schema) => {
            let hash = blake3::hash(&schema.encode());
            format!("{format}-{}", &hash.to_hex().as_str()[..16])
        }
    }
}

impl DecoderFactory for InputDecoder {
    fn name(&self) -> &str {
        &self.name
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        let mut sources = Vec::new();
        let mut columns = Vec::new();
        for field in self.schema.fields() {
            match RecordField::of(field).expect("checked when the factory was made") {
                Some(own) => sources.push(Source::Record(own)),
                None => {
                    sources.push(Source::Value(columns.len()));
                    columns.push(Column::new(field.data_type()));
                }
            }
        }
        let parser = self.parser().expect("made once when the factory was made");
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

/// From a value to the cells of one row.
enum Parser {
    Json {
        rows: RowParser,
        tombstone_rows: bool,
    },
    /// With what reads the keys of tombstones, where these are rows.
    Written(Box<ValueReader>, Option<RowParser>),
}

impl Parser {
    fn parse<'a>(
        &mut self,
        record: &Record<'a>,
        cells: &mut Vec<Cell<'a>>,
    ) -> Result<Result<(), String>> {
        match self {
            Parser::Json { rows, tombstone_rows: true } if record.value().is_none() => {
                Ok(rows.parse_tombstone(record.key(), cells))
            }
            Parser::Json { rows, .. } => Ok(rows.parse(record.value(), cells)),
            Parser::Written(_, Some(keys)) if record.value().is_none() => {
                Ok(keys.parse_tombstone(record.key(), cells))
            }
            Parser::Written(reader, _) => reader.read(record.value(), cells),
        }
    }
}

struct RowDecoder {
    schema: SchemaRef,
    /// Its name.
    source: Arc<str>,
    sources: Vec<Source>,
    parser: Parser,
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
                match self.parser.parse(&record, &mut cells)? {
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
        let schemas = match &mut self.parser {
            Parser::Json { .. } => Vec::new(),
            Parser::Written(reader, _) => reader.take_used(),
        };
        Ok(Decoded { batch, rows, rejected, schemas })
    }

    fn recall(&mut self, schema: SchemaUse) -> Result<()> {
        match &mut self.parser {
            Parser::Written(reader, _) => reader.recall(schema),
            Parser::Json { .. } => Err(Error::corrupt(format!(
                "the journal names schema {}, and values are decoded without one",
                schema.id
            ))),
        }
    }
}

#[cfg(test)]
mod tests;
