//! The sink's own bytes in a committable: the data files of an epoch, as Iceberg describes them.

use bytes::Bytes;
use floe_core::{Error, Result};
use iceberg::spec::{
    DataFile, FormatVersion, deserialize_data_file_from_json, serialize_data_file_to_json,
};
use iceberg::table::Table;
use serde::{Deserialize, Serialize};

use super::error::describe;

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Content {
    version: u32,
    table_uuid: String,
    partition_spec_id: i32,
    schema_id: i32,
    format_version: u8,
    files: Vec<String>,
}

pub(super) fn encode(table: &Table, files: Vec<DataFile>) -> Result<Bytes> {
    let metadata = table.metadata();
    let partition = metadata.default_partition_type();
    let files = files
        .into_iter()
        .map(|file| serialize_data_file_to_json(file, partition, metadata.format_version()))
        .collect::<iceberg::Result<Vec<String>>>()
        .map_err(|error| Error::invalid(format!("describe data files: {}", describe(&error))))?;
    let content = Content {
        version: VERSION,
        table_uuid: metadata.uuid().to_string(),
        partition_spec_id: metadata.default_partition_spec_id(),
        schema_id: metadata.current_schema_id(),
        format_version: metadata.format_version() as u8,
        files,
    };
    let bytes = serde_json::to_vec(&content).expect("strings and numbers can be written as JSON");
    Ok(Bytes::from(bytes))
}

/// The files, read with the schema and partition spec that they were written with.
pub(super) fn decode(table: &Table, bytes: &[u8]) -> Result<Vec<DataFile>> {
    let corrupt = |what: String| {
        Error::corrupt(format!("committable for table {}: {what}", table.identifier()))
    };
    let content: Content =
        serde_json::from_slice(bytes).map_err(|error| corrupt(error.to_string()))?;
    if content.version != VERSION {
        return Err(corrupt(format!("version {} is not known", content.version)));
    }
    let metadata = table.metadata();
    let Some(schema) = metadata.schema_by_id(content.schema_id) else {
        return Err(corrupt(format!("schema {} is no longer in the table", content.schema_id)));
    };
    let Some(spec) = metadata.partition_spec_by_id(content.partition_spec_id) else {
        return Err(corrupt(format!(
            "partition spec {} is no longer in the table",
            content.partition_spec_id
        )));
    };
    if content.format_version != metadata.format_version() as u8
        && metadata.format_version() < FormatVersion::V2
    {
        return Err(corrupt("the table's format version went back".to_owned()));
    }
    let partition = spec.partition_type(schema).map_err(|error| corrupt(describe(&error)))?;
    content
        .files
        .iter()
        .map(|it| {
            deserialize_data_file_from_json(it, content.partition_spec_id, &partition, schema)
        })
        .collect::<iceberg::Result<Vec<DataFile>>>()
        .map_err(|error| corrupt(describe(&error)))
}
