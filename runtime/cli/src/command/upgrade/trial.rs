//! `floe upgrade --try`: the last epochs through the old operator and the new one, side by side.
//!
//! Nothing is written and nothing is claimed: the records come by number, as in a replay.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::{Duration, Instant};

use arrow_array::{RecordBatch, StructArray};
use floe_core::{Error, Offset, Record, Records, Result, TopicPartition};
use floe_pipeline::config::{OnError, PipelineSpec};
use floe_pipeline::upgrade::{OperatorChange, StateFrom};
use floe_replay::{Difference, Link, Origin, Plan, SinkRows, TaskReplay, Watch};
use serde::Serialize;
use serde_json::Value;

use super::apply::no_checkpoint;
use super::plan::{self, New, Upgrade, plan};
use crate::args::UpgradeArgs;
use crate::command::replay_other::without_ends;
use crate::command::rows::value;
use crate::command::state::{TaskChanges, changes, print_changes, tell};
use crate::exit::Differs;
use crate::made_by::MadeBy;
use crate::replay::input::{From, Input};
use crate::replay::run::{Replayed, run_over};
use crate::terminal::Terminal;
use crate::wire::Module;
use crate::{show, wire};

#[derive(Serialize)]
struct Report {
    pipeline: String,
    operators: Vec<String>,
    from_epoch: u64,
    to_epoch: u64,
    epochs: usize,
    records: u64,
    /// The old one ended in the state hashes of the checkpoints.
    old_is_identical: bool,
    rows_changed: u64,
    rows_added: u64,
    rows_removed: u64,
    /// Records that one of the two rejects, skips or dies of, and the other does not.
    refusals: Vec<Refusal>,
    stopped: Vec<Stopped>,
    rows: Vec<RowChange>,
    state: Vec<TaskChanges>,
    old: Side,
    new: Side,
}

#[derive(Serialize)]
struct Side {
    seconds: f64,
    memory_bytes: u64,
}

