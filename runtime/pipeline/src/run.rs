//! The run of one pipeline: claims are made and parts are wired; this joins them until the end.
//!
//! The coordinator is the one loop here. It turns what happens into events of `protocol::advance` and
//! does the actions that come back; it decides nothing itself.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use floe_core::committable::{Committable, CommittedSnapshot, ManifestRef};
use floe_core::crash_point::{CrashPoint, hit};
use floe_core::event_time::EventTime;
use floe_core::journal::Journal;
use floe_core::manifest::{
    CheckpointManifest, OperatorIdentity, PipelineIdentity, SinkEntry, TopicIdentity,
};
use floe_core::ports::{
    CheckpointDraft, CheckpointLog, Clock, Committer, DecoderFactory, LogView, OperatorFactory,
    PartitionFacts, SinkWriter, Source, StartAt,
};
use floe_core::protocol::advance::{self, Action};
use floe_core::protocol::identity::NewPartitions;
use floe_core::task::CapturedTask;
use floe_core::{Epoch, Error, Position, Result, TopicPartition};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::commit::{Sink, commit_request, commit_until_settled};
use crate::drive::{Driver, Driving, EDGE_ELEMENTS_MAX, Edges, drive};
use crate::reader::{Reader, ReaderCommand};
use crate::recovery::{SinkHistory, Start, recover, start_position};
use crate::task::{Link, Task};
use crate::telemetry::{EpochStatus, Status};
use crate::worker::Worker;
use crate::writer::Writer;

pub struct RunConfig {
    pub pipeline: String,
    pub guarantee: String,
    pub interval: Duration,
    /// Completed checkpoints that may wait for their commit, before input is held back.
    pub commits_pending_max: usize,
    /// Checkpoints kept.
    pub keep: usize,
    pub workers: usize,
    pub batch_records_max: usize,
    /// Stop at the ends that the partitions have at the start.
    pub until_end: bool,
    pub start: StartAt,
    pub new_partitions: NewPartitions,
    /// Dead letters between two checkpoints and a worker, before the pipeline stops.
    pub dead_letters_max: u64,
    pub engine: String,
    pub isa: String,
    pub driving: Driving,
}

/// What to do with a record that the decoder or an operator would not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    Fail,
    Skip,
    DeadLetter,
}

pub struct OperatorWiring {
    pub name: String,
    pub factory: Arc<dyn OperatorFactory>,
    pub on_error: OnError,
}

pub struct SinkWiring {
    pub name: String,
    pub table: String,
    pub table_uuid: [u8; 16],
    pub writer: Box<dyn SinkWriter>,
    pub committer: Arc<dyn Committer>,
}

pub struct Wiring {
    pub source: Box<dyn Source>,
    pub decoder: Arc<dyn DecoderFactory>,
    pub operators: Vec<OperatorWiring>,
    pub sink: SinkWiring,
    pub dead_letters: Option<SinkWiring>,
    pub log: Box<dyn CheckpointLog>,
    pub clock: Arc<dyn Clock>,
}

/// What a run did, for its last line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunSummary {
    pub epochs: u64,
    pub records: u64,
    pub rows: u64,
    pub rejected: u64,
    pub last_epoch: Option<Epoch>,
}

/// What happens, as the threads and tasks of the run tell it.
pub(crate) enum Event {
    Took,
    InputEnded,
    Captured { epoch: Epoch, tasks: Vec<CapturedTask>, pause: Duration },
    Prepared { epoch: Epoch, sink: usize, committable: Committable },
    Completed { place: ManifestRef, manifest: Arc<CheckpointManifest>, took: Duration },
    Committed { epoch: Epoch, snapshots: Vec<Option<CommittedSnapshot>>, took: Duration },
    Partitions(Result<Vec<PartitionFacts>>),
    Failed(Error),
}

