//! `cargo xtask fuzz`: the fuzz targets of tests/it/fuzz for as long as one likes.

use anyhow::{Result, bail};

use crate::build::cargo;
use crate::children;

pub(crate) fn fuzz(arguments: &[&str]) -> Result<()> {
    let (mut target, mut seconds) = ("", "60");
    let mut rest = arguments;
    loop {
        match rest {
            [] => break,
            ["--seconds", value, more @ ..] => (seconds, rest) = (value, more),
            [name, more @ ..] if !name.starts_with("--") => (target, rest) = (name, more),
            [other, ..] => bail!("fuzz takes a target and --seconds N, not {other}"),
        }
    }
    let mut cargo = cargo();
    cargo.args(["test", "--release", "--workspace", "--test", "it", "--"]);
    cargo.args(["--nocapture", "--test-threads=1"]).arg(format!("fuzz::{target}"));
    cargo.env("FLOE_FUZZ_SECONDS", seconds);
    children::run(&mut cargo)
}
