//! The rows that a run's epoch left in a table: from the table's data files, or from a bundle, which carries them.

use std::path::PathBuf;

use arrow_array::RecordBatch;
use floe_core::manifest::SinkEntry;
use floe_core::{Error, Result};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::rows_differ::{Row, objects};
use super::subject::Subject;
use crate::wire;

/// By the epoch and the sink's number.
pub(crate) fn name_in_bundle(epoch: u64, sink: usize) -> String {
    format!("rows/{epoch}-{sink}.parquet")
}

/// `None` where the sink is no table, or the bundle was made without its rows.
pub(crate) async fn of(
    subject: &Subject,
    epoch: u64,
    sink: usize,
    entry: &SinkEntry,
) -> Result<Option<Vec<Row>>> {
    let Some(table) = subject.spec.sinks[sink].spec.table() else { return Ok(None) };
    let batches = match &subject.folder {
        None => wire::epoch_rows(table, entry).await?,
        Some(folder) => {
            let file = folder.path().join(name_in_bundle(epoch, sink));
            if !file.exists() {
                return Ok(None);
            }
            read(file)?
        }
    };
    Ok(Some(batches.iter().flat_map(objects).collect()))
}

/// What a bundle carries of an epoch's rows; `None` for none.
pub(crate) fn write(batches: &[RecordBatch]) -> Result<Option<Vec<u8>>> {
    let Some(first) = batches.first() else { return Ok(None) };
    let failed = |error| Error::invalid(format!("rows cannot be put into the bundle: {error}"));
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, first.schema(), None).map_err(failed)?;
    for batch in batches {
        writer.write(batch).map_err(failed)?;
    }
    writer.close().map_err(failed)?;
    Ok(Some(bytes))
}

fn read(file: PathBuf) -> Result<Vec<RecordBatch>> {
    let broken = |error: String| {
        Error::corrupt(format!("the rows of the bundle, {}: {error}", file.display()))
    };
    let opened = std::fs::File::open(&file).map_err(|it| broken(it.to_string()))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(opened)
        .and_then(|it| it.build())
        .map_err(|it| broken(it.to_string()))?;
    reader.collect::<std::result::Result<_, _>>().map_err(|it| broken(it.to_string()))
}
