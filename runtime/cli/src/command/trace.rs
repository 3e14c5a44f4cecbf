//! `floe trace`: from a row of the table to the records that made it, by running its epoch again.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::StructArray;
use floe_core::image::OperatorImage;
use floe_core::{Error, Offset, Records, Result, TopicPartition};
use floe_pipeline::config::{LogFormat, PipelineSpec, TableSpec};
use floe_replay::step::{Detail, Stepped};
use floe_replay::{Examine, Origin, Plan, SinkRows, Watch};
use floe_sink::iceberg::TableCommit;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::args::TraceArgs;
use crate::replay::condition::Condition;
use crate::replay::input::Input;
use crate::replay::run::run_over;
use crate::replay::state;
use crate::replay::subject::Subject;
use crate::replay::tasks_of;
use crate::terminal::Terminal;
use crate::{logging, show, wire};

use super::replay::text_of;
use super::rows::value;

#[derive(Serialize)]
struct Traced {
    table: String,
    row: Value,
    snapshot: Option<i64>,
    epoch: u64,
    generation: u64,
    operators: Vec<(String, String)>,
    task: String,
    state_hash_before: String,
    state_hash_after: String,
    /// The re-execution came to the state that the run had.
    identical: bool,
    /// The record that made the row; else the partition and the batch that did, or none for a row that a watermark
    /// made.
    record: Option<RecordView>,
    from: Option<String>,
    batch: Option<(i64, i64)>,
    /// What the record changed in what operators tell of their state.
    state: Vec<StateChange>,
}

#[derive(Serialize)]
struct RecordView {
    offset: i64,
    timestamp: i64,
    key: Option<String>,
    value: Option<String>,
}

#[derive(Serialize)]
struct StateChange {
    path: String,
    before: Value,
    after: Value,
}

/// Rows traced of those that the condition finds.
const ROWS_MAX: usize = 5;

pub(crate) fn trace(args: TraceArgs) -> anyhow::Result<()> {
    let terminal = Terminal::new();
    logging::start(if args.json { LogFormat::Json } else { LogFormat::Human }, &terminal)?;
    super::block_on(async move {
        let condition = Condition::parse(&args.row)?;
        let mut subject = Subject::open(&args.pipeline)?;
        let spec = Arc::clone(&subject.spec);
        let sink = Traceable::of(&spec, args.sink.as_deref())?;
        let rows = rows_that_hold(&sink, &condition, None).await?;
        if rows.is_empty() {
            let table = &sink.table.table;
            return Err(
                Error::invalid(format!("{table} has no row where {}", condition.text())).into()
            );
        }
        let mut all = Vec::new();
        for row in rows.iter().take(ROWS_MAX) {
            all.push(trace_row(&mut subject, &sink, &args, &condition, row, &terminal).await?);
        }
        if args.json {
            return super::print_json(&all);
        }
        all.iter().for_each(print);
        if rows.len() > ROWS_MAX {
            println!("{} rows hold; {ROWS_MAX} were traced", rows.len());
        }
        Ok(())
    })
}

/// The sink whose table has the row.
struct Traceable<'a> {
    number: usize,
    table: &'a TableSpec,
}

impl Traceable<'_> {
    fn of<'a>(spec: &'a PipelineSpec, name: Option<&str>) -> Result<Traceable<'a>> {
        let sink = spec.sink_named(name)?;
        let table = sink.spec.table().ok_or_else(|| {
            Error::invalid(format!(
                "rows of {} are in a topic, and a trace begins at a row of a table\n→ floe bisect looks through the epochs' rows",
                sink.spec.name()
            ))
        })?;
        let number = spec.sinks.iter().position(|it| it.name == sink.name);
        Ok(Traceable { number: number.unwrap_or_default(), table })
    }
}

async fn rows_that_hold(
    sink: &Traceable<'_>,
    condition: &Condition,
    snapshot: Option<i64>,
) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    for batch in wire::rows(sink.table, snapshot).await? {
        let columns = StructArray::from(batch.clone());
        for row in 0..batch.num_rows() {
            let row = Value::Object(value::object(&columns, row));
            match condition.holds(&row) {
                Some(true) => rows.push(row),
                Some(false) => {}
                None => {
                    let name = condition.unknown(&row).unwrap_or_default();
                    let table = &sink.table.table;
                    return Err(Error::invalid(format!("{table} has no column {name:?}")));
                }
            }
        }
    }
    Ok(rows)
}