/// Runs until the input ends, `stop` turns true, or something fails.
///
/// An error leaves everything as a crash would: nothing of the open epoch is in a table, and the next
/// run goes on at the newest checkpoint.
pub async fn run(
    config: RunConfig,
    wiring: Wiring,
    stop: watch::Receiver<bool>,
    status: Arc<Status>,
) -> Result<RunSummary> {
    let Wiring { mut source, decoder, operators, sink, dead_letters, log, clock } = wiring;
    status.generation.store(log.generation().0, Ordering::Relaxed);

    let (partitions, source) = blocking(move || {
        let partitions = source.partitions()?;
        Ok((partitions, source))
    })
    .await?;
    let identity = identity_now(&config, decoder.as_ref(), &operators, &partitions);
    let (sinks, writers) = split_sinks(sink, dead_letters);
    let start = recover(log.as_ref(), &sinks, &identity, config.new_partitions, &status).await?;

    let until_end = config.until_end;
    let (position, source) = assign(
        source,
        start.newest.as_ref().map(|it| Arc::clone(&it.1)),
        partitions.clone(),
        config.start,
    )
    .await?;
    for facts in &partitions {
        let next_offset = position.0[&facts.topic_partition];
        status.update_task(&facts.topic_partition, |it| {
            it.next_offset = next_offset.0;
            it.end_offset = facts.end.0;
        });
    }
    let tasks = open_tasks(&config, log.as_ref(), &start, &decoder, &operators, &position).await?;
    hit(CrashPoint::AfterRestore);

    let ends = until_end
        .then(|| partitions.iter().map(|it| (it.topic_partition.clone(), it.end)).collect());
    let (events, happened) = mpsc::unbounded_channel();
    let mut reading = Some((source, position, ends));
    let make_reader = |worker_count, worker_of| {
        let (source, position, ends) = reading.take().expect("one reader is made");
        let mut reader = Reader::new(source, worker_count, worker_of, position, events.clone());
        reader.ends = ends;
        reader.batch_records_max = config.batch_records_max;
        if config.driving == Driving::InTurn {
            reader.poll_timeout = Duration::ZERO;
        }
        reader
    };
    let first_epoch = start.next_epoch();
    let parts = Parts::start(&config, tasks, make_reader, writers, first_epoch, &events, &status);
    status.ready.store(1, Ordering::Relaxed);

    let (completer, to_complete) = mpsc::channel(1);
    let mut coordinator = Coordinator {
        state: advance::State::new(
            start.next_epoch(),
            parts.worker_count,
            sinks.len(),
            config.commits_pending_max,
        ),
        identity,
        histories: start.sinks.clone(),
        sinks: sinks.into(),
        clock,
        view: log.view(),
        reader: parts.reader.clone(),
        completer,
        events: events.clone(),
        open: None,
        pending: VecDeque::new(),
        commits: JoinSet::new(),
        status: Arc::clone(&status),
        summary: RunSummary::default(),
        new_partitions: config.new_partitions,
        records_at_barrier: 0,
        rows_at_barrier: 0,
        finished: false,
    };
    let completing = tokio::spawn(complete_checkpoints(log, to_complete, events, config.keep));

    let ended = coordinator.run(happened, stop, config.interval).await;
    status.ready.store(0, Ordering::Relaxed);
    let mut summary = coordinator.summary;
    // Dropping the coordinator closes the edges; then every thread and task comes to its end.
    coordinator.commits.shutdown().await;
    drop(coordinator);
    completing.abort();
    let _ = completing.await;
    parts.join(ended.is_err()).await;
    summary.records = status.records_in.load(Ordering::Relaxed);
    summary.rows = status.rows_out.load(Ordering::Relaxed);
    summary.rejected = status.rejected.load(Ordering::Relaxed);
    ended.map(|()| summary)
}

fn split_sinks(
    sink: SinkWiring,
    dead_letters: Option<SinkWiring>,
) -> (Vec<Sink>, Vec<Box<dyn SinkWriter>>) {
    [Some(sink), dead_letters]
        .into_iter()
        .flatten()
        .map(|SinkWiring { name, table, table_uuid, writer, committer }| {
            (Sink { name, table, table_uuid, committer }, writer)
        })
        .unzip()
}

