//! `floe replay`: what of a pipeline is run again, and how it is looked at.

use std::path::PathBuf;

use clap::Args as ClapArgs;

#[derive(ClapArgs)]
pub(crate) struct ReplayArgs {
    /// The pipeline file, or a bundle
    pub(crate) subject: PathBuf,
    /// The epoch whose checkpoint is restored; 0 is the pipeline's beginning. The newest with one behind it
    /// unless named; a bundle's first
    #[arg(long, value_name = "EPOCH")]
    pub(crate) checkpoint: Option<u64>,
    /// The last epoch to run; the next one unless named
    #[arg(long, value_name = "EPOCH")]
    pub(crate) to: Option<u64>,
    /// The records, as a recording; the pipeline's own recording or what Kafka still has unless named
    #[arg(long, value_name = "FILE")]
    pub(crate) recording: Option<PathBuf>,
    /// One task alone: topic/partition
    #[arg(long)]
    pub(crate) task: Option<String>,
    /// The last offset to look at. Behind the last checkpoint records run without a journal
    #[arg(long, value_name = "OFFSET")]
    pub(crate) until: Option<i64>,
    /// Show record by record: input, rows, rejections, pages written, fuel
    #[arg(long)]
    pub(crate) step: bool,
    /// Write a WebAssembly core dump of the record at --until: of the operator that it stops, where it
    /// stopped; else of each operator behind it
    #[arg(long, value_name = "FILE", requires = "task", requires = "until")]
    pub(crate) core: Option<PathBuf>,
    /// Under gdb, which stops before the record at --until: then set a breakpoint at a line of the operator
    #[arg(long, requires = "task", requires = "until")]
    pub(crate) debug: bool,
    /// Tell gdb this when it stops there; with one or more of them gdb ends behind the last
    #[arg(long, value_name = "COMMAND", requires = "debug")]
    pub(crate) debug_command: Vec<String>,
    /// This process is the one in the debugger
    #[arg(long, hide = true, conflicts_with = "debug")]
    pub(crate) debugged: bool,
    /// The first offset that --step shows; ten before --until unless named
    #[arg(long, value_name = "OFFSET", requires = "step")]
    pub(crate) from: Option<i64>,
    /// Run another build on the same input, and show the rows that differ
    #[arg(long, value_name = "MODULE", conflicts_with_all = ["step", "core", "debug", "until", "out"])]
    pub(crate) operator: Option<PathBuf>,
    /// Which operator --operator replaces, where there are several
    #[arg(long, value_name = "NAME", requires = "operator")]
    pub(crate) operator_name: Option<String>,
    /// Write the rows as JSON lines
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
