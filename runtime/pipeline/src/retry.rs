//! Dead letters given back: an epoch of its own, by a new owner, with nothing from the source in it.
//!
//! Its one manifest carries the rows that came of them and the marks that they were given back, so that
//! both are in their tables, or neither is. Before it is visible nothing has happened; from then on the
//! recovery of whoever comes next commits it.

use std::sync::Arc;

use floe_core::committable::{CommittedSnapshot, ManifestRef};
use floe_core::manifest::{CheckpointManifest, PipelineIdentity, SinkEntry};
use floe_core::ports::{CheckpointDraft, CheckpointLog, Clock, Source};
use floe_core::protocol::guarantee::Guarantee;
use floe_core::{Epoch, Error, EventTime, Records, Result};

use crate::commit::{Sink, commit_request, commit_until_settled};
use crate::keyed::KeyedTask;
use crate::passed::{Next, PassedRows};
use crate::recovery::{Start, recover};
use crate::run::{Connected, split_sinks};
use crate::start::{TaskParts, Tasks, blocking, identity_now, keyed_stages, open_tasks};
use crate::task::{Output, Stopped, Suspect, Task};
use crate::telemetry::Status;
use crate::wiring::{RunConfig, Wiring};

/// A pipeline at its newest checkpoint, with everything before it in the tables.
pub struct Retry {
    connected: Connected,
    sinks: Vec<Sink>,
    row_sinks: usize,
    identity: PipelineIdentity,
    start: Start,
    tasks: Tasks,
    stages: Vec<Next>,
    clock: Arc<dyn Clock>,
    config: RunConfig,
    status: Arc<Status>,
}

/// What came of the letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retried {
    pub epoch: Option<Epoch>,
    pub records: u64,
    pub rows: u64,
    /// Records that were rejected again: they are dead letters of this epoch.
    pub rejected: u64,
}

impl Retry {
    /// Commits what the checkpoints carry, and restores. Only then does the table of dead letters say which
    /// of them were given back already.
    pub async fn begin(config: RunConfig, wiring: Wiring, status: Arc<Status>) -> Result<Retry> {
        if config.guarantee != Guarantee::ExactlyOnce {
            return Err(Error::refused(
                "dead letters are given back under guarantee = \"exactly-once\" alone: nothing else knows which were",
            ));
        }
        let Wiring { source, decoder, operators, graph, sinks, dead_letters, log, clock } = wiring;
        let row_sinks = sinks.len();
        let (sinks, mut writers) = split_sinks(sinks, dead_letters);
        let (partitions, source) = blocking(move || {
            let mut source: Box<dyn Source> = source;
            let partitions = source.partitions()?;
            Ok((partitions, source))
        })
        .await?;
        let identity = identity_now(&config, decoder.as_ref(), &operators, &graph, &partitions);
        let start = recover(
            log.as_ref(),
            &sinks,
            &identity,
            config.guarantee,
            config.new_partitions,
            &status,
        )
        .await?;
        let Some((_, newest)) = &start.newest else {
            return Err(Error::invalid(
                "the pipeline has no checkpoint yet: it has no dead letters",
            ));
        };
        for writer in &mut writers {
            writer.begin().await?;
        }
        let position = newest.position();
        let parts = TaskParts { decoder: &decoder, operators: &operators, graph: &graph };
        let stages = keyed_stages(&graph, &operators)?;
        let mut tasks = open_tasks(&config, log.as_ref(), &start, &parts, &position).await?;
        // Nothing is taken twice here, so each call must decide.
        let tasks = blocking(move || {
            tasks.source.iter_mut().try_for_each(Task::count_fuel)?;
            tasks.keyed.iter_mut().flatten().try_for_each(KeyedTask::count_fuel)?;
            Ok(tasks)
        })
        .await?;
        let connected = Connected { source, writers, log };
        Ok(Retry {
            connected,
            sinks,
            row_sinks,
            identity,
            start,
            tasks,
            stages,
            clock,
            config,
            status,
        })
    }

