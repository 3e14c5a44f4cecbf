//! The rows of several data files, written again into few.

use std::collections::HashMap;
use std::sync::Arc;

use futures::stream::{StreamExt, TryStreamExt};
use iceberg::scan::{ArrowRecordBatchStream, FileScanTask};
use iceberg::spec::{
    DEFAULT_SCHEMA_NAME_MAPPING, DataContentType, DataFile, DataFileFormat, NameMapping,
    PartitionKey, PartitionSpecRef, SchemaRef, Struct,
};
use iceberg::table::Table;
use iceberg::writer::base_writer::data_file_writer::DataFileWriterBuilder;
use iceberg::writer::file_writer::ParquetWriterBuilder;
use iceberg::writer::file_writer::location_generator::{
    DefaultFileNameGenerator, DefaultLocationGenerator,
};
use iceberg::writer::file_writer::rolling_writer::RollingFileWriterBuilder;
use iceberg::writer::{IcebergWriter as _, IcebergWriterBuilder};
use iceberg::{Error, ErrorKind, Result};

use super::super::writer::properties_of;

/// Rows of a batch on their way.
const BATCH_ROWS: usize = 8192;

pub(super) fn can_be_written_again(file: &DataFile) -> bool {
    file.content_type() == DataContentType::Data
        && file.file_format() == DataFileFormat::Parquet
        && file.key_metadata().is_none()
}

/// All `files` are of one partition. They are read by the table's schema, as a query reads them.
pub(super) async fn write_again(
    table: &Table,
    files: &[DataFile],
    name: &str,
    file_bytes: u64,
) -> Result<Vec<DataFile>> {
    let metadata = table.metadata();
    let (schema, spec) = (metadata.current_schema(), metadata.default_partition_spec());
    let mut rows = rows_of(table, files, schema, spec)?;

    let properties = properties_of(metadata.properties())
        .map_err(|error| Error::new(ErrorKind::DataInvalid, error.message))?;
    let names = DefaultFileNameGenerator::new(
        name.to_owned(),
        Some("rewritten".to_owned()),
        DataFileFormat::Parquet,
    );
    let rolling = RollingFileWriterBuilder::new(
        ParquetWriterBuilder::new(properties, Arc::clone(schema)),
        file_bytes as usize,
        table.file_io().clone(),
        DefaultLocationGenerator::new(metadata)?,
        names,
    );
    let partition = files[0].partition();
    let key = (*partition != Struct::empty())
        .then(|| PartitionKey::new(spec.as_ref().clone(), Arc::clone(schema), partition.clone()));
    let mut writer = DataFileWriterBuilder::new(rolling).build(key).await?;
    while let Some(batch) = rows.try_next().await? {
        if batch.num_rows() > 0 {
            writer.write(batch).await?;
        }
    }
    let made = writer.close().await?;
    let count = |files: &[DataFile]| files.iter().map(DataFile::record_count).sum::<u64>();
    // What is thrown away after this is in the new files, row for row.
    assert_eq!(count(&made), count(files), "rows of rewritten files");
    Ok(made)
}

/// The rows of data files of one partition spec, file by file and in their order, by a schema of the table.
pub(crate) fn rows_of(
    table: &Table,
    files: &[DataFile],
    schema: &SchemaRef,
    spec: &PartitionSpecRef,
) -> Result<ArrowRecordBatchStream> {
    let field_ids: Vec<i32> = schema.as_struct().fields().iter().map(|it| it.id).collect();
    let mapping = name_mapping(table.metadata().properties())?;
    let tasks: Vec<Result<FileScanTask>> = files
        .iter()
        .map(|file| {
            Ok(FileScanTask::builder()
                .with_file_size_in_bytes(file.file_size_in_bytes())
                .with_start(0)
                .with_length(file.file_size_in_bytes())
                .with_record_count(Some(file.record_count()))
                .with_data_file_path(file.file_path().to_owned())
                .with_data_file_format(file.file_format())
                .with_schema(Arc::clone(schema))
                .with_project_field_ids(field_ids.clone())
                .with_partition(Some(file.partition().clone()))
                .with_partition_spec(Some(Arc::clone(spec)))
                .with_name_mapping(mapping.clone())
                .with_case_sensitive(true)
                .build())
        })
        .collect();
    let reader = table
        .reader_builder()
        .with_data_file_concurrency_limit(1)
        .with_batch_size(BATCH_ROWS)
        .build();
    Ok(reader.read(futures::stream::iter(tasks).boxed())?.stream())
}

/// Names stand for field ids in files of strangers that have none; what is written again has them.
fn name_mapping(properties: &HashMap<String, String>) -> Result<Option<Arc<NameMapping>>> {
    let Some(text) = properties.get(DEFAULT_SCHEMA_NAME_MAPPING) else { return Ok(None) };
    let mapping = serde_json::from_str(text).map_err(|error| {
        let what = format!("property {DEFAULT_SCHEMA_NAME_MAPPING} is no name mapping: {error}");
        Error::new(ErrorKind::DataInvalid, what)
    })?;
    Ok(Some(Arc::new(mapping)))
}
