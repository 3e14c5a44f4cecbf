//! `floe run`: everything connected, then the pipeline until it ends, fails or is told to stop.

use std::sync::Arc;

use anyhow::Context;
use floe_core::ports::Source;
use floe_core::protocol::advance::Backlog;
use floe_core::{Error, Result};
use floe_pipeline::Driving;
use floe_pipeline::config::{LogFormat, PipelineSpec, WriteMode};
use floe_pipeline::run::{RunConfig, RunSummary, SourceConfig, Wiring};
use floe_pipeline::telemetry::Status;
use serde::Serialize;
use tokio::sync::watch;
use tracing::Instrument;

use crate::args::RunArgs;
use crate::command::rewind;
use crate::exit::Differs;
use crate::guarantee::held;
use crate::recorded_log::recorded;
use crate::replay::verifier::{self, Verified};
use crate::telemetry::facts::{Facts, OperatorFacts, Watched, source_text, wall_ms};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::{progress, server};
use crate::terminal::Terminal;
use crate::wire::{Module, Modules, Opened};
use crate::{load, logging, made_by, show, signals, wire};

pub(crate) fn run(args: RunArgs) -> anyhow::Result<()> {
    let file = Arc::new(load::pipeline(&args.pipeline)?);
    let spec = rewind::spec_of(&file, &args.rewind)?;
    if replaces_partitions(&spec) && !args.until_end {
        return Err(Error::invalid(
            "mode = \"overwrite-partition\" is for a run that ends: what it has rows for by then replaces what the partitions had\n→ floe run --until-end, or mode = \"append\" or \"upsert\"",
        )
        .into());
    }
    let terminal = Terminal::new();
    let format = if args.json { LogFormat::Json } else { spec.telemetry.log };
    logging::start(format, &terminal)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the async runtime")?;
    let ended = runtime.block_on(run_until_end(file, spec, &args, terminal.clone()));
    terminal.end_progress();
    // A thread may still wait inside of a call to the world; it holds nothing that counts.
    runtime.shutdown_background();
    print_summary(&ended?, args.json)
}

async fn run_until_end(
    file: Arc<PipelineSpec>,
    spec: Arc<PipelineSpec>,
    args: &RunArgs,
    terminal: Terminal,
) -> anyhow::Result<RunSummary> {
    let stop = signals::stop_on_signals()
        .map_err(|error| Error::retry(format!("cannot listen for signals: {error}")))?;
    let listener = match spec.telemetry.listen {
        None => None,
        Some(address) => Some(server::bind(address).await?),
    };
    let started_ms = wall_ms();
    // Connecting takes as long as the slowest part, not as long as all of them.
    let (source, opened) = tokio::try_join!(answering_source(&spec), wire::open(&spec))?;
    let (source, begins) = rewind::look(&file, &spec, &args.rewind, source, &opened).await?;
    let Opened { modules, decoding, sinks, dead_letters } = opened;
    let facts = Arc::new(facts(&spec, &modules.chain, started_ms));
    for limit in &facts.guarantee.limits {
        tracing::info!("{} is limited by {limit}", facts.guarantee.name);
    }
    let log = wire::claim(&spec, args.take_over).await?;
    made_by::keep(&*wire::store(&spec)?, &spec.id, &modules.chain).await;
    let generation = log.generation().0;
    let (source, log) = recorded(&spec, source, log)?;
    let source = wire::schemas::resolved(&spec, &decoding.known, source)?;

    let status = Arc::new(Status::default());
    let verified = Arc::new(Verified::default());
    let watched = Watched {
        facts,
        status: Arc::clone(&status),
        rates: Arc::default(),
        verified: Arc::clone(&verified),
    };
    let metrics = Arc::new(Metrics::new(watched.clone()));
    let watching =
        tokio::spawn(progress::watch(watched.clone(), Arc::clone(&metrics), terminal.clone()));
    let serving = listener.map(|it| tokio::spawn(server::serve(it, watched, metrics)));

    let config = run_config(&spec, &modules, args.until_end);
    tracing::info!("changed pages of state are found by {}", modules.dirty_pages);
    let mut wiring = Wiring {
        source,
        decoder: decoding.decoder,
        operators: modules.chain.into_iter().map(Module::into_wiring).collect(),
        graph: modules.graph,
        sinks,
        dead_letters,
        log,
        clock: Arc::new(wire::WallClock::new()),
    };
    if let Some(begins) = begins {
        begins.write(&spec, &config, &mut wiring).await?;
    }
    let (stop, verifying) = verifying(&spec, stop, &status, &verified);
    let span = tracing::info_span!("run", pipeline = %spec.id, generation);
    let ended = run_pipeline(config, wiring, stop, status).instrument(span).await;
    let ended = match ended {
        Err(mut error) => {
            // The pipeline itself does not know how its file is called.
            let named = format!("floe replay {}", args.pipeline.display());
            error.message = error.message.replace("floe replay PIPELINE", &named);
            Err(wire::with_owner(&spec, error).await)
        }
        Ok(summary) => Ok(summary),
    };
    watching.abort();
    verifying.iter().for_each(tokio::task::JoinHandle::abort);
    if verified.must_stop() && ended.is_ok() {
        let text = "a re-executed epoch came out otherwise: the operators are not deterministic here, or a state was damaged\n→ floe replay and floe checkpoint diff show how; the log names the epoch";
        return Err(Differs(text.to_owned()).into());
    }
    if let Some(serving) = serving {
        serving.abort();
    }
    Ok(ended?)
}

