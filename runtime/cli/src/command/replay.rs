//! `floe replay`: a checkpoint run again on this machine, and compared with what the run left.
//!
//! It writes nothing but the terminal and `--out`: records come by number, the store is only read, and so is
//! a table, after rows were found to differ.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arrow_array::{RecordBatch, StructArray};
use floe_core::ports::Source;
use floe_core::{Error, Offset, Record, Records, Result, TopicPartition};
use floe_operator::{Engine, Optimisation};
use floe_pipeline::config::LogFormat;
use floe_replay::step::{Detail, Stepped};
use floe_replay::{Difference, Examine, Plan, SinkRows, Watch};

use crate::args::ReplayArgs;
use crate::exit::Differs;
use crate::replay::input::{Input, Ranges, Reading, topic_of};
use crate::replay::report::{Report, stopped_by};
use crate::replay::run::{Replayed, Running, all_cores, run};
use crate::replay::subject::Subject;
use crate::replay::tasks_of;
use crate::terminal::Terminal;
use crate::{logging, show};

use super::replay_core as core;
use super::replay_debug;
use super::rows::value;

pub(crate) fn replay(args: ReplayArgs) -> anyhow::Result<()> {
    let terminal = Terminal::new();
    logging::start(if args.json { LogFormat::Json } else { LogFormat::Human }, &terminal)?;
    super::block_on(async move {
        if args.debug {
            return Err(replay_debug::start(&args));
        }
        let mut subject = match args.debugged {
            false => Subject::open(&args.subject)?,
            // Compiled anew: what a debugger needs is in no cache.
            true => Subject::open_with(
                &args.subject,
                Engine::with_optimisation(None, Optimisation::Debugger)?,
            )?,
        };
        if let Some(other) = args.operator.clone() {
            return super::replay_other::replay_other(&mut subject, &args, &other, &terminal).await;
        }
        replay_here(&mut subject, &args, &terminal).await
    })
}

async fn replay_here(
    subject: &mut Subject,
    args: &ReplayArgs,
    terminal: &Terminal,
) -> anyhow::Result<()> {
    let only = args.task.as_deref().map(parse_task).transpose()?;
    let (from, to) = range(subject, args.checkpoint, args.to).await?;
    let plan = subject.plan_of_any(from, to, only.as_ref()).await?;
    let beyond = beyond(&plan, args);
    let ranges = ranges(subject, &plan, args, beyond).await?;
    let input =
        Input::of(subject.input(&plan), args.recording.as_deref(), &ranges, terminal).await?;

    let out = args.out.as_deref().map(Out::create).transpose()?;
    let shown = Arc::new(Mutex::new(()));
    let mut tasks = Vec::new();
    for mut task in tasks_of(subject, &plan)? {
        let examine = args.step || args.core.is_some() || args.debugged;
        task.examine = examine.then(|| examined(&plan, args, task.task()));
        let watch = Looking {
            task: task.task().clone(),
            out: out.clone(),
            json: args.json,
            step: args.step,
            core: args.core.clone(),
            cores: Vec::new(),
            stepped: 0,
            shown: Arc::clone(&shown),
        };
        tasks.push((task, watch));
    }
    let reading = Reading::of(&input, ranges)?;
    let threads = if args.step || args.debugged { 1 } else { all_cores() };
    let running = Running { reading, beyond, threads, records: plan.records(), terminal };
    let begin = Instant::now();
    let replayed = run(tasks, running)?;
    let mut report = Report::of(subject, &plan, &replayed, begin.elapsed()).await?;
    report.notes.extend(unused(args, beyond, replayed.iter().map(|it| it.watch.stepped).sum()));
    let recording = args.recording.as_deref();
    report.name_row(subject, &plan, &replayed, recording, terminal).await;
    if let Some(file) = &args.core {
        core::print(file, replayed.iter().flat_map(|it| &it.watch.cores), args.json)?;
    }
    if let Some(out) = &out {
        out.finish()?;
    }
    if args.json {
        super::print_json(&report)?;
    } else if !plan.epochs.is_empty() {
        report.print();
    }
    if beyond {
        print_beyond(&plan, &replayed, args.json);
    }
    match &report.difference {
        None => Ok(()),
        Some(it) => Err(Differs(format!("epoch {} of {} differs", it.epoch, it.task)).into()),
    }
}

