//! What must hold before the first row is upserted: what doesn't is refused by name.

use std::collections::BTreeSet;

use arrow_schema::SchemaRef;
use floe_core::{Error, Result};
use iceberg::spec::{FormatVersion, ManifestContentType, PartitionSpec};
use iceberg::table::Table;

use super::super::config::TableConfig;
use super::super::error::read_failed;
use super::super::partition::columns;
use super::super::update::parent_of;
use super::key::can_be_key;

/// The key against what the operator emits and how a new table is to be partitioned.
pub(in super::super) fn check_config(
    key: &[String],
    config: &TableConfig,
    rows: &SchemaRef,
) -> Result<()> {
    for name in key {
        let Ok(column) = rows.field_with_name(name) else {
            return Err(Error::invalid(format!("key: the operator emits no column {name:?}")));
        };
        if !can_be_key(column) {
            return Err(Error::invalid(format!(
                "key: column {name:?} is {}, which cannot be part of a key",
                column.data_type()
            )));
        }
        if column.is_nullable() {
            return Err(Error::invalid(format!(
                "key: column {name:?} is optional\n  → a row without a value there has no key: make it required in the operator's output"
            )));
        }
    }
    for column in columns(&config.partition_by)? {
        if !key.contains(&column) {
            return Err(outside_of_key("partition-by", &column));
        }
    }
    Ok(())
}

fn outside_of_key(what: &str, column: &str) -> Error {
    Error::invalid(format!(
        "{what}: column {column:?} is not part of the key, so a row's newer version could lie in another partition, where its delete does not reach the older one\n  → add {column:?} to key, or partition by columns of the key"
    ))
}

/// The table against the key: its format, and each partition spec that its rows have.
pub(in super::super) fn check_table(table: &Table, key: &[String], specs: &[i32]) -> Result<()> {
    let metadata = table.metadata();
    if metadata.format_version() != FormatVersion::V2 {
        return Err(Error::invalid(format!(
            "mode = \"upsert\" needs a table of format version 2, and {} is of {}",
            table.identifier(),
            metadata.format_version() as u8
        )));
    }
    for spec in specs.iter().filter_map(|it| metadata.partition_spec_by_id(*it)) {
        for column in source_columns(table, spec) {
            if !key.contains(&column) {
                let what = format!("partition spec {} of the table", spec.spec_id());
                return Err(outside_of_key(&what, &column));
            }
        }
    }
    Ok(())
}

fn source_columns(table: &Table, spec: &PartitionSpec) -> Vec<String> {
    let schema = table.metadata().current_schema();
    spec.fields()
        .iter()
        .map(|it| schema.name_by_field_id(it.source_id).unwrap_or("(dropped)").to_owned())
        .collect()
}

/// The table's own partition spec, and those that rows of the branch were written with before.
pub(in super::super) async fn specs_in_use(table: &Table, branch: &str) -> Result<Vec<i32>> {
    let metadata = table.metadata();
    let mut specs = BTreeSet::from([metadata.default_partition_spec_id()]);
    if let Some(head) = parent_of(metadata, branch) {
        let list = table.manifest_list_reader(&head).load().await;
        let list = list.map_err(|error| read_failed("read the table's manifest list", &error))?;
        let with_rows = list.entries().iter().filter(|it| {
            it.content == ManifestContentType::Data
                && (it.has_added_files() || it.has_existing_files())
        });
        specs.extend(with_rows.map(|it| it.partition_spec_id));
    }
    Ok(specs.into_iter().collect())
}
