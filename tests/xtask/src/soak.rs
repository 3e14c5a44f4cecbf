//! `cargo xtask soak`: the proof at full size, with a summary to keep.

use anyhow::{Context, Result, bail};

use crate::build::{self, cargo, target};
use crate::components::Components;
use crate::{children, guests};

/// Tests of `tests/kill` that have a full size. Each group is one run, so that one that fails hides no other.
const GROUPS: &[(&str, &[&str])] = &[
    ("SIGKILL at random and aimed moments", &["moments::"]),
    ("every crash point, between real servers", &["points::dying_between_real_servers"]),
    ("lost, late and untrue answers", &["answers::"]),
    ("a minute without catalog, store, broker", &["outages::"]),
    ("fenced owners", &["owners::"]),
];

pub(crate) fn soak(arguments: &[&str]) -> Result<()> {
    if arguments == ["day"] {
        return day();
    }
    let (mut records, mut kills, mut seeds) = ("400000", "170", "100000");
    let mut rest = arguments;
    while let [name, value, more @ ..] = rest {
        match *name {
            "--records" => records = value,
            "--kills" => kills = value,
            "--seeds" => seeds = value,
            _ => bail!("soak takes --records N, --kills N and --seeds N, not {name}"),
        }
        rest = more;
    }
    if !rest.is_empty() {
        bail!("{} has no value", rest[0]);
    }
    guests::build()?;
    children::run(cargo().args(["build", "--release", "--workspace", "--bins", "--tests"]))?;
    let summary = target().join("soak.md");
    let head = format!(
        "# Soak: {records} records and {kills} kills each\n\n\
         | where | records | kills | aimed | in recovery | commits said | snapshots | rows | seconds | seed |\n\
         |--|--|--|--|--|--|--|--|--|--|\n"
    );
    std::fs::write(&summary, head).with_context(|| format!("write {}", summary.display()))?;
    let mut failed = Vec::new();
    let mut note = |what: &str, done: Result<()>| match done {
        Ok(()) => println!("=== {what}: all right"),
        Err(error) => failed.push(format!("{what}: {error:#}")),
    };
    let components = Components::start()?;
    for (what, tests) in GROUPS {
        let mut cargo = cargo();
        cargo.args(["test", "--release", "--workspace", "--test", "kill", "--"]);
        cargo.args(["--nocapture", "--test-threads=1"]).args(*tests);
        components.export(&mut cargo);
        cargo.env("FLOE_TEST_GUEST_PAYMENTS", guests::payments());
        cargo.env("FLOE_TEST_BIN", build::floe_path());
        cargo.env("FLOE_KILL_RECORDS", records).env("FLOE_KILL_KILLS", kills);
        cargo.env("FLOE_KILL_ALL_POINTS", "1").env("FLOE_KILL_OUTAGE_SECONDS", "60");
        cargo.env("FLOE_KILL_SUMMARY", &summary);
        note(what, children::run(&mut cargo));
    }
    drop(components);
    let mut simulation = cargo();
    simulation.args(["test", "--release", "--workspace", "--test", "it", "--"]);
    simulation.args(["--nocapture", "--test-threads=1", "simulation::"]).env("SIM_SEEDS", seeds);
    note("simulation", children::run(&mut simulation));
    println!("{}", std::fs::read_to_string(&summary).unwrap_or_default());
    println!("written to {}", summary.display());
    if !failed.is_empty() {
        bail!("{}", failed.join("\n"));
    }
    Ok(())
}

/// A commit a second for a day, without the seconds between. Snapshots age so fast that their least number
/// decides, which is 100 in the tables that floe makes.
fn day() -> Result<()> {
    println!(
        "| commits | 10 % took ms | half took ms | 99 % took ms | a round of upkeep ms | files | bytes |\n|--|--|--|--|--|--|--|"
    );
    let mut test = cargo();
    test.args(["test", "--release", "--workspace", "--test", "sqlite", "--"]);
    test.args(["--nocapture", "--test-threads=1", "day::"]);
    test.env("FLOE_DAY_COMMITS", "86400").env("FLOE_DAY_SNAPSHOTS", "100");
    children::run(&mut test)
}