/// What was asked for and shows nothing.
fn unused(args: &ReplayArgs, beyond: bool, stepped: u64) -> Option<String> {
    let examines = args.step || args.core.is_some() || args.debugged;
    match args.until {
        Some(until) if !examines && !beyond => Some(format!(
            "offset {until} is within these epochs, which are run whole to be compared; --step shows records up to it"
        )),
        _ if args.step && stepped == 0 => {
            Some("no record is shown: these epochs took none between --from and --until".to_owned())
        }
        _ => None,
    }
}

/// A bundle is replayed whole unless somebody says otherwise.
pub(crate) async fn range(
    subject: &Subject,
    checkpoint: Option<u64>,
    to: Option<u64>,
) -> Result<(u64, Option<u64>)> {
    if let Some(about) = &subject.about {
        let from = checkpoint.unwrap_or(about.from);
        return Ok((from, to.or(Some(about.to).filter(|it| *it > from))));
    }
    if let Some(from) = checkpoint {
        return Ok((from, to));
    }
    // The newest that has one behind it.
    let kept = floe_checkpoint::list_checkpoints(&*subject.store, &subject.spec.id).await?;
    Ok((kept.iter().rev().nth(1).map_or(0, |it| it.epoch), to))
}

pub(crate) fn parse_task(text: &str) -> Result<TopicPartition> {
    TopicPartition::parse(text).ok_or_else(|| {
        Error::invalid(format!("{text:?} is no task: they are named topic/partition"))
    })
}

/// Behind the last checkpoint: there, records are run without a journal.
fn beyond(plan: &Plan, args: &ReplayArgs) -> bool {
    let past = |task: &TopicPartition, until: i64| {
        let planned =
            plan.epochs.last().and_then(|it| it.tasks.get(task)).map(|it| it.stand.next_offset);
        let end = planned.or(plan.tasks.get(task).map(|it| it.next_offset));
        end.is_none_or(|end| until >= end.0)
    };
    match args.until {
        Some(until) => plan.all_tasks().iter().any(|it| past(it, until)),
        None => plan.epochs.is_empty(),
    }
}

/// What the journals name; behind them, what there is, up to `--until`.
async fn ranges(subject: &Subject, plan: &Plan, args: &ReplayArgs, beyond: bool) -> Result<Ranges> {
    let mut ranges = plan.input();
    // A bundle may hold no record at all.
    let is_empty = |it: &Path| std::fs::metadata(it).is_ok_and(|it| it.len() == 0);
    if !beyond || args.recording.as_deref().or(subject.spec.recording_file()).is_some_and(is_empty)
    {
        return Ok(ranges);
    }
    let mut source: Box<dyn Source> = match &args.recording {
        None => crate::wire::source(&subject.spec).await?,
        Some(file) => {
            let topic = topic_of(&subject.spec, &plan.all_tasks(), file);
            Box::new(floe_source::RecordingSource::open(file, &topic)?)
        }
    };
    let wanted = plan.all_tasks();
    for facts in source.partitions()?.into_iter().filter(|it| wanted.contains(&it.topic_partition))
    {
        let until = args.until.map_or(facts.end, |it| Offset(it.saturating_add(1)).min(facts.end));
        let begin =
            plan.tasks.get(&facts.topic_partition).map_or(facts.earliest, |it| it.next_offset);
        let range = ranges.entry(facts.topic_partition).or_insert(begin..begin);
        range.end = range.end.max(until);
    }
    ranges.retain(|_, it| !it.is_empty());
    Ok(ranges)
}

