//! What a replay found, in words and as JSON.

use std::time::Duration;

use floe_checkpoint::read_parts;
use floe_core::Result;
use floe_core::encoding::Encoder;
use floe_pipeline::config::WriteMode;
use floe_replay::compare::{StateDiff, compare};
use floe_replay::{Difference, EpochDone, Plan};
use serde::Serialize;

use super::run::Replayed;
use super::subject::Subject;
use super::symbols::name_symbols;
use crate::{show, wire};

#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) pipeline: String,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) tasks: usize,
    pub(crate) epochs: u64,
    /// Epochs in which every task came out as in the run.
    pub(crate) epochs_identical: u64,
    pub(crate) records: u64,
    pub(crate) rows: u64,
    pub(crate) dead_letters: u64,
    pub(crate) steps: u64,
    pub(crate) journal_bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) records_per_second: f64,
    pub(crate) compared: bool,
    pub(crate) identical: bool,
    pub(crate) notes: Vec<String>,
    pub(crate) difference: Option<DifferenceView>,
}

#[derive(Serialize)]
pub(crate) struct DifferenceView {
    pub(crate) epoch: u64,
    pub(crate) task: String,
    pub(crate) what: String,
    pub(crate) state: Vec<StateDiff>,
}

impl Report {
    pub(crate) async fn of<W>(
        subject: &Subject,
        plan: &Plan,
        replayed: &[Replayed<W>],
        took: Duration,
    ) -> Result<Report> {
        let done = || replayed.iter().flat_map(|it| &it.epochs);
        let sum = |field: fn(&EpochDone) -> u64| done().map(field).sum::<u64>();
        let difference = match first_difference(replayed) {
            Some((task, epoch, difference)) => {
                Some(view(subject, plan, task, epoch, difference).await?)
            }
            None => rows_differ(subject, plan, replayed),
        };
        let differing = difference.as_ref().map(|it| it.epoch);
        let planned = plan.epochs.iter().map(|it| it.epoch.0);
        let epochs_identical =
            planned.filter(|it| differing.is_none_or(|differing| *it < differing)).count() as u64;
        let records = sum(|it| it.records);
        let seconds = took.as_secs_f64();
        let mut journal_bytes = 0;
        for task in plan.epochs.iter().flat_map(|it| it.tasks.values()) {
            let mut encoder = Encoder::new();
            task.journal.encode(&mut encoder);
            journal_bytes += encoder.len() as u64;
        }
        Ok(Report {
            pipeline: plan.pipeline.clone(),
            from: plan.begin.as_ref().map_or(0, |it| it.epoch.0),
            to: plan.epochs.last().map_or(0, |it| it.epoch.0),
            tasks: replayed.len(),
            epochs: plan.epochs.len() as u64,
            epochs_identical,
            records,
            rows: sum(|it| it.rows),
            dead_letters: sum(|it| it.dead_letters),
            steps: sum(|it| it.steps),
            journal_bytes,
            seconds,
            records_per_second: records as f64 / seconds.max(1e-9),
            compared: !subject.is_redacted(),
            identical: difference.is_none() && !subject.is_redacted(),
            notes: subject.notes(&plan.identity),
            difference,
        })
    }

    pub(crate) fn print(&self) {
        for note in &self.notes {
            println!("note: {note}");
        }
        let verdict = match &self.difference {
            None if !self.compared => "not compared".to_owned(),
            None => "state hashes identical ✓".to_owned(),
            Some(it) => format!("differs in epoch {}", it.epoch),
        };
        let tasks = match self.tasks {
            1 => "1 task".to_owned(),
            many => format!("{many} tasks"),
        };
        println!(
            "re-executed epoch {} → {}, {tasks}: {} records → {} rows in {} ({} rec/s): {verdict}",
            self.from,
            self.to,
            show::grouped(self.records),
            show::grouped(self.rows),
            show::seconds(self.seconds),
            show::count(self.records_per_second as u64),
        );
        if let Some(difference) = &self.difference {
            difference.print();
        }
    }
}

impl DifferenceView {
    pub(crate) fn print(&self) {
        println!("first difference: epoch {}, {}: {}", self.epoch, self.task, self.what);
        for diff in &self.state {
            print_state(diff);
        }
    }
}

