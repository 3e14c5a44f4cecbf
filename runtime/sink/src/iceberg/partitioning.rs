//! Which partition a row is in, for who holds a table against rows that were made anew.

use std::fmt;

use arrow_array::{ArrayRef, RecordBatch};
use floe_core::{Error, Result};
use iceberg::transform::{BoxedTransformFunction, create_transform_function};

use super::error::describe;
use super::stream::TableAt;

/// The table's partition spec over columns by their names.
pub struct Partitioning {
    fields: Vec<Field>,
}

struct Field {
    column: String,
    transform: BoxedTransformFunction,
}

impl Partitioning {
    /// As the table is partitioned now. A table without partitions is one.
    pub fn of(table: &TableAt) -> Result<Partitioning> {
        let spec = table.partition_spec();
        let mut fields = Vec::new();
        for field in spec.fields() {
            let column = table.schema().name_by_field_id(field.source_id).ok_or_else(|| {
                Error::corrupt(format!("partition field {} is of no column", field.name))
            })?;
            let transform = create_transform_function(&field.transform).map_err(|error| {
                Error::invalid(format!("partition field {}: {}", field.name, describe(&error)))
            })?;
            fields.push(Field { column: column.to_owned(), transform });
        }
        Ok(Partitioning { fields })
    }

    /// The columns that partitions are told by.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|it| it.column.as_str())
    }

    /// For each field of the spec, each row's value. Rows are in one partition where all of them are equal.
    pub fn values(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let value = |field: &Field| {
            let column = rows.column_by_name(&field.column).ok_or_else(|| {
                Error::invalid(format!("partitions: there is no column {:?}", field.column))
            })?;
            let values = field.transform.transform(column.clone());
            values.map_err(|error| {
                Error::invalid(format!("partitions by {:?}: {}", field.column, describe(&error)))
            })
        };
        self.fields.iter().map(value).collect()
    }
}

impl fmt::Debug for Partitioning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.columns()).finish()
    }
}
