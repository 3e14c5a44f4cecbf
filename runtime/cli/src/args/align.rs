//! Which pipelines `floe align` sets side by side, and at which time.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;
use floe_core::EventTime;
use floe_pipeline::config::units::parse_duration;

use super::rewind::parse_time;

const HELP: &str = "\
All that ends at that time or before is in each of the snapshots: rows of windows, by their end,
and rows of records before it. What is later may be there, too, so read with a condition:
  floe align counts.toml sums.toml --at 2026-01-31T11:00:00Z --json
  … WHERE window_end <= TIMESTAMP '2026-01-31 11:00:00Z', each table at its snapshot
While a pipeline has not come so far, nothing should be done with any of the tables: exit code 1.";

#[derive(ClapArgs)]
#[command(after_help = HELP)]
pub(crate) struct AlignArgs {
    /// The pipeline files
    #[arg(required = true)]
    pub(crate) pipelines: Vec<PathBuf>,
    /// The time, such as 2026-01-31T11:00:00Z; the latest up to which all tables are whole unless named
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) at: Option<EventTime>,
    /// The latest time that is a multiple of this since 1970, such as 1h
    #[arg(long, value_name = "DURATION", value_parser = parse_period, conflicts_with = "at")]
    pub(crate) every: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn parse_period(text: &str) -> Result<Duration, String> {
    let period = parse_duration(text)?;
    match period.as_millis() {
        0 => Err("it must be 1ms or more".to_owned()),
        _ => Ok(period),
    }
}
