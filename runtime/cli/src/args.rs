//! What can be said to `floe` on a command line.

mod align;
mod language;
mod replay;
mod rewind;
mod verify;

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};

use crate::command::check::CheckArgs;
use crate::command::effects::EffectsArgs;
use crate::command::sweep::SweepArgs;
use crate::command::upgrade::Partitioner;
use crate::exit;

pub(crate) use align::AlignArgs;
pub(crate) use language::Language;
pub(crate) use replay::ReplayArgs;
pub(crate) use rewind::RewindArgs;
pub(crate) use verify::{Pair, VerifyArgs};

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
    Check(CheckArgs),
    /// Set main to what the sinks' branches hold
    Publish(PipelineArgs),
    /// Where a pipeline stands: last checkpoint, position, lag, table, owner
    Status(PipelineArgs),
    /// The rows of the pipeline's table
    Rows(RowsArgs),
    /// At which snapshots several pipelines' tables tell the same moment of event time
    Align(AlignArgs),
    /// What was saved
    Checkpoint {
        #[command(subcommand)]
        command: CheckpointCommand,
    },
    /// Run a checkpoint again, here, and compare
    Replay(ReplayArgs),
    /// Run epochs again in other ways, and see that each comes out the same
    VerifyDeterminism(VerifyDeterminismArgs),
    /// Count and add up the source again, and show each key for which the table says something else
    Verify(VerifyArgs),
    /// From a row of the table to the records that made it
    Trace(TraceArgs),
    /// The first epoch that breaks a condition on rows or on state
    Bisect(BisectArgs),
    /// The records that epochs took, as a recording
    Record(RecordArgs),
    /// Checkpoints, records, modules and configuration in one file, to be replayed elsewhere
    Bundle(BundleArgs),
    /// Make a checkpoint that stays until it is given up, or give one up
    Savepoint(SavepointArgs),
    /// Delete checkpoints that need not be kept, and what attempts wrote in vain
    Sweep(SweepArgs),
    /// The operators' state as they tell it, as JSON
    State(StateArgs),
    /// Try, apply or roll back a changed operator
    Upgrade(UpgradeArgs),
    /// Have done what a pipeline's intents ask for, each once under its idempotency key
    Effects(EffectsArgs),
    /// Rejected records: what they are, and back through the operators
    DeadLetters {
        #[command(subcommand)]
        command: DeadLettersCommand,
    },
    /// What a module needs and offers
    Inspect(InspectArgs),
    /// For authors of SDKs: does the conformance operator in this module keep the ABI?
    Conformance(ConformanceArgs),
    /// A new operator with its test, in a folder of its own
    New(NewArgs),
    /// Build the operator in a folder with its language's own tool
    Build(BuildArgs),
    /// Build and test whenever a file changes, and show which rows changed
    Dev(DevArgs),
    /// Run an operator's cases and recordings in the real sandbox: straight, and restored
    Test(TestArgs),
    /// The ready-made operators
    Plugin {
        #[command(subcommand)]
        command: PluginCommand,
    },
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
    /// Two checkpoints side by side: positions, memory pages, globals, rows to commit
    Diff(DiffArgs),
}

#[derive(Subcommand)]
pub(crate) enum PluginCommand {
    /// All of them, with their hashes
    List(PluginListArgs),
    /// What one takes, keeps and emits
    Describe(PluginDescribeArgs),
}

#[derive(ClapArgs)]
pub(crate) struct PluginListArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs)]
pub(crate) struct PluginDescribeArgs {
    /// The plugin
    pub(crate) name: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs)]
pub(crate) struct NewArgs {
    /// The folder; its last part is the operator's name
    pub(crate) folder: PathBuf,
    /// The language
    #[arg(long, value_enum)]
    pub(crate) lang: Language,
}

#[derive(ClapArgs)]
pub(crate) struct BuildArgs {
    /// The operator's folder
    #[arg(default_value = ".")]
    pub(crate) folder: PathBuf,
}

