//! The run of one pipeline: the claim is made and the parts are connected; this joins them until the end.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use floe_core::committable::{Committable, CommittedSnapshot, ManifestRef};
use floe_core::crash_point::{CrashPoint, hit};
use floe_core::graph::Graph;
use floe_core::manifest::CheckpointManifest;
use floe_core::ports::{CheckpointLog, Clock, DecoderFactory, PartitionFacts, SinkWriter, Source};
use floe_core::protocol::advance;
use floe_core::{Epoch, Error, Offset, Result, TopicPartition};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::commit::Sink;
use crate::complete::complete_checkpoints;
use crate::coordinator::{Coordinator, Savepoint, records_taken};
use crate::drive::{Driver, Driving, EDGE_ELEMENTS_MAX, Edges, Workers, drive};
use crate::idle::{IdleWatch, Watermarks};
use crate::overdue::Overdue;
use crate::passed::Next;
use crate::reader::{Reader, ReaderCommand};
use crate::recovery::recover;
use crate::start::{
    Starts, TaskParts, Tasks, assign, blocking, identity_now, keyed_stages, open_tasks, source_of,
};
use crate::task::{Stopped, Suspect, Task};
use crate::telemetry::Status;
use crate::worker::{Captured, KeyedWorker, Outgoing, Worker};
use crate::writer::Writer;

pub use crate::wiring::{
    OnError, OperatorWiring, RunConfig, RunSummary, SinkWiring, SourceConfig, Wiring,
};

/// What happens, as the threads and tasks of the run tell it.
pub(crate) enum Event {
    Took,
    InputEnded,
    Captured(Captured),
    Prepared {
        epoch: Epoch,
        sink: usize,
        committable: Committable,
    },
    Completed {
        place: ManifestRef,
        manifest: Arc<CheckpointManifest>,
        took: Duration,
    },
    /// In the tables, ahead of the checkpoint.
    Appended {
        epoch: Epoch,
        snapshots: Vec<Option<i64>>,
        took: Duration,
    },
    Committed {
        epoch: Epoch,
        snapshots: Vec<Option<CommittedSnapshot>>,
        took: Duration,
    },
    /// A person waits for a savepoint.
    SavepointAsked,
    Partitions(Result<Vec<PartitionFacts>>),
    /// A record stops an operator: the run goes back to the checkpoint to find it.
    Poisoned(Suspect),
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
    let Wiring { source, decoder, operators, graph, sinks, dead_letters, log, clock } = wiring;
    status.generation.store(log.generation().0, Ordering::Relaxed);
    // Set before only where a run is taken up again by the same process: the count is the same.
    let _ = status.store_retries.set(log.store_retries());
    let row_sinks = sinks.len();
    let (sinks, writers) = split_sinks(sinks, dead_letters);
    let graph = Arc::new(graph);
    let sinks = sinks.into();
    let run = Run { config, decoder, operators, graph, sinks, row_sinks, clock, status };
    let mut connected = Connected { source, writers, log };
    let mut suspects = Suspects::default();
    let mut ends = None;
    let mut summary = RunSummary::default();
    loop {
        let rejected = run.status.rejected_by_class();
        let (ended, attempt) = run.attempt(connected, &mut ends, &suspects, stop.clone()).await?;
        summary.epochs += attempt.epochs;
        summary.records += attempt.records;
        summary.rows += attempt.rows;
        summary.last_epoch = attempt.last_epoch.or(summary.last_epoch);
        match ended {
            Ended::Done => break,
            Ended::Poisoned(suspect, given_back) => {
                tracing::warn!(
                    task = %suspect.task,
                    "a record at or behind offset {} stops an operator; going back to the checkpoint to find it: {}",
                    suspect.first,
                    suspect.error.message.lines().next().unwrap_or_default()
                );
                suspects.insert(suspect.task, suspect.first);
                // What is taken again is counted again.
                for (class, count) in run.status.rejected.iter().zip(rejected) {
                    class.store(count, Ordering::Relaxed);
                }
                connected = given_back;
            }
        }
    }
    summary.rejected = run.status.rejected_total();
    Ok(summary)
}

/// What stays the same over all attempts of a run.
struct Run {
    config: RunConfig,
    decoder: Arc<dyn DecoderFactory>,
    operators: Vec<OperatorWiring>,
    graph: Arc<Graph>,
    /// Those of rows, then the one of dead letters.
    sinks: Arc<[Sink]>,
    row_sinks: usize,
    clock: Arc<dyn Clock>,
    status: Arc<Status>,
}

