//! The operator's columns and the table's: how a table is made from the first, and what does not fit.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema as ArrowSchema, SchemaRef, TimeUnit};
use floe_core::{Error, Result};
use iceberg::arrow::arrow_schema_to_schema_auto_assign_ids;
use iceberg::spec::{PrimitiveType, Schema, TableMetadata, Type};

use super::evolve::{held_columns, widens};

/// One column in which the table and the operator disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    pub column: String,
    pub table: String,
    pub operator: String,
    pub advice: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "    {:<16} table: {:<20} operator: {:<18} → {}",
            self.column, self.table, self.operator, self.advice
        )
    }
}

/// The schema of a table made for these rows.
pub(super) fn table_schema(rows: &SchemaRef) -> Result<Schema> {
    let stored = ArrowSchema::new(rows.fields().iter().map(|it| storable(it)).collect::<Fields>());
    arrow_schema_to_schema_auto_assign_ids(&stored).map_err(|error| {
        Error::invalid(format!(
            "no table can be made from the operator's output: {}",
            error.message()
        ))
    })
}

/// The nearest type that Iceberg has: it stores no unsigned and no short integers, and no milliseconds.
fn storable(field: &Field) -> Field {
    let data_type = match field.data_type() {
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        // Every value has 20 digits at the most.
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond, zone) => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| "+00:00".into()))
        }
        DataType::Timestamp(unit, zone) => {
            DataType::Timestamp(*unit, zone.as_ref().map(|_| "+00:00".into()))
        }
        DataType::List(item) => DataType::List(Arc::new(storable(item).with_name("element"))),
        DataType::Struct(members) => {
            DataType::Struct(members.iter().map(|it| storable(it)).collect())
        }
        other => other.clone(),
    };
    Field::new(field.name(), data_type, field.is_nullable())
}

/// Every column in which they disagree; none if the rows can be written.
pub(super) fn compare(metadata: &TableMetadata, rows: &SchemaRef) -> Vec<Mismatch> {
    compare_with(metadata.current_schema(), &held_columns(metadata), rows)
}

pub(super) fn compare_with(
    table: &Schema,
    held: &BTreeSet<i32>,
    rows: &SchemaRef,
) -> Vec<Mismatch> {
    let mut found = Vec::new();
    for field in table.as_struct().fields() {
        let described = describe(&field.field_type, field.required);
        let Ok(column) = rows.field_with_name(&field.name) else {
            if field.required {
                found.push(Mismatch {
                    column: field.name.clone(),
                    table: described,
                    operator: "absent".into(),
                    advice: "the operator must emit it, or make it optional".into(),
                });
            }
            continue;
        };
        let operator = describe_arrow(column);
        if !fits(column.data_type(), &field.field_type) {
            found.push(Mismatch {
                column: field.name.clone(),
                table: described,
                operator,
                advice: match storable_type(column).is_some_and(|it| widens(&field.field_type, &it))
                {
                    true if held.contains(&field.id) => {
                        "its type stays, for partitions or keys are named by it: emit the table's, or write to another table".into()
                    }
                    true => "widen the column: floe check --fix-table".into(),
                    false => {
                        "change the column's type in the table, or what the operator emits".into()
                    }
                },
            });
        } else if field.required && column.is_nullable() {
            found.push(Mismatch {
                column: field.name.clone(),
                table: described,
                operator: format!("{operator}, optional"),
                advice: "make the column optional, or the operator's field not an Option".into(),
            });
        }
    }
    for column in rows.fields() {
        if table.field_by_name(column.name()).is_none() {
            found.push(Mismatch {
                column: column.name().clone(),
                table: "absent".into(),
                operator: describe_arrow(column),
                advice: "add the column: floe check --fix-table".into(),
            });
        }
    }
    found
}

/// Whether every value of the operator's type has its exact place in the table's.
fn fits(operator: &DataType, table: &Type) -> bool {
    let primitive = match table {
        Type::Primitive(primitive) => primitive,
        Type::Struct(members) => {
            let DataType::Struct(fields) = operator else { return false };
            return members.fields().len() == fields.len()
                && members.fields().iter().zip(fields).all(|(member, field)| {
                    member.name == *field.name()
                        && fits(field.data_type(), &member.field_type)
                        && !(member.required && field.is_nullable())
                });
        }
        Type::List(list) => {
            let DataType::List(item) = operator else { return false };
            let element = &list.element_field;
            return fits(item.data_type(), &element.field_type)
                && !(element.required && item.is_nullable());
        }
        _ => return false,
    };
    match (operator, primitive) {
        (DataType::Boolean, PrimitiveType::Boolean)
        | (
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16,
            PrimitiveType::Int | PrimitiveType::Long,
        )
        | (DataType::UInt32 | DataType::Int64, PrimitiveType::Long)
        | (DataType::Float32, PrimitiveType::Float | PrimitiveType::Double)
        | (DataType::Float64, PrimitiveType::Double)
        | (DataType::Utf8, PrimitiveType::String)
        | (DataType::Binary, PrimitiveType::Binary)
        | (DataType::Date32, PrimitiveType::Date)
        | (DataType::Time64(TimeUnit::Microsecond), PrimitiveType::Time)
        | (
            DataType::Timestamp(TimeUnit::Millisecond | TimeUnit::Microsecond, None),
            PrimitiveType::Timestamp,
        )
        | (
            DataType::Timestamp(TimeUnit::Millisecond | TimeUnit::Microsecond, Some(_)),
            PrimitiveType::Timestamptz,
        )
        | (DataType::Timestamp(_, None), PrimitiveType::TimestampNs)
        | (DataType::Timestamp(_, Some(_)), PrimitiveType::TimestamptzNs)
        | (DataType::FixedSizeBinary(16), PrimitiveType::Uuid) => true,
        (DataType::FixedSizeBinary(size), PrimitiveType::Fixed(wanted)) => *size as u64 == *wanted,
        (
            DataType::Decimal128(precision, scale),
            PrimitiveType::Decimal { precision: wide, scale: wanted },
        ) => u32::from(*precision) <= *wide && *scale as u32 == *wanted,
        (DataType::UInt64, PrimitiveType::Decimal { precision, scale }) => {
            *precision >= 20 && *scale == 0
        }
        _ => false,
    }
}

fn describe(field_type: &Type, required: bool) -> String {
    format!("{field_type}, {}", if required { "required" } else { "optional" })
}

fn describe_arrow(field: &Field) -> String {
    storable_type(field).map_or_else(|| field.data_type().to_string(), |it| it.to_string())
}

/// The table's type for it; `None` where a table has none, or gives ids to its members.
fn storable_type(field: &Field) -> Option<Type> {
    // What has no type is described by its Arrow name.
    iceberg::arrow::arrow_type_to_type(storable(field).data_type()).ok()
}
