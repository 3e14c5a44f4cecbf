//! Tasks replayed on all cores: one thread reads, the others run, as in a pipeline.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use floe_core::{Records, Result, TopicPartition};
use floe_replay::{EpochDone, Plan, TaskReplay, Watch};

use super::input::{Input, Reading};
use crate::show;
use crate::terminal::Terminal;

/// One task that was replayed, with who looked on.
pub(crate) struct Replayed<W> {
    pub(crate) task: TopicPartition,
    pub(crate) watch: W,
    pub(crate) epochs: Vec<EpochDone>,
    /// Behind the last checkpoint, where that was asked for.
    pub(crate) beyond: Option<EpochDone>,
    /// As it was at its end.
    pub(crate) ended: Option<TaskReplay>,
}

pub(crate) struct Running<'a> {
    /// `None`: there is nothing to read.
    pub(crate) reading: Option<Reading>,
    /// Run what is left of the records when the journals are through.
    pub(crate) beyond: bool,
    pub(crate) threads: usize,
    pub(crate) records: u64,
    pub(crate) terminal: &'a Terminal,
}

/// Runs tasks of a plan over all of their records in it, on all cores.
pub(crate) fn run_over<W: Watch + Send>(
    tasks: Vec<(TaskReplay, W)>,
    input: &Input,
    plan: &Plan,
    terminal: &Terminal,
) -> Result<Vec<Replayed<W>>> {
    let mut ranges = plan.input();
    ranges.retain(|task, _| tasks.iter().any(|it| it.0.task() == task));
    let reading = Reading::of(input, ranges)?;
    let (threads, records) = (all_cores(), plan.records());
    run(tasks, Running { reading, beyond: false, threads, records, terminal })
}

pub(crate) fn all_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs of records that wait for a thread.
const EDGE: usize = 4;

/// The tasks of partitions first, then stage by stage those that they feed.
pub(crate) fn run<W: Watch + Send>(
    tasks: Vec<(TaskReplay, W)>,
    running: Running<'_>,
) -> Result<Vec<Replayed<W>>> {
    let (mut of_stage, mut behind): (Vec<_>, Vec<_>) =
        tasks.into_iter().partition(|it| it.0.level() == 0);
    let (beyond, threads, terminal) = (running.beyond, running.threads, running.terminal);
    if behind.is_empty() {
        of_stage.iter_mut().for_each(|it| it.0.is_last());
    }
    let mut all = run_stage(of_stage, running)?;
    let mut before = 0..all.len();
    for level in 1.. {
        if behind.is_empty() {
            break;
        }
        (of_stage, behind) = behind.into_iter().partition(|it| it.0.level() == level);
        of_stage.sort_by(|a, b| a.0.task().cmp(b.0.task()));
        if behind.is_empty() {
            of_stage.iter_mut().for_each(|it| it.0.is_last());
        }
        for fed_by in &mut all[before.clone()] {
            let passed = fed_by.ended.as_mut().map(TaskReplay::take_passed).unwrap_or_default();
            for (number, passed) in passed.into_iter().enumerate() {
                let number = number as i32;
                let to = of_stage.iter_mut().find(|it| it.0.task().partition == number);
                if let Some((to, _)) = to {
                    to.put(&fed_by.task, passed);
                }
            }
        }
        before.start = all.len();
        let running = Running { reading: None, beyond, threads, records: 0, terminal };
        all.extend(run_stage(of_stage, running)?);
        before.end = all.len();
    }
    all.sort_by(|a, b| a.task.cmp(&b.task));
    Ok(all)
}