fn identity_now(
    config: &RunConfig,
    decoder: &dyn DecoderFactory,
    operators: &[OperatorWiring],
    partitions: &[PartitionFacts],
) -> PipelineIdentity {
    let mut topics: BTreeMap<&str, TopicIdentity> = BTreeMap::new();
    for facts in partitions {
        let topic = &facts.topic_partition.topic;
        topics
            .entry(topic)
            .or_insert_with(|| TopicIdentity {
                topic: topic.to_string(),
                topic_id: facts.topic_id.clone(),
                partitions: 0,
            })
            .partitions += 1;
    }
    PipelineIdentity {
        pipeline: config.pipeline.clone(),
        guarantee: config.guarantee.clone(),
        topics: topics.into_values().collect(),
        operators: operators
            .iter()
            .map(|it| {
                let description = it.factory.describe();
                OperatorIdentity {
                    name: it.name.clone(),
                    module_hash: description.module_hash,
                    config_hash: description.config_hash,
                    state_version: description.state_version,
                }
            })
            .collect(),
        decoder: decoder.name().to_owned(),
        engine: config.engine.clone(),
        isa: config.isa.clone(),
    }
}

/// Assigns the checkpoint's position, and the start for partitions that it does not know.
async fn assign(
    mut source: Box<dyn Source>,
    newest: Option<Arc<CheckpointManifest>>,
    partitions: Vec<PartitionFacts>,
    start: StartAt,
) -> Result<(Position, Box<dyn Source>)> {
    blocking(move || {
        let known = newest.as_ref().map(|it| it.position()).unwrap_or_default();
        let unknown: Vec<TopicPartition> = partitions
            .iter()
            .map(|it| it.topic_partition.clone())
            .filter(|it| !known.0.contains_key(it))
            .collect();
        // A partition that appears beside a checkpoint is read whole: nothing of it was ever seen.
        let start = if newest.is_some() { StartAt::Earliest } else { start };
        let fresh = source.resolve_start(&unknown, start)?;
        for facts in &partitions {
            if let Some(wanted) = known.0.get(&facts.topic_partition)
                && (*wanted < facts.earliest || *wanted > facts.end)
            {
                return Err(out_of_range(facts, *wanted));
            }
        }
        let position = start_position(newest.as_deref(), &partitions, &fresh);
        source.assign(&position)?;
        Ok((position, source))
    })
    .await
}

fn out_of_range(facts: &PartitionFacts, wanted: floe_core::Offset) -> Error {
    let lost = if wanted < facts.earliest {
        format!(
            "records {wanted}..{} are gone: retention passed them before they were read",
            facts.earliest
        )
    } else {
        "the partition ends before it: the topic was made anew or truncated".to_owned()
    };
    Error::refused(format!(
        "{}: the checkpoint goes on at offset {wanted}, and offsets {}..{} are available\n  {lost}\n  → restore the records, or start anew with another [pipeline] id; floe never resets an offset by itself",
        facts.topic_partition, facts.earliest, facts.end
    ))
}

