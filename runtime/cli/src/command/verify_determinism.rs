//! `floe verify-determinism`: epochs run again in other ways, each of which must come out the same.

use std::collections::BTreeMap;
use std::time::Instant;

use floe_core::Result;
use floe_core::ports::Source;
use floe_operator::{Engine, Optimisation};
use floe_pipeline::config::LogFormat;
use floe_replay::{EpochDone, Nobody, Plan};
use serde::Serialize;

use crate::args::VerifyDeterminismArgs;
use crate::exit::Differs;
use crate::replay::input::{Input, POLL_RECORDS, Reading};
use crate::replay::report::{DifferenceView, Report};
use crate::replay::run::{Replayed, Running, all_cores, run};
use crate::replay::subject::Subject;
use crate::replay::tasks_of;
use crate::terminal::Terminal;
use crate::{logging, show, wire};

/// One way to run the same epochs.
struct Way {
    name: &'static str,
    optimisation: Optimisation,
    threads: Option<usize>,
    restore_between: bool,
    poll_records: usize,
}

const WAYS: &[Way] = &[
    Way { name: "as in a run", ..PLAIN },
    Way { name: "compiled without optimisation", optimisation: Optimisation::None, ..PLAIN },
    Way { name: "restored between any two batches", restore_between: true, ..PLAIN },
    Way { name: "one thread, records in sevens", threads: Some(1), poll_records: 7, ..PLAIN },
];

const PLAIN: Way = Way {
    name: "",
    optimisation: Optimisation::Speed,
    threads: None,
    restore_between: false,
    poll_records: POLL_RECORDS,
};

#[derive(Serialize)]
struct Verified {
    pipeline: String,
    from: u64,
    to: u64,
    epochs: u64,
    records: u64,
    identical: bool,
    ways: Vec<WayDone>,
}

#[derive(Serialize)]
struct WayDone {
    name: &'static str,
    identical: bool,
    seconds: f64,
    difference: Option<DifferenceView>,
}

pub(crate) fn verify_determinism(args: VerifyDeterminismArgs) -> anyhow::Result<()> {
    let terminal = Terminal::new();
    logging::start(if args.json { LogFormat::Json } else { LogFormat::Human }, &terminal)?;
    super::block_on(async move {
        let mut subject = Subject::open(&args.subject)?;
        let (from, to) = range(&subject, args.from, args.to).await?;
        let plan = subject.plan_of_any(from, to, None).await?;
        let ranges = plan.input();
        let recording = args.recording.as_deref();
        let input = Input::of(subject.input(&plan), recording, &ranges, &terminal).await?;
        let mut first: Option<BTreeMap<(String, u64), EpochDone>> = None;
        let mut ways = Vec::new();
        for way in WAYS {
            let begin = Instant::now();
            let done = run_once(way, &args.subject, &plan, &input, &terminal).await?;
            let took = begin.elapsed();
            let mut difference = Report::of(&subject, &plan, &done, took).await?.difference;
            let outputs = outputs(&done);
            match &first {
                None => first = Some(outputs),
                Some(first) => difference = difference.or_else(|| rows_differ(first, &outputs)),
            }
            let identical = difference.is_none();
            ways.push(WayDone {
                name: way.name,
                identical,
                seconds: took.as_secs_f64(),
                difference,
            });
        }
        let verified = Verified {
            pipeline: plan.pipeline.clone(),
            from,
            to: plan.epochs.last().map_or(from, |it| it.epoch.0),
            epochs: plan.epochs.len() as u64,
            records: plan.records(),
            identical: ways.iter().all(|it| it.identical),
            ways,
        };
        match args.json {
            true => super::print_json(&verified)?,
            false => print(&verified),
        }
        match verified.identical {
            true => Ok(()),
            false => Err(Differs("re-executions differ".to_owned()).into()),
        }
    })
}

/// All that is kept and can be run again at once, unless somebody says otherwise: back to the last upgrade.
pub(super) async fn range(
    subject: &Subject,
    from: Option<u64>,
    to: Option<u64>,
) -> Result<(u64, Option<u64>)> {
    let kept = floe_checkpoint::list_checkpoints(&*subject.store, &subject.spec.id).await?;
    let from = match (from, &subject.about) {
        (Some(from), _) => from,
        (None, Some(about)) => about.from,
        (None, None) => {
            floe_replay::plan::replayable_from(&*subject.store, &subject.spec.id, u64::MAX).await?
        }
    };
    let last = kept.last().map(|it| it.epoch).filter(|it| *it > from);
    Ok((from, to.or(last)))
}

async fn run_once(
    way: &Way,
    path: &std::path::Path,
    plan: &Plan,
    input: &Input,
    terminal: &Terminal,
) -> Result<Vec<Replayed<Nobody>>> {
    let engine = Engine::with_optimisation(Some(wire::module_cache()), way.optimisation)?;
    let mut subject = Subject::open_with(path, engine)?;
    subject.take_modules_of(&plan.identity).await?;
    let mut tasks = Vec::new();
    for mut task in tasks_of(&subject, plan)? {
        task.restore_between = way.restore_between;
        task.hash_rows = true;
        tasks.push((task, Nobody));
    }
    let ranges = plan.input();
    let reading = match ranges.is_empty() {
        true => None,
        false => {
            let source = Box::new(input.open()?) as Box<dyn Source>;
            Some(Reading::in_runs_of(source, ranges, way.poll_records)?)
        }
    };
    let threads = way.threads.unwrap_or_else(all_cores);
    run(tasks, Running { reading, beyond: false, threads, records: plan.records(), terminal })
}

fn outputs(done: &[Replayed<Nobody>]) -> BTreeMap<(String, u64), EpochDone> {
    let all = done.iter().flat_map(|task| task.epochs.iter().map(|it| (task.task.to_string(), it)));
    all.map(|(task, it)| ((task, it.epoch), it.clone())).collect()
}

/// Rows are in no checkpoint: they are compared between the ways.
fn rows_differ(
    first: &BTreeMap<(String, u64), EpochDone>,
    other: &BTreeMap<(String, u64), EpochDone>,
) -> Option<DifferenceView> {
    first.iter().find_map(|((task, epoch), a)| {
        let b = other.get(&(task.clone(), *epoch))?;
        (a.rows_hash != b.rows_hash || a.rows != b.rows).then(|| DifferenceView {
            epoch: *epoch,
            task: task.clone(),
            what: format!("{} rows, and {} as in a run; their hashes differ", b.rows, a.rows),
            row: None,
            row_note: None,
            state: Vec::new(),
        })
    })
}

fn print(verified: &Verified) {
    println!(
        "epoch {} → {}: {} epochs, {} records, run again",
        verified.from,
        verified.to,
        show::grouped(verified.epochs),
        show::grouped(verified.records)
    );
    for way in &verified.ways {
        let verdict = if way.identical { "identical ✓" } else { "differs" };
        println!("  {:<34} {verdict}  {}", way.name, show::seconds(way.seconds));
        if let Some(difference) = &way.difference {
            difference.print();
        }
    }
}