#[derive(ClapArgs)]
pub(crate) struct DevArgs {
    /// The operator's folder
    #[arg(default_value = ".")]
    pub(crate) folder: PathBuf,
}

#[derive(ClapArgs)]
pub(crate) struct TestArgs {
    /// Folders of operators, each with a folder `cases`
    #[arg(default_value = ".")]
    pub(crate) folders: Vec<PathBuf>,
    /// The WebAssembly module, in place of the one that belongs to the folder
    #[arg(long)]
    pub(crate) module: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs)]
#[command(after_help = rewind::HELP)]
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
    // Last: its heading stands over all that follows.
    #[command(flatten)]
    pub(crate) rewind: RewindArgs,
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
#[command(after_help = "\
A running pipeline is asked through the checkpoint store, looks every two seconds, and answers with its
next checkpoint. Where none runs, the newest checkpoint is written once more as the savepoint.")]
pub(crate) struct SavepointArgs {
    /// The pipeline file
    pub(crate) pipeline: PathBuf,
    /// Give up the savepoint of this epoch
    #[arg(long, value_name = "EPOCH")]
    pub(crate) drop: Option<u64>,
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
    #[arg(long, value_name = "NAME", help = "The sink; the first unless named")]
    pub(crate) sink: Option<String>,
    /// The dead letters in place of the sink's
    #[arg(long, conflicts_with = "sink")]
    pub(crate) dead_letters: bool,
    /// Print one JSON object a row
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs)]
pub(crate) struct DiffArgs {
    /// The pipeline file
    pub(crate) pipeline: PathBuf,
    /// The epoch of the one
    pub(crate) left: u64,
    /// The epoch of the other
    pub(crate) right: u64,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs)]
pub(crate) struct VerifyDeterminismArgs {
    /// The pipeline file, or a bundle
    pub(crate) subject: PathBuf,
    /// The epoch whose checkpoint is restored; unless named the oldest that is kept, back to the last upgrade
    #[arg(long, value_name = "EPOCH")]
    pub(crate) from: Option<u64>,
    /// The last epoch; the newest unless named
    #[arg(long, value_name = "EPOCH")]
    pub(crate) to: Option<u64>,
    /// The records, as a recording; the pipeline's own recording or what Kafka still has unless named
    #[arg(long, value_name = "FILE")]
    pub(crate) recording: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// How conditions are written.
const CONDITION_HELP: &str = "\
Conditions are comparisons joined by AND:
  txn_id = 'txn-42' AND amount >= 5 AND note IS NOT NULL
with = != < <= > >= IS NULL, IS NOT NULL; texts in single quotes, a quote in them doubled;
names with other characters than letters, digits, _ and - in double quotes; a dot leads into a struct.";

#[derive(ClapArgs)]
#[command(after_help = CONDITION_HELP)]
pub(crate) struct TraceArgs {
    /// The pipeline file
    pub(crate) pipeline: PathBuf,
    /// The row, by a condition on its columns
    #[arg(long, value_name = "CONDITION")]
    pub(crate) row: String,
    #[arg(long, value_name = "NAME", help = "The sink; the first unless named")]
    pub(crate) sink: Option<String>,
    /// The records, as a recording; the pipeline's own recording or what Kafka still has unless named
    #[arg(long, value_name = "FILE")]
    pub(crate) recording: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs)]
