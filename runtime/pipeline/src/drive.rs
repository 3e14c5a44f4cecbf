//! Drives reader and workers: on threads of their own, or, for a simulation, in one task in turn.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use floe_core::rng::OperatorRng;
use floe_core::{Error, Result};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use crate::alarm::Alarm;
use crate::inbox::{self, Inbox, Taken};
use crate::overdue::Overdue;
use crate::reader::{Reader, ReaderCommand, Sends};
use crate::run::Event;
use crate::task::Stopped;
use crate::telemetry::Status;
use crate::worker::{Element, Handled, KeyedWorker, Worker};
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
    /// function of its seed. This one says in which order workers of keyed stages come.
    InTurn(u64),
}

/// What has to come to an end with the run.
pub(crate) enum Driver {
    Threads { workers: Vec<JoinHandle<()>>, reader: JoinHandle<Option<Reader>> },
    InTurn { task: tokio::task::JoinHandle<Option<Reader>> },
}

/// The workers of all stages.
pub(crate) struct Workers {
    pub(crate) source: Vec<Worker>,
    pub(crate) keyed: Vec<Vec<KeyedWorker>>,
}

pub(crate) struct Edges {
    pub(crate) commands: mpsc::UnboundedReceiver<ReaderCommand>,
    pub(crate) writers: Vec<mpsc::Sender<WriterInput>>,
    pub(crate) events: mpsc::UnboundedSender<Event>,
    pub(crate) status: Arc<Status>,
    pub(crate) overdue: Arc<Overdue>,
}