    /// Puts the records through the operators, completes the epoch and commits it.
    pub async fn take(self, letters: Vec<Records>) -> Result<Retried> {
        let Retry {
            connected,
            sinks,
            row_sinks,
            identity,
            start,
            mut tasks,
            stages,
            clock,
            config,
            status,
        } = self;
        let Connected { mut writers, mut log, .. } = connected;
        let epoch = start.next_epoch();
        let records: u64 = letters.iter().map(|it| it.len() as u64).sum();
        if records == 0 {
            return Ok(Retried::default());
        }
        let mut outputs = Vec::new();
        for letters in letters {
            let of = letters.topic_partition().clone();
            let Some(task) = tasks.source.iter_mut().find(|it| it.task == of) else {
                return Err(Error::invalid(format!("the checkpoint has no task {of}")));
            };
            let most = config.batch_records_max;
            for from in (0..letters.len()).step_by(most) {
                let part = letters.slice(from..letters.len().min(from + most));
                let output = task.retry(&part, epoch, &status)?;
                let from = (task.number, task.virtual_time);
                pass_on(&mut tasks.keyed, &stages, from, output, (epoch, &status), &mut outputs)?;
            }
        }
        for output in outputs {
            for (sink, rows) in output.rows {
                writers[sink].write(epoch, rows).await?;
            }
            let of_letters = writers.get_mut(row_sinks);
            if let (Some(letters), Some(writer)) = (output.dead_letters, of_letters) {
                writer.write(epoch, letters).await?;
            }
        }
        let mut entries = Vec::new();
        for (index, (sink, writer)) in sinks.iter().zip(&mut writers).enumerate() {
            entries.push(SinkEntry {
                name: sink.name.clone(),
                table: sink.table.clone(),
                table_uuid: sink.table_uuid,
                committable: writer.prepare(epoch).await?,
                predecessor: start.sinks[index].newest_committing,
                committed: start.sinks[index].committed,
            });
        }
        let rows = entries[..row_sinks].iter().map(|it| it.committable.rows).sum();
        let mut captured: Vec<_> =
            tasks.source.iter_mut().map(Task::capture).collect::<Result<_>>()?;
        for task in tasks.keyed.iter_mut().flatten() {
            captured.push(task.capture()?);
        }
        captured.sort_by(|a, b| a.task.cmp(&b.task));
        let draft = CheckpointDraft {
            epoch,
            identity,
            tasks: captured,
            sinks: entries,
            created_ms: clock.wall_ms(),
            savepoint: false,
        };
        let (place, manifest) = log.complete(draft).await?;
        commit(&*log, &sinks, place, &manifest, &status).await?;
        let rejected = status.rejected_total();
        Ok(Retried { epoch: Some(epoch), records, rows, rejected })
    }
}

/// What a task hands to the next stage goes through it at once: nothing else is on its way.
fn pass_on(
    keyed: &mut [Vec<KeyedTask>],
    stages: &[Next],
    (from, virtual_time): (u32, EventTime),
    mut output: Output,
    (epoch, status): (Epoch, &Status),
    outputs: &mut Vec<Output>,
) -> Result<()> {
    let passed = std::mem::take(&mut output.next);
    outputs.push(output);
    let (Some((tasks, keyed)), Some((next, stages))) =
        (keyed.split_first_mut(), stages.split_first())
    else {
        return Ok(());
    };
    for (batch, origin) in passed {
        for (to, batch) in next.part(&batch)? {
            let task = &mut tasks[to as usize];
            task.careful = true;
            let rows = PassedRows { from, to, batch, origin: origin.clone(), virtual_time };
            let output = task.take(&rows, epoch, status).map_err(|stopped| match stopped {
                Stopped::Failed(error) | Stopped::Poisoned(Suspect { error, .. }) => error,
            })?;
            let from = (to, task.virtual_time);
            pass_on(keyed, stages, from, output, (epoch, status), outputs)?;
        }
    }
    Ok(())
}

async fn commit(
    log: &dyn CheckpointLog,
    sinks: &[Sink],
    place: ManifestRef,
    manifest: &Arc<CheckpointManifest>,
    status: &Status,
) -> Result<Vec<CommittedSnapshot>> {
    let (view, guarantee) = (log.view(), Guarantee::ExactlyOnce);
    let mut done = Vec::new();
    for sink in sinks {
        let checkpoint = [(place, Arc::clone(manifest))];
        let Some(request) = commit_request(&checkpoint, &sink.name, guarantee) else { continue };
        let outcome =
            commit_until_settled(sink, &request, guarantee, view.as_ref(), status).await?;
        done.extend(outcome.map(|it| it.snapshot));
    }
    Ok(done)
}
