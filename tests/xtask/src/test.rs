//! `cargo xtask test`: guests, components, then every test of the workspace.

use anyhow::Result;

use crate::build::{self, cargo};
use crate::components::Components;
use crate::{children, guests, languages};

pub(crate) fn test(arguments: &[&str]) -> Result<()> {
    guests::build()?;
    languages::build()?;
    // Built before anything is started: a mistake in the code is said without a broker running.
    let targets = ["--release", "--workspace", "--bins", "--tests"];
    children::run(cargo().arg("build").args(targets))?;
    let components = Components::start()?;
    let mut cargo = cargo();
    cargo.args(["test", "--release", "--workspace", "--no-fail-fast", "--"]).args(arguments);
    // Most tests wait most of the time, for processes that they start and kill.
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        cargo.env("RUST_TEST_THREADS", (2 * cores).to_string());
    }
    components.export(&mut cargo);
    cargo.env("FLOE_TEST_GUEST_PAYMENTS", guests::payments());
    cargo.env("FLOE_TEST_BIN", build::floe_path());
    let done = children::run(&mut cargo);
    drop(components);
    done
}
