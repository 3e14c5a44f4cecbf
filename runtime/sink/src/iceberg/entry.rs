//! Entries of older manifests, written into a new one with the numbers that they have.

use iceberg::spec::{ManifestEntryRef, ManifestWriter};
use iceberg::{Error, ErrorKind, Result};

/// The file stays, and stays as old as it is.
pub(super) fn keep(writer: &mut ManifestWriter, entry: &ManifestEntryRef) -> Result<()> {
    let Numbers { snapshot, sequence, file_sequence } = numbers(entry)?;
    writer.add_existing_file(entry.data_file().clone(), snapshot, sequence, file_sequence)
}

/// The file goes.
pub(super) fn remove(writer: &mut ManifestWriter, entry: &ManifestEntryRef) -> Result<()> {
    let Numbers { sequence, file_sequence, .. } = numbers(entry)?;
    writer.add_delete_file(entry.data_file().clone(), sequence, file_sequence)
}

/// What a file keeps from the snapshot that added it.
struct Numbers {
    snapshot: i64,
    sequence: i64,
    file_sequence: Option<i64>,
}

fn numbers(entry: &ManifestEntryRef) -> Result<Numbers> {
    let (Some(snapshot), Some(sequence)) = (entry.snapshot_id(), entry.sequence_number()) else {
        return Err(Error::new(
            ErrorKind::DataInvalid,
            format!("{} has no sequence number in its manifest", entry.file_path()),
        ));
    };
    let file_sequence = entry.file_sequence_number.or(Some(sequence));
    Ok(Numbers { snapshot, sequence, file_sequence })
}
