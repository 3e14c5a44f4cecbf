//! The run of one pipeline: the claim is made and the parts are connected; this joins them until the end.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use floe_core::committable::{Committable, CommittedSnapshot, ManifestRef};
use floe_core::crash_point::{CrashPoint, hit};
use floe_core::manifest::CheckpointManifest;
use floe_core::ports::{PartitionFacts, SinkWriter};
use floe_core::protocol::advance;
use floe_core::task::CapturedTask;
use floe_core::{Epoch, Error, Result, TopicPartition};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::commit::Sink;
use crate::complete::complete_checkpoints;
use crate::coordinator::Coordinator;
use crate::drive::{Driver, Driving, EDGE_ELEMENTS_MAX, Edges, drive};
use crate::reader::{Reader, ReaderCommand};
use crate::recovery::recover;
use crate::start::{assign, blocking, identity_now, open_tasks};
use crate::task::Task;
use crate::telemetry::Status;
use crate::worker::Worker;
use crate::writer::Writer;

pub use crate::wiring::{OnError, OperatorWiring, RunConfig, RunSummary, SinkWiring, Wiring};

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
