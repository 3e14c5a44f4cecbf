//! `floe sweep`: deletes checkpoints that need not be kept, and what attempts wrote in vain.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args as ClapArgs;
use floe_checkpoint::{GarbageFound, sweep_garbage};
use floe_core::protocol::orphans::Orphan;
use floe_pipeline::config::units::show_bytes;
use serde::Serialize;

use crate::wire::SinkSwept;
use crate::{load, show, wire};

#[derive(ClapArgs)]
#[command(after_help = "\
A running pipeline sweeps by itself. This may run beside it and be stopped at any point: it deletes
nothing that a kept checkpoint, a savepoint, an uncommitted epoch or the epoch being written needs.

In tables and in the outbox of topics it deletes what attempts of this pipeline prepared and nobody can
commit any more: files whose names prove them its own, of an epoch that the table is past, and that no
snapshot, branch, tag or checkpoint names. Others' files are never touched.")]
pub(crate) struct SweepArgs {
    /// The pipeline file
    pub(crate) pipeline: PathBuf,
    /// Only say what would be deleted
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Serialize)]
struct Shown<'a> {
    dry_run: bool,
    #[serde(flatten)]
    checkpoints: &'a GarbageFound,
    sinks: Vec<ShownSink<'a>>,
}

/// Files, or segments of the outbox, that were prepared for a sink and are in no table and no topic.
#[derive(Serialize)]
struct ShownSink<'a> {
    sink: &'a str,
    target: &'a str,
    /// Nothing of this epoch or before it can get into the table any more. `null`: nobody can tell yet.
    settled_epoch: Option<u64>,
    orphans: Vec<ShownOrphan<'a>>,
    kept: u64,
    not_ours: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct ShownOrphan<'a> {
    path: &'a str,
    bytes: u64,
    epoch: u64,
}

pub(crate) fn sweep(args: SweepArgs) -> anyhow::Result<()> {
    let spec = load::pipeline(&args.pipeline)?;
    super::block_on(async move {
        let (mut found, mut sinks) = (GarbageFound::default(), Vec::new());
        if let Some(store) = wire::store_to_read(&spec)? {
            let (keep, dry_run) = (spec.checkpoint.keep, args.dry_run);
            found = sweep_garbage(Arc::clone(&store), &spec.id, keep, dry_run).await?;
            sinks = wire::sweep_prepared(&spec, &store, dry_run).await?;
        }
        if args.json {
            super::print_json(&Shown {
                dry_run: args.dry_run,
                checkpoints: &found,
                sinks: sinks.iter().map(shown).collect(),
            })?;
        } else {
            print(&found, args.dry_run);
            sinks.iter().for_each(|it| print_sink(it, args.dry_run));
        }
        // The others were swept all the same.
        match sinks.into_iter().find_map(|it| it.found.err()) {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    })
}

fn shown(swept: &SinkSwept) -> ShownSink<'_> {
    let found = swept.found.as_ref().ok().and_then(Option::as_ref);
    ShownSink {
        sink: &swept.sink,
        target: &swept.target,
        settled_epoch: found.and_then(|it| it.settled).map(|it| it.0),
        orphans: found.map_or_else(Vec::new, |it| it.orphans.iter().map(shown_orphan).collect()),
        kept: found.map_or(0, |it| it.kept),
        not_ours: found.map_or(0, |it| it.not_ours),
        error: swept.found.as_ref().err().map(|it| it.message.as_str()),
    }
}

fn print_sink(swept: &SinkSwept, dry_run: bool) {
    // An error is said at the end.
    let Ok(Some(found)) = &swept.found else { return };
    let verb = if dry_run { "would delete" } else { "deleted" };
    let (count, bytes) =
        (found.orphans.len() as u64, found.orphans.iter().map(|it| it.bytes).sum());
    println!(
        "{}: {verb} {} files prepared in vain, {}; {} files of this pipeline stay",
        swept.target,
        show::grouped(count),
        show_bytes(bytes),
        show::grouped(found.kept)
    );
    let settled = found.settled.map_or(0, |it| it.0);
    for orphan in &found.orphans {
        println!(
            "  {}  {}  of epoch {}: nobody names it, and up to epoch {settled} all is decided",
            orphan.path,
            show_bytes(orphan.bytes),
            orphan.epoch
        );
    }
}

fn shown_orphan(orphan: &Orphan) -> ShownOrphan<'_> {
    ShownOrphan { path: &orphan.path, bytes: orphan.bytes, epoch: orphan.epoch.0 }
}

fn print(found: &GarbageFound, dry_run: bool) {
    let verb = if dry_run { "would delete" } else { "deleted" };
    println!(
        "{verb} {} checkpoints, {} objects ({} of them written in vain), {}",
        show::grouped(found.checkpoints),
        show::grouped(found.objects),
        show::grouped(found.abandoned_objects),
        show_bytes(found.bytes)
    );
    let savepoints: Vec<String> = found.kept_savepoints.iter().map(|it| it.to_string()).collect();
    let savepoints = match savepoints.is_empty() {
        true => String::new(),
        false => format!(", savepoints {} among them", savepoints.join(", ")),
    };
    println!("{} checkpoints stay{savepoints}", show::grouped(found.kept_checkpoints));
}
