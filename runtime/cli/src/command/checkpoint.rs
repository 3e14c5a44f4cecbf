//! `floe checkpoint list|show`: what was saved, read from the log without claiming it.

use std::io::Write;

use floe_checkpoint::list::CheckpointDetail;
use floe_checkpoint::{CheckpointSummary, list_checkpoints, show_checkpoint};
use floe_core::{Epoch, Error};
use floe_pipeline::config::units::show_bytes;

use crate::args::{PipelineArgs, ShowArgs};
use crate::{load, show, wire};

pub(crate) fn list(args: PipelineArgs) -> anyhow::Result<()> {
    let spec = load::pipeline(&args.pipeline)?;
    super::block_on(async move {
        let kept = match wire::store_to_read(&spec)? {
            None => Vec::new(),
            Some(store) => list_checkpoints(&*store, &spec.id).await?,
        };
        if args.json {
            return super::print_json(&kept);
        }
        if kept.is_empty() {
            println!("no checkpoint of {:?} in {}", spec.id, spec.checkpoint.store);
            return Ok(());
        }
        let rows: Vec<Vec<String>> = kept.iter().map(row).collect();
        let header = ["epoch", "made", "generation", "records", "rows", "tasks", "size", ""];
        write!(std::io::stdout(), "{}", show::table(&header, &rows))?;
        Ok(())
    })
}

fn row(checkpoint: &CheckpointSummary) -> Vec<String> {
    vec![
        checkpoint.epoch.to_string(),
        show::time(checkpoint.created_ms),
        checkpoint.generation.to_string(),
        show::grouped(checkpoint.records),
        show::grouped(checkpoint.rows),
        checkpoint.tasks.to_string(),
        show_bytes(checkpoint.bytes),
        if checkpoint.savepoint { "savepoint".to_owned() } else { String::new() },
    ]
}

pub(crate) fn show(args: ShowArgs) -> anyhow::Result<()> {
    let spec = load::pipeline(&args.pipeline)?;
    super::block_on(async move {
        let store = wire::store_to_read(&spec)?.ok_or_else(|| {
            Error::invalid(format!("pipeline {:?} has no checkpoint yet", spec.id))
        })?;
        let found = show_checkpoint(&*store, &spec.id, args.epoch.map(Epoch)).await?;
        if args.json { super::print_json(&found) } else { Ok(print(&found)?) }
    })
}

fn print(found: &CheckpointDetail) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let summary = &found.summary;
    writeln!(
        out,
        "epoch {}  made {}  generation {}  entry {} of the log{}",
        summary.epoch,
        show::time(summary.created_ms),
        summary.generation,
        summary.slot,
        if summary.savepoint { "  savepoint" } else { "" }
    )?;
    writeln!(out, "  {}  decoder {}", found.guarantee, found.decoder)?;
    writeln!(out, "  {}  {}", found.engine, found.isa)?;
    for operator in &found.operators {
        writeln!(
            out,
            "  operator {}  module {}…  config {}…  state version {}",
            operator.name,
            &operator.module_hash[..12],
            &operator.config_hash[..12],
            operator.state_version
        )?;
    }
    for sink in &found.sinks {
        let committed = match (sink.committed_epoch, sink.snapshot_id) {
            (Some(epoch), Some(snapshot)) => {
                format!("committed before it: epoch {epoch}, snapshot {snapshot}")
            }
            _ => "nothing committed before it".to_owned(),
        };
        writeln!(
            out,
            "  {}  {}  {} rows in {} files, {}  {committed}",
            sink.name,
            sink.table,
            show::grouped(sink.rows),
            sink.files,
            show_bytes(sink.file_bytes),
        )?;
    }
    let rows: Vec<Vec<String>> = found
        .task_details
        .iter()
        .map(|it| {
            vec![
                it.task.clone(),
                it.next_offset.to_string(),
                show::grouped(it.records),
                it.virtual_time_ms.map_or("–".to_owned(), show::time),
                it.watermark_ms.map_or("–".to_owned(), show::time),
                show_bytes(it.bytes),
                it.state_hash[..16].to_owned() + "…",
                show::grouped(it.in_flight_rows),
            ]
        })
        .collect();
    let header = [
        "task",
        "next offset",
        "records",
        "virtual time",
        "watermark",
        "size",
        "state hash",
        "in flight",
    ];
    write!(out, "\n{}", show::table(&header, &rows))
}