#[derive(Serialize)]
struct RowChange {
    task: String,
    /// The task of the source and the first offset of the batch; none for rows made at a watermark.
    from: Option<String>,
    batch: Option<i64>,
    before: Option<Value>,
    after: Option<Value>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Refusal {
    task: String,
    offset: Option<i64>,
    side: &'static str,
    operator: String,
    why: String,
}

#[derive(Serialize)]
struct Stopped {
    task: String,
    side: &'static str,
    text: String,
}

pub(super) async fn trial(
    spec: PipelineSpec,
    args: &UpgradeArgs,
    epochs: u64,
    terminal: &Terminal,
) -> anyhow::Result<()> {
    let store = wire::store_to_read(&spec)?.ok_or_else(|| no_checkpoint(&spec))?;
    let reading = floe_checkpoint::read_log(&*store, &spec.id).await?;
    let newest = reading.newest_manifest().ok_or_else(|| no_checkpoint(&spec))?.1.clone();
    let new = New::of(&spec, &newest.identity, args).await?;
    let Some(upgrade) = plan(&spec, &*store, &newest, &new, args).await? else {
        return Err(Error::invalid(format!(
            "checkpoint {} has these operators already: there is nothing to try\n→ --operator NAME=MODULE names another module",
            newest.epoch
        ))
        .into());
    };

    // As far back as is asked for and kept.
    let from = floe_replay::plan::replayable_from(&*store, &spec.id, epochs).await?;
    if from == newest.epoch.0 {
        return Err(Error::invalid(format!(
            "there is no epoch to try: checkpoint {from} is the only one that is kept of these operators, or took dead letters back in, which are not in the source\n→ [checkpoint] keep says how many there are; try again behind the next epoch"
        ))
        .into());
    }
    let plan = floe_replay::plan::load(&*store, &spec.id, from, Some(newest.epoch.0), None).await?;
    if (plan.epochs.len() as u64) < epochs {
        eprintln!(
            "note: {} epochs are tried, for no more are kept behind the last upgrade and the last dead letters that were given back",
            plan.epochs.len()
        );
    }
    let ranges = plan.input();
    let from = From { spec: &spec, store: &store, plan: &plan };
    let input = Input::of(from, args.recording.as_deref(), &ranges, terminal).await?;

    let old_links = links(&upgrade.old.modules.chain);
    let new_links = links(&new.modules.chain);
    let old_decoding = wire::decoding(&upgrade.old.spec, &upgrade.old.modules)?;
    let new_decoding = wire::decoding(&new.spec, &new.modules)?;
    for decoding in [&old_decoding, &new_decoding] {
        wire::schemas::recall(&store, &spec.id, &decoding.known).await?;
    }
    let side = |tasks| -> Result<(Vec<Replayed<Seen>>, Duration)> {
        let begin = Instant::now();
        let done = run_over(tasks, &input, &plan, terminal)?;
        Ok((done, begin.elapsed()))
    };
    let mut tasks = Vec::new();
    for task in plan.all_tasks() {
        let (captured, epochs) = (plan.tasks.get(&task), plan.of_task(&task));
        let replay = TaskReplay::new(
            &plan.pipeline,
            &task,
            captured,
            &old_links,
            &upgrade.old.modules.graph,
            &*old_decoding.decoder,
            epochs,
        )?;
        tasks.push((replay, Seen::default()));
    }
    let (old_done, old_time) = side(tasks)?;
    let mut tasks = Vec::new();
    for task in plan.all_tasks() {
        let mut captured = plan.tasks.get(&task).cloned();
        if let Some(captured) = &mut captured {
            for change in &upgrade.changes {
                let of = captured.operators.iter_mut().find(|it| it.0 == change.name);
                if let Some((_, image)) = of {
                    *image = change.convert(&task, image)?;
                }
            }
        }
        let mut replay = TaskReplay::new(
            &plan.pipeline,
            &task,
            captured.as_ref(),
            &new_links,
            &new.modules.graph,
            &*new_decoding.decoder,
            plan.of_task(&task),
        )?;
        replay.altered = true;
        // Those, too, that the old one could not take: each alone, as the run had them.
        replay.gives_skipped = true;
        tasks.push((replay, Seen::default()));
    }
    let (new_done, new_time) = side(tasks)?;

    let report = compare(
        &plan,
        plan::text(&newest.identity, &upgrade),
        &upgrade,
        &new,
        (old_done, old_time),
        (new_done, new_time),
        if args.json { usize::MAX } else { args.show },
    )?;
    match args.json {
        true => crate::command::print_json(&report)?,
        false => report.print(args.show)?,
    }
    match report.is_same() {
        true => Ok(()),
        false => {
            Err(Differs("the new operator does not do what the old one did".to_owned()).into())
        }
    }
}

fn links(chain: &[Module]) -> Vec<Link> {
    let link = |it: &Module| Link {
        name: it.name.as_str().into(),
        factory: it.factory.clone(),
        dead_letters: it.on_error == OnError::DeadLetter,
    };
    chain.iter().map(link).collect()
}

/// What came out, by what it was made from.
#[derive(Default)]
struct Seen {
    rows: BTreeMap<MadeFrom, Vec<RecordBatch>>,
    refused: BTreeSet<(Option<Offset>, String, String)>,
}

/// The task of the source and the first offset of a batch; none for what was made at a watermark.
type MadeFrom = Option<(TopicPartition, Offset)>;

impl Watch for Seen {
    fn rows(&mut self, _: u64, _: Option<&Records>, rows: &SinkRows) {
        let at = rows.origin.as_ref().map(|it| (it.task.clone(), it.first));
        self.rows.entry(at).or_default().push(rows.batch.clone());
    }