/// What an attempt takes, and gives back when the run goes back to its checkpoint.
pub(crate) struct Connected {
    pub(crate) source: Box<dyn Source>,
    pub(crate) writers: Vec<Box<dyn SinkWriter>>,
    pub(crate) log: Box<dyn CheckpointLog>,
}

enum Ended {
    Done,
    Poisoned(Suspect, Connected),
}

impl Run {
    /// From the newest checkpoint to the end, or to a record that stops an operator.
    ///
    /// Going back inside the process is what a crash and a new start would do, with the same claim:
    /// the recovery settles the commits, the restore gives the tasks, the source is assigned again.
    async fn attempt(
        &self,
        connected: Connected,
        ends: &mut Option<BTreeMap<TopicPartition, Offset>>,
        suspects: &Suspects,
        stop: watch::Receiver<bool>,
    ) -> Result<(Ended, RunSummary)> {
        let Connected { mut source, mut writers, log } = connected;
        let (config, status) = (&self.config, &self.status);
        let (partitions, source) = blocking(move || {
            let partitions = source.partitions()?;
            Ok((partitions, source))
        })
        .await?;
        let identity =
            identity_now(config, self.decoder.as_ref(), &self.operators, &self.graph, &partitions);
        let start = recover(
            log.as_ref(),
            &self.sinks,
            &identity,
            config.guarantee,
            config.new_partitions,
            status,
        )
        .await?;

        for writer in &mut writers {
            writer.begin().await?;
        }

        let newest = start.newest.as_ref().map(|(_, manifest)| Arc::clone(manifest));
        let (position, source) =
            assign(source, newest, partitions.clone(), self.starts(&partitions)?).await?;
        for facts in &partitions {
            let next_offset = position.0[&facts.topic_partition];
            status.update_task(&facts.topic_partition, |it| {
                it.next_offset = next_offset.0;
                it.end_offset = facts.end.0;
            });
        }
        let parts =
            TaskParts { decoder: &self.decoder, operators: &self.operators, graph: &self.graph };
        let mut tasks = open_tasks(config, log.as_ref(), &start, &parts, &position).await?;
        for task in &mut tasks.source {
            // A suspect behind the checkpoint was settled by the epoch that completed it.
            let suspect = suspects.get(&task.task).copied();
            task.careful_from = suspect.filter(|first| *first >= task.next_offset);
        }
        let suspected: Vec<TopicPartition> = suspects.keys().cloned().collect();
        let tasks = blocking(move || {
            let careful = |it: &&mut Task| it.careful_from.is_some();
            tasks.source.iter_mut().filter(careful).try_for_each(Task::count_fuel)?;
            // Rows come in another order than before, so the place where one stopped it says nothing.
            let keyed = tasks.keyed.iter_mut().flatten();
            for task in keyed.filter(|it| suspected.contains(&it.task)) {
                task.careful = true;
                task.count_fuel()?;
            }
            Ok(tasks)
        })
        .await?;
        hit(CrashPoint::AfterRestore);

        let (events, happened) = mpsc::unbounded_channel();
        if let Some(manifest) = start.newest.as_ref().map(|it| &it.1)
            && tasks.keyed.iter().flatten().any(|it| !it.restored.is_empty())
        {
            tracing::info!(
                epoch = manifest.epoch.0,
                rows = manifest.in_flight_rows(),
                "rows that were on their way at the checkpoint come first"
            );
            // What was in flight is the epoch's, though the source may have nothing more.
            let _ = events.send(Event::Took);
        }
        let mut reader = Reader::new(source, position, events.clone());
        if config.until_end {
            let end = |it: &PartitionFacts| (it.topic_partition.clone(), it.end);
            reader.ends =
                Some(ends.get_or_insert_with(|| partitions.iter().map(end).collect()).clone());
        }
        reader.batch_records_max = config.batch_records_max;
        let watermarks = tasks.source.iter().map(|it| (it.task.clone(), it.watermark));
        let watermarks = Arc::new(Watermarks::of(watermarks));
        let idle_after = self.idle_after(&watermarks);
        reader.idle = (!idle_after.is_empty()).then(|| {
            let (clock, watermarks) = (Arc::clone(&self.clock), Arc::clone(&watermarks));
            IdleWatch::new(idle_after, clock, watermarks, &partitions)
        });
        if let Driving::InTurn(_) = config.driving {
            reader.poll_timeout = Duration::ZERO;
        }
        let overdue = Arc::new(Overdue::new(config.overtaking));
        let begin = Begin {
            epoch: start.next_epoch(),
            row_sinks: self.row_sinks,
            watermarks,
            stages: keyed_stages(&self.graph, &self.operators)?,
            overdue: Arc::clone(&overdue),
        };
        let parts = Parts::start(config, tasks, reader, writers, begin, &events, status);
        status.ready.store(1, Ordering::Relaxed);

        let (completer, to_complete) = mpsc::channel(1);
        let mut coordinator = Coordinator {
            state: advance::State::new(
                start.next_epoch(),
                parts.worker_count,
                self.sinks.len(),
                config.backlog,
            )
            .in_order(config.guarantee.order()),
            identity,
            histories: start.sinks.clone(),
            sinks: Arc::clone(&self.sinks),
            row_sinks: self.row_sinks,
            clock: Arc::clone(&self.clock),
            view: log.view(),
            reader: parts.reader.clone(),
            overdue,
            completer,
            events: events.clone(),
            guarantee: config.guarantee,
            generation: log.generation(),
            open: None,
            savepoint: Savepoint::NotAsked,
            appending: None,
            pending: VecDeque::new(),
            commits: JoinSet::new(),
            commits_begun: 0,
            status: Arc::clone(status),
            summary: RunSummary::default(),
            new_partitions: config.new_partitions,
            records_before: start.newest.as_ref().map_or(0, |(_, it)| records_taken(it)),
            records_at_barrier: status.records_in.load(Ordering::Relaxed),
            rows_at_barrier: status.rows_out.load(Ordering::Relaxed),
            finished: false,
            one_epoch: config.one_epoch,
            said_waiting: None,
        };
        let completing = tokio::spawn(complete_checkpoints(log, to_complete, events, config.keep));

        let ended = coordinator.run(happened, stop, config.interval).await;
        status.ready.store(0, Ordering::Relaxed);
        let summary = coordinator.summary;
        // A commit that is cut off here is one whose outcome is not known: the guard settles it.
        coordinator.commits.shutdown().await;
        // Dropping the coordinator closes the edges; then every thread and task comes to its end.
        drop(coordinator);
        match ended {
            Err(Stopped::Failed(error)) => {
                completing.abort();
                parts.leave().await;
                Err(error)
            }
            Ok(()) => {
                completing.abort();
                let _ = completing.await;
                parts.join().await;
                Ok((Ended::Done, summary))
            }
            Err(Stopped::Poisoned(suspect)) => {
                let log = completing.await.map_err(|_| ended_badly("completer"))?;
                let (source, mut writers) =
                    parts.join().await.ok_or_else(|| ended_badly("reader"))?;
                writers.iter_mut().for_each(|it| it.abandon());
                Ok((Ended::Poisoned(suspect, Connected { source, writers, log }), summary))
            }
        }
    }
}

