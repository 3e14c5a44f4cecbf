//! What a replay found, in words and as JSON.

use std::path::Path;
use std::time::Duration;

use floe_checkpoint::read_parts;
use floe_core::Result;
use floe_core::encoding::Encoder;
use floe_pipeline::config::WriteMode;
use floe_replay::compare::{StateDiff, compare};
use floe_replay::{CallAt, Difference, EpochDone, Origin, Plan};
use serde::Serialize;
use serde_json::Value;

use super::rows_differ::{self, RowDifference};
use super::run::Replayed;
use super::subject::Subject;
use super::symbols::name_symbols;
use crate::terminal::Terminal;
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
    /// Where rows differ and those of the run can be had.
    pub(crate) row: Option<RowDifference>,
    /// Why they cannot.
    pub(crate) row_note: Option<String>,
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
            task.journal.encode(&task.stand, &mut encoder);
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

    /// Where rows differ: which, in which column, and of which record.
    pub(crate) async fn name_row<W>(
        &mut self,
        subject: &Subject,
        plan: &Plan,
        replayed: &[Replayed<W>],
        recording: Option<&Path>,
        terminal: &Terminal,
    ) {
        let Some((task, epoch, Difference::Rows { call, at })) = first_difference(replayed) else {
            return;
        };
        let Some(view) = &mut self.difference else { return };
        let before = plan.epochs.iter().map(|it| it.epoch.0).filter(|it| *it < epoch.epoch).max();
        let before = before.or(plan.begin.as_ref().map(|it| it.epoch.0)).unwrap_or(0);
        let found = rows_differ::Found { epoch: epoch.epoch, task: &task.task, call: *call, at };
        match rows_differ::find(subject, &found, before, recording, terminal).await {
            Ok(Some(row)) => view.row = Some(row),
            Ok(None) => {
                let note = match &subject.about {
                    None => {
                        "no row of a table differs: of a key's rows the last is kept alone, and those of a topic are not"
                    }
                    Some(_) => "the bundle has no row of the run that differs",
                };
                view.row_note = Some(note.to_owned());
            }
            // The difference stands, whatever its table has become.
            Err(error) => {
                view.row_note = Some(format!("the run's rows cannot be had: {}", error.message));
            }
        }
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
        if let Some(row) = &self.row {
            print_row(&self.task, row);
        }
        if let Some(note) = &self.row_note {
            println!("  {note}");
        }
        for diff in &self.state {
            print_state(diff);
        }
    }
}

fn print_row(task: &str, row: &RowDifference) {
    let record = row.offset.map_or(String::new(), |it| format!("record {task} @ {it}, "));
    let number = row.row.map_or("a row".to_owned(), |it| format!("row {it}"));
    println!("  {record}{number} for {}", row.table);
    for it in &row.columns {
        println!("    {}   {} → {}", it.column, it.run, it.now);
    }
    if row.columns.is_empty() {
        let text = |it: &Option<Value>| it.as_ref().map_or("no row".to_owned(), Value::to_string);
        println!("    {} → {}", text(&row.run), text(&row.now));
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

/// What stops an operator, with the verb.
pub(crate) fn stopped_by(by: Option<&Origin>) -> String {
    match by {
        None => "a watermark stops".to_owned(),
        Some(Origin { task, first, last }) if first == last => {
            format!("record {task} @ {first} stops")
        }
        Some(Origin { task, first, last }) => format!("records {task} @ {first}..{last} stop"),
    }
}

fn first_difference<W>(
    replayed: &[Replayed<W>],
) -> Option<(&Replayed<W>, &EpochDone, &Difference)> {
    let all = replayed.iter().flat_map(|task| task.epochs.iter().map(move |it| (task, it)));
    // What a task of a keyed stage was passed differs because of what stands before it.
    let of_before = |it: &Difference| matches!(it, Difference::Merged { .. });
    all.filter_map(|(task, it)| Some((task, it, it.difference.as_ref()?)))
        .min_by_key(|(task, it, difference)| (it.epoch, of_before(difference), task.task.clone()))
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
        Difference::Stopped { by, operator, message } => {
            format!(
                "{} operator {operator:?}, and did not in the run\n  {message}",
                stopped_by(by.as_ref())
            )
        }
        Difference::Rows { call, at } => {
            let took = match at {
                CallAt::Records { first, last } => format!("records {first}..{last}"),
                CallAt::Watermark(watermark) => format!("the watermark {} ms", watermark.0),
                CallAt::Merged { from, rows } => format!("{rows} rows passed by {from}"),
            };
            let state = if epoch.found.is_none() { "; the state came out the same" } else { "" };
            format!("{took} (call {call} of the epoch) left other rows than in the run{state}")
        }
        Difference::State { expected, found } => format!(
            "the state hash is {} and was {} in the run (left: the run, right: now)",
            show::short_hex(found),
            show::short_hex(expected)
        ),
    };
    let planned = plan.epochs.iter().find(|it| it.epoch.0 == epoch.epoch);
    if let (Some(planned), Some(found)) = (planned, &epoch.found) {
        let parts = read_parts(&*subject.store, &plan.pipeline, &planned.manifest).await?;
        if let Some(part) = parts.iter().find(|it| it.task == task.task) {
            state = compare(&part.operators, found);
            name_symbols(&subject.spec, &plan.identity.operators, found, &mut state);
        }
    }
    let task = task.task.to_string();
    Ok(DifferenceView { epoch: epoch.epoch, task, what, row: None, row_note: None, state })
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
                row: None,
                row_note: None,
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