    fn refused(&mut self, _: u64, record: Option<Record<'_>>, operator: &str, why: &str) {
        let at = record.map(|it| it.offset());
        self.refused.insert((at, operator.to_owned(), why.to_owned()));
    }
}

fn compare(
    plan: &Plan,
    text: String,
    upgrade: &Upgrade,
    new: &New,
    (old_done, old_time): (Vec<Replayed<Seen>>, Duration),
    (new_done, new_time): (Vec<Replayed<Seen>>, Duration),
    shown: usize,
) -> Result<Report> {
    let mut report = Report {
        pipeline: plan.pipeline.clone(),
        operators: text.split("\n  ").map(str::to_owned).collect(),
        from_epoch: plan.begin.as_ref().map_or(0, |it| it.epoch.0),
        to_epoch: plan.epochs.last().map_or(0, |it| it.epoch.0),
        epochs: plan.epochs.len(),
        records: plan.records(),
        old_is_identical: old_done
            .iter()
            .flat_map(|it| &it.epochs)
            .all(|it| it.difference.is_none()),
        rows_changed: 0,
        rows_added: 0,
        rows_removed: 0,
        refusals: Vec::new(),
        stopped: Vec::new(),
        rows: Vec::new(),
        state: Vec::new(),
        old: Side { seconds: old_time.as_secs_f64(), memory_bytes: 0 },
        new: Side { seconds: new_time.as_secs_f64(), memory_bytes: 0 },
    };
    let (mut old_told, mut new_told) = (Vec::new(), Vec::new());
    for (mut old, mut new_one) in old_done.into_iter().zip(new_done) {
        let task = old.task.clone();
        for (side, done) in [("old", &old), ("new", &new_one)] {
            let differences = done.epochs.iter().filter_map(|it| it.difference.as_ref());
            report.stopped.extend(differences.map(|it| Stopped {
                task: task.to_string(),
                side,
                text: stopped_text(it),
            }));
        }
        compare_rows(&task, &old.watch.rows, &new_one.watch.rows, shown, &mut report);
        compare_refusals(&task, &old.watch, &new_one.watch, &mut report);
        let is_whole = |it: &Replayed<Seen>| it.epochs.iter().all(|it| it.difference.is_none());
        // An instance that stopped is no state.
        if !is_whole(&old) || !is_whole(&new_one) {
            continue;
        }
        let sides = [(&mut old, &upgrade.old.modules.chain), (&mut new_one, &new.modules.chain)];
        for (index, (done, chain)) in sides.into_iter().enumerate() {
            let Some(ended) = &mut done.ended else { continue };
            let images = ended.capture()?;
            let bytes: u64 = images.iter().map(|it| it.1.memory.bytes).sum();
            let (side, told) = match index {
                0 => (&mut report.old, &mut old_told),
                _ => (&mut report.new, &mut new_told),
            };
            side.memory_bytes += bytes;
            told.extend(tell(chain, &task, &images, |module| {
                is_told(&upgrade.changes, &upgrade.old, module)
            })?);
        }
    }
    report.state = changes(&old_told, &new_told);
    Ok(report)
}

/// The changed operators that both sides can tell.
fn is_told(changes: &[OperatorChange], old: &MadeBy, module: &Module) -> bool {
    changes.iter().any(|it| {
        let both = matches!(it.state, StateFrom::Export(_)) && it.new.describe().exports_state;
        both && old.modules.chain[it.index].name == module.name
    })
}

fn stopped_text(difference: &Difference) -> String {
    match difference {
        Difference::Stopped { by: None, operator, message } => {
            format!("a watermark stops operator {operator}: {message}")
        }
        Difference::Stopped { by: Some(by), operator, message } if by.first == by.last => {
            format!("record @ {} stops operator {operator}: {message}", by.first)
        }
        Difference::Stopped { by: Some(Origin { first, last, .. }), operator, message } => {
            format!("a batch @ {first}..{last} stops operator {operator}: {message}")
        }
        Difference::Input { first, last, .. } => {
            format!("records {first}..{last} are not those that the run took")
        }
        Difference::Merged { from, .. } => {
            format!("the rows that {from} passed are not those that the run merged")
        }
        Difference::Rows { .. } | Difference::State { .. } => {
            "its state is not the checkpoint's: no fair comparison".to_owned()
        }
    }
}

fn compare_rows(
    task: &TopicPartition,
    old: &BTreeMap<MadeFrom, Vec<RecordBatch>>,
    new: &BTreeMap<MadeFrom, Vec<RecordBatch>>,
    shown: usize,
    report: &mut Report,
) {
    let all: BTreeSet<&MadeFrom> = old.keys().chain(new.keys()).collect();
    for made_from in all {
        let (a, b) = (old.get(made_from), new.get(made_from));
        if a == b {
            continue;
        }
        let (a, b) = (rows_of(a), rows_of(b));
        let (_, a, b) = without_ends(&a, &b);
        for row in 0..a.len().max(b.len()) {
            let (before, after) = (a.get(row), b.get(row));
            match (before, after) {
                (Some(before), Some(after)) if before == after => continue,
                (Some(_), Some(_)) => report.rows_changed += 1,
                (None, _) => report.rows_added += 1,
                (_, None) => report.rows_removed += 1,
            }
            if report.rows.len() < shown {
                report.rows.push(RowChange {
                    task: task.to_string(),
                    from: made_from.as_ref().map(|it| it.0.to_string()),
                    batch: made_from.as_ref().map(|it| it.1.0),
                    before: before.cloned(),
                    after: after.cloned(),
                });
            }
        }
    }
}

fn rows_of(batches: Option<&Vec<RecordBatch>>) -> Vec<Value> {
    let mut rows = Vec::new();
    for batch in batches.into_iter().flatten() {
        let columns = StructArray::from(batch.clone());
        rows.extend((0..batch.num_rows()).map(|row| Value::Object(value::object(&columns, row))));
    }
    rows
}

fn compare_refusals(task: &TopicPartition, old: &Seen, new: &Seen, report: &mut Report) {
    for (side, mine, other) in [("old", old, new), ("new", new, old)] {
        // Why it was refused may be said otherwise; what counts is whether it was.
        let refused: BTreeSet<Option<Offset>> = other.refused.iter().map(|it| it.0).collect();
        for (at, operator, why) in mine.refused.iter().filter(|it| !refused.contains(&it.0)) {
            report.refusals.push(Refusal {
                task: task.to_string(),
                offset: at.map(|it| it.0),
                side,
                operator: operator.clone(),
                why: why.clone(),
            });
        }
    }
}

impl Report {
    fn is_same(&self) -> bool {
        self.rows_changed + self.rows_added + self.rows_removed == 0
            && self.refusals.is_empty()
            && self.stopped.is_empty()
            && self.state.is_empty()
    }