async fn trace_row(
    subject: &mut Subject,
    sink: &Traceable<'_>,
    args: &TraceArgs,
    condition: &Condition,
    row: &Value,
    terminal: &Terminal,
) -> Result<Traced> {
    let commits = wire::commits(sink.table, &subject.spec.id).await?;
    let commit = commit_of(subject, sink, condition, row, &commits).await?;
    let (from, to) = match &commit {
        Some(it) => (it.epochs_behind, it.commit.epoch),
        None => {
            return Err(Error::refused("the snapshot that brought the row is not kept any more"));
        }
    };
    let plan = subject.plan_of_any(from, Some(to), None).await?;
    let subject = &*subject;
    let ranges = plan.input();
    let input =
        Input::of(subject.input(&plan), args.recording.as_deref(), &ranges, terminal).await?;
    let tasks = tasks_of(subject, &plan)?;
    let finder = Finder { sink: sink.number, row: row.clone(), found: Vec::new(), stepped: None };
    let tasks = tasks.into_iter().map(|it| (it, finder.clone())).collect();
    let replayed = run_over(tasks, &input, &plan, terminal)?;
    let found = replayed.iter().find_map(|it| Some((it, it.watch.found.first()?)));
    let Some((replayed_task, found)) = found else {
        return Err(Error::refused(format!(
            "re-executing epoch {from} → {to} does not make this row: it came from elsewhere"
        )));
    };
    let (task, identical) =
        (&replayed_task.task, replayed_task.epochs.iter().all(|it| it.difference.is_none()));
    let planned = |epoch: u64| plan.epochs.iter().find(|it| it.epoch.0 == epoch);
    let manifest = planned(found.epoch).map(|it| &it.manifest);
    let hash = |manifest: &floe_core::manifest::CheckpointManifest| {
        let entry = manifest.tasks.iter().find(|it| it.task == *task);
        entry.map_or_else(String::new, |it| show::hex(&it.state_hash))
    };
    let before =
        plan.epochs.iter().rev().find(|it| it.epoch.0 < found.epoch).map(|it| &it.manifest);
    let before = before.or(plan.begin.as_ref()).map_or_else(String::new, |it| hash(it));
    // Behind a key-by the order of rows is that of the run alone: records there are not looked at one by one.
    let stepped = match found.origin.as_ref().filter(|it| it.task == *task) {
        None => None,
        Some(Origin { first, last, .. }) => {
            record_of(subject, &plan, &input, task, (*first, *last), &finder, terminal)?
        }
    };
    let mut changes = Vec::new();
    if let Some((before, after)) = stepped.as_ref().and_then(|it| it.images.as_ref()) {
        changes = changes_of(subject, task, before, after)?;
    }
    Ok(Traced {
        table: sink.table.table.clone(),
        row: row.clone(),
        snapshot: commit.map(|it| it.commit.snapshot_id),
        epoch: found.epoch,
        generation: manifest.map_or(0, |it| it.generation.0),
        operators: plan
            .identity
            .operators
            .iter()
            .map(|it| (it.name.clone(), show::hex(&it.module_hash)))
            .collect(),
        task: task.to_string(),
        state_hash_before: before,
        state_hash_after: manifest.map_or_else(String::new, |it| hash(it)),
        identical,
        from: found.origin.as_ref().map(|it| it.task.to_string()),
        batch: found.origin.as_ref().map(|it| (it.first.0, it.last.0)),
        record: stepped.map(|it| RecordView {
            offset: it.offset.0,
            timestamp: it.timestamp.0,
            key: it.key.as_deref().map(|key| text_of(Some(key))),
            value: it.value.as_deref().map(|value| text_of(Some(value))),
        }),
        state: changes,
    })
}

/// The commit that brought the row, and the epoch before those that it holds.
struct Brought<'a> {
    commit: &'a TableCommit,
    epochs_behind: u64,
}

/// Rows are only added, so the first snapshot that has it is found by halving.
async fn commit_of<'a>(
    subject: &Subject,
    sink: &Traceable<'_>,
    condition: &Condition,
    row: &Value,
    commits: &'a [TableCommit],
) -> Result<Option<Brought<'a>>> {
    let (mut low, mut high) = (0, commits.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let there = rows_that_hold(sink, condition, Some(commits[middle].snapshot_id)).await?;
        if there.contains(row) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    let Some(commit) = commits.get(low) else { return Ok(None) };
    // Its epochs begin behind the checkpoint before them. That may be one behind the last commit, which an upgrade
    // wrote.
    let kept = floe_checkpoint::list_checkpoints(&*subject.store, &subject.spec.id).await?;
    let of = kept.iter().find(|it| it.epoch == commit.first_epoch);
    let before = of.and_then(|it| it.predecessor_epoch);
    let before = before.or(low.checked_sub(1).map(|before| commits[before].epoch));
    let epochs_behind = before.unwrap_or(0);
    Ok(Some(Brought { commit, epochs_behind }))
}

