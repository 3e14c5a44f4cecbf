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
use crate::logging;
use crate::replay::condition::Condition;
use crate::replay::input::Input;
use crate::replay::run::run_over;
use crate::replay::state;
use crate::replay::subject::Subject;
use crate::replay::tasks_of;
use crate::terminal::Terminal;

use super::rows::value;

#[derive(Serialize)]
struct Bisected {
    /// The checkpoint behind which rows were looked at; of states, the first that was asked.
    from: u64,
    to: u64,
    condition: String,
    broken: Option<Broken>,
}

#[derive(Clone, Serialize)]
struct Broken {
    epoch: u64,
    /// The last of those before it that were looked at.
    held_in: Option<u64>,
    task: String,
    /// The records that the row was made from, where no watermark made it: the partition's task, and offsets.
    from: Option<String>,
    batch: Option<(i64, i64)>,
    row: Value,
    /// Whose state breaks it, and what it tells under the names of the condition.
    operator: Option<String>,
    state: Option<Value>,
}

pub(crate) fn bisect(args: BisectArgs) -> anyhow::Result<()> {
    let terminal = Terminal::new();
    logging::start(if args.json { LogFormat::Json } else { LogFormat::Human }, &terminal)?;
    super::block_on(async move {
        let mut subject = Subject::open(&args.subject)?;
        let bisected = match (&args.expect, &args.expect_state) {
            (Some(text), _) => {
                rows(&mut subject, &args, Condition::parse(text)?, &terminal).await?
            }
            (None, Some(text)) => states(&mut subject, &args, Condition::parse(text)?).await?,
            (None, None) => {
                return Err(
                    Error::invalid("--expect or --expect-state says what to look for").into()
                );
            }
        };
        match args.json {
            true => super::print_json(&bisected)?,
            false => print(&args, &bisected),
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
    subject: &mut Subject,
    args: &BisectArgs,
    condition: Condition,
    terminal: &Terminal,
) -> Result<Bisected> {
    let (from, to) = super::verify_determinism::range(subject, args.from, args.to).await?;
    let plan = subject.plan_of_any(from, to, None).await?;
    if plan.epochs.is_empty() {
        return Err(Error::invalid(format!(
            "there is no epoch behind checkpoint {from} to look at"
        )));
    }
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
    let mut broken =
        replayed.iter().filter_map(|it| it.watch.broken.clone()).min_by_key(|it| it.epoch);
    if let Some(broken) = &mut broken {
        let before = plan.epochs.iter().map(|it| it.epoch.0).filter(|it| *it < broken.epoch);
        broken.held_in = before.max();
    } else if let Some((task, it)) = replayed.iter().find_map(|it| {
        let stopped = it.epochs.iter().find(|it| it.difference.is_some())?;
        Some((&it.task, stopped.epoch))
    }) {
        return Err(Error::refused(format!(
            "epoch {it} of {task} does not come out as in the run, so rows behind it were not looked at\n→ floe replay names the difference"
        )));
    }
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
    fn rows(&mut self, epoch: u64, _: Option<&Records>, rows: &SinkRows) {
        if self.broken.is_some() || self.unknown.is_some() || rows.sink != self.sink {
            return;
        }
        let columns = StructArray::from(rows.batch.clone());
        for row in 0..rows.batch.num_rows() {
            let row = Value::Object(value::object(&columns, row));
            match self.condition.holds(&row) {
                Some(true) => {}
                Some(false) => {
                    let origin = rows.origin.as_ref();
                    self.broken = Some(Broken {
                        epoch,
                        held_in: None,
                        task: self.task.clone(),
                        from: origin.map(|it| it.task.to_string()),
                        batch: origin.map(|it| (it.first.0, it.last.0)),
                        row,
                        operator: None,
                        state: None,
                    });
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

/// Each checkpoint has the state: nothing is run, each is asked, in the words of the modules that made it.
async fn states(
    subject: &mut Subject,
    args: &BisectArgs,
    condition: Condition,
) -> Result<Bisected> {
    let log = read_log(&*subject.store, &subject.spec.id).await?;
    let inside =
        |it: u64| args.from.is_none_or(|from| from <= it) && args.to.is_none_or(|to| it <= to);
    let kept: Vec<_> = log.manifests().filter(|it| inside(it.0.epoch.0)).collect();
    let (Some((first, _)), Some((last, _))) = (kept.first(), kept.last()) else {
        return Err(Error::invalid(
            "no checkpoint is kept of these epochs\n→ floe checkpoint list shows them",
        ));
    };
    let (from, to) = (first.epoch.0, last.epoch.0);
    let (mut held_in, mut is_told, mut is_named) = (None, false, false);
    for (at, manifest) in &kept {
        subject.take_modules_of(&manifest.identity).await?;
        subject.check_modules(&manifest.identity)?;
        for part in read_parts(&*subject.store, &subject.spec.id, manifest).await? {
            for (operator, state) in state::told(&subject.links, &part.task, &part.operators)? {
                is_told = true;
                // What a state does not name yet breaks nothing.
                let Some(holds) = condition.holds(&state) else { continue };
                is_named = true;
                if !holds {
                    let broken = Broken {
                        epoch: at.epoch.0,
                        held_in,
                        task: part.task.to_string(),
                        from: None,
                        batch: None,
                        row: Value::Null,
                        operator: Some(operator),
                        state: Some(condition.named(&state)),
                    };
                    let condition = condition.text().to_owned();
                    return Ok(Bisected { from, to, condition, broken: Some(broken) });
                }
            }
        }
        held_in = Some(at.epoch.0);
    }
    if !is_told {
        return Err(Error::invalid(
            "no operator of the pipeline tells its state (export_state)\n→ --expect looks at rows; ABI.md A24 says how an operator tells its state",
        ));
    }
    // A condition that is about nothing would hold for ever.
    if !is_named {
        return Err(Error::invalid(format!(
            "no state has what {} names, from epoch {from} to {to}\n→ floe state shows what operators tell",
            condition.text()
        )));
    }
    Ok(Bisected { from, to, condition: condition.text().to_owned(), broken: None })
}

fn print(args: &BisectArgs, bisected: &Bisected) {
    let Bisected { from, to, condition, broken } = bisected;
    let Some(it) = broken else {
        return println!("{condition} holds from epoch {from} to {to}");
    };
    match it.held_in {
        Some(before) => {
            println!("{condition} holds up to epoch {before}, and not in epoch {}", it.epoch)
        }
        None => println!("{condition} does not hold in epoch {}, the first", it.epoch),
    }
    println!("  task   {}", it.task);
    if !it.row.is_null() {
        println!("  row    {}", it.row);
    }
    if let (Some(operator), Some(state)) = (&it.operator, &it.state) {
        println!("  state  of {operator}: {state}");
    }
    if let (Some(task), Some((first, last))) = (&it.from, it.batch) {
        println!("  batch  {task} @ {first}..{last}");
        println!(
            "  look at it:  floe replay {} --checkpoint {} --to {} --task {task} --step --from {first} --until {last}",
            args.subject.display(),
            it.held_in.unwrap_or(*from),
            it.epoch
        );
    }
}
