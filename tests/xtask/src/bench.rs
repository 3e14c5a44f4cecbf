//! `cargo xtask bench`: builds what is measured, starts a broker, and hands over to tests/bench.

use anyhow::{Result, bail};

use crate::build::{self, cargo};
use crate::components::Components;
use crate::{bench_languages, children, guests, languages};

const USAGE: &str = "\
cargo xtask bench [NAME] [OPTIONS]

  payments      CPU, memory, first record and recovery of a job, beside the same work natively (the default)
                --records N, --turns N
  guarantees    exactly-once beside at-least-once and at-most-once; from topic to topic; commits
                --records N, --turns N, --only 1s|10s|rekeyed|commits|latencies
  replay        speed over live, bytes of journal a step, epochs that are identical
                --records N, --epochs N, --rate RECORDS/S, --interval DURATION, --operators LANGUAGE,…
  checkpoint    pause, slowdown, bytes and restore of memories of several sizes
                --sizes MIB,…, --percents N,…, --matrix (of these alone), --page-hashes
  languages     one operator in each language, beside the same source compiled natively
                --turns N, --only LANGUAGE

  --json        one JSON object a line: bench, metric, value, unit";

/// Each bench and the options that it takes, those with a value first.
type Options = (&'static str, &'static [&'static str], &'static [&'static str]);
const BENCHES: [Options; 5] = [
    ("payments", &["--records", "--turns"], &[]),
    ("guarantees", &["--records", "--turns", "--only"], &[]),
    ("replay", &["--records", "--epochs", "--rate", "--interval", "--operators"], &[]),
    ("checkpoint", &["--sizes", "--percents"], &["--matrix", "--page-hashes"]),
    ("languages", &["--turns", "--only"], &[]),
];

pub(crate) fn bench(arguments: &[&str]) -> Result<()> {
    if arguments.iter().any(|it| ["--help", "-h", "help"].contains(it)) {
        println!("{USAGE}");
        return Ok(());
    }
    let (name, rest) = match arguments.split_first() {
        Some((name, rest)) if !name.starts_with("--") => (*name, rest),
        _ => ("payments", arguments),
    };
    let Some((_, with_value, alone)) = BENCHES.iter().find(|it| it.0 == name) else {
        bail!("there is no bench {name:?}\n\n{USAGE}");
    };
    let mut given = rest.iter();
    while let Some(option) = given.next() {
        if with_value.contains(option) {
            if given.next().is_none() {
                bail!("{option} takes a value\n\n{USAGE}");
            }
        } else if *option != "--json" && !alone.contains(option) {
            bail!("bench {name} has no option {option:?}\n\n{USAGE}");
        }
    }
    let modules = (name == "languages").then(bench_languages::build).transpose()?;
    // The bench of checkpoints has a guest of its own, as text; that of languages has many.
    let runs_floe = !["checkpoint", "languages"].contains(&name);
    if runs_floe {
        guests::build()?;
        if rest.contains(&"--operators") {
            languages::build()?;
        }
        build::floe()?;
    }
    // A replay needs a recording and no broker.
    let needs_kafka = ["payments", "guarantees"].contains(&name);
    let components = needs_kafka.then(Components::kafka_only).transpose()?;
    let mut cargo = cargo();
    // The whole workspace, so that dependencies keep the features that everything else built them with.
    let target = if name == "guarantees" { "payments" } else { name };
    cargo.args(["bench", "--quiet", "--workspace", "--bench", target, "--"]);
    if name != target {
        cargo.arg(name);
    }
    cargo.args(rest);
    components.iter().for_each(|it| it.export(&mut cargo));
    if let Some(modules) = modules {
        cargo.env("FLOE_BENCH_MODULES", modules);
    }
    if runs_floe {
        cargo.env("FLOE_TEST_GUEST_PAYMENTS", guests::payments());
        cargo.env("FLOE_TEST_BIN", build::floe_path());
    }
    let said = std::iter::once("cargo xtask bench").chain(arguments.iter().copied());
    cargo.env("FLOE_BENCH_COMMAND", said.collect::<Vec<_>>().join(" "));
    let done = children::run(&mut cargo);
    drop(components);
    done
}
