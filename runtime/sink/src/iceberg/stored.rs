//! Rows as the table stores them, for who holds a table against rows that were made anew.

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::SchemaRef;
use floe_core::Result;

use super::config::WriteMode;
use super::rows::RowCaster;
use super::stream::TableAt;
use super::upsert::Operation;

/// What becomes of an operator's rows on their way into the table.
pub struct StoredRows {
    caster: RowCaster,
    operation: Option<Operation>,
}

impl StoredRows {
    /// `rows` are the operator's columns.
    pub fn of(table: &TableAt, rows: &SchemaRef, mode: &WriteMode) -> Result<StoredRows> {
        let operation = match mode {
            WriteMode::Upsert(config) => Operation::find(rows, config)?,
            WriteMode::Append | WriteMode::OverwritePartition => None,
        };
        Ok(StoredRows { caster: RowCaster::new(table.schema(), rows)?, operation })
    }

    /// The table's columns, and which of the rows say that their key is gone.
    pub fn store(&self, rows: &RecordBatch) -> Result<(RecordBatch, BooleanArray)> {
        let deleted = match &self.operation {
            Some(operation) => operation.deleted(rows)?,
            None => BooleanArray::from(vec![false; rows.num_rows()]),
        };
        Ok((self.caster.cast(rows)?, deleted))
    }
}