impl Run {
    /// Where each partition begins without a checkpoint: as its source says.
    fn starts(&self, partitions: &[PartitionFacts]) -> Result<Starts> {
        let start = |it: &PartitionFacts| {
            let source = source_of(&self.graph, &it.topic_partition)?;
            Ok((it.topic_partition.clone(), self.config.sources[source].start))
        };
        partitions.iter().map(start).collect()
    }

    /// The tasks whose partitions may be idle, and after what time they are.
    fn idle_after(&self, watermarks: &Watermarks) -> BTreeMap<TopicPartition, Duration> {
        let after = |task: &TopicPartition| {
            let source = self.graph.source_of(task)?;
            let after = self.config.sources[source].event_time?.idle_after?;
            Some((task.clone(), after))
        };
        watermarks.tasks().filter_map(after).collect()
    }
}

/// Where a part failed while the run went back: its own error came too late to be told.
fn ended_badly(part: &str) -> Error {
    Error::retry(format!(
        "the {part} failed while the run went back to its checkpoint; nothing is lost, start it again"
    ))
}

/// For each task, the first offset of the newest batch that stopped an operator.
type Suspects = BTreeMap<TopicPartition, Offset>;

pub(crate) fn split_sinks(
    sinks: Vec<SinkWiring>,
    dead_letters: Option<SinkWiring>,
) -> (Vec<Sink>, Vec<Box<dyn SinkWriter>>) {
    sinks
        .into_iter()
        .chain(dead_letters)
        .map(|SinkWiring { name, table, table_uuid, writer, committer }| {
            (Sink { name, table, table_uuid, committer }, writer)
        })
        .unzip()
}

