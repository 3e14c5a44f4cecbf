//! The completer: owns the log, writes one checkpoint after the other, and sweeps between them.

use floe_core::committable::ManifestRef;
use floe_core::ports::{CheckpointDraft, CheckpointLog};
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant};

use crate::alarm::Alarm;
use crate::run::Event;

/// People wait this long for an answer, and a store is asked for one small object each time.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

pub(crate) enum ToComplete {
    Draft(Box<CheckpointDraft>),
    Sweep { pending: Vec<ManifestRef> },
}

pub(crate) async fn complete_checkpoints(
    mut log: Box<dyn CheckpointLog>,
    mut input: mpsc::Receiver<ToComplete>,
    events: mpsc::UnboundedSender<Event>,
    keep: usize,
) -> Box<dyn CheckpointLog> {
    let _alarm = Alarm::new("completer", &events);
    let mut look_at = Instant::now();
    loop {
        if Instant::now() >= look_at {
            look_at = Instant::now() + LOOK_INTERVAL;
            if look_for_requests(log.as_mut(), &events).await.is_err() {
                return log;
            }
        }
        // `recv` loses nothing when it is dropped.
        let work = match tokio::time::timeout_at(look_at, input.recv()).await {
            Ok(Some(work)) => work,
            Ok(None) => return log,
            Err(_) => continue,
        };
        match work {
            ToComplete::Draft(draft) => {
                let begin = tokio::time::Instant::now();
                let event = match log.complete(*draft).await {
                    Ok((place, manifest)) => {
                        Event::Completed { place, manifest, took: begin.elapsed() }
                    }
                    Err(error) => Event::Failed(error),
                };
                if events.send(event).is_err() {
                    return log;
                }
            }
            ToComplete::Sweep { pending } => match log.sweep(keep, &pending).await {
                Ok(report) if report.entries + report.objects > 0 => {
                    tracing::debug!(entries = report.entries, objects = report.objects, "swept");
                }
                Ok(_) => {}
                // What could not be deleted now is garbage still at the next sweep.
                Err(error) => tracing::warn!("could not sweep old checkpoints: {error}"),
            },
        }
    }
}

/// Did a person ask for a savepoint? An error means that nobody listens any more.
async fn look_for_requests(
    log: &mut dyn CheckpointLog,
    events: &mpsc::UnboundedSender<Event>,
) -> Result<(), mpsc::error::SendError<Event>> {
    match log.savepoint_asked().await {
        Ok(false) => Ok(()),
        Ok(true) => events.send(Event::SavepointAsked),
        // Whoever asked still waits, and the next look is soon.
        Err(error) => {
            tracing::warn!("could not look for requests of savepoints: {error}");
            Ok(())
        }
    }
}
