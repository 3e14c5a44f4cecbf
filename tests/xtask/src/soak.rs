//! `cargo xtask soak`: the kill tests at full size, with a summary to keep.

use anyhow::{Context, Result, bail};

use crate::build::{self, cargo, target};
use crate::components::Components;
use crate::{children, guests};

pub(crate) fn soak(arguments: &[&str]) -> Result<()> {
    let (mut records, mut kills) = ("2000000", "20");
    let mut rest = arguments;
    while let [name, value, more @ ..] = rest {
        match *name {
            "--records" => records = value,
            "--kills" => kills = value,
            _ => bail!("soak takes --records N and --kills N, not {name}"),
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
        "# Soak: {records} records, {kills} kills each\n\n\
         | where | records | kills | commits said | snapshots | rows | seconds | seed |\n|--|--|--|--|--|--|--|--|\n"
    );
    std::fs::write(&summary, head).with_context(|| format!("write {}", summary.display()))?;
    let components = Components::start()?;
    let mut cargo = cargo();
    cargo.args(["test", "--release", "--workspace", "--test", "kill", "--"]);
    cargo.args(["--nocapture", "--test-threads=1", "moments::"]);
    components.export(&mut cargo);
    cargo.env("FLOE_TEST_GUEST_PAYMENTS", guests::payments());
    cargo.env("FLOE_TEST_BIN", build::floe_path());
    cargo.env("FLOE_KILL_RECORDS", records).env("FLOE_KILL_KILLS", kills);
    cargo.env("FLOE_KILL_SUMMARY", &summary);
    let done = children::run(&mut cargo);
    drop(components);
    println!("{}", std::fs::read_to_string(&summary).unwrap_or_default());
    println!("written to {}", summary.display());
    done
}
