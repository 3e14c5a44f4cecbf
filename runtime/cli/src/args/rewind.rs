//! Where `floe run` begins, if not where it stopped.

use clap::Args as ClapArgs;
use floe_core::{EventTime, Offset, TopicPartition};
use floe_pipeline::config::parse_timestamp;

pub(super) const HELP: &str = "\
Going back is refused on a table that has the pipeline's epochs. With --branch NAME it goes to
a branch of the table, which begins at the snapshot of the checkpoint that the state is taken
from; the pipeline on main goes on beside it. The one on the branch is pipeline ID-NAME: start
it again with --branch NAME alone. A copy of the file with that id, and branch = \"NAME\" in
[sink], is for the other commands. Without --branch it is for a new pipeline, which begins with
empty state.";

#[derive(Clone, ClapArgs)]
#[command(next_help_heading = "Go back")]
pub(crate) struct RewindArgs {
    /// Run beside the pipeline, on this branch of its tables
    #[arg(long, value_name = "NAME")]
    pub(crate) branch: Option<String>,
    /// Begin there, partitions with commas or one by one; the others where the checkpoint is
    #[arg(long, value_name = "TOPIC/PARTITION=N", value_delimiter = ',', value_parser = parse_offset)]
    pub(crate) from_offset: Vec<(TopicPartition, Offset)>,
    /// Begin at the first record of this time or later, such as 2026-01-31T06:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) from_timestamp: Option<EventTime>,
    /// With --branch: the state and the place of this checkpoint, in place of the newest one
    #[arg(long, value_name = "EPOCH", requires = "branch")]
    pub(crate) from_checkpoint: Option<u64>,
}

fn parse_offset(text: &str) -> Result<(TopicPartition, Offset), String> {
    let wrong = || format!("{text:?} is not TOPIC/PARTITION=N, such as payments/3=18442017");
    let (task, offset) = text.split_once('=').ok_or_else(wrong)?;
    let task = TopicPartition::parse(task).ok_or_else(wrong)?;
    let offset = offset.parse().ok().filter(|it: &i64| *it >= 0).ok_or_else(wrong)?;
    Ok((task, Offset(offset)))
}

pub(super) fn parse_time(text: &str) -> Result<EventTime, String> {
    parse_timestamp(text).map_err(|_| format!("{text:?} is no time such as 2026-01-31T06:00:00Z"))
}
