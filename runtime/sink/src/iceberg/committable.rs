//! The sink's own bytes in a committable: the files of an epoch, as Iceberg describes them.

use std::sync::Arc;

use bytes::Bytes;
use floe_core::{Error, Result};
use iceberg::spec::{
    DataFile, FormatVersion, SchemaRef, deserialize_data_file_from_json,
    serialize_data_file_to_json,
};
use iceberg::table::Table;
use serde::{Deserialize, Serialize};

use super::delta::{BySpec, Delta};
use super::error::describe;

/// Of an epoch that appends.
const APPENDS: u32 = 1;
/// Of an epoch that deletes too: a floe that knows appends alone must not take it for one.
const DELETES: u32 = 2;
/// Of an epoch that replaces partitions.
const REPLACES: u32 = 3;

#[derive(Serialize, Deserialize)]
struct Content {
    version: u32,
    table_uuid: String,
    partition_spec_id: i32,
    schema_id: i32,
    format_version: u8,
    files: Vec<String>,
    /// Equality deletes, for each partition spec that rows of the table have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    deletes: Vec<Deletes>,
}

#[derive(Serialize, Deserialize)]
struct Deletes {
    partition_spec_id: i32,
    files: Vec<String>,
}

/// `data` was written with the table's default partition spec, and replaces nothing.
pub(super) fn encode(table: &Table, data: Vec<DataFile>, deletes: BySpec) -> Result<Bytes> {
    let version = if deletes.is_empty() { APPENDS } else { DELETES };
    encode_as(version, table, data, deletes)
}

/// `data` was written with the table's default partition spec, and replaces what its partitions have.
pub(super) fn encode_replacing(table: &Table, data: Vec<DataFile>) -> Result<Bytes> {
    encode_as(REPLACES, table, data, BySpec::new())
}

fn encode_as(version: u32, table: &Table, data: Vec<DataFile>, deletes: BySpec) -> Result<Bytes> {
    let metadata = table.metadata();
    let spec = metadata.default_partition_spec_id();
    let deletes = deletes
        .into_iter()
        .map(|(partition_spec_id, files)| {
            let files = to_texts(table, partition_spec_id, files)?;
            Ok(Deletes { partition_spec_id, files })
        })
        .collect::<Result<Vec<Deletes>>>()?;
    let content = Content {
        version,
        table_uuid: metadata.uuid().to_string(),
        partition_spec_id: spec,
        schema_id: metadata.current_schema_id(),
        format_version: metadata.format_version() as u8,
        files: to_texts(table, spec, data)?,
        deletes,
    };
    let bytes = serde_json::to_vec(&content).expect("strings and numbers can be written as JSON");
    Ok(Bytes::from(bytes))
}

/// Whether the epoch takes rows out of the table. Then it is a snapshot of its own.
pub fn takes_rows_out(bytes: &[u8]) -> Result<bool> {
    let content: Content = serde_json::from_slice(bytes)
        .map_err(|error| Error::corrupt(format!("committable: {error}")))?;
    Ok(!content.deletes.is_empty() || content.version == REPLACES)
}

fn to_texts(table: &Table, spec: i32, files: Vec<DataFile>) -> Result<Vec<String>> {
    let failed = |error: iceberg::Error| {
        Error::invalid(format!("describe data files: {}", describe(&error)))
    };
    let metadata = table.metadata();
    let spec = metadata.partition_spec_by_id(spec).expect("it was written with the table's spec");
    let partition = spec.partition_type(metadata.current_schema()).map_err(failed)?;
    files
        .into_iter()
        .map(|file| serialize_data_file_to_json(file, &partition, metadata.format_version()))
        .collect::<iceberg::Result<Vec<String>>>()
        .map_err(failed)
}

/// The files, read with the schema and partition specs that they were written with.
pub(super) fn decode(table: &Table, bytes: &[u8]) -> Result<Delta> {
    let corrupt = |what: String| {
        Error::corrupt(format!("committable for table {}: {what}", table.identifier()))
    };
    let content: Content =
        serde_json::from_slice(bytes).map_err(|error| corrupt(error.to_string()))?;
    if !matches!(content.version, APPENDS | DELETES | REPLACES) {
        return Err(corrupt(format!("version {} is not known", content.version)));
    }
    let metadata = table.metadata();
    let Some(schema) = metadata.schema_by_id(content.schema_id) else {
        return Err(corrupt(format!("schema {} is no longer in the table", content.schema_id)));
    };
    if content.format_version != metadata.format_version() as u8
        && metadata.format_version() < FormatVersion::V2
    {
        return Err(corrupt("the table's format version went back".to_owned()));
    }
    let mut delta = Delta {
        schema: Arc::clone(schema),
        data: BySpec::new(),
        deletes: BySpec::new(),
        replaces: content.version == REPLACES,
    };
    if !content.files.is_empty() {
        let files = from_texts(table, schema, content.partition_spec_id, &content.files);
        delta.data.insert(content.partition_spec_id, files.map_err(corrupt)?);
    }
    for deletes in &content.deletes {
        let files = from_texts(table, schema, deletes.partition_spec_id, &deletes.files);
        delta.deletes.insert(deletes.partition_spec_id, files.map_err(corrupt)?);
    }
    Ok(delta)
}

fn from_texts(
    table: &Table,
    schema: &SchemaRef,
    spec_id: i32,
    texts: &[String],
) -> std::result::Result<Vec<DataFile>, String> {
    let Some(spec) = table.metadata().partition_spec_by_id(spec_id) else {
        return Err(format!("partition spec {spec_id} is no longer in the table"));
    };
    let partition = spec.partition_type(schema).map_err(|error| describe(&error))?;
    texts
        .iter()
        .map(|it| deserialize_data_file_from_json(it, spec_id, &partition, schema))
        .collect::<iceberg::Result<Vec<DataFile>>>()
        .map_err(|error| describe(&error))
}
