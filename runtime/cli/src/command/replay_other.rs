//! `floe replay --operator other.wasm`: the same input through another build, and the rows that differ.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use arrow_array::StructArray;
use floe_core::{Error, Offset, Records, TopicPartition};
use floe_operator::Engine;
use floe_pipeline::config::PipelineSpec;
use floe_replay::{Difference, SinkRows, TaskReplay, Watch};
use serde_json::Value;

use crate::args::ReplayArgs;
use crate::exit::Differs;
use crate::replay::input::Input;
use crate::replay::report::stopped_by;
use crate::replay::run::run_over;
use crate::replay::subject::Subject;
use crate::terminal::Terminal;
use crate::{show, wire};

use super::replay::{parse_task, range};
use super::rows::value;

/// Rows that differ, shown to a person.
const SHOWN: u64 = 20;

pub(crate) async fn replay_other(
    subject: &mut Subject,
    args: &ReplayArgs,
    other: &Path,
    terminal: &Terminal,
) -> anyhow::Result<()> {
    let only = args.task.as_deref().map(parse_task).transpose()?;
    let (from, to) = range(subject, args.checkpoint, args.to).await?;
    let plan = subject.plan_of_any(from, to, only.as_ref()).await?;
    let subject = &*subject;
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
    let mut notes = subject.notes(&plan.identity);
    if from > 0 {
        notes.push("both begin with an empty state, since an image fits one build alone; --checkpoint 0 replays from the beginning, and floe upgrade --try gives the other the state of the one".to_owned());
    }
    let mut sides = Vec::new();
    for (links, is_other) in [(&subject.links, false), (&links, true)] {
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
            // Only what the run had can be expected to pass over what stopped it.
            replay.gives_skipped = is_other;
            tasks.push((replay, Rows::default()));
        }
        sides.push(run_over(tasks, &input, &plan, terminal)?);
    }
    let (right, left) = (sides.pop().unwrap_or_default(), sides.pop().unwrap_or_default());
    let mut shown = Shown { json: args.json, rows: 0, stopped: 0 };
    for note in notes {
        shown.note(&note);
    }
    for (left, right) in left.iter().zip(&right) {
        let task = left.task.to_string();
        for (done, side) in [(left, "as it is"), (right, "the other")] {
            let stopped =
                done.epochs.iter().find_map(|it| Some((it.epoch, it.difference.as_ref()?)));
            if let Some((epoch, difference)) = stopped {
                shown.stop(&task, side, epoch, difference);
            }
        }
        let places: BTreeSet<&MadeFrom> = left.watch.0.keys().chain(right.watch.0.keys()).collect();
        let none = Vec::new();
        for place in places {
            let a = left.watch.0.get(place).unwrap_or(&none);
            let b = right.watch.0.get(place).unwrap_or(&none);
            let (first, a, b) = without_ends(a, b);
            for row in 0..a.len().max(b.len()) {
                let (a, b) = (a.get(row), b.get(row));
                if a != b {
                    shown.row(&task, place.as_ref(), first + row, a, b);
                }
            }
        }
    }
    let to = plan.epochs.last().map_or(from, |it| it.epoch.0);
    shown.end(&format!("{} records, epoch {from} → {to}", show::grouped(plan.records())))
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

/// Without the rows that are the same at both ends, so that one row more in the middle is one row more; and how many
/// there were before.
pub(crate) fn without_ends<'a>(
    a: &'a [Value],
    b: &'a [Value],
) -> (usize, &'a [Value], &'a [Value]) {
    let before = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[before..], &b[before..]);
    let behind = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    (before, &a[..a.len() - behind], &b[..b.len() - behind])
}

/// The task of the source and the first offset of a batch; none for what was made at a watermark.
type MadeFrom = Option<(TopicPartition, Offset)>;

#[derive(Default)]
struct Rows(BTreeMap<MadeFrom, Vec<Value>>);

impl Watch for Rows {
    fn rows(&mut self, _: u64, _: Option<&Records>, rows: &SinkRows) {
        let place = rows.origin.as_ref().map(|it| (it.task.clone(), it.first));
        let columns = StructArray::from(rows.batch.clone());
        let rows =
            (0..rows.batch.num_rows()).map(|row| Value::Object(value::object(&columns, row)));
        self.0.entry(place).or_default().extend(rows);
    }
}

/// What differs, as it is found.
struct Shown {
    json: bool,
    rows: u64,
    /// Tasks that an operator stopped in, on one of the sides.
    stopped: u64,
}

impl Shown {
    fn note(&self, text: &str) {
        match self.json {
            true => eprintln!("note: {text}"),
            false => println!("note: {text}"),
        }
    }

    fn stop(&mut self, task: &str, side: &str, epoch: u64, difference: &Difference) {
        self.stopped += 1;
        let (by, message) = match difference {
            Difference::Stopped { by, operator, message } => {
                (format!("{} operator {operator:?}", stopped_by(by.as_ref())), message.as_str())
            }
            Difference::Input { .. }
            | Difference::Merged { .. }
            | Difference::Rows { .. }
            | Difference::State { .. } => ("its records are not those of the run".to_owned(), ""),
        };
        if self.json {
            let line = serde_json::json!({ "task": task, "side": side, "epoch": epoch, "stopped": by, "message": message });
            return println!("{line}");
        }
        println!("{task}  {side}: {by} in epoch {epoch}, and no row behind it is compared");
        for line in message.lines() {
            println!("  {line}");
        }
    }

    fn row(
        &mut self,
        task: &str,
        place: Option<&(TopicPartition, Offset)>,
        row: usize,
        a: Option<&Value>,
        b: Option<&Value>,
    ) {
        self.rows += 1;
        if self.json {
            let (from, batch) = (place.map(|it| it.0.to_string()), place.map(|it| it.1.0));
            let line = serde_json::json!({ "task": task, "from": from, "batch": batch, "row": row, "left": a, "right": b });
            return println!("{line}");
        }
        if self.rows > SHOWN {
            return;
        }
        let at = match place {
            Some((from, batch)) => format!("batch {from} @ {batch}"),
            None => "at a watermark".to_owned(),
        };
        println!("{task}  {at}, row {row}");
        match (a, b) {
            (Some(Value::Object(a)), Some(Value::Object(b))) => {
                let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
                let text = |it: Option<&Value>| it.map_or("–".to_owned(), Value::to_string);
                for name in names.into_iter().filter(|it| a.get(*it) != b.get(*it)) {
                    println!("  {name}   {} → {}", text(a.get(name)), text(b.get(name)));
                }
            }
            (a, b) => {
                let text = |it: Option<&Value>| it.map_or("no row".to_owned(), Value::to_string);
                println!("  {} → {}", text(a), text(b));
            }
        }
    }

    fn end(self, of: &str) -> anyhow::Result<()> {
        if self.rows + self.stopped == 0 {
            if !self.json {
                println!("the same rows from {of}");
            }
            return Ok(());
        }
        if self.rows > SHOWN && !self.json {
            println!("… and {} more", show::grouped(self.rows - SHOWN));
        }
        let stopped = match self.stopped {
            0 => String::new(),
            tasks => format!(", and an operator stopped in {tasks} tasks"),
        };
        Err(Differs(format!("{} rows differ{stopped}, from {of}", show::grouped(self.rows))).into())
    }
}