pub(crate) fn print_state(diff: &StateDiff) {
    let operator = &diff.operator;
    if diff.memory_bytes.0 != diff.memory_bytes.1 {
        let (left, right) = diff.memory_bytes;
        println!("  {operator}  memory {left} → {right} bytes");
    }
    if let Some(page) = &diff.first_page {
        println!(
            "  {operator}  {} pages differ in {} bytes; the first is page {} at {:#x}{}\n    {}\n    {}",
            diff.pages_differing,
            diff.bytes_differing,
            page.page,
            page.address,
            page.symbol.as_ref().map_or(String::new(), |it| format!(", {it}")),
            page.left,
            page.right
        );
    }
    for global in &diff.globals {
        println!("  {operator}  global {}  {} → {}", global.index, global.left, global.right);
    }
    if let Some((left, right)) = diff.input_region {
        println!("  {operator}  input region {left:?} → {right:?}");
    }
    if diff.random_differs {
        println!("  {operator}  the random generator stands elsewhere");
    }
}

fn first_difference<W>(
    replayed: &[Replayed<W>],
) -> Option<(&Replayed<W>, &EpochDone, &Difference)> {
    let all = replayed.iter().flat_map(|task| task.epochs.iter().map(move |it| (task, it)));
    all.filter_map(|(task, it)| Some((task, it, it.difference.as_ref()?)))
        .min_by_key(|(task, it, _)| (it.epoch, task.task.clone()))
}

async fn view<W>(
    subject: &Subject,
    plan: &Plan,
    task: &Replayed<W>,
    epoch: &EpochDone,
    difference: &Difference,
) -> Result<DifferenceView> {
    let mut state = Vec::new();
    let what = match difference {
        Difference::Input { first, last, expected_count, found_count } => format!(
            "records {first}..{last} are not those that the run took ({expected_count} then, {found_count} now)"
        ),
        Difference::Merged { from, expected_rows, found_rows } => format!(
            "the rows that {from} passed to it are not those that the run merged ({expected_rows} then, {found_rows} now)"
        ),
        Difference::Stopped { first, last, operator, message } => {
            format!(
                "records {first}..{last} stop operator {operator:?}, and did not in the run\n  {message}"
            )
        }
        Difference::State { expected, found } => {
            let planned = plan.epochs.iter().find(|it| it.epoch.0 == epoch.epoch);
            if let (Some(planned), Some(found)) = (planned, &epoch.found) {
                let parts = read_parts(&*subject.store, &plan.pipeline, &planned.manifest).await?;
                if let Some(part) = parts.iter().find(|it| it.task == task.task) {
                    state = compare(&part.operators, found);
                    name_symbols(&subject.spec, &plan.identity.operators, &mut state);
                }
            }
            format!(
                "the state hash is {} and was {} in the run (left: the run, right: now)",
                show::short_hex(found),
                show::short_hex(expected)
            )
        }
    };
    Ok(DifferenceView { epoch: epoch.epoch, task: task.task.to_string(), what, state })
}

/// The manifests count rows over all tasks, so all must be there.
fn rows_differ<W>(
    subject: &Subject,
    plan: &Plan,
    replayed: &[Replayed<W>],
) -> Option<DifferenceView> {
    if subject.is_redacted() {
        return None;
    }
    plan.epochs.iter().filter(|it| it.tasks.len() == it.manifest.tasks.len()).find_map(|planned| {
        let of_epoch =
            || replayed.iter().flat_map(|it| &it.epochs).filter(|it| it.epoch == planned.epoch.0);
        let found =
            [of_epoch().map(|it| it.rows).sum::<u64>(), of_epoch().map(|it| it.dead_letters).sum()];
        let (letters, sinks): (Vec<_>, Vec<_>) =
            planned.manifest.sinks.iter().partition(|it| it.name == wire::DEAD_LETTERS);
        [sinks, letters].iter().zip(found).find_map(|(sinks, found)| {
            // Of an upsert's rows the last of each key alone are written.
            if sinks.iter().any(|it| is_upsert(subject, &it.name)) {
                return None;
            }
            let rows: u64 = sinks.iter().map(|it| it.committable.rows).sum();
            let names: Vec<&str> = sinks.iter().map(|it| it.table.as_str()).collect();
            (!sinks.is_empty() && rows != found).then(|| DifferenceView {
                epoch: planned.epoch.0,
                task: "all tasks".to_owned(),
                what: format!("{found} rows for {}, and {rows} in the run", names.join(" and ")),
                state: Vec::new(),
            })
        })
    })
}

fn is_upsert(subject: &Subject, sink: &str) -> bool {
    let sink = subject.spec.sinks.iter().find(|it| it.name == sink);
    let table = sink.and_then(|it| it.spec.table());
    table.is_some_and(|it| matches!(it.mode, WriteMode::Upsert { .. }))
}
