//! `floe check`: every part of a pipeline is looked at, none is started, and the guarantee is named.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use floe_core::ports::{DecoderFactory, PartitionFacts};
use floe_core::{Error, ErrorKind, Result};
use floe_operator::Fit;
use floe_pipeline::config::{PipelineSpec, SourceSpec};
use serde::Serialize;

use super::graph::{self, GraphFormat};
use crate::guarantee::{HeldGuarantee, held};
use crate::wire::Modules;
use crate::{load, show, wire};

#[derive(Serialize)]
struct Report {
    pipeline: String,
    checks: Vec<Check>,
    guarantee: HeldGuarantee,
}

#[derive(Serialize)]
struct Check {
    part: &'static str,
    holds: bool,
    text: String,
    #[serde(skip)]
    kind: Option<ErrorKind>,
}

impl Check {
    fn of(part: &'static str, found: Result<String>) -> Check {
        match found {
            Ok(text) => Check { part, holds: true, text, kind: None },
            Err(error) => Check { part, holds: false, text: error.message, kind: Some(error.kind) },
        }
    }
}

#[derive(clap::Args)]
pub(crate) struct CheckArgs {
    /// The pipeline file
    pub(crate) pipeline: PathBuf,
    /// Draw which operators and sinks take what, and check nothing else: text, mermaid or svg
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, default_missing_value = "text", conflicts_with = "json")]
    pub(crate) graph: Option<GraphFormat>,
    /// Add the columns that tables lack, and widen those that are too narrow; nothing else is changed
    #[arg(long)]
    pub(crate) fix_table: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn check(args: CheckArgs) -> anyhow::Result<()> {
    let spec = Arc::new(load::pipeline(&args.pipeline)?);
    if let Some(format) = args.graph {
        print!("{}", graph::draw(&spec, &wire::modules(&spec)?, format));
        return Ok(());
    }
    super::block_on(async move {
        let report = look(&spec, args.fix_table).await;
        let (checks, wrong) =
            (report.checks.len(), report.checks.iter().filter(|it| !it.holds).count());
        let kind = report.checks.iter().find_map(|it| it.kind);
        if args.json {
            super::print_json(&report)?;
        } else {
            print(&report);
        }
        match kind {
            None => Ok(()),
            Some(kind) => {
                let text = format!("{wrong} of {checks} checks failed, nothing was started");
                Err(Error::new(kind, text).into())
            }
        }
    })
}

async fn look(spec: &Arc<PipelineSpec>, fix_table: bool) -> Report {
    let mut checks = vec![Check::of("file", Ok(spec.path.display().to_string()))];
    let for_modules = Arc::clone(spec);
    let (modules, source, store) = tokio::join!(
        wire::blocking(move || wire::modules(&for_modules)),
        look_at_source(spec),
        look_at_store(spec)
    );
    match modules {
        Err(error) => checks.push(Check::of("modules", Err(error))),
        Ok(modules) => {
            for module in &modules.chain {
                checks.push(Check::of("module", Ok(module_text(module))));
            }
            for (source, reader) in spec.sources.iter().zip(&modules.graph.readers) {
                let decoder = decoder_text(spec, &modules, source, *reader);
                checks.push(Check::of("decoder", decoder));
                checks.extend(look_at_schemas(source, &modules, *reader).await);
            }
            if fix_table {
                let fixed = wire::fix_tables(spec, &modules).await;
                checks.extend(fixed.into_iter().map(|it| Check::of("fixed", it)));
            }
            let table = wire::check_tables(spec, &modules).await;
            checks.extend(table.into_iter().map(|it| Check::of("table", it)));
            checks.push(Check::of("dirty pages", Ok(modules.dirty_pages.clone())));
        }
    }
    checks.push(Check::of("source", source));
    checks.push(Check::of("checkpoints", store));
    Report { pipeline: spec.id.clone(), checks, guarantee: held(spec) }
}

fn module_text(module: &wire::Module) -> String {
    let description = module.factory.describe();
    let columns = description.outputs.first().map_or(String::new(), |(_, schema)| {
        schema.fields().iter().map(|it| it.name().as_str()).collect::<Vec<_>>().join(", ")
    });
    format!(
        "{} {} in {} (blake3 {}) emits {columns}",
        module.name,
        description.version,
        module.file_name(),
        show::short_hex(&description.module_hash)
    )
}

