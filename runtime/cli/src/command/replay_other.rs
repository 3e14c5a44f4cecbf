//! `floe replay --operator other.wasm`: the same input through another build, and the rows that differ.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::StructArray;
use floe_core::{Error, Offset, Records};
use floe_operator::Engine;
use floe_pipeline::config::PipelineSpec;
use floe_replay::{SinkRows, TaskReplay, Watch};
use serde_json::Value;

use crate::args::ReplayArgs;
use crate::exit::Differs;
use crate::replay::input::Input;
use crate::replay::run::run_over;
use crate::replay::subject::Subject;
use crate::terminal::Terminal;
use crate::{show, wire};

use super::replay::{parse_task, range};
use super::rows::value;

/// Rows that differ, shown to a person.
const SHOWN: usize = 20;

pub(crate) async fn replay_other(
    subject: &Subject,
    args: &ReplayArgs,
    other: &Path,
    terminal: &Terminal,
) -> anyhow::Result<()> {
    let only = args.task.as_deref().map(parse_task).transpose()?;
    let (from, to) = range(subject, args.checkpoint, args.to).await?;
    let plan = subject.plan(from, to, only.as_ref()).await?;
    let at = chosen(subject, args.operator_name.as_deref())?;
    let mut spec = PipelineSpec::clone(&subject.spec);
    spec.operators[at].module = other.to_owned();
    spec.operators[at].name = Some(subject.links[at].name.to_string());
    let modules = wire::modules_in(&spec, &Engine::new(Some(wire::module_cache()))?)?;
    let mut links = subject.links.clone();
    links[at].factory = Arc::clone(&modules.chain[at].factory);

    let ranges = plan.input();
    let input =
        Input::of(subject.input(&plan), args.recording.as_deref(), &ranges, terminal).await?;
    let mut sides = Vec::new();
    for links in [&subject.links, &links] {
        let mut tasks = Vec::new();
        for task in plan.all_tasks() {
            // Another build lays its memory out otherwise, so an image of this one is nothing to it.
            let mut replay = TaskReplay::new(
                &plan.pipeline,
                &task,
                None,
                links,
                &subject.graph,
                &*subject.decoder,
                plan.of_task(&task),
            )?;
            replay.altered = true;
            tasks.push((replay, Rows::default()));
        }
        sides.push(run_over(tasks, &input, &plan, terminal)?);
    }
    let (right, left) = (sides.pop().unwrap_or_default(), sides.pop().unwrap_or_default());
    let mut differing = 0;
    if from > 0 && !args.json {
        println!(
            "note: both begin with an empty state, since an image fits one build alone; --checkpoint 0 replays from the beginning"
        );
    }
    for (left, right) in left.iter().zip(&right) {
        for (stopped, side) in [(left, "as it is"), (right, "the other")] {
            if let Some(difference) = stopped.epochs.iter().find_map(|it| it.difference.as_ref()) {
                println!("{}: {side}: {difference:?}", left.task);
                differing += 1;
            }
        }
        let offsets: std::collections::BTreeSet<Offset> =
            left.watch.0.keys().chain(right.watch.0.keys()).copied().collect();
        let none = Vec::new();
        for offset in offsets {
            let a = left.watch.0.get(&offset).unwrap_or(&none);
            let b = right.watch.0.get(&offset).unwrap_or(&none);
            for row in 0..a.len().max(b.len()) {
                let (a, b) = (a.get(row), b.get(row));
                if a == b {
                    continue;
                }
                differing += 1;
                if differing <= SHOWN || args.json {
                    show_row(&left.task.to_string(), offset, row, a, b, args.json);
                }
            }
        }
    }
    let records = show::grouped(plan.records());
    if differing == 0 {
        println!(
            "the same rows from {records} records, epoch {from} → {}",
            plan.epochs.last().map_or(from, |it| it.epoch.0)
        );
        return Ok(());
    }
    Err(Differs(format!("{differing} rows differ from {records} records")).into())
}

fn chosen(subject: &Subject, name: Option<&str>) -> Result<usize, Error> {
    match (name, subject.links.len()) {
        (None, 1) => Ok(0),
        (None, _) => Err(Error::invalid(
            "the pipeline has several operators\n→ --operator-name NAME says which of them the module replaces",
        )),
        (Some(name), _) => subject
            .links
            .iter()
            .position(|it| *it.name == *name)
            .ok_or_else(|| Error::invalid(format!("the pipeline has no operator {name:?}"))),
    }
}

/// The rows of each batch, by the batch's first offset.
#[derive(Default)]
struct Rows(BTreeMap<Offset, Vec<Value>>);

impl Watch for Rows {
    fn rows(&mut self, _: u64, records: Option<&Records>, rows: &SinkRows) {
        let first = records.and_then(Records::first_offset).unwrap_or(Offset(i64::MAX));
        let columns = StructArray::from(rows.batch.clone());
        let rows =
            (0..rows.batch.num_rows()).map(|row| Value::Object(value::object(&columns, row)));
        self.0.entry(first).or_default().extend(rows);
    }
}

fn show_row(
    task: &str,
    batch: Offset,
    row: usize,
    a: Option<&Value>,
    b: Option<&Value>,
    json: bool,
) {
    if json {
        let line = serde_json::json!({ "task": task, "batch": batch.0, "row": row, "left": a, "right": b });
        return println!("{line}");
    }
    println!("{task}  batch from {batch}, row {row}");
    match (a, b) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            for (name, value) in a.iter().filter(|(name, value)| b.get(*name) != Some(value)) {
                println!("  {name}   {value} → {}", b.get(name).unwrap_or(&Value::Null));
            }
        }
        (a, b) => {
            let text = |it: Option<&Value>| it.map_or("no row".to_owned(), Value::to_string);
            println!("  {} → {}", text(a), text(b));
        }
    }
}
