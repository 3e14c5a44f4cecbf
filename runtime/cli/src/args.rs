//! What can be said to `floe` on a command line.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};

use crate::exit;

#[derive(Parser)]
#[command(
    name = "floe",
    version,
    about = "Kafka → WebAssembly → Iceberg, effectively once",
    after_help = exit::HELP,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run a pipeline until it is stopped
    Run(RunArgs),
    /// Validate everything, start nothing
    Check(PipelineArgs),
    /// Where a pipeline stands: last checkpoint, position, lag, table, owner
    Status(PipelineArgs),
    /// The rows of the pipeline's table
    Rows(RowsArgs),
    /// What was saved
    Checkpoint {
        #[command(subcommand)]
        command: CheckpointCommand,
    },
    /// What a module needs and offers
    Inspect(InspectArgs),
    /// The JSON schema of the pipeline file, for editors
    Schema,
    /// The whole story in two minutes: killed at the worst moments, counted row by row
    Demo(DemoArgs),
    /// The loop that the demo sets beside a pipeline: it keeps state apart from offsets, and is wrong
    #[command(hide = true)]
    DemoNaive(DemoNaiveArgs),
    /// The version of this program
    Version,
}

#[derive(Subcommand)]
pub(crate) enum CheckpointCommand {
    /// The checkpoints that are kept, oldest first
    List(PipelineArgs),
    /// One checkpoint: tasks, positions, hashes, what was committed
    Show(ShowArgs),
}

#[derive(ClapArgs)]
pub(crate) struct RunArgs {
    /// The pipeline file
    pub(crate) pipeline: PathBuf,
    /// Stop at the ends that the partitions have now
    #[arg(long)]
    pub(crate) until_end: bool,
    /// Fence the process that runs this pipeline now
    #[arg(long)]
    pub(crate) take_over: bool,
    /// Print the summary as JSON, and log as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs)]
pub(crate) struct PipelineArgs {
    /// The pipeline file
    pub(crate) pipeline: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs)]
pub(crate) struct ShowArgs {
    /// The pipeline file
    pub(crate) pipeline: PathBuf,
    /// The epoch; the newest unless named
    pub(crate) epoch: Option<u64>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs)]
pub(crate) struct RowsArgs {
    /// The pipeline file
    pub(crate) pipeline: PathBuf,
    /// The table snapshot; the newest of the pipeline's branch unless named
    #[arg(long)]
    pub(crate) snapshot: Option<i64>,
    /// The table of dead letters in place of the sink's
    #[arg(long)]
    pub(crate) dead_letters: bool,
    /// Print one JSON object a row
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs)]
pub(crate) struct InspectArgs {
    /// The WebAssembly module
    pub(crate) module: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs)]
pub(crate) struct DemoArgs {
    /// The payments operator (examples/01-payments/operator), built
    #[arg(long)]
    pub(crate) module: PathBuf,
    /// Where the demo's files go; a new folder under the system's temporary one unless named
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// Payments in the big run
    #[arg(long, default_value_t = 200_000)]
    pub(crate) records: u64,
    /// Kills in the big run
    #[arg(long, default_value_t = 5)]
    pub(crate) kills: u32,
}

#[derive(ClapArgs)]
pub(crate) struct DemoNaiveArgs {
    pub(crate) pipeline: PathBuf,
    /// Where the state and the offset are kept, each by itself
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// Die after the row of this offset and before the offset is recorded
    #[arg(long)]
    pub(crate) die_after: Option<i64>,
}