fn decoder_text(
    spec: &PipelineSpec,
    modules: &Modules,
    source: &SourceSpec,
    reader: usize,
) -> Result<String> {
    let decoder = wire::source_decoder(source, modules, reader, &Arc::default())?;
    let input = &modules.chain[reader].factory.describe().input;
    let columns: Vec<String> =
        input.fields().iter().map(|it| format!("{} {}", it.name(), it.data_type())).collect();
    let of = match spec.sources.len() {
        1 => String::new(),
        _ => format!("{}: ", source.name),
    };
    Ok(format!("{of}{} fills {}", decoder.name(), columns.join(", ")))
}

/// The schemas of values, as far as they can be known before the first value: column by column.
async fn look_at_schemas(source: &SourceSpec, modules: &Modules, reader: usize) -> Vec<Check> {
    let found = wire::schemas::before_values(source).await;
    let decoder = wire::source_decoder(source, modules, reader, &Arc::default());
    match found.and_then(|it| Ok((it, decoder?))) {
        Err(error) => vec![Check::of("schema", Err(error))],
        Ok((found, decoder)) => found
            .into_iter()
            .map(|(name, schema)| {
                let Some(schema) = schema else { return Check::of("schema", Ok(name)) };
                let fits = decoder.fits(&schema).unwrap_or_else(|| Ok(Vec::new()));
                Check::of("schema", fits.and_then(|it| fit_text(&name, &it)))
            })
            .collect(),
    }
}

fn fit_text(name: &str, fits: &[Fit]) -> Result<String> {
    let mut text = name.to_owned();
    let width = |of: &dyn Fn(&Fit) -> usize| fits.iter().map(of).max().unwrap_or(0);
    let columns = width(&|it| it.column.len());
    let types = width(&|it| it.found.as_ref().map_or(6, String::len));
    for fit in fits {
        let found = fit.found.as_deref().unwrap_or("absent");
        let mark = if fit.wrong.is_some() { '✗' } else { '✓' };
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "\n{mark} {:columns$}  schema: {found:types$}  operator: {}",
            fit.column, fit.wanted
        );
    }
    match fits.iter().all(|it| it.wrong.is_none()) {
        true => Ok(text),
        false => Err(Error::invalid(format!(
            "{text}\n→ let the operator declare what the schema has, or make the column optional"
        ))),
    }
}

async fn look_at_source(spec: &PipelineSpec) -> Result<String> {
    let mut source = wire::source(spec).await?;
    let partitions = wire::blocking(move || source.partitions()).await?;
    let records: i64 = partitions.iter().map(|it| it.end.0 - it.earliest.0).sum();
    Ok(format!(
        "{}: {} partitions of {}, {} records can be read",
        crate::telemetry::facts::source_text(spec),
        partitions.len(),
        topics(&partitions),
        show::grouped(records.max(0) as u64)
    ))
}

fn topics(partitions: &[PartitionFacts]) -> String {
    let mut topics: Vec<&str> =
        partitions.iter().map(|it| it.topic_partition.topic.as_ref()).collect();
    topics.dedup();
    topics.join(", ")
}

/// Reads the log. A local folder is not made: where it is missing, the nearest one above must take it.
async fn look_at_store(spec: &PipelineSpec) -> Result<String> {
    let url = &spec.checkpoint.store;
    let Some(store) = wire::store_to_read(spec)? else {
        let folder = Path::new(url.strip_prefix("file://").unwrap_or(url));
        let above = folder.ancestors().find(|it| it.exists()).unwrap_or(Path::new("/"));
        let writable =
            std::fs::metadata(above).is_ok_and(|it| it.is_dir() && !it.permissions().readonly());
        return if writable {
            Ok(format!("{url} will be made; no checkpoint yet"))
        } else {
            Err(Error::invalid(format!(
                "{url} cannot be made: {} cannot be written",
                above.display()
            )))
        };
    };
    let log = floe_checkpoint::read_log(&*store, &spec.id).await?;
    Ok(match log.newest_manifest() {
        None => format!("{url}: no checkpoint yet"),
        Some((place, _)) => format!(
            "{url}: newest is epoch {} of generation {}",
            place.epoch,
            log.highest_generation()
        ),
    })
}

fn print(report: &Report) {
    let width = report.checks.iter().map(|it| it.part.len()).max().unwrap_or(0);
    for check in &report.checks {
        let mark = if check.holds { '✓' } else { '✗' };
        let mut lines = check.text.lines();
        println!("{mark} {:width$}  {}", check.part, lines.next().unwrap_or_default());
        for line in lines {
            println!("  {:width$}  {line}", "");
        }
    }
    let guarantee = &report.guarantee;
    println!("\nguarantee  {}", guarantee.name);
    for text in &guarantee.rests_on {
        println!("  {text}");
    }
    if !guarantee.limits.is_empty() {
        println!("limited by");
        for text in &guarantee.limits {
            println!("  {text}");
        }
    }
    println!();
}
