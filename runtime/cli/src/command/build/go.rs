//! Go, by its own command.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::build::{place, run};

pub(super) fn build(folder: &Path) -> anyhow::Result<PathBuf> {
    let module = place(folder)?.join("operator.wasm");
    let mut build = Command::new("go");
    build.args(["build", "-buildmode=c-shared", "-o"]).arg(&module).arg(".");
    build.current_dir(folder).env("GOOS", "wasip1").env("GOARCH", "wasm");
    run(
        build,
        "go 1.24 or later",
        "Debian: sudo apt-get install golang-go (trixie-backports has 1.24); macOS: brew install go; Windows: winget install GoLang.Go",
    )?;
    Ok(module)
}