fn run_stage<W: Watch + Send>(
    tasks: Vec<(TaskReplay, W)>,
    running: Running<'_>,
) -> Result<Vec<Replayed<W>>> {
    let Running { reading, beyond, threads, records, terminal } = running;
    let threads = threads.min(tasks.len()).max(1);
    let mut shares: Vec<Vec<(TaskReplay, W)>> = (0..threads).map(|_| Vec::new()).collect();
    let mut thread_of: BTreeMap<TopicPartition, usize> = BTreeMap::new();
    for (index, task) in tasks.into_iter().enumerate() {
        thread_of.insert(task.0.task().clone(), index % threads);
        shares[index % threads].push(task);
    }
    let taken = AtomicU64::new(0);
    let replayed: Vec<Result<Vec<Replayed<W>>>> = std::thread::scope(|scope| {
        let mut edges: Vec<Option<SyncSender<Records>>> = Vec::new();
        let mut workers = Vec::new();
        for share in shares {
            let (sender, receiver) = sync_channel(EDGE);
            edges.push(Some(sender));
            let taken = &taken;
            workers.push(scope.spawn(move || work(share, &receiver, beyond, taken)));
        }
        let read = read(reading, &mut edges, &thread_of, &taken, records, terminal);
        drop(edges);
        let mut done: Vec<Result<Vec<Replayed<W>>>> = workers
            .into_iter()
            .map(|it| it.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        if let Err(error) = read {
            done.insert(0, Err(error));
        }
        done
    });
    terminal.end_progress();
    let mut all = Vec::new();
    for share in replayed {
        all.extend(share?);
    }
    all.sort_by(|a, b| a.task.cmp(&b.task));
    Ok(all)
}

fn read(
    reading: Option<Reading>,
    edges: &mut [Option<SyncSender<Records>>],
    thread_of: &BTreeMap<TopicPartition, usize>,
    taken: &AtomicU64,
    all: u64,
    terminal: &Terminal,
) -> Result<()> {
    let Some(mut reading) = reading else { return Ok(()) };
    let begin = Instant::now();
    while let Some(runs) = reading.next()? {
        for records in runs {
            let Some(thread) = thread_of.get(records.topic_partition()) else { continue };
            // A thread that is gone has found a difference in each of its tasks, or an error.
            if let Some(edge) = &edges[*thread]
                && edge.send(records).is_err()
            {
                edges[*thread] = None;
            }
        }
        if edges.iter().all(Option::is_none) {
            return Ok(());
        }
        show_progress(taken.load(Ordering::Relaxed), all, begin.elapsed(), terminal);
    }
    Ok(())
}

fn show_progress(taken: u64, all: u64, so_far: Duration, terminal: &Terminal) {
    if !terminal.is_terminal() || taken == 0 {
        return;
    }
    let rate = taken as f64 / so_far.as_secs_f64().max(1e-3);
    let left = all.saturating_sub(taken) as f64 / rate;
    terminal.progress(&format!(
        "replaying  {} of {} records  {:.0} %  {} rec/s  {} left",
        show::count(taken),
        show::count(all),
        100.0 * taken as f64 / all.max(1) as f64,
        show::count(rate as u64),
        show::seconds(left)
    ));
}

fn work<W: Watch>(
    share: Vec<(TaskReplay, W)>,
    input: &Receiver<Records>,
    beyond: bool,
    taken: &AtomicU64,
) -> Result<Vec<Replayed<W>>> {
    let mut tasks: BTreeMap<TopicPartition, (TaskReplay, Replayed<W>)> = BTreeMap::new();
    for (mut replay, mut watch) in share {
        // Epochs without records are done at once.
        let epochs = replay.go_on(&mut watch)?;
        let task = replay.task().clone();
        tasks.insert(
            task.clone(),
            (replay, Replayed { task, watch, epochs, beyond: None, ended: None }),
        );
    }
    let is_done = |it: &(TaskReplay, Replayed<W>)| it.0.is_done() && !beyond;
    if !tasks.values().all(is_done) {
        for records in input {
            let Some((replay, replayed)) = tasks.get_mut(records.topic_partition()) else {
                continue;
            };
            taken.fetch_add(records.len() as u64, Ordering::Relaxed);
            if replay.is_done() && !beyond {
                continue;
            }
            replayed.epochs.extend(replay.feed(records, &mut replayed.watch)?);
            if tasks.values().all(is_done) {
                break;
            }
        }
    }
    let mut all = Vec::with_capacity(tasks.len());
    for (_, (mut replay, mut replayed)) in tasks {
        if let Some(error) = replay.lacking() {
            return Err(error);
        }
        let differs = replayed.epochs.iter().any(|it| it.difference.is_some());
        if beyond && !differs {
            replayed.beyond = Some(replay.run_on(&mut replayed.watch)?);
        }
        replayed.ended = Some(replay);
        all.push(replayed);
    }
    Ok(all)
}
