//! The key of a row: its columns, and their values as bytes that are equal where the values are.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, BooleanArray, GenericByteArray, RecordBatch, types};
use arrow_schema::{DataType, Field, Schema as ArrowSchema};
use floe_core::{Error, Result};
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{Schema, SchemaRef};

use super::super::error::describe;

/// The key's columns as a schema of their own, with the field ids of the table's.
pub(super) struct KeySchema {
    pub(super) schema: SchemaRef,
    pub(super) ids: Vec<i32>,
    arrow: Arc<ArrowSchema>,
    /// Of the key's columns among the table's.
    indices: Vec<usize>,
}

impl KeySchema {
    pub(super) fn new(table: &Schema, key: &[String]) -> Result<KeySchema> {
        let wrong = |error: iceberg::Error| Error::invalid(format!("key: {}", describe(&error)));
        let arrow = schema_to_arrow_schema(table).map_err(wrong)?;
        let mut fields = Vec::new();
        let mut columns = Vec::new();
        let mut indices = Vec::new();
        for name in key {
            let field = table.as_struct().fields().iter().find(|it| it.name == *name);
            let (Some(field), Ok(index)) = (field, arrow.index_of(name)) else {
                return Err(Error::invalid(format!("key: the table has no column {name:?}")));
            };
            fields.push(Arc::clone(field));
            columns.push(arrow.field(index).clone());
            indices.push(index);
        }
        let ids = fields.iter().map(|it| it.id).collect();
        let schema = Schema::builder().with_fields(fields).build().map_err(wrong)?;
        let arrow = Arc::new(ArrowSchema::new(columns));
        Ok(KeySchema { schema: Arc::new(schema), ids, arrow, indices })
    }

    /// The key's columns of a batch of the table's.
    pub(super) fn project(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.indices.iter().map(|it| Arc::clone(batch.column(*it))).collect();
        RecordBatch::try_new(Arc::clone(&self.arrow), columns)
            .map_err(|error| Error::invalid(format!("the key's columns: {error}")))
    }

    pub(super) fn bytes<'a>(&self, batch: &'a RecordBatch) -> Result<Vec<KeyColumn<'a>>> {
        self.indices.iter().map(|it| KeyColumn::of(batch.column(*it).as_ref())).collect()
    }
}

/// Whether a column may be part of a key: what is compared exactly, and is no container.
pub(super) fn can_be_key(column: &Field) -> bool {
    match column.data_type() {
        DataType::Float16 | DataType::Float32 | DataType::Float64 | DataType::Null => false,
        other => !other.is_nested(),
    }
}

pub(super) enum KeyColumn<'a> {
    Bool(&'a BooleanArray),
    Fixed { bytes: Vec<u8>, width: usize },
    Text(&'a GenericByteArray<types::Utf8Type>),
    Binary(&'a GenericByteArray<types::BinaryType>),
    LargeBinary(&'a GenericByteArray<types::LargeBinaryType>),
}

impl KeyColumn<'_> {
    fn of(column: &dyn Array) -> Result<KeyColumn<'_>> {
        if column.null_count() > 0 {
            return Err(Error::invalid("a row has no value in a column of its key"));
        }
        Ok(match column.data_type() {
            DataType::Boolean => KeyColumn::Bool(column.as_boolean()),
            DataType::Utf8 => KeyColumn::Text(column.as_string()),
            DataType::Binary => KeyColumn::Binary(column.as_binary()),
            DataType::LargeBinary => KeyColumn::LargeBinary(column.as_binary()),
            other => {
                let width = match other {
                    DataType::FixedSizeBinary(width) => Some(*width as usize),
                    other => other.primitive_width(),
                };
                let Some(width) = width else {
                    return Err(Error::invalid(format!("{other} cannot be part of a key")));
                };
                let data = column.to_data();
                let start = data.offset() * width;
                let end = start + column.len() * width;
                KeyColumn::Fixed { bytes: data.buffers()[0].as_slice()[start..end].to_vec(), width }
            }
        })
    }

    /// Values of one width stand as they are; others with their length before them.
    fn write(&self, row: usize, key: &mut Vec<u8>) {
        let mut sized = |bytes: &[u8]| {
            key.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            key.extend_from_slice(bytes);
        };
        match self {
            KeyColumn::Text(column) => sized(column.value(row).as_bytes()),
            KeyColumn::Binary(column) => sized(column.value(row)),
            KeyColumn::LargeBinary(column) => sized(column.value(row)),
            KeyColumn::Bool(column) => key.push(u8::from(column.value(row))),
            KeyColumn::Fixed { bytes, width } => {
                key.extend_from_slice(&bytes[row * width..(row + 1) * width]);
            }
        }
    }
}

pub(super) fn key_of(columns: &[KeyColumn<'_>], row: usize, key: &mut Vec<u8>) {
    key.clear();
    for column in columns {
        column.write(row, key);
    }
}