#[command(after_help = CONDITION_HELP)]
pub(crate) struct BisectArgs {
    /// The pipeline file, or a bundle
    pub(crate) subject: PathBuf,
    /// What every row should hold
    #[arg(long, value_name = "CONDITION", required_unless_present = "expect_state")]
    pub(crate) expect: Option<String>,
    /// What the state that an operator tells should hold at each checkpoint
    #[arg(long, value_name = "CONDITION", conflicts_with = "expect")]
    pub(crate) expect_state: Option<String>,
    #[arg(long, value_name = "NAME", help = "The sink; the first unless named")]
    pub(crate) sink: Option<String>,
    /// The checkpoint behind which rows are looked at; unless named the oldest that is kept, back to the last
    /// upgrade. Of states, the first that is asked
    #[arg(long, value_name = "EPOCH")]
    pub(crate) from: Option<u64>,
    /// The last epoch; the newest unless named
    #[arg(long, value_name = "EPOCH")]
    pub(crate) to: Option<u64>,
    /// The records, as a recording; the pipeline's own recording or what Kafka still has unless named
    #[arg(long, value_name = "FILE")]
    pub(crate) recording: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs)]
pub(crate) struct RangeArgs {
    /// The pipeline file
    pub(crate) pipeline: PathBuf,
    /// The epoch whose checkpoint is restored; 0 is the pipeline's beginning
    #[arg(long, value_name = "EPOCH")]
    pub(crate) checkpoint: u64,
    /// The last epoch; the next one unless named
    #[arg(long, value_name = "EPOCH")]
    pub(crate) to: Option<u64>,
    /// One task alone: topic/partition
    #[arg(long)]
    pub(crate) task: Option<String>,
    /// So many records of each partition behind the last checkpoint, too [default: 10000 where the newest
    /// checkpoint is the one that is restored, else 0]
    #[arg(long, value_name = "RECORDS")]
    pub(crate) beyond: Option<u64>,
    /// Make this field of each record's JSON value unreadable, and all keys and values of headers; may be given
    /// several times. A name means the field wherever it is, address.city the city of an address
    #[arg(long, value_name = "FIELD")]
    pub(crate) redact: Vec<String>,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(ClapArgs)]
pub(crate) struct RecordArgs {
    #[command(flatten)]
    pub(crate) range: RangeArgs,
}

#[derive(ClapArgs)]
pub(crate) struct BundleArgs {
    #[command(flatten)]
    pub(crate) range: RangeArgs,
}

#[derive(ClapArgs)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct StateArgs {
    #[command(subcommand)]
    pub(crate) command: Option<StateCommand>,
    /// The pipeline file
    #[arg(required = true)]
    pub(crate) pipeline: Option<PathBuf>,
    /// The epoch; the newest unless named
    #[arg(long, value_name = "EPOCH")]
    pub(crate) checkpoint: Option<u64>,
    #[command(flatten)]
    pub(crate) of: StateOfArgs,
}

#[derive(Subcommand)]
pub(crate) enum StateCommand {
    /// What changed between two checkpoints
    Diff(StateDiffArgs),
}

#[derive(ClapArgs)]
pub(crate) struct StateDiffArgs {
    /// The pipeline file
    pub(crate) pipeline: PathBuf,
    /// The epoch of one checkpoint
    pub(crate) before: u64,
    /// The epoch of the other
    pub(crate) after: u64,
    #[command(flatten)]
    pub(crate) of: StateOfArgs,
}

#[derive(ClapArgs)]
pub(crate) struct StateOfArgs {
    /// One task alone: topic/partition
    #[arg(long)]
    pub(crate) task: Option<String>,
    /// One operator alone
    #[arg(long, value_name = "NAME")]
    pub(crate) operator: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["try_epochs", "apply", "rollback"])))]
