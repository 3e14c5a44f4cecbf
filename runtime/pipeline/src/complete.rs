//! The completer: owns the log, writes one checkpoint after the other, and sweeps between them.

use floe_core::committable::ManifestRef;
use floe_core::ports::{CheckpointDraft, CheckpointLog};
use tokio::sync::mpsc;

use crate::alarm::Alarm;
use crate::run::Event;

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
    while let Some(work) = input.recv().await {
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
    log
}