/// Records shown of those before `--until`, unless `--from` says more.
const STEPS_SHOWN: i64 = 10;

fn examined(plan: &Plan, args: &ReplayArgs, task: &TopicPartition) -> Examine {
    // What a task behind a stage takes has the offsets of the records that it was made from.
    let of_source = plan.tasks.get(task).filter(|_| task.stage().is_none());
    let begin = of_source.map_or(0, |it| it.next_offset.0);
    let until = args.until.unwrap_or(i64::MAX);
    let from = match (args.from, args.until) {
        (Some(from), _) => from,
        (None, Some(until)) if !args.step => until,
        (None, Some(until)) => (until - STEPS_SHOWN + 1).max(begin),
        (None, None) => begin,
    };
    let detail = if args.step { Detail::Pages } else { Detail::Rows };
    let before = args.debugged.then_some(replay_debug::record_reached as fn(Offset));
    Examine { offsets: (Offset(from), Offset(until)), detail, cores: args.core.is_some(), before }
}

/// Shows records one by one, and writes rows to `--out`.
struct Looking {
    task: TopicPartition,
    out: Option<Out>,
    json: bool,
    step: bool,
    /// `--core`.
    core: Option<PathBuf>,
    /// What was written there.
    cores: Vec<std::io::Result<PathBuf>>,
    /// Records shown.
    stepped: u64,
    /// Held while something is shown, so that lines of two tasks do not mix.
    shown: Arc<Mutex<()>>,
}

impl Watch for Looking {
    fn rows(&mut self, epoch: u64, _: Option<&Records>, rows: &SinkRows) {
        if let Some(out) = &self.out {
            out.write(epoch, &self.task, &rows.batch);
        }
    }

    fn refused(&mut self, epoch: u64, record: Option<Record<'_>>, operator: &str, why: &str) {
        if !self.step || !operator.is_empty() {
            return;
        }
        let _shown = self.shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let at = record.map_or(String::new(), |it| format!(" @ {}", it.offset()));
        if !self.json {
            println!("epoch {epoch}  {}{at}  {why}", self.task);
        }
    }

    fn stepped(&mut self, epoch: u64, mut stepped: Stepped) {
        if let Some(file) = &self.core {
            self.cores.extend(core::write(file, std::mem::take(&mut stepped.cores)));
        }
        if !self.step {
            return;
        }
        self.stepped += 1;
        let _shown = self.shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match self.json {
            true => println!("{}", stepped_json(epoch, &self.task, &stepped)),
            false => print_stepped(&self.task, &stepped),
        }
    }
}

pub(crate) fn text_of(bytes: Option<&[u8]>) -> String {
    match bytes.map(std::str::from_utf8) {
        None => "–".to_owned(),
        Some(Ok(text)) => text.replace('\n', "⏎"),
        Some(Err(_)) => format!("0x{}", show::hex(bytes.unwrap_or_default())),
    }
}

fn rows_json<'a>(batches: impl Iterator<Item = &'a RecordBatch>) -> Vec<serde_json::Value> {
    let rows = batches.flat_map(|batch| {
        let rows = StructArray::from(batch.clone());
        (0..batch.num_rows()).map(move |row| serde_json::Value::Object(value::object(&rows, row)))
    });
    rows.collect()
}

fn stepped_json(epoch: u64, task: &TopicPartition, it: &Stepped) -> serde_json::Value {
    serde_json::json!({
        "epoch": epoch,
        "task": task.to_string(),
        "offset": it.offset.0,
        "timestamp": it.timestamp.0,
        "key": it.key.as_deref().map(|key| text_of(Some(key))),
        "value": it.value.as_deref().map(|value| text_of(Some(value))),
        "from": it.from.as_ref().map(ToString::to_string),
        "emitted": rows_json(it.emitted.iter().map(|it| &it.batch)),
        "passed": rows_json(it.passed.iter()),
        "rejected": it.rejected,
        "stopped": it.stopped,
        "pages_dirtied": it.dirty,
        "fuel": it.fuel,
    })
}