/// One task per partition: restored where the checkpoint has it, else opened.
async fn open_tasks(
    config: &RunConfig,
    log: &dyn CheckpointLog,
    start: &Start,
    decoder: &Arc<dyn DecoderFactory>,
    operators: &[OperatorWiring],
    position: &Position,
) -> Result<Vec<Task>> {
    let restored = match &start.newest {
        None => Vec::new(),
        Some((_, manifest)) => log.restore(manifest).await?,
    };
    let mut restored: BTreeMap<TopicPartition, CapturedTask> =
        restored.into_iter().map(|it| (it.task.clone(), it)).collect();
    let parts: Vec<_> = position
        .0
        .iter()
        .map(|(task, offset)| (task.clone(), *offset, restored.remove(task)))
        .collect();
    let links: Vec<(Arc<str>, OnError, Arc<dyn OperatorFactory>)> = operators
        .iter()
        .map(|it| (Arc::from(it.name.as_str()), it.on_error, Arc::clone(&it.factory)))
        .collect();
    let (pipeline, decoder) = (config.pipeline.clone(), Arc::clone(decoder));
    blocking(move || {
        parts
            .into_iter()
            .map(|(task, next_offset, captured)| {
                let chain = links
                    .iter()
                    .enumerate()
                    .map(|(index, (name, on_error, factory))| {
                        let operator = match &captured {
                            Some(captured) => {
                                factory.restore(&task, &captured.operators[index].1)?
                            }
                            None => factory.open(&task, seed(&pipeline, &task, name))?,
                        };
                        Ok(Link { name: Arc::clone(name), on_error: *on_error, operator })
                    })
                    .collect::<Result<Vec<_>>>()?;
                let virtual_time = captured.as_ref().map_or(EventTime::MIN, |it| it.virtual_time);
                let watermark = captured.as_ref().map_or(EventTime::MIN, |it| it.watermark);
                let records = captured.as_ref().map_or(0, |it| it.records);
                Ok(Task {
                    task,
                    decoder: decoder.decoder(),
                    chain,
                    next_offset,
                    virtual_time,
                    watermark,
                    records,
                    journal: Journal::default(),
                })
            })
            .collect()
    })
    .await
}

/// The seed of an operator's random numbers: the same for the same pipeline, task and operator.
fn seed(pipeline: &str, task: &TopicPartition, operator: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(format!("{pipeline}\0{task}\0{operator}").as_bytes())
}

/// Runs what blocks on a thread where it may; on a runtime of one thread, which a simulation uses, at once.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// Reader, workers and writers of a run, and the way to their end.
struct Parts {
    reader: mpsc::UnboundedSender<ReaderCommand>,
    worker_count: usize,
    driver: Driver,
    writers: JoinSet<()>,
}

impl Parts {
    fn start(
        config: &RunConfig,
        tasks: Vec<Task>,
        mut make_reader: impl FnMut(usize, BTreeMap<TopicPartition, usize>) -> Reader,
        writers: Vec<Box<dyn SinkWriter>>,
        first_epoch: Epoch,
        events: &mpsc::UnboundedSender<Event>,
        status: &Arc<Status>,
    ) -> Parts {
        let worker_count = config.workers.clamp(1, tasks.len().max(1));
        let mut writer_tasks = JoinSet::new();
        let mut to_writers = Vec::new();
        for (sink, writer) in writers.into_iter().enumerate() {
            let (sender, input) = mpsc::channel(EDGE_ELEMENTS_MAX);
            to_writers.push(sender);
            let writer =
                Writer { sink, workers: worker_count, writer, input, events: events.clone() };
            writer_tasks.spawn(writer.run());
        }

        let mut worker_of = BTreeMap::new();
        let mut workers: Vec<Worker> = (0..worker_count)
            .map(|_| Worker {
                tasks: BTreeMap::new(),
                epoch: first_epoch,
                sink_count: to_writers.len(),
                dead_letters_max: config.dead_letters_max,
                dead_letters_in_epoch: 0,
                status: Arc::clone(status),
            })
            .collect();
        for (index, task) in tasks.into_iter().enumerate() {
            let worker = index % worker_count;
            worker_of.insert(task.task.clone(), worker);
            workers[worker].tasks.insert(task.task.clone(), task);
        }

        let (reader, commands) = mpsc::unbounded_channel();
        let edges = Edges {
            commands,
            writers: to_writers,
            events: events.clone(),
            status: Arc::clone(status),
        };
        let driver = drive(config.driving, make_reader(worker_count, worker_of), workers, edges);
        Parts { reader, worker_count, driver, writers: writer_tasks }
    }

    async fn join(mut self, failed: bool) {
        drop(self.reader);
        if failed {
            self.writers.shutdown().await;
        }
        self.driver.join(failed).await;
        while self.writers.join_next().await.is_some() {}
    }
}

enum ToComplete {
    Draft(CheckpointDraft),
    Sweep { pending: Vec<ManifestRef> },
}

