//! Fills one slot of the log, and settles a lost answer by reading back.

use std::time::Duration;

use bytes::Bytes;
use floe_core::epoch::{EntryId, Slot};
use floe_core::log_entry::LogEntry;
use floe_core::ports::{ObjectStore, Put};
use floe_core::{Error, ErrorKind, Result};
use tokio::time::Instant;

use crate::log::read_entry;
use crate::paths::Paths;

const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(5);

pub(crate) enum Filled {
    Ours,
    Taken(Box<LogEntry>),
}

/// Puts the entry into this slot and no other, again and again until it is known whose the slot is.
///
/// Repeating it is harmless: the bytes are the same, and the slot is filled once. A first put that lands
/// late either is the entry or finds the slot taken. After `patience` the error is `Unknown`.
pub(crate) async fn fill_slot(
    store: &dyn ObjectStore,
    pipeline: &str,
    slot: Slot,
    id: EntryId,
    sealed: &Bytes,
    patience: Duration,
) -> Result<Filled> {
    let path = Paths::of(pipeline)?.entry(slot);
    let started = Instant::now();
    let mut pause = PAUSE_MIN;
    loop {
        let why = match store.put_if_absent(&path, sealed.clone()).await {
            Ok(Put::Created) => return Ok(Filled::Ours),
            Ok(Put::Exists) => Error::unknown(format!("{path} exists and cannot be read")),
            Err(error) => match error.kind {
                ErrorKind::Unknown | ErrorKind::Retry => error,
                ErrorKind::Fenced { .. }
                | ErrorKind::Invalid
                | ErrorKind::Refused
                | ErrorKind::Corrupt
                | ErrorKind::Operator => return Err(error),
            },
        };
        match read_entry(store, pipeline, slot).await {
            Ok(Some(entry)) if entry.id() == id => return Ok(Filled::Ours),
            Ok(Some(entry)) => return Ok(Filled::Taken(Box::new(entry))),
            Ok(None) => {}
            Err(error) if error.kind == ErrorKind::Retry => {}
            Err(error) => return Err(error),
        }
        if started.elapsed() >= patience {
            return Err(Error::unknown(format!(
                "whether {path} was written is not known: {}\n  → start again when the store answers: the start settles it",
                why.message
            )));
        }
        tracing::warn!(path, error = %why, "the store's answer was lost, asking again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