fn print_stepped(task: &TopicPartition, it: &Stepped) {
    match &it.from {
        None => println!("{task} @ {}   {}", it.offset, text_of(it.value.as_deref())),
        Some(from) => println!("{task}   what {from} @ {} passed", it.offset),
    }
    for row in rows_json(it.emitted.iter().map(|it| &it.batch)) {
        println!("  row       {row}");
    }
    for row in rows_json(it.passed.iter()) {
        println!("  passed    {row}");
    }
    for (operator, why) in &it.rejected {
        println!("  rejected  by {operator}: {why}");
    }
    if let Some((operator, how)) = &it.stopped {
        println!("  stopped   {operator}: {}", how.replace('\n', "\n            "));
    }
    for (operator, pages) in it.dirty.iter().filter(|it| !it.1.is_empty()) {
        let shown: Vec<String> = pages
            .iter()
            .take(8)
            .map(|it| format!("{:#x}", it * floe_core::image::PAGE_BYTES))
            .collect();
        let more = if pages.len() > 8 { " …" } else { "" };
        println!("  wrote     {operator}: {} pages at {}{more}", pages.len(), shown.join(" "));
    }
    if let Some(fuel) = it.fuel {
        println!("  fuel      {}", show::grouped(fuel));
    }
}

fn print_beyond(plan: &Plan, replayed: &[Replayed<Looking>], json: bool) {
    let last = plan.epochs.last().map(|it| it.epoch.0);
    let last = last.or(plan.begin.as_ref().map(|it| it.epoch.0)).unwrap_or(0);
    if json {
        return;
    }
    let ran = || replayed.iter().filter_map(|it| Some((&it.task, it.beyond.as_ref()?)));
    if ran().all(|(_, it)| it.steps == 0) {
        return println!("there are no records behind epoch {last}");
    }
    for (task, done) in ran().filter(|(_, it)| it.steps > 0) {
        println!(
            "behind epoch {last}, {task}: {} records → {} rows; there is no checkpoint to compare with",
            show::grouped(done.records),
            show::grouped(done.rows)
        );
        if let Some(Difference::Stopped { by, operator, message }) = &done.difference {
            println!("  {} operator {operator:?}", stopped_by(by.as_ref()));
            println!("  {}", message.replace('\n', "\n  "));
        }
    }
}

/// `--out`: rows as JSON lines, each with its epoch and task.
#[derive(Clone)]
pub(crate) struct Out(Arc<Mutex<OutFile>>);

struct OutFile {
    file: BufWriter<std::fs::File>,
    failed: Option<std::io::Error>,
}

impl Out {
    pub(crate) fn create(path: &Path) -> Result<Out> {
        let file = std::fs::File::create(path).map_err(|error| {
            Error::invalid(format!("--out {} cannot be made: {error}", path.display()))
        })?;
        Ok(Out(Arc::new(Mutex::new(OutFile { file: BufWriter::new(file), failed: None }))))
    }

    pub(crate) fn write(&self, epoch: u64, task: &TopicPartition, rows: &RecordBatch) {
        let mut out = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let columns = StructArray::from(rows.clone());
        for row in 0..rows.num_rows() {
            let row = value::object(&columns, row);
            let line = serde_json::json!({ "epoch": epoch, "task": task.to_string(), "row": row });
            if let Err(error) = writeln!(out.file, "{line}") {
                out.failed.get_or_insert(error);
            }
        }
    }

    pub(crate) fn finish(&self) -> Result<()> {
        let mut out = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let flushed = out.file.flush();
        match out.failed.take().map_or(flushed, Err) {
            Ok(()) => Ok(()),
            Err(error) => Err(Error::retry(format!("--out cannot be written: {error}"))),
        }
    }
}