/// Owns the log: writes one checkpoint after the other, and sweeps between them.
async fn complete_checkpoints(
    mut log: Box<dyn CheckpointLog>,
    mut input: mpsc::Receiver<ToComplete>,
    events: mpsc::UnboundedSender<Event>,
    keep: usize,
) {
    while let Some(work) = input.recv().await {
        match work {
            ToComplete::Draft(draft) => {
                let begin = tokio::time::Instant::now();
                let event = match log.complete(draft).await {
                    Ok((place, manifest)) => {
                        Event::Completed { place, manifest, took: begin.elapsed() }
                    }
                    Err(error) => Event::Failed(error),
                };
                if events.send(event).is_err() {
                    return;
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

struct Coordinator {
    state: advance::State,
    identity: PipelineIdentity,
    histories: Vec<SinkHistory>,
    sinks: Arc<[Sink]>,
    clock: Arc<dyn Clock>,
    view: Arc<dyn LogView>,
    reader: mpsc::UnboundedSender<ReaderCommand>,
    completer: mpsc::Sender<ToComplete>,
    events: mpsc::UnboundedSender<Event>,
    /// The epoch whose barrier is out, as far as its parts have come.
    open: Option<OpenEpoch>,
    /// Completed and not committed, oldest first.
    pending: VecDeque<(ManifestRef, Arc<CheckpointManifest>)>,
    commits: JoinSet<()>,
    status: Arc<Status>,
    summary: RunSummary,
    new_partitions: NewPartitions,
    records_at_barrier: u64,
    rows_at_barrier: u64,
    finished: bool,
}

#[derive(Default)]
struct OpenEpoch {
    tasks: Vec<CapturedTask>,
    committables: BTreeMap<usize, Committable>,
    pause: Duration,
}

/// Between two calls of a committer's upkeep.
const COMMITS_PER_MAINTENANCE: u64 = 20;
/// Lag and partition counts are looked at this often.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

impl Coordinator {
    /// Every future below is cancel-safe: `recv`, `tick` and `changed` lose nothing when dropped.
    async fn run(
        &mut self,
        mut happened: mpsc::UnboundedReceiver<Event>,
        mut stop: watch::Receiver<bool>,
        interval: Duration,
    ) -> Result<()> {
        let mut barrier =
            tokio::time::interval_at(tokio::time::Instant::now() + interval, interval);
        barrier.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut look =
            tokio::time::interval_at(tokio::time::Instant::now() + LOOK_INTERVAL, LOOK_INTERVAL);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut stoppable = true;
        while !self.finished {
            tokio::select! {
                event = happened.recv() => {
                    let event = event.expect("the coordinator holds a sender itself");
                    self.happened(event).await?;
                }
                _ = barrier.tick() => self.advance(advance::Event::BarrierDue).await?,
                _ = look.tick() => self.command(ReaderCommand::Look),
                changed = stop.changed(), if stoppable => {
                    // A sender that is gone can't ask for a stop any more.
                    stoppable = changed.is_ok() && !*stop.borrow();
                    if changed.is_ok() && *stop.borrow() {
                        tracing::info!("stopping: last checkpoint, commit, end");
                        self.advance(advance::Event::Stop).await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn happened(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Took => self.advance(advance::Event::Took).await,
            Event::InputEnded => self.advance(advance::Event::Stop).await,
            Event::Captured { epoch, tasks, pause } => {
                let open = self.open.get_or_insert_default();
                open.tasks.extend(tasks);
                open.pause = open.pause.max(pause);
                self.advance(advance::Event::Captured(epoch)).await
            }
            Event::Prepared { epoch, sink, committable } => {
                let open = self.open.get_or_insert_default();
                let before = open.committables.insert(sink, committable);
                assert!(before.is_none(), "a sink prepares an epoch once");
                self.advance(advance::Event::Prepared(epoch)).await
            }
            Event::Completed { place, manifest, took } => {
                self.completed(place, manifest, took).await
            }
            Event::Committed { epoch, snapshots, took } => {
                self.committed(epoch, snapshots, took).await
            }
            Event::Partitions(facts) => self.looked(facts),
            Event::Failed(error) => Err(error),
        }
    }

    async fn advance(&mut self, event: advance::Event) -> Result<()> {
        for action in self.state.advance(event) {
            match action {
                Action::Inject(epoch) => self.command(ReaderCommand::Inject(epoch)),
                Action::Hold => self.command(ReaderCommand::Hold),
                Action::Release => self.command(ReaderCommand::Release),
                Action::Complete(epoch) => {
                    let draft = self.draft(epoch);
                    // The completer takes one piece of work at a time, and has none: this does not wait long.
                    let _ = self.completer.send(ToComplete::Draft(draft)).await;
                }
                Action::Commit(epoch) => self.commit(epoch),
                Action::Finish => self.finished = true,
            }
        }
        Ok(())
    }

    fn command(&self, command: ReaderCommand) {
        // A reader that is gone has said why in an event of its own.
        let _ = self.reader.send(command);
    }

    fn draft(&mut self, epoch: Epoch) -> CheckpointDraft {
        let mut open = self.open.take().expect("parts came before the epoch is whole");
        open.tasks.sort_by(|a, b| a.task.cmp(&b.task));
        let sinks = self
            .sinks
            .iter()
            .enumerate()
            .map(|(index, sink)| SinkEntry {
                name: sink.name.clone(),
                table: sink.table.clone(),
                table_uuid: sink.table_uuid,
                committable: open.committables.remove(&index).expect("each sink prepared"),
                predecessor: self.histories[index].newest_committing,
                committed: self.histories[index].committed,
            })
            .collect();
        let records = self.status.records_in.load(Ordering::Relaxed);
        let rows = self.status.rows_out.load(Ordering::Relaxed);
        self.status.push_epoch(EpochStatus {
            epoch: epoch.0,
            records: records - self.records_at_barrier,
            rows: rows - self.rows_at_barrier,
            pause_seconds: open.pause.as_secs_f64(),
            image_bytes: open
                .tasks
                .iter()
                .flat_map(|it| &it.operators)
                .map(|(_, image)| image.memory.len() as u64)
                .sum(),
            ..EpochStatus::default()
        });
        (self.records_at_barrier, self.rows_at_barrier) = (records, rows);
        CheckpointDraft {
            epoch,
            identity: self.identity.clone(),
            tasks: open.tasks,
            sinks,
            created_ms: self.clock.wall_ms(),
            savepoint: false,
        }
    }

    async fn completed(
        &mut self,
        place: ManifestRef,
        manifest: Arc<CheckpointManifest>,
        took: Duration,
    ) -> Result<()> {
        for (history, entry) in self.histories.iter_mut().zip(&manifest.sinks) {
            if !entry.committable.is_empty() {
                history.newest_committing = Some(place);
            }
        }
        let now = self.clock.wall_ms();
        self.status.update_epoch(place.epoch.0, |it| {
            it.checkpoint_seconds = took.as_secs_f64();
            it.completed_ms = now;
        });
        self.pending.push_back((place, manifest));
        self.status.commits_pending.store(self.pending.len() as u64, Ordering::Relaxed);
        self.summary.epochs += 1;
        self.summary.last_epoch = Some(place.epoch);
        self.advance(advance::Event::Completed(place.epoch)).await
    }

    fn commit(&mut self, epoch: Epoch) {
        let (place, manifest) =
            self.pending.front().cloned().expect("a commit is of a pending epoch");
        assert_eq!(place.epoch, epoch);
        let (sinks, view) = (Arc::clone(&self.sinks), Arc::clone(&self.view));
        let (events, status) = (self.events.clone(), Arc::clone(&self.status));
        let maintain = self.summary.epochs.is_multiple_of(COMMITS_PER_MAINTENANCE);
        self.commits.spawn(async move {
            let begin = tokio::time::Instant::now();
            let done = commit_epoch(&sinks, place, &manifest, view.as_ref(), &status).await;
            let _ = events.send(match done {
                Ok(snapshots) => Event::Committed { epoch, snapshots, took: begin.elapsed() },
                Err(error) => Event::Failed(error),
            });
            if maintain {
                maintain_tables(&sinks).await;
            }
        });
    }

    async fn committed(
        &mut self,
        epoch: Epoch,
        snapshots: Vec<Option<CommittedSnapshot>>,
        took: Duration,
    ) -> Result<()> {
        let (_, manifest) = self.pending.pop_front().expect("a commit is of a pending epoch");
        while self.commits.try_join_next().is_some() {}
        for (history, snapshot) in self.histories.iter_mut().zip(&snapshots) {
            history.committed = snapshot.or(history.committed);
        }
        let now = self.clock.wall_ms();
        let snapshot_id = snapshots.first().copied().flatten().map(|it| it.snapshot_id);
        self.status.commits_pending.store(self.pending.len() as u64, Ordering::Relaxed);
        self.status.update_epoch(epoch.0, |it| {
            it.commit_seconds = Some(took.as_secs_f64());
            it.committed_ms = Some(now);
            it.snapshot_id = snapshot_id;
        });
        let rows: u64 = manifest.sinks.first().map_or(0, |it| it.committable.rows);
        tracing::info!(
            epoch = epoch.0,
            generation = manifest.generation.0,
            rows,
            commit_ms = took.as_millis() as u64,
            snapshot = snapshot_id,
            "committed"
        );
        self.command(ReaderCommand::Report(manifest.position()));
        let pending = self.pending.iter().map(|(place, _)| *place).collect();
        // A completer that is busy sweeps after the next commit.
        let _ = self.completer.try_send(ToComplete::Sweep { pending });
        self.advance(advance::Event::Committed(epoch)).await
    }

    fn looked(&mut self, facts: Result<Vec<PartitionFacts>>) -> Result<()> {
        let facts = match facts {
            Ok(facts) => facts,
            // A broker that does not answer now is noticed by the reading itself if it stays away.
            Err(error) => {
                tracing::debug!("could not look at the partitions: {error}");
                return Ok(());
            }
        };
        for it in &facts {
            self.status.update_task(&it.topic_partition, |status| status.end_offset = it.end.0);
        }
        for topic in &self.identity.topics {
            let now =
                facts.iter().filter(|it| *it.topic_partition.topic == *topic.topic).count() as u32;
            if now > topic.partitions && self.new_partitions == NewPartitions::Fail {
                return Err(Error::refused(format!(
                    "topic {}: had {} partitions at the start and has {now} now: keys may have moved, and state stays where it was\n  → new-partitions = \"start\" in [source] if the operators keep no state by key",
                    topic.topic, topic.partitions
                )));
            }
        }
        Ok(())
    }
}

/// Commits an epoch to each sink in order. An epoch without rows for a sink writes nothing to its table.
async fn commit_epoch(
    sinks: &[Sink],
    place: ManifestRef,
    manifest: &CheckpointManifest,
    view: &dyn LogView,
    status: &Status,
) -> Result<Vec<Option<CommittedSnapshot>>> {
    let mut snapshots = Vec::new();
    for sink in sinks {
        let entry = manifest.sink(&sink.name).expect("a manifest of this run has each sink");
        if entry.committable.is_empty() {
            snapshots.push(None);
            continue;
        }
        let request = commit_request(place, manifest, entry);
        let outcome = commit_until_settled(sink, &request, view, status).await?;
        snapshots.push(Some(outcome.snapshot));
    }
    Ok(snapshots)
}

async fn maintain_tables(sinks: &[Sink]) {
    for sink in sinks {
        hit(CrashPoint::BeforeMaintain);
        if let Err(error) = sink.committer.maintain().await {
            tracing::warn!(table = %sink.table, "upkeep of the table failed: {error}");
        }
        hit(CrashPoint::AfterMaintain);
    }
}
