//! A table's columns, changed to what the operator emits where no row has to be touched for it: columns are
//! added as optional ones, and numbers get wider types. Everything else is named, and stays.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arrow_schema::SchemaRef as ArrowSchemaRef;
use floe_core::crash_point::{CrashPoint, hit};
use floe_core::{Error, Result};
use iceberg::spec::{
    ListType, NestedField, NestedFieldRef, PrimitiveType, Schema, StructType, TableMetadata, Type,
};
use iceberg::table::Table;
use iceberg::{Catalog, TableIdent, TableRequirement, TableUpdate};

use super::config::{CatalogConfig, TableConfig};
use super::connect::connect;
use super::error::{describe, read_failed};
use super::schema::{compare, compare_with, table_schema};
use super::table::{identifier, is_absent, stored};
use super::update::{Answer, Change, Updater};

/// For `check --fix-table`. Gives a line for each change; none where the table fits, or is not there.
pub async fn fix_table(
    catalog: &CatalogConfig,
    config: &TableConfig,
    rows: &ArrowSchemaRef,
) -> Result<Vec<String>> {
    let rows = stored(config, rows)?;
    let connected = connect(catalog).await?;
    let ident = identifier(&config.table)?;
    match connected.load_table(&ident).await {
        Ok(_) => {}
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(read_failed(&format!("load table {ident}"), &error)),
    }
    let (_, changes) =
        change_table(connected.as_ref(), &Updater::new(catalog), &ident, &rows).await?;
    Ok(changes)
}

/// Others were faster, or an answer was lost, so many times.
const ATTEMPTS_MAX: u32 = 8;
const ATTEMPT_WAIT: Duration = Duration::from_millis(100);

/// Changes the table under requirements: its uuid, its schema and its last column id are those that were
/// looked at. What was sent is done when the table, loaded again, needs no more of it. So it may be repeated,
/// also by a process that does not know whether another one did it; columns keep their ids.
///
/// Gives the table as it is then, and a line for each change.
pub(super) async fn change_table(
    catalog: &dyn Catalog,
    updater: &Updater,
    ident: &TableIdent,
    rows: &ArrowSchemaRef,
) -> Result<(Table, Vec<String>)> {
    let mut changes = Vec::new();
    let mut why = String::from("others were faster");
    for attempt in 0..ATTEMPTS_MAX {
        tokio::time::sleep(ATTEMPT_WAIT * attempt).await;
        let loaded = catalog.load_table(ident).await;
        let table = loaded.map_err(|error| read_failed(&format!("load table {ident}"), &error))?;
        let Some(evolved) = evolve(table.metadata(), rows)? else { return Ok((table, changes)) };
        changes = evolved.changes;
        hit(CrashPoint::BeforeTableChange);
        let answer = updater.update(&table, change_to(table.metadata(), evolved.schema)).await?;
        hit(CrashPoint::AfterTableChange);
        match answer {
            Answer::Applied | Answer::Conflict => {}
            Answer::Unknown(unknown) => why = unknown,
            Answer::Refused(why) => {
                return Err(Error::refused(format!(
                    "table {ident} does not take the columns: {why}"
                )));
            }
        }
    }
    Err(Error::retry(format!("the columns of table {ident} could not be changed: {why}")))
}

fn change_to(metadata: &TableMetadata, schema: Schema) -> Change {
    Change {
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
            TableUpdate::AddSchema { schema },
            TableUpdate::SetCurrentSchema { schema_id: -1 },
        ],
    }
}

pub(super) struct Evolved {
    pub(super) schema: Schema,
    pub(super) changes: Vec<String>,
    /// With it the rows can be written.
    pub(super) is_all: bool,
}

/// `None`: there is nothing that can be changed. What cannot be stays as it is, and is still a mismatch.
pub(super) fn evolve(metadata: &TableMetadata, rows: &ArrowSchemaRef) -> Result<Option<Evolved>> {
    if compare(metadata, rows).is_empty() {
        return Ok(None);
    }
    let table = metadata.current_schema();
    let held = held_columns(metadata);
    let wanted = table_schema(rows)?;
    let mut changes = Vec::new();
    let mut fields: Vec<NestedFieldRef> = Vec::new();
    for field in table.as_struct().fields() {
        let wider = wanted
            .field_by_name(&field.name)
            .filter(|it| widens(&field.field_type, &it.field_type) && !held.contains(&field.id));
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
    let mut next_id = metadata.last_column_id();
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
    let is_all = compare_with(&schema, &held, rows).is_empty();
    Ok(Some(Evolved { schema, changes, is_all }))
}

/// Columns whose type stays: partitions are named by values of theirs, and deletes by key are written with it.
pub(super) fn held_columns(metadata: &TableMetadata) -> BTreeSet<i32> {
    let partitioned = metadata.partition_specs_iter().flat_map(|it| it.fields());
    let keys = metadata.current_schema().identifier_field_ids();
    partitioned.map(|it| it.source_id).chain(keys).collect()
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
