//! `cargo xtask demo`: from a fresh checkout to the promise shown.

use std::process::Command;

use anyhow::Result;

use crate::{build, children, guests};

pub(crate) fn demo(arguments: &[&str]) -> Result<()> {
    println!("building the payments operator for WebAssembly …");
    let module = guests::build()?;
    println!("building floe (the first time this takes minutes) …");
    let floe = build::floe()?;
    children::run(Command::new(floe).arg("demo").arg("--module").arg(module).args(arguments))
}
