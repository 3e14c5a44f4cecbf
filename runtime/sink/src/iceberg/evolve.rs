//! A table's columns, changed to what the operator emits where no row has to be touched for it: columns are
//! added as optional ones, and numbers get wider types. Everything else is named, and stays.

use std::sync::Arc;

use arrow_schema::SchemaRef as ArrowSchemaRef;
use floe_core::{Error, Result};
use iceberg::spec::{
    ListType, NestedField, NestedFieldRef, PrimitiveType, Schema, StructType, Type,
};
use iceberg::{TableRequirement, TableUpdate};

use super::config::{CatalogConfig, TableConfig};
use super::connect::connect;
use super::error::{describe, read_failed};
use super::schema::{compare, table_schema};
use super::table::{identifier, is_absent, stored};
use super::update::{Answer, Change, Updater};

/// Changes the table under requirements: its uuid, its schema and its last column id are those that were
/// looked at. Gives a line for each change; none where the table fits, or is not there.
pub async fn fix_table(
    catalog: &CatalogConfig,
    config: &TableConfig,
    rows: &ArrowSchemaRef,
) -> Result<Vec<String>> {
    let rows = stored(config, rows)?;
    let connected = connect(catalog).await?;
    let ident = identifier(&config.table)?;
    let table = match connected.load_table(&ident).await {
        Ok(table) => table,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(read_failed(&format!("load table {ident}"), &error)),
    };
    let metadata = table.metadata();
    let Some(evolved) = evolve(metadata.current_schema(), &rows, metadata.last_column_id())? else {
        return Ok(Vec::new());
    };
    let change = Change {
        requirements: vec![
            TableRequirement::UuidMatch { uuid: metadata.uuid() },
            TableRequirement::CurrentSchemaIdMatch {
                current_schema_id: metadata.current_schema_id(),
            },
            TableRequirement::LastAssignedFieldIdMatch {
                last_assigned_field_id: metadata.last_column_id(),
            },
        ],
        updates: vec![
            TableUpdate::AddSchema { schema: evolved.schema },
            TableUpdate::SetCurrentSchema { schema_id: -1 },
        ],
    };
    match Updater::new(catalog).update(&table, change).await? {
        Answer::Applied => Ok(evolved.changes),
        Answer::Conflict => {
            Err(Error::retry(format!("table {ident} changed meanwhile\n  → run it again")))
        }
        Answer::Refused(why) => {
            Err(Error::refused(format!("table {ident} does not take the columns: {why}")))
        }
        Answer::Unknown(why) => Err(Error::unknown(format!(
            "nobody knows whether table {ident} was changed: {why}\n  → run it again: it finds out"
        ))),
    }
}

pub(super) struct Evolved {
    pub(super) schema: Schema,
    pub(super) changes: Vec<String>,
}

/// `None`: there is nothing that can be changed. What cannot be stays as it is, and is still a mismatch.
pub(super) fn evolve(
    table: &Schema,
    rows: &ArrowSchemaRef,
    last_column_id: i32,
) -> Result<Option<Evolved>> {
    if compare(table, rows).is_empty() {
        return Ok(None);
    }
    let wanted = table_schema(rows)?;
    let mut changes = Vec::new();
    let mut fields: Vec<NestedFieldRef> = Vec::new();
    for field in table.as_struct().fields() {
        let wider = wanted
            .field_by_name(&field.name)
            .filter(|it| widens(&field.field_type, &it.field_type));
        fields.push(match wider {
            None => Arc::clone(field),
            Some(wider) => {
                changes.push(format!(
                    "{}: {} became {}",
                    field.name, field.field_type, wider.field_type
                ));
                let mut field = field.as_ref().clone();
                field.field_type = wider.field_type.clone();
                Arc::new(field)
            }
        });
    }
    let mut next_id = last_column_id;
    for field in wanted.as_struct().fields() {
        if table.field_by_name(&field.name).is_none() {
            changes.push(format!("{}: added as {}, optional", field.name, field.field_type));
            let mut field = with_new_ids(field, &mut next_id);
            field.required = false;
            fields.push(Arc::new(field));
        }
    }
    if changes.is_empty() {
        return Ok(None);
    }
    let schema = Schema::builder()
        .with_fields(fields)
        .with_identifier_field_ids(table.identifier_field_ids())
        .build()
        .map_err(|error| Error::invalid(format!("the table's columns: {}", describe(&error))))?;
    Ok(Some(Evolved { schema, changes }))
}

/// What Iceberg lets a column become: every value stays what it is.
pub(super) fn widens(from: &Type, to: &Type) -> bool {
    let (Type::Primitive(from), Type::Primitive(to)) = (from, to) else { return false };
    match (from, to) {
        (PrimitiveType::Int, PrimitiveType::Long)
        | (PrimitiveType::Float, PrimitiveType::Double) => true,
        (
            PrimitiveType::Decimal { precision, scale },
            PrimitiveType::Decimal { precision: wide, scale: wide_scale },
        ) => precision < wide && scale == wide_scale,
        _ => false,
    }
}

/// The same field, numbered behind all columns that the table ever had.
fn with_new_ids(field: &NestedField, next_id: &mut i32) -> NestedField {
    *next_id += 1;
    let mut numbered = field.clone();
    numbered.id = *next_id;
    let field_type = match field.field_type.as_ref() {
        Type::Struct(members) => {
            let members = members.fields().iter();
            let members = members.map(|it| Arc::new(with_new_ids(it, next_id))).collect();
            Type::Struct(StructType::new(members))
        }
        Type::List(list) => {
            Type::List(ListType::new(Arc::new(with_new_ids(&list.element_field, next_id))))
        }
        other => other.clone(),
    };
    numbered.field_type = Box::new(field_type);
    numbered
}
