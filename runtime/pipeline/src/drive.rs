//! Drives reader and workers: on threads of their own, or, for a simulation, in one task in turn.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use floe_core::{Error, Result};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use crate::alarm::Alarm;
use crate::reader::{Reader, ReaderCommand, Sends};
use crate::run::Event;
use crate::task::Stopped;
use crate::telemetry::Status;
use crate::worker::{Element, Worker};
use crate::writer::WriterInput;

/// Elements on the edge to a worker, and batches on the edge to a writer. With batches of 8,192 records
/// of 150 bytes an edge holds some 5 MB: enough to ride out a file that is being closed.
pub(crate) const EDGE_ELEMENTS_MAX: usize = 4;

/// Who runs reader and workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driving {
    /// A thread for the reader and one for each worker.
    Threads,
    /// One async task that takes them in turn: with a paused clock and one thread a run is then a
    /// function of its seed.
    InTurn,
}

/// What has to come to an end with the run.
pub(crate) enum Driver {
    Threads { workers: Vec<JoinHandle<()>>, reader: JoinHandle<Option<Reader>> },
    InTurn { task: tokio::task::JoinHandle<Option<Reader>> },
}

pub(crate) struct Edges {
    pub(crate) commands: mpsc::UnboundedReceiver<ReaderCommand>,
    pub(crate) writers: Vec<mpsc::Sender<WriterInput>>,
    pub(crate) events: mpsc::UnboundedSender<Event>,
    pub(crate) status: Arc<Status>,
}

pub(crate) fn drive(
    driving: Driving,
    reader: Reader,
    workers: Vec<Worker>,
    edges: Edges,
) -> Driver {
    match driving {
        Driving::Threads => on_threads(reader, workers, edges),
        Driving::InTurn => Driver::InTurn { task: tokio::spawn(in_turn(reader, workers, edges)) },
    }
}

impl Driver {
    /// Waits for all to end, and gives the reader back unless it failed.
    pub(crate) async fn join(self) -> Option<Reader> {
        match self {
            Driver::Threads { workers, reader } => {
                let joined = tokio::task::spawn_blocking(move || {
                    // A panic was told as an event already.
                    workers.into_iter().for_each(|it| drop(it.join()));
                    reader.join().ok().flatten()
                });
                joined.await.ok().flatten()
            }
            Driver::InTurn { task } => task.await.ok().flatten(),
        }
    }

    /// After a failure a thread may still be inside a call to the world. It holds nothing that matters,
    /// and the process is about to end, so it is not waited for.
    pub(crate) fn leave(self) {
        match self {
            Driver::Threads { .. } => {}
            Driver::InTurn { task } => task.abort(),
        }
    }
}

fn on_threads(reader: Reader, workers: Vec<Worker>, edges: Edges) -> Driver {
    let Edges { commands, writers, events, status } = edges;
    let mut joins = Vec::new();
    let mut to_workers = Vec::new();
    for (index, worker) in workers.into_iter().enumerate() {
        let (sender, input) = sync_channel(EDGE_ELEMENTS_MAX);
        to_workers.push(sender);
        let (writers, told, status) = (writers.clone(), events.clone(), Arc::clone(&status));
        let work = move || worker_thread(worker, &input, &writers, &told, &status);
        joins.push(spawn(format!("floe-worker-{index}"), events.clone(), work));
    }
    let work = move || {
        let mut reader = reader;
        reader_thread(&mut reader, commands, &to_workers, &status)?;
        Ok(Some(reader))
    };
    Driver::Threads { workers: joins, reader: spawn("floe-reader".into(), events, work) }
}

/// A thread whose error or panic ends the run.
fn spawn<T: Default + Send + 'static>(
    name: String,
    events: mpsc::UnboundedSender<Event>,
    work: impl FnOnce() -> Result<T, Stopped> + Send + 'static,
) -> JoinHandle<T> {
    let who = name.clone();
    let guarded = move || {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        let event = match done {
            Ok(Ok(done)) => return done,
            Ok(Err(stopped)) => stopped.into_event(),
            Err(_) => Event::Failed(Error::corrupt(format!(
                "thread {who} panicked: this is a defect of floe"
            ))),
        };
        // Nobody listens any more only when the run has ended already.
        let _ = events.send(event);
        T::default()
    };
    let thread = std::thread::Builder::new().name(name).spawn(guarded);
    thread.expect("the system has a thread left for the pipeline")
}

