//! `floe sweep`: deletes checkpoints that need not be kept, and what attempts wrote in vain.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use floe_checkpoint::{GarbageFound, sweep_garbage};
use floe_pipeline::config::units::show_bytes;
use serde::Serialize;

use crate::{load, show, wire};

#[derive(ClapArgs)]
#[command(after_help = "\
A running pipeline sweeps by itself. This may run beside it and be stopped at any point: it deletes
nothing that a kept checkpoint, a savepoint, an uncommitted epoch or the epoch being written needs.")]
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
}

pub(crate) fn sweep(args: SweepArgs) -> anyhow::Result<()> {
    let spec = load::pipeline(&args.pipeline)?;
    super::block_on(async move {
        let found = match wire::store_to_read(&spec)? {
            None => GarbageFound::default(),
            Some(store) => {
                sweep_garbage(store, &spec.id, spec.checkpoint.keep, args.dry_run).await?
            }
        };
        if args.json {
            return super::print_json(&Shown { dry_run: args.dry_run, checkpoints: &found });
        }
        print(&found, args.dry_run);
        Ok(())
    })
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
