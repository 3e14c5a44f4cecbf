//! `floe checkpoint diff`: two checkpoints side by side, task by task and page by page.

use floe_checkpoint::{read_log, read_parts};
use floe_core::manifest::{CheckpointManifest, TaskEntry};
use floe_core::{Error, EventTime};
use floe_pipeline::config::units::show_bytes;
use floe_replay::compare::{StateDiff, compare};
use serde::Serialize;

use crate::args::DiffArgs;
use crate::replay::report::print_state;
use crate::replay::symbols::name_symbols;
use crate::{load, show, wire};

#[derive(Serialize)]
struct Diff {
    left: u64,
    right: u64,
    /// What of the pipeline's identity differs.
    identity: Vec<String>,
    tasks: Vec<TaskDiff>,
    sinks: Vec<SinkDiff>,
}

#[derive(Serialize)]
struct TaskDiff {
    task: String,
    left: Option<TaskView>,
    right: Option<TaskView>,
    same_state: bool,
    state: Vec<StateDiff>,
}

#[derive(Serialize)]
struct TaskView {
    next_offset: i64,
    virtual_time_ms: Option<i64>,
    watermark_ms: Option<i64>,
    records: u64,
    state_hash: String,
    memory_bytes: u64,
    journal_steps: usize,
    in_flight_rows: u64,
}

#[derive(Serialize)]
struct SinkDiff {
    sink: String,
    table: String,
    /// Rows, files and bytes ready to be committed by each.
    rows: (u64, u64),
    files: (u32, u32),
    file_bytes: (u64, u64),
    committed_epoch: (Option<u64>, Option<u64>),
}

pub(crate) fn diff(args: DiffArgs) -> anyhow::Result<()> {
    let spec = load::pipeline(&args.pipeline)?;
    super::block_on(async move {
        let store = wire::store_to_read(&spec)?.ok_or_else(|| {
            Error::invalid(format!("pipeline {:?} has no checkpoint yet", spec.id))
        })?;
        let log = read_log(&*store, &spec.id).await?;
        let find = |epoch: u64| {
            log.manifests().find(|it| it.0.epoch.0 == epoch).map(|it| it.1).ok_or_else(|| {
                Error::invalid(format!(
                    "pipeline {:?} has no checkpoint of epoch {epoch}\n→ floe checkpoint list shows them",
                    spec.id
                ))
            })
        };
        let (left, right) = (find(args.left)?, find(args.right)?);
        let (mut lefts, mut rights) = (
            read_parts(&*store, &spec.id, left).await?,
            read_parts(&*store, &spec.id, right).await?,
        );
        let mut names: Vec<_> = left.tasks.iter().chain(&right.tasks).map(|it| &it.task).collect();
        names.sort();
        names.dedup();
        let mut tasks = Vec::new();
        for name in names {
            let entry =
                |it: &CheckpointManifest| it.tasks.iter().find(|it| it.task == *name).cloned();
            let (a, b) = (entry(left), entry(right));
            let part = |parts: &mut Vec<floe_core::task::CapturedTask>| {
                let at = parts.iter().position(|it| it.task == *name)?;
                Some(parts.swap_remove(at))
            };
            let (old, new) = (part(&mut lefts), part(&mut rights));
            let mut state = match (&old, &new) {
                (Some(old), Some(new)) => compare(&old.operators, &new.operators),
                _ => Vec::new(),
            };
            if let Some(new) = &new {
                name_symbols(&spec, &right.identity.operators, &new.operators, &mut state);
            }
            tasks.push(TaskDiff {
                task: name.to_string(),
                same_state: a.as_ref().map(|it| it.state_hash)
                    == b.as_ref().map(|it| it.state_hash),
                left: a.zip(old).map(|(entry, part)| view(&entry, &part)),
                right: b.zip(new).map(|(entry, part)| view(&entry, &part)),
                state,
            });
        }
        let found = Diff {
            left: args.left,
            right: args.right,
            identity: identity(left, right),
            tasks,
            sinks: sinks(left, right),
        };
        if args.json {
            return super::print_json(&found);
        }
        print(&found);
        Ok(())
    })
}