pub(crate) fn drive(driving: Driving, reader: Reader, workers: Workers, edges: Edges) -> Driver {
    match driving {
        Driving::Threads => on_threads(reader, workers, edges),
        Driving::InTurn(seed) => {
            Driver::InTurn { task: tokio::spawn(in_turn(reader, workers, edges, seed)) }
        }
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

fn on_threads(reader: Reader, workers: Workers, edges: Edges) -> Driver {
    let Edges { commands, writers, events, status, overdue } = edges;
    let mut joins = Vec::new();
    let mut to_workers = Vec::new();
    // From the last stage to the first, so that each finds the edges to the one behind it.
    let mut next: Vec<Vec<inbox::Sender>> = Vec::new();
    let mut before: Vec<usize> = vec![workers.source.len()];
    before.extend(workers.keyed.iter().map(Vec::len));
    for (stage, keyed) in workers.keyed.into_iter().enumerate().rev() {
        let mut senders: Vec<Vec<inbox::Sender>> = (0..before[stage]).map(|_| Vec::new()).collect();
        let mut behind = next.into_iter();
        for (index, mut worker) in keyed.into_iter().enumerate() {
            let (inputs, receiver) =
                inbox::channel(before[stage], worker.restored(), Arc::clone(&overdue));
            senders.iter_mut().zip(inputs).for_each(|(of, it)| of.push(it));
            let to = To {
                writers: writers.clone(),
                next: behind.next().unwrap_or_default(),
                events: events.clone(),
                status: Arc::clone(&status),
            };
            let work = move || keyed_thread(worker, &receiver, &to);
            joins.push(spawn(format!("floe-keyed-{}-{index}", stage + 1), events.clone(), work));
        }
        next = senders;
    }
    let mut behind = next.into_iter();
    for (index, worker) in workers.source.into_iter().enumerate() {
        let (sender, input) = sync_channel(EDGE_ELEMENTS_MAX);
        to_workers.push(sender);
        let to = To {
            writers: writers.clone(),
            next: behind.next().unwrap_or_default(),
            events: events.clone(),
            status: Arc::clone(&status),
        };
        let work = move || worker_thread(worker, &input, &to);
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

/// Where a worker's output goes.
struct To {
    writers: Vec<mpsc::Sender<WriterInput>>,
    /// The workers of the next stage.
    next: Vec<inbox::Sender>,
    events: mpsc::UnboundedSender<Event>,
    status: Arc<Status>,
}

impl To {
    /// Waits while an edge is full. False when somebody is gone.
    fn send(&self, handled: Handled) -> bool {
        if !handled.to_writers.is_empty() || !handled.to_next.is_empty() {
            let begin = Instant::now();
            for (sink, input) in handled.to_writers {
                if self.writers[sink].blocking_send(input).is_err() {
                    return false;
                }
            }
            for (worker, passed) in handled.to_next {
                if !self.next[worker].send(passed) {
                    return false;
                }
            }
            Status::add(&self.status.backpressure_nanos, begin.elapsed().as_nanos() as u64);
        }
        handled.event.is_none_or(|event| self.events.send(event).is_ok())
    }
}

/// Ends when the reader, a writer, the next stage or the coordinator is gone.
fn worker_thread(mut worker: Worker, input: &Receiver<Element>, to: &To) -> Result<(), Stopped> {
    while let Ok(element) = input.recv() {
        if !to.send(worker.overtake(&element)?) || !to.send(worker.handle(element)?) {
            break;
        }
    }
    Ok(())
}

fn keyed_thread(mut worker: KeyedWorker, input: &inbox::Receiver, to: &To) -> Result<(), Stopped> {
    while let Some(taken) = input.recv() {
        if !to.send(handle(&mut worker, taken)?) {
            break;
        }
    }
    Ok(())
}

fn handle(worker: &mut KeyedWorker, taken: Taken) -> Result<Handled, Stopped> {
    match taken {
        Taken::Element(passed) => worker.handle(passed),
        Taken::Barrier { epoch, aligned_in } => Ok(worker.barrier(epoch, aligned_in)?),
        Taken::Overtaking(epoch) => Ok(worker.overtake(epoch)?),
        Taken::InFlight { epoch, passed, aligned_in } => {
            Ok(worker.in_flight(epoch, &passed, aligned_in))
        }
    }
}

/// Between two polls of an empty source, so that a paused clock can go on.
const TURN: Duration = Duration::from_millis(1);

async fn in_turn(
    mut reader: Reader,
    workers: Workers,
    mut edges: Edges,
    seed: u64,
) -> Option<Reader> {
    let _alarm = Alarm::new("reader or a worker", &edges.events);
    let mut turns = Turns::new(workers, Arc::clone(&edges.overdue), seed);
    match take_turns(&mut reader, &mut turns, &mut edges).await {
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
    turns: &mut Turns,
    edges: &mut Edges,
) -> Result<(), Stopped> {
    loop {
        let command = if reader.held() && turns.ready().is_empty() {
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
        let polled = command.is_none() && !reader.held();
        let sends = match command {
            Some(command) => reader.obey(command),
            None if polled => reader.poll()?,
            None => Vec::new(),
        };
        for (worker, element) in sends {
            let overtaken = turns.workers.source[worker].overtake(&element)?;
            if !turns.send(0, worker, overtaken, edges).await {
                return Ok(());
            }
            let handled = turns.workers.source[worker].handle(element)?;
            if !turns.send(0, worker, handled, edges).await {
                return Ok(());
            }
        }
        // Some of those that have something to do; what is left waits, as it does behind a slow thread.
        let mut left = turns.share();
        while left > 0
            && let Some((stage, worker)) = turns.choose()
        {
            left -= 1;
            let taken = turns.inboxes[stage][worker].take(edges.overdue.epoch());
            let Some(taken) = taken else { continue };
            let handled = handle(&mut turns.workers.keyed[stage][worker], taken)?;
            if !turns.send(stage + 1, worker, handled, edges).await {
                return Ok(());
            }
        }
        if polled {
            tokio::time::sleep(TURN).await;
        }
    }
}

/// The workers of keyed stages and what waits for them, where one task takes them in turn.
struct Turns {
    workers: Workers,
    /// For each keyed stage and worker.
    inboxes: Vec<Vec<Inbox>>,
    overdue: Arc<Overdue>,
    rng: OperatorRng,
}

impl Turns {
    fn new(mut workers: Workers, overdue: Arc<Overdue>, seed: u64) -> Turns {
        let mut before = workers.source.len();
        let mut inboxes = Vec::new();
        let max = overdue.in_flight_bytes_max();
        for keyed in &mut workers.keyed {
            let inbox = |it: &mut KeyedWorker| Inbox::new(before, it.restored(), max);
            inboxes.push(keyed.iter_mut().map(inbox).collect());
            before = keyed.len();
        }
        Turns { workers, inboxes, overdue, rng: OperatorRng::from_seed(seed) }
    }

    fn ready(&self) -> Vec<(usize, usize)> {
        let overdue = self.overdue.epoch();
        let stages = self.inboxes.iter().enumerate();
        let all = stages.flat_map(|(stage, of)| (0..of.len()).map(move |it| (stage, it)));
        all.filter(|(stage, worker)| self.inboxes[*stage][*worker].is_ready(overdue)).collect()
    }

    fn share(&mut self) -> u64 {
        match self.inboxes.is_empty() {
            true => 0,
            false => self.rng.next_u64() % 8,
        }
    }

    /// A worker that has something to do, with one of its inputs in front.
    fn choose(&mut self) -> Option<(usize, usize)> {
        let ready = self.ready();
        if ready.is_empty() {
            return None;
        }
        let (stage, worker) = ready[(self.rng.next_u64() % ready.len() as u64) as usize];
        let input = self.rng.next_u64() as usize;
        self.inboxes[stage][worker].turn_to(input);
        Some((stage, worker))
    }

    /// `stage` counts from the first. False when somebody is gone.
    async fn send(&mut self, stage: usize, from: usize, handled: Handled, edges: &Edges) -> bool {
        for (sink, input) in handled.to_writers {
            if edges.writers[sink].send(input).await.is_err() {
                return false;
            }
        }
        for (worker, passed) in handled.to_next {
            self.inboxes[stage][worker].push(from, passed);
        }
        handled.event.is_none_or(|event| edges.events.send(event).is_ok())
    }
}