pub(crate) struct UpgradeArgs {
    /// The pipeline file
    pub(crate) pipeline: PathBuf,
    /// The new module of an operator; the pipeline file's own where none is named
    #[arg(long, value_name = "NAME=MODULE", conflicts_with = "rollback")]
    pub(crate) operator: Vec<String>,
    /// The old module, where neither the pipeline file nor the store has it any more
    #[arg(long, value_name = "NAME=MODULE")]
    pub(crate) old: Vec<String>,
    /// Share the keys of an operator with key-by among so many tasks; the pipeline file's number unless named
    #[arg(long, value_name = "NUMBER or NAME=NUMBER", conflicts_with_all = ["rollback", "try_epochs"])]
    pub(crate) tasks: Vec<String>,
    /// Give the keys of each partition's task to the partitions that the topic has now; needs all that was sent
    /// before it grew to be read
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["rollback", "try_epochs", "tasks", "operator"])]
    pub(crate) partitions: Option<u32>,
    /// How the producer chooses a record's partition by its key
    #[arg(long, value_name = "NAME", default_value = "murmur2", requires = "partitions")]
    pub(crate) partitioner: Partitioner,
    /// This operator begins anew: its state is not given to the new module, or to the new tasks
    #[arg(long, value_name = "NAME", conflicts_with = "rollback")]
    pub(crate) fresh: Vec<String>,
    /// Run the last EPOCHS epochs through the old and the new, and show what differs; nothing is written
    #[arg(long = "try", value_name = "EPOCHS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) try_epochs: Option<u64>,
    /// Write a checkpoint for the new module, with which `floe run` goes on
    #[arg(long)]
    pub(crate) apply: bool,
    /// Go back to the modules before the last upgrade
    #[arg(long)]
    pub(crate) rollback: bool,
    /// The records for --try, as a recording; the pipeline's own or what Kafka still has unless named
    #[arg(long, value_name = "FILE", requires = "try_epochs")]
    pub(crate) recording: Option<PathBuf>,
    /// Differences shown of rows and of state, each
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    pub(crate) show: usize,
    /// Fence the process that runs this pipeline now
    #[arg(long, conflicts_with = "try_epochs")]
    pub(crate) take_over: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// Those that wait, oldest first
    List(LettersListArgs),
    /// One whole
    Show(LettersShowArgs),
    /// Give some back through the current operators, each once. Stop the pipeline first
    Retry(LettersRetryArgs),
}

#[derive(ClapArgs)]
pub(crate) struct LetterFilterArgs {
    /// What became of the record
    #[arg(long, value_parser = ["decode", "reject", "trap"])]
    pub(crate) class: Option<String>,
    /// Those that this operator would not take
    #[arg(long, value_name = "NAME")]
    pub(crate) operator: Option<String>,
    /// Of this epoch
    #[arg(long)]
    pub(crate) epoch: Option<i64>,
    /// Of one task: topic/partition
    #[arg(long)]
    pub(crate) task: Option<String>,
}

#[derive(ClapArgs)]
pub(crate) struct LettersListArgs {
    /// The pipeline file
    pub(crate) pipeline: PathBuf,
    #[command(flatten)]
    pub(crate) filter: LetterFilterArgs,
    /// Those, too, that were given back
    #[arg(long)]
    pub(crate) all: bool,
    /// Print one JSON object a letter
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs)]
pub(crate) struct LettersShowArgs {
    /// The pipeline file
    pub(crate) pipeline: PathBuf,
    /// As `list` names it: topic/partition@offset
    pub(crate) letter: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs)]
#[command(group(clap::ArgGroup::new("which").required(true).multiple(true)
    .args(["letters", "from", "every", "class", "operator", "epoch", "task"])))]
pub(crate) struct LettersRetryArgs {
    /// The pipeline file
    pub(crate) pipeline: PathBuf,
    /// As `list` names them: topic/partition@offset
    pub(crate) letters: Vec<String>,
    /// Letters with their key or value corrected, as `list --json` prints them
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
    /// All that wait
    #[arg(long = "all", conflicts_with_all = ["letters", "from"])]
    pub(crate) every: bool,
    #[command(flatten)]
    pub(crate) filter: LetterFilterArgs,
    /// Fence the process that runs this pipeline now
    #[arg(long)]
    pub(crate) take_over: bool,
    /// Print JSON
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
pub(crate) struct ConformanceArgs {
    /// The operator of sdk/abi/CONFORMANCE.md, built with the SDK
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
