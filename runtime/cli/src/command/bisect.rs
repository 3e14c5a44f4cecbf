//! `floe bisect`: the first epoch whose rows, or whose state, break a condition.

use arrow_array::StructArray;
use floe_checkpoint::{read_log, read_parts};
use floe_core::{Error, Records, Result};
use floe_pipeline::config::LogFormat;
use floe_replay::{SinkRows, Watch};
use serde::Serialize;
use serde_json::Value;

use crate::args::BisectArgs;
use crate::exit::Differs;
use crate::replay::condition::Condition;
use crate::replay::input::Input;
use crate::replay::run::run_over;
use crate::replay::state;
use crate::replay::subject::Subject;
use crate::replay::tasks_of;
use crate::terminal::Terminal;
use crate::{logging, show};

use super::rows::value;

#[derive(Serialize)]
struct Bisected {
    from: u64,
    to: u64,
    condition: String,
    broken: Option<Broken>,
}

#[derive(Clone, Serialize)]
struct Broken {
    epoch: u64,
    task: String,
    /// The batch that made the row.
    batch: Option<(i64, i64)>,
    row: Value,
}

pub(crate) fn bisect(args: BisectArgs) -> anyhow::Result<()> {
    let terminal = Terminal::new();
    logging::start(if args.json { LogFormat::Json } else { LogFormat::Human }, &terminal)?;
    super::block_on(async move {
        let subject = Subject::open(&args.subject)?;
        let bisected = match (&args.expect, &args.expect_state) {
            (Some(text), _) => rows(&subject, &args, Condition::parse(text)?, &terminal).await?,
            (None, Some(text)) => states(&subject, &args, Condition::parse(text)?).await?,
            (None, None) => {
                return Err(
                    Error::invalid("--expect or --expect-state says what to look for").into()
                );
            }
        };
        match args.json {
            true => super::print_json(&bisected)?,
            false => print(&bisected),
        }
        match bisected.broken {
            None => Ok(()),
            Some(it) => {
                Err(Differs(format!("epoch {} breaks {}", it.epoch, bisected.condition)).into())
            }
        }
    })
}

/// Rows are in no checkpoint, so the epochs are run again, in order.
async fn rows(
    subject: &Subject,
    args: &BisectArgs,
    condition: Condition,
    terminal: &Terminal,
) -> Result<Bisected> {
    let (from, to) = super::verify_determinism::range(subject, args.from, args.to).await?;
    let plan = subject.plan(from, to, None).await?;
    let ranges = plan.input();
    let input =
        Input::of(subject.input(&plan), args.recording.as_deref(), &ranges, terminal).await?;
    let named = &subject.spec.sink_named(args.sink.as_deref())?.name;
    let sink = subject.spec.sinks.iter().position(|it| it.name == *named).unwrap_or_default();
    let tasks = tasks_of(subject, &plan)?.into_iter().map(|task| {
        let name = task.task().to_string();
        let condition = condition.clone();
        (task, Checking { task: name, sink, condition, broken: None, unknown: None })
    });
    let tasks = tasks.collect();
    let replayed = run_over(tasks, &input, &plan, terminal)?;
    if let Some(name) = replayed.iter().find_map(|it| it.watch.unknown.as_ref()) {
        return Err(Error::invalid(format!("rows have no column {name:?}")));
    }
    let broken = replayed.iter().filter_map(|it| it.watch.broken.clone()).min_by_key(|it| it.epoch);
    let to = plan.epochs.last().map_or(from, |it| it.epoch.0);
    Ok(Bisected { from, to, condition: condition.text().to_owned(), broken })
}

struct Checking {
    task: String,
    /// The sink whose rows are looked at.
    sink: usize,
    condition: Condition,
    broken: Option<Broken>,
    unknown: Option<String>,
}

impl Watch for Checking {
    fn rows(&mut self, epoch: u64, records: Option<&Records>, rows: &SinkRows) {
        if self.broken.is_some() || self.unknown.is_some() || rows.sink != self.sink {
            return;
        }
        let columns = StructArray::from(rows.batch.clone());
        for row in 0..rows.batch.num_rows() {
            let row = Value::Object(value::object(&columns, row));
            match self.condition.holds(&row) {
                Some(true) => {}
                Some(false) => {
                    let batch =
                        records.and_then(|it| Some((it.first_offset()?.0, it.last_offset()?.0)));
                    self.broken = Some(Broken { epoch, task: self.task.clone(), batch, row });
                    return;
                }
                None => {
                    self.unknown = self.condition.unknown(&row);
                    return;
                }
            }
        }
    }
}

/// Each checkpoint has the state: nothing is run, each is asked.
async fn states(subject: &Subject, args: &BisectArgs, condition: Condition) -> Result<Bisected> {
    if !subject.links.iter().any(|it| it.factory.describe().exports_state) {
        return Err(Error::invalid(
            "no operator of the pipeline tells its state (export_state)\n→ --expect looks at rows; ABI.md A24 says how an operator tells its state",
        ));
    }
    let log = read_log(&*subject.store, &subject.spec.id).await?;
    let inside =
        |it: u64| args.from.is_none_or(|from| from <= it) && args.to.is_none_or(|to| it <= to);
    let kept: Vec<_> = log.manifests().filter(|it| inside(it.0.epoch.0)).collect();
    let (from, to) =
        (kept.first().map_or(0, |it| it.0.epoch.0), kept.last().map_or(0, |it| it.0.epoch.0));
    let mut bisected = Bisected { from, to, condition: condition.text().to_owned(), broken: None };
    for (at, manifest) in kept {
        for part in read_parts(&*subject.store, &subject.spec.id, manifest).await? {
            for (_, state) in state::told(&subject.links, &part.task, &part.operators)? {
                // What a state does not name yet breaks nothing.
                if condition.holds(&state) == Some(false) {
                    let task = part.task.to_string();
                    bisected.broken =
                        Some(Broken { epoch: at.epoch.0, task, batch: None, row: Value::Null });
                    return Ok(bisected);
                }
            }
        }
    }
    Ok(bisected)
}

fn print(bisected: &Bisected) {
    let Bisected { from, to, condition, broken } = bisected;
    match broken {
        None => println!("{condition} holds from epoch {from} to {to}"),
        Some(it) => {
            println!(
                "{condition} holds up to epoch {}, and not in epoch {}",
                it.epoch - 1,
                it.epoch
            );
            println!("  task   {}", it.task);
            if !it.row.is_null() {
                println!("  row    {}", it.row);
            }
            if let Some((first, last)) = it.batch {
                println!("  batch  {first}..{last}");
                println!(
                    "  look at it:  floe replay … --checkpoint {} --task {} --step --from {first} --until {last}",
                    show::grouped(it.epoch - 1),
                    it.task
                );
            }
        }
    }
}
