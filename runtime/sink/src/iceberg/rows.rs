//! The operator's batches, cast to the table's columns: by name, widened without loss, field ids set.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, ListArray, RecordBatch, StructArray, new_null_array};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Field, SchemaRef};
use floe_core::{Error, Result};
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::Schema;

pub(super) struct RowCaster {
    /// The table's columns in Arrow, with field ids in their metadata.
    target: SchemaRef,
    /// For each column of the table, the operator's; none for an optional one that it does not emit.
    sources: Vec<Option<usize>>,
}

impl RowCaster {
    pub(super) fn new(table: &Schema, rows: &SchemaRef) -> Result<RowCaster> {
        let target = schema_to_arrow_schema(table)
            .map_err(|error| Error::invalid(format!("the table's schema: {}", error.message())))?;
        let sources = target.fields().iter().map(|it| rows.index_of(it.name()).ok()).collect();
        Ok(RowCaster { target: Arc::new(target), sources })
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.target
    }

    pub(super) fn cast(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self
            .target
            .fields()
            .iter()
            .zip(&self.sources)
            .map(|(field, source)| match source {
                None => Ok(new_null_array(field.data_type(), batch.num_rows())),
                Some(index) => cast_column(batch.column(*index), field),
            })
            .collect::<Result<Vec<ArrayRef>>>()?;
        RecordBatch::try_new(Arc::clone(&self.target), columns).map_err(|error| {
            Error::invalid(format!("the operator's rows do not fit the table: {error}"))
        })
    }
}

/// Nested types are rebuilt member by member, since a cast would drop the field ids of the members.
fn cast_column(column: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    if column.data_type() == field.data_type() {
        return Ok(Arc::clone(column));
    }
    let failed = |error: arrow_schema::ArrowError| {
        Error::invalid(format!(
            "column {}: a value does not fit {}: {error}",
            field.name(),
            field.data_type()
        ))
    };
    match (field.data_type(), column.data_type()) {
        (DataType::Struct(members), DataType::Struct(_)) => {
            let column = column.as_any().downcast_ref::<StructArray>().expect("its type says so");
            let children = members
                .iter()
                .zip(column.columns())
                .map(|(member, child)| cast_column(child, member))
                .collect::<Result<Vec<ArrayRef>>>()?;
            let rebuilt = StructArray::try_new(members.clone(), children, column.nulls().cloned());
            Ok(Arc::new(rebuilt.map_err(failed)?))
        }
        (DataType::List(item), DataType::List(_)) => {
            let column = column.as_any().downcast_ref::<ListArray>().expect("its type says so");
            let items = cast_column(column.values(), item)?;
            let rebuilt = ListArray::try_new(
                Arc::clone(item),
                column.offsets().clone(),
                items,
                column.nulls().cloned(),
            );
            Ok(Arc::new(rebuilt.map_err(failed)?))
        }
        _ => {
            // A value out of range is an error, never a null.
            let options = CastOptions { safe: false, ..CastOptions::default() };
            cast_with_options(column, field.data_type(), &options).map_err(failed)
        }
    }
}