/// Ends when the coordinator, or a worker, is gone.
fn reader_thread(
    reader: &mut Reader,
    mut commands: mpsc::UnboundedReceiver<ReaderCommand>,
    workers: &[SyncSender<Element>],
    status: &Status,
) -> Result<()> {
    loop {
        let command = if reader.held() {
            match commands.blocking_recv() {
                Some(command) => Some(command),
                None => return Ok(()),
            }
        } else {
            match commands.try_recv() {
                Ok(command) => Some(command),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        };
        let sends: Sends = match command {
            Some(command) => reader.obey(command),
            None => reader.poll()?,
        };
        for (worker, element) in sends {
            if !send(&workers[worker], element, status) {
                return Ok(());
            }
        }
    }
}

/// Waits while the edge is full: that is backpressure. False when the worker is gone.
fn send(worker: &SyncSender<Element>, element: Element, status: &Status) -> bool {
    match worker.try_send(element) {
        Ok(()) => true,
        Err(TrySendError::Disconnected(_)) => false,
        Err(TrySendError::Full(element)) => {
            let begin = Instant::now();
            let sent = worker.send(element).is_ok();
            Status::add(&status.backpressure_nanos, begin.elapsed().as_nanos() as u64);
            sent
        }
    }
}

/// Ends when the reader, a writer or the coordinator is gone.
fn worker_thread(
    mut worker: Worker,
    input: &Receiver<Element>,
    writers: &[mpsc::Sender<WriterInput>],
    events: &mpsc::UnboundedSender<Event>,
    status: &Status,
) -> Result<(), Stopped> {
    while let Ok(element) = input.recv() {
        let handled = worker.handle(element)?;
        for (sink, input) in handled.to_writers {
            let begin = Instant::now();
            if writers[sink].blocking_send(input).is_err() {
                return Ok(());
            }
            Status::add(&status.backpressure_nanos, begin.elapsed().as_nanos() as u64);
        }
        if let Some(event) = handled.event
            && events.send(event).is_err()
        {
            return Ok(());
        }
    }
    Ok(())
}

/// Between two polls of an empty source, so that a paused clock can go on.
const TURN: Duration = Duration::from_millis(1);

async fn in_turn(mut reader: Reader, mut workers: Vec<Worker>, mut edges: Edges) -> Option<Reader> {
    let _alarm = Alarm::new("reader or a worker", &edges.events);
    match take_turns(&mut reader, &mut workers, &mut edges).await {
        Ok(()) => Some(reader),
        Err(stopped) => {
            let poisoned = matches!(stopped, Stopped::Poisoned(_));
            let _ = edges.events.send(stopped.into_event());
            poisoned.then_some(reader)
        }
    }
}

async fn take_turns(
    reader: &mut Reader,
    workers: &mut [Worker],
    edges: &mut Edges,
) -> Result<(), Stopped> {
    loop {
        let command = if reader.held() {
            match edges.commands.recv().await {
                Some(command) => Some(command),
                None => return Ok(()),
            }
        } else {
            match edges.commands.try_recv() {
                Ok(command) => Some(command),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        };
        let polled = command.is_none();
        let sends = match command {
            Some(command) => reader.obey(command),
            None => reader.poll()?,
        };
        for (worker, element) in sends {
            let handled = workers[worker].handle(element)?;
            for (sink, input) in handled.to_writers {
                if edges.writers[sink].send(input).await.is_err() {
                    return Ok(());
                }
            }
            if let Some(event) = handled.event
                && edges.events.send(event).is_err()
            {
                return Ok(());
            }
        }
        if polled {
            tokio::time::sleep(TURN).await;
        }
    }
}
