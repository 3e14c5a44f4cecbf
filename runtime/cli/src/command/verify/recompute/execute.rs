//! The tasks of a pipeline run again over many epochs, what they make for one sink laid down on the disk.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use floe_core::journal::Step;
use floe_core::{Records, TopicPartition};
use floe_replay::{Plan, PlannedEpoch, SinkRows, Watch};

use super::spool::Spool;
use crate::exit::Differs;
use crate::replay::input::{Input, Reading};
use crate::replay::report::Report;
use crate::replay::run::{Replayed, Running, all_cores, run};
use crate::replay::subject::Subject;
use crate::replay::task_of;
use crate::terminal::Terminal;

/// What tasks pass to the next stage stays in memory until that has run: epochs are run in parts of about so
/// many records where there is one.
const PART_RECORDS: u64 = 500_000;

pub(super) struct Made {
    pub(super) tasks: Vec<TopicPartition>,
    pub(super) records: u64,
}

pub(super) async fn execute(
    (subject, file): (&Subject, &Path),
    (from, to): (u64, u64),
    sink: usize,
    spool: Spool,
    terminal: &Terminal,
) -> anyhow::Result<Made> {
    let mut plan = subject.plan(from, Some(to), None).await?;
    let ranges = plan.input();
    let input = Input::of(subject.input(&plan), None, &ranges, terminal).await?;
    let names = plan.all_tasks();
    let records = plan.records();
    let spool = Arc::new(Mutex::new(spool));
    let epochs = std::mem::take(&mut plan.epochs);
    let mut tasks = Vec::new();
    for (number, task) in names.iter().enumerate() {
        let replay = task_of(subject, &plan, task)?;
        tasks.push((replay, Laying { sink, task: number, spool: Arc::clone(&spool) }));
    }
    let is_keyed = subject.graph.keyed_stages().next().is_some();
    for part in parts(epochs, if is_keyed { PART_RECORDS } else { u64::MAX }) {
        plan.epochs = part;
        for (task, _) in &mut tasks {
            let epochs = plan.of_task(task.task());
            task.add_epochs(epochs);
        }
        let ranges = plan.input();
        let reading = Reading::of(&input, ranges)?;
        let running = Running { reading, beyond: false, threads: all_cores(), records, terminal };
        let replayed = run(tasks, running)?;
        refuse_other((subject, file), &plan, &replayed).await?;
        let again = |it: Replayed<Laying>| Some((it.ended?, it.watch));
        tasks = replayed.into_iter().filter_map(again).collect();
    }
    drop(tasks);
    let spool = Arc::into_inner(spool).expect("the tasks that had it are gone");
    spool.into_inner().unwrap_or_else(PoisonError::into_inner).finish()?;
    Ok(Made { tasks: names, records })
}

/// Whole epochs, one part behind the other.
fn parts(epochs: Vec<PlannedEpoch>, records_max: u64) -> Vec<Vec<PlannedEpoch>> {
    let mut parts: Vec<Vec<PlannedEpoch>> = Vec::new();
    let mut records = u64::MAX;
    for epoch in epochs {
        let of_epoch: u64 = epoch.tasks.values().map(|it| records_of(&it.journal.steps)).sum();
        match parts.last_mut() {
            Some(part) if records.saturating_add(of_epoch) <= records_max => {
                records += of_epoch;
                part.push(epoch);
            }
            Some(_) | None => {
                records = of_epoch;
                parts.push(vec![epoch]);
            }
        }
    }
    parts
}

fn records_of(steps: &[Step]) -> u64 {
    let records = |it: &Step| match it {
        Step::Batch(batch) => u64::from(batch.count),
        Step::Skip(_) => 1,
        Step::Watermark(_)
        | Step::Retry(_)
        | Step::Merge(_)
        | Step::MergeSkip { .. }
        | Step::Schema(_)
        | Step::Rows(_) => 0,
    };
    steps.iter().map(records).sum()
}

/// A re-execution that is not the run's own says nothing of the table.
async fn refuse_other(
    (subject, file): (&Subject, &Path),
    plan: &Plan,
    replayed: &[Replayed<Laying>],
) -> anyhow::Result<()> {
    let failed = replayed.iter().find_map(|it| {
        let spool = it.watch.spool.lock().unwrap_or_else(PoisonError::into_inner);
        spool.failed().cloned()
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    let report = Report::of(subject, plan, replayed, std::time::Duration::ZERO).await?;
    match report.difference {
        None => Ok(()),
        Some(it) => Err(Differs(format!(
            "epoch {} of {} comes out otherwise than in the run: {}\n→ floe replay {} --checkpoint {} shows what differs; the table was not compared",
            it.epoch,
            it.task,
            it.what,
            file.display(),
            it.epoch.saturating_sub(1)
        ))
        .into()),
    }
}

/// Lays down the rows that one task makes for the sink.
struct Laying {
    sink: usize,
    /// By its number.
    task: usize,
    spool: Arc<Mutex<Spool>>,
}

impl Watch for Laying {
    fn rows(&mut self, epoch: u64, _: Option<&Records>, rows: &SinkRows) {
        if rows.sink == self.sink {
            let mut spool = self.spool.lock().unwrap_or_else(PoisonError::into_inner);
            spool.add(epoch, self.task, &rows.batch);
        }
    }
}