/// Starts the check of sampled epochs, where the file asks for one. The run then also stops for it.
fn verifying(
    spec: &Arc<PipelineSpec>,
    mut signals: watch::Receiver<bool>,
    status: &Arc<Status>,
    verified: &Arc<Verified>,
) -> (watch::Receiver<bool>, Vec<tokio::task::JoinHandle<()>>) {
    let Some(settings) = spec.verify else { return (signals, Vec::new()) };
    let (sender, stop) = watch::channel(false);
    let for_signals = sender.clone();
    let forwarding = tokio::spawn(async move {
        if signals.wait_for(|it| *it).await.is_ok() {
            // The run has ended already if nobody listens.
            let _ = for_signals.send(true);
        }
    });
    let (spec, status, verified) = (Arc::clone(spec), Arc::clone(status), Arc::clone(verified));
    let verifying = tokio::spawn(verifier::verify(spec, settings, status, verified, sender));
    (stop, vec![forwarding, verifying])
}

/// A source that does not answer is found before the claim: a wrong file must not fence a good run.
pub(super) async fn answering_source(spec: &PipelineSpec) -> Result<Box<dyn Source>> {
    let mut source = wire::source(spec).await?;
    wire::blocking(move || source.partitions().map(|_| source)).await
}

async fn run_pipeline(
    config: RunConfig,
    wiring: Wiring,
    stop: watch::Receiver<bool>,
    status: Arc<Status>,
) -> Result<RunSummary> {
    let (interval_ms, guarantee) = (config.interval.as_millis() as u64, config.guarantee.name());
    tracing::info!(interval_ms, guarantee, "the pipeline is ours");
    floe_pipeline::run::run(config, wiring, stop, status).await
}

pub(super) fn run_config(spec: &PipelineSpec, modules: &Modules, until_end: bool) -> RunConfig {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    RunConfig {
        pipeline: spec.id.clone(),
        guarantee: spec.guarantee,
        interval: spec.checkpoint.interval,
        backlog: Backlog {
            commits_max: spec.checkpoint.commits_pending_max,
            bytes_max: spec.checkpoint.commits_pending_bytes_max,
            commit_every: spec.checkpoint.commit_every,
        },
        overtaking: spec.checkpoint.overtaking,
        keep: spec.checkpoint.keep,
        workers: spec.run.workers.unwrap_or(cores),
        batch_records_max: spec.run.batch_records_max,
        until_end,
        one_epoch: replaces_partitions(spec),
        sources: spec
            .sources
            .iter()
            .zip(&modules.event_time)
            .map(|(it, event_time)| SourceConfig { start: it.start, event_time: *event_time })
            .collect(),
        // The same in all of them.
        new_partitions: spec.sources[0].new_partitions,
        dead_letters_max: spec.dead_letters.as_ref().map_or(0, |it| it.max),
        engine: modules.engine.clone(),
        isa: std::env::consts::ARCH.to_owned(),
        driving: Driving::Threads,
    }
}

/// Such a run is one epoch: what it commits is all that its partitions then have.
pub(super) fn replaces_partitions(spec: &PipelineSpec) -> bool {
    let mut tables = spec.sinks.iter().filter_map(|it| it.spec.table());
    tables.any(|it| it.mode == WriteMode::OverwritePartition)
}

fn facts(spec: &PipelineSpec, modules: &[Module], started_ms: i64) -> Facts {
    Facts {
        version: env!("CARGO_PKG_VERSION"),
        pipeline: spec.id.clone(),
        file: spec.path.display().to_string(),
        guarantee: held(spec),
        source: source_text(spec),
        operators: modules
            .iter()
            .map(|it| {
                let description = it.factory.describe();
                OperatorFacts {
                    name: it.name.clone(),
                    version: description.version.clone(),
                    file: it.file_name(),
                    module_hash: show::hex(&description.module_hash),
                    on_error: it.on_error_name(),
                }
            })
            .collect(),
        sink: wire::sink_text(spec.sink()),
        table: spec.sinks.iter().map(|it| it.spec.name()).collect::<Vec<_>>().join(", "),
        dead_letters: spec.dead_letters.as_ref().map(|it| it.sink.name().to_owned()),
        checkpoint_store: spec.checkpoint.store.clone(),
        interval_seconds: spec.checkpoint.interval.as_secs_f64(),
        started_ms,
    }
}

#[derive(Serialize)]
struct Summary {
    epochs: u64,
    records: u64,
    rows: u64,
    rejected: u64,
    last_epoch: Option<u64>,
}

fn print_summary(summary: &RunSummary, json: bool) -> anyhow::Result<()> {
    let RunSummary { epochs, records, rows, rejected, last_epoch } = *summary;
    let last_epoch = last_epoch.map(|it| it.0);
    if json {
        return super::print_json(&Summary { epochs, records, rows, rejected, last_epoch });
    }
    let rejected = match rejected {
        0 => String::new(),
        number => format!(", {} rejected", show::grouped(number)),
    };
    let last = last_epoch.map_or(String::new(), |it| format!(", last epoch {it}"));
    println!(
        "done: {} records → {} rows{rejected}; {epochs} epochs committed{last}",
        show::grouped(records),
        show::grouped(rows),
    );
    Ok(())
}