/// Runs the row's task twice more: record by record through the batch, then with the state around one.
fn record_of(
    subject: &Subject,
    plan: &Plan,
    input: &Input,
    task: &TopicPartition,
    (first, last): (Offset, Offset),
    finder: &Finder,
    terminal: &Terminal,
) -> Result<Option<Arc<Stepped>>> {
    let look = |offsets, detail| -> Result<Option<Arc<Stepped>>> {
        let mut tasks = tasks_of(subject, plan)?;
        tasks.retain(|it| it.task() == task);
        for task in &mut tasks {
            task.examine = Some(Examine { offsets, detail, cores: false, before: None });
        }
        let tasks = tasks.into_iter().map(|it| (it, finder.clone())).collect();
        let mut replayed = run_over(tasks, input, plan, terminal)?;
        Ok(replayed.first_mut().and_then(|it| it.watch.stepped.take()))
    };
    let Some(found) = look((first, last), Detail::Rows)? else { return Ok(None) };
    look((found.offset, found.offset), Detail::Images)
}

fn changes_of(
    subject: &Subject,
    task: &TopicPartition,
    before: &[(String, OperatorImage)],
    after: &[(String, OperatorImage)],
) -> Result<Vec<StateChange>> {
    let before = state::told(&subject.links, task, before)?;
    let after = state::told(&subject.links, task, after)?;
    let changes = state::changes(&before, &after).into_iter();
    Ok(changes
        .map(|it| StateChange { path: it.path, before: it.before, after: it.after })
        .collect())
}

/// Looks for one row among those that a task makes.
#[derive(Clone)]
struct Finder {
    sink: usize,
    row: Value,
    found: Vec<Found>,
    stepped: Option<Arc<Stepped>>,
}

#[derive(Clone)]
struct Found {
    epoch: u64,
    /// The records of the call that made it, in the partition that they are from.
    origin: Option<Origin>,
}

impl Finder {
    /// The table may have columns that the operator does not emit, and wider types.
    fn is_in(&self, rows: &SinkRows) -> bool {
        let columns = StructArray::from(rows.batch.clone());
        rows.sink == self.sink
            && (0..rows.batch.num_rows())
                .any(|row| same_row(&value::object(&columns, row), &self.row))
    }
}

fn same_row(made: &Map<String, Value>, row: &Value) -> bool {
    made.iter().all(|(name, value)| match (value, row.get(name)) {
        (Value::Number(a), Some(Value::Number(b))) => a.as_f64() == b.as_f64(),
        (a, Some(b)) => a == b,
        (_, None) => false,
    })
}

impl Watch for Finder {
    fn rows(&mut self, epoch: u64, _: Option<&Records>, rows: &SinkRows) {
        if self.is_in(rows) {
            self.found.push(Found { epoch, origin: rows.origin.clone() });
        }
    }

    fn stepped(&mut self, _: u64, stepped: Stepped) {
        if self.stepped.is_none() && stepped.emitted.iter().any(|it| self.is_in(it)) {
            self.stepped = Some(Arc::new(stepped));
        }
    }
}

fn print(traced: &Traced) {
    let columns: BTreeMap<&String, &Value> = traced.row.as_object().into_iter().flatten().collect();
    let row: Vec<String> = columns.iter().map(|(name, it)| format!("{name}={it}")).collect();
    let snapshot = traced.snapshot.map_or_else(String::new, |it| format!("     snapshot {it}"));
    println!("row        {}  {}{snapshot}  epoch {}", traced.table, row.join(" "), traced.epoch);
    for (name, hash) in &traced.operators {
        println!("operator   {name}  blake3 {}…   generation {}", &hash[..12], traced.generation);
    }
    let verdict = if traced.identical { "state hash identical ✓" } else { "the state differs" };
    let short = |it: &str| match it.get(..12) {
        Some(begin) => format!("{begin}…"),
        None => "the beginning".to_owned(),
    };
    println!(
        "re-executed to epoch {}, task {}: {verdict}  ({} → {})",
        traced.epoch,
        traced.task,
        short(&traced.state_hash_before),
        short(&traced.state_hash_after)
    );
    match (&traced.record, traced.batch) {
        (Some(record), _) => println!(
            "record     {} @ {}   {}",
            traced.task,
            record.offset,
            record.value.as_deref().unwrap_or("–")
        ),
        (None, Some((first, last))) => {
            let from = traced.from.as_ref().unwrap_or(&traced.task);
            let why = match *from == traced.task {
                true => "as a batch: no record of it makes the row by itself".to_owned(),
                false => format!("by which it came to {} by key", traced.task),
            };
            println!("records    {from} @ {first}..{last}, {why}");
        }
        (None, None) => println!("record     none: a watermark made the row"),
    }
    for change in &traced.state {
        println!("state      {}   before {}   after {}", change.path, change.before, change.after);
    }
}