fn view(entry: &TaskEntry, part: &floe_core::task::CapturedTask) -> TaskView {
    let time = |it: EventTime| (it != EventTime::MIN).then_some(it.0);
    TaskView {
        next_offset: entry.next_offset.0,
        virtual_time_ms: time(entry.virtual_time),
        watermark_ms: time(entry.watermark),
        records: entry.records,
        state_hash: show::hex(&entry.state_hash),
        memory_bytes: part.operators.iter().map(|it| it.1.memory.bytes).sum(),
        journal_steps: part.journal.steps.len(),
        in_flight_rows: entry.in_flight_rows,
    }
}

fn identity(left: &CheckpointManifest, right: &CheckpointManifest) -> Vec<String> {
    let (a, b) = (&left.identity, &right.identity);
    let mut differing = Vec::new();
    for (name, a, b) in [
        ("guarantee", &a.guarantee, &b.guarantee),
        ("decoder", &a.decoder, &b.decoder),
        ("engine", &a.engine, &b.engine),
        ("instruction set", &a.isa, &b.isa),
    ] {
        if a != b {
            differing.push(format!("{name}  {a} → {b}"));
        }
    }
    for (a, b) in a.operators.iter().zip(&b.operators) {
        if a.module_hash != b.module_hash {
            let (a_hash, b_hash) =
                (show::short_hex(&a.module_hash), show::short_hex(&b.module_hash));
            differing.push(format!("module of {}  {a_hash} → {b_hash}", a.name));
        }
        if a.config_hash != b.config_hash {
            differing.push(format!("configuration of {}", a.name));
        }
    }
    if left.generation != right.generation {
        differing.push(format!("generation  {} → {}", left.generation, right.generation));
    }
    differing
}

fn sinks(left: &CheckpointManifest, right: &CheckpointManifest) -> Vec<SinkDiff> {
    let both = left.sinks.iter().filter_map(|a| Some((a, right.sink(&a.name)?)));
    both.map(|(a, b)| SinkDiff {
        sink: a.name.clone(),
        table: b.table.clone(),
        rows: (a.committable.rows, b.committable.rows),
        files: (a.committable.file_count, b.committable.file_count),
        file_bytes: (a.committable.file_bytes, b.committable.file_bytes),
        committed_epoch: (
            a.committed.map(|it| it.manifest.epoch.0),
            b.committed.map(|it| it.manifest.epoch.0),
        ),
    })
    .collect()
}

fn print(found: &Diff) {
    println!("epoch {} → {}", found.left, found.right);
    for line in &found.identity {
        println!("  {line}");
    }
    for task in &found.tasks {
        println!("{}", task.task);
        let (Some(left), Some(right)) = (&task.left, &task.right) else {
            println!(
                "  only in epoch {}",
                if task.left.is_some() { found.left } else { found.right }
            );
            continue;
        };
        let taken = right.records.saturating_sub(left.records);
        println!(
            "  next offset {} → {}, {} records in {} steps",
            left.next_offset,
            right.next_offset,
            show::grouped(taken),
            right.journal_steps
        );
        let time = |it: Option<i64>| it.map_or("–".to_owned(), show::time);
        if left.virtual_time_ms != right.virtual_time_ms {
            println!(
                "  virtual time {} → {}",
                time(left.virtual_time_ms),
                time(right.virtual_time_ms)
            );
        }
        if left.watermark_ms != right.watermark_ms {
            println!("  watermark {} → {}", time(left.watermark_ms), time(right.watermark_ms));
        }
        if left.in_flight_rows + right.in_flight_rows > 0 {
            println!(
                "  {} → {} rows on their way to it",
                show::grouped(left.in_flight_rows),
                show::grouped(right.in_flight_rows)
            );
        }
        match task.same_state {
            true => println!("  the same state, {}", &left.state_hash[..16]),
            false => println!("  state {}… → {}…", &left.state_hash[..16], &right.state_hash[..16]),
        }
        task.state.iter().for_each(print_state);
    }
    for sink in &found.sinks {
        println!(
            "{}  {}: {} → {} rows, {} → {} files, {} → {}",
            sink.sink,
            sink.table,
            show::grouped(sink.rows.0),
            show::grouped(sink.rows.1),
            sink.files.0,
            sink.files.1,
            show_bytes(sink.file_bytes.0),
            show_bytes(sink.file_bytes.1)
        );
    }
}