    fn print(&self, shown: usize) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        let grouped = show::grouped;
        writeln!(
            out,
            "tried on {} epochs, {} → {}, {} records",
            self.epochs,
            self.from_epoch,
            self.to_epoch,
            grouped(self.records)
        )?;
        writeln!(out, "  {}", self.operators.join("\n  "))?;
        let identical = match self.old_is_identical {
            true => "as in the run: state hashes identical ✓",
            false => "NOT as in the run",
        };
        let size = floe_pipeline::config::units::show_bytes;
        writeln!(
            out,
            "  old    {}   {} of memory   {identical}",
            show::seconds(self.old.seconds),
            size(self.old.memory_bytes)
        )?;
        writeln!(
            out,
            "  new    {}   {} of memory",
            show::seconds(self.new.seconds),
            size(self.new.memory_bytes)
        )?;
        for it in self.stopped.iter().take(shown) {
            writeln!(out, "  {}: {}: {}", it.task, it.side, it.text.replace('\n', "\n    "))?;
        }
        writeln!(
            out,
            "rows     {} changed, {} added, {} removed",
            grouped(self.rows_changed),
            grouped(self.rows_added),
            grouped(self.rows_removed)
        )?;
        for it in self.rows.iter().take(shown) {
            print_row(&mut out, it)?;
        }
        let all = self.rows_changed + self.rows_added + self.rows_removed;
        if all > self.rows.len() as u64 {
            writeln!(out, "  … and {} more", grouped(all - self.rows.len() as u64))?;
        }
        if !self.refusals.is_empty() {
            writeln!(out, "refused  {} records by one of the two alone", self.refusals.len())?;
        }
        for it in self.refusals.iter().take(shown) {
            let at = it.offset.map_or(String::new(), |it| format!(" @ {it}"));
            writeln!(out, "  {}{at}  by the {}: {}", it.task, it.side, first_line(&it.why))?;
        }
        let state: usize = self.state.iter().map(|it| it.changes.len()).sum();
        writeln!(out, "state    {} differences", grouped(state as u64))?;
        drop(out);
        print_changes(&self.state, shown)
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn print_row(out: &mut impl Write, it: &RowChange) -> std::io::Result<()> {
    let at = match (&it.from, it.batch) {
        (Some(from), Some(batch)) if *from == it.task => format!("batch from {batch}"),
        (Some(from), Some(batch)) => format!("batch from {from} @ {batch}"),
        (_, _) => "at a watermark".to_owned(),
    };
    match (&it.before, &it.after) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let differ = names.into_iter().filter(|it| a.get(*it) != b.get(*it)).map(|name| {
                let text = |it: Option<&Value>| it.map_or("–".to_owned(), Value::to_string);
                format!("{name} {} → {}", text(a.get(name)), text(b.get(name)))
            });
            writeln!(out, "  ~ {}  {at}  {}", it.task, differ.collect::<Vec<_>>().join(", "))
        }
        (Some(row), _) => writeln!(out, "  − {}  {at}  {row}", it.task),
        (None, Some(row)) => writeln!(out, "  + {}  {at}  {row}", it.task),
        (None, None) => Ok(()),
    }
}