/// Where all tasks of an attempt begin.
struct Begin {
    epoch: Epoch,
    row_sinks: usize,
    watermarks: Arc<Watermarks>,
    stages: Vec<Next>,
    overdue: Arc<Overdue>,
}

/// Reader, workers and writers of a run, and the way to their end.
struct Parts {
    reader: mpsc::UnboundedSender<ReaderCommand>,
    worker_count: usize,
    driver: Driver,
    writers: JoinSet<(usize, Box<dyn SinkWriter>)>,
}

impl Parts {
    fn start(
        config: &RunConfig,
        tasks: Tasks,
        mut reader: Reader,
        writers: Vec<Box<dyn SinkWriter>>,
        begin: Begin,
        events: &mpsc::UnboundedSender<Event>,
        status: &Arc<Status>,
    ) -> Parts {
        let workers_of = |tasks: usize| config.workers.clamp(1, tasks.max(1));
        let mut next = begin.stages;
        next.iter_mut().for_each(|it| it.workers = workers_of(it.tasks as usize));
        let source_workers = workers_of(tasks.source.len());
        let worker_count = source_workers + next.iter().map(|it| it.workers).sum::<usize>();
        let mut writer_tasks = JoinSet::new();
        let mut to_writers = Vec::new();
        for (sink, writer) in writers.into_iter().enumerate() {
            let (sender, input) = mpsc::channel(EDGE_ELEMENTS_MAX);
            to_writers.push(sender);
            let writer =
                Writer { sink, workers: worker_count, writer, input, events: events.clone() };
            writer_tasks.spawn(writer.run());
        }

        let mut next = next.into_iter();
        let mut out = Outgoing {
            epoch: begin.epoch,
            sink_count: to_writers.len(),
            row_sinks: begin.row_sinks,
            dead_letters_max: config.dead_letters_max,
            dead_letters_in_epoch: 0,
            next: next.next(),
            status: Arc::clone(status),
            overdue: Arc::clone(&begin.overdue),
        };
        let worker = |_| Worker {
            tasks: BTreeMap::new(),
            watermarks: Arc::clone(&begin.watermarks),
            out: out.clone(),
        };
        let mut source: Vec<Worker> = (0..source_workers).map(worker).collect();
        reader.worker_count = source_workers;
        for (index, task) in tasks.source.into_iter().enumerate() {
            let worker = index % source_workers;
            reader.worker_of.insert(task.task.clone(), worker);
            source[worker].tasks.insert(task.task.clone(), task);
        }
        let mut keyed = Vec::new();
        for tasks in tasks.keyed {
            let of = out.next.take().expect("each keyed stage has a key");
            out.next = next.next();
            let worker =
                |_| KeyedWorker { tasks: BTreeMap::new(), out: out.clone(), overtaken: None };
            let mut workers: Vec<KeyedWorker> = (0..of.workers).map(worker).collect();
            for task in tasks {
                workers[of.worker_of(task.number)].tasks.insert(task.number, task);
            }
            keyed.push(workers);
        }
        let workers = Workers { source, keyed };

        let (commander, commands) = mpsc::unbounded_channel();
        let edges = Edges {
            commands,
            writers: to_writers,
            events: events.clone(),
            status: Arc::clone(status),
            overdue: Arc::clone(&begin.overdue),
        };
        let driver = drive(config.driving, reader, workers, edges);
        Parts { reader: commander, worker_count, driver, writers: writer_tasks }
    }

    /// Waits for all to end in order. Gives source and writers back unless one of them failed.
    async fn join(mut self) -> Option<(Box<dyn Source>, Vec<Box<dyn SinkWriter>>)> {
        drop(self.reader);
        let reader = self.driver.join().await;
        let mut writers = BTreeMap::new();
        while let Some(ended) = self.writers.join_next().await {
            let (sink, writer) = ended.ok()?;
            writers.insert(sink, writer);
        }
        Some((reader?.source, writers.into_values().collect()))
    }

    async fn leave(mut self) {
        self.writers.shutdown().await;
        self.driver.leave();
    }
}
