//! `floe dead-letters retry`: chosen letters back through the current operators, in an epoch of their own.
//!
//! The marks that say which were given back are committed with the rows that came of them. So a command
//! that was killed is given again: it finds them marked, or nothing done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use floe_core::{Error, Offset, Records, Result, TopicPartition};
use floe_pipeline::config::LogFormat;
use floe_pipeline::retry::{Retried, Retry};
use floe_pipeline::run::Wiring;
use floe_pipeline::telemetry::Status;
use serde::Serialize;
use serde_json::Value;

use super::letter::{Letter, bytes_of};
use crate::args::LettersRetryArgs;
use crate::command::run::{answering_source, replaces_partitions, run_config};
use crate::terminal::Terminal;
use crate::wire::{Module, Opened};
use crate::{load, logging, made_by, show, wire};

/// What a letter is given back with in place of what it had.
#[derive(Default)]
struct Edit {
    key: Option<Option<Vec<u8>>>,
    value: Option<Option<Vec<u8>>>,
}

#[derive(Serialize)]
struct Summary {
    epoch: Option<u64>,
    records: u64,
    rows: u64,
    rejected_again: u64,
    given_back_before: usize,
    without_record: usize,
}

pub(super) fn retry(args: LettersRetryArgs) -> anyhow::Result<()> {
    let terminal = Terminal::new();
    logging::start(if args.json { LogFormat::Json } else { LogFormat::Human }, &terminal)?;
    let spec = Arc::new(load::pipeline(&args.pipeline)?);
    super::place(&spec)?;
    if replaces_partitions(&spec) {
        return Err(Error::refused(
            "rows of letters given back would replace the partitions they belong to (mode = \"overwrite-partition\")\n  → mend the records at their source, and run the batch again",
        )
        .into());
    }
    let edits = match &args.from {
        None => BTreeMap::new(),
        Some(file) => edits(file)?,
    };
    crate::command::block_on(async move {
        // All that can be wrong is found before the claim: a wrong command must not fence a good run.
        chosen(&super::read(&spec).await?, &args, &edits)?;
        let (source, opened) = tokio::try_join!(answering_source(&spec), wire::open(&spec))?;
        let Opened { modules, decoding, sinks, dead_letters } = opened;
        let log = wire::claim(&spec, args.take_over).await?;
        made_by::keep(&*wire::store(&spec)?, &spec.id, &modules.chain).await;
        let config = run_config(&spec, &modules, true);
        let wiring = Wiring {
            source,
            decoder: decoding.decoder,
            operators: modules.chain.into_iter().map(Module::into_wiring).collect(),
            graph: modules.graph,
            sinks,
            dead_letters,
            log: Box::new(log),
            clock: Arc::new(wire::WallClock::new()),
        };
        let ready = Retry::begin(config, wiring, Arc::new(Status::default())).await?;
        // Everything that was completed is in tables and topics now, and nobody else writes.
        let found = super::read(&spec).await?;
        let chosen = chosen(&found, &args, &edits)?;
        wire::schemas::resolve(&spec, &decoding.known, &chosen.records).await?;
        let retried = ready.take(chosen.records).await?;
        print(&retried, chosen.given_back_before, chosen.without_record, args.json)
    })
}

struct Chosen {
    records: Vec<Records>,
    given_back_before: usize,
    without_record: usize,
}

fn chosen(
    found: &[Letter],
    args: &LettersRetryArgs,
    edits: &BTreeMap<String, Edit>,
) -> Result<Chosen> {
    let named: Vec<&String> = args.letters.iter().chain(edits.keys()).collect();
    for id in &named {
        if found.iter().all(|it| it.id() != **id) {
            return Err(Error::invalid(format!(
                "there is no dead letter {id}\n→ floe dead-letters list names them"
            )));
        }
    }
    // A file without a letter names none, and does not mean all of them.
    let by_name = args.from.is_some() || !args.letters.is_empty();
    let wanted = |it: &Letter| match by_name {
        true => named.iter().any(|id| **id == it.id()),
        false => args.filter.takes(it),
    };
    let (mut given_back_before, mut without_record) = (BTreeSet::new(), 0);
    let mut by_record: BTreeMap<(TopicPartition, i64), Letter> = BTreeMap::new();
    for it in found.iter().filter(|it| wanted(it)) {
        match (it.offset.filter(|_| it.has_record()), it.settled) {
            (_, true) => {
                given_back_before.insert(it.id());
            }
            (None, false) => without_record += 1,
            (Some(offset), false) => {
                by_record.insert((it.task.clone(), offset), it.clone());
            }
        }
    }
    // One that was rejected again waits again.
    by_record.values().for_each(|it| {
        given_back_before.remove(&it.id());
    });
    let mut of_task: BTreeMap<TopicPartition, Records> = BTreeMap::new();
    for ((task, offset), mut letter) in by_record {
        if let Some(edit) = edits.get(&letter.id()) {
            if let Some(key) = &edit.key {
                letter.key.clone_from(key);
            }
            if let Some(value) = &edit.value {
                letter.value.clone_from(value);
            }
        }
        let records =
            of_task.entry(task.clone()).or_insert_with(|| Records::new(task, Offset(offset)));
        letter.push_to(records)?;
    }
    let given_back_before = given_back_before.len();
    Ok(Chosen { records: of_task.into_values().collect(), given_back_before, without_record })
}

/// Lines as `list --json` prints them, of which `id`, `key` and `value` count.
fn edits(file: &Path) -> Result<BTreeMap<String, Edit>> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Error::invalid(format!("--from {} cannot be read: {error}", file.display()))
    })?;
    let mut edits = BTreeMap::new();
    for (number, line) in text.lines().enumerate().filter(|it| !it.1.trim().is_empty()) {
        let wrong = |what: String| {
            Error::invalid(format!("{} line {}: {what}", file.display(), number + 1))
        };
        let parsed: Value =
            serde_json::from_str(line).map_err(|error| wrong(format!("it is no JSON: {error}")))?;
        let Some(id) = parsed["id"].as_str() else {
            return Err(wrong("it has no \"id\"".to_owned()));
        };
        let field = |name: &str| {
            parsed.get(name).map(bytes_of).transpose().map_err(|it| wrong(format!("{name}: {it}")))
        };
        let edit = Edit { key: field("key")?, value: field("value")? };
        if edits.insert(id.to_owned(), edit).is_some() {
            return Err(wrong(format!("{id} is there twice")));
        }
    }
    Ok(edits)
}

fn print(
    retried: &Retried,
    given_back_before: usize,
    without_record: usize,
    json: bool,
) -> anyhow::Result<()> {
    let Retried { epoch, records, rows, rejected } = *retried;
    if json {
        return crate::command::print_json(&Summary {
            epoch: epoch.map(|it| it.0),
            records,
            rows,
            rejected_again: rejected,
            given_back_before,
            without_record,
        });
    }
    match epoch {
        None => println!("nothing to give back"),
        Some(epoch) => println!(
            "epoch {epoch}: {} letters given back → {} rows, {} rejected again",
            show::grouped(records),
            show::grouped(rows),
            show::grouped(rejected)
        ),
    }
    if given_back_before > 0 {
        println!("  {given_back_before} had been given back before");
    }
    if without_record > 0 {
        println!(
            "  {without_record} cannot be: an operator behind the first rejected a row, and its record is not known"
        );
    }
    Ok(())
}
