//! `[recording]`: how much of the input is kept beside the checkpoints.

use crate::config::diagnose::Problem;
use crate::config::document::RecordingTable;
use crate::config::{Origin, RecordingSpec, SourceSpec};

/// Of one epoch, compressed: it is in memory until the epoch is complete.
const EPOCH_BYTES_MAX: u64 = 256 << 20;

pub(super) fn recording(
    table: RecordingTable,
    sources: &[SourceSpec],
) -> Result<RecordingSpec, Problem> {
    if sources.iter().any(|it| matches!(it.origin, Origin::Recording { .. })) {
        let what = "[recording] is for kafka, and a source is a recording";
        return Err(Problem::new("recording", what)
            .help("take it out: the file has the input of all epochs"));
    }
    let keep_epochs = match table.keep.split_whitespace().collect::<Vec<_>>().as_slice() {
        [number, "epochs" | "epoch"] => number.parse().ok().filter(|it| *it > 0),
        _ => None,
    };
    let keep_epochs = keep_epochs.ok_or_else(|| {
        Problem::new("recording.keep", format!("{:?} is no number of epochs", table.keep))
            .help("keep = \"10 epochs\"")
    })?;
    let epoch_bytes_max = table.epoch_max.map_or(EPOCH_BYTES_MAX, |it| it.0);
    Ok(RecordingSpec { keep_epochs, epoch_bytes_max })
}
