//! `cargo xtask bench`: builds what is measured, starts a broker, and hands over to tests/bench.

use anyhow::{Result, bail};

use crate::build::{self, cargo};
use crate::components::Components;
use crate::{bench_languages, children, guests, languages};

pub(crate) fn bench(arguments: &[&str]) -> Result<()> {
    let (name, rest) = match arguments.split_first() {
        Some((name, rest)) if !name.starts_with("--") => (*name, rest),
        _ => ("payments", arguments),
    };
    if !["payments", "guarantees", "replay", "checkpoint", "languages"].contains(&name) {
        bail!(
            "there is no bench {name:?}: there are payments, guarantees, replay, checkpoint and languages"
        );
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
