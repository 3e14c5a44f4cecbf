//! AssemblyScript, by the folder's own `asc` or the one in PATH; asconfig.json has the options.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::build::{place, run};

pub(super) fn build(folder: &Path) -> anyhow::Result<PathBuf> {
    let module = place(folder)?.join("operator.wasm");
    let own = std::path::absolute(folder)?.join("node_modules/.bin/asc");
    let mut build = if own.is_file() { Command::new(own) } else { Command::new("asc") };
    build.args(["operator.ts", "--config", "asconfig.json", "--outFile"]);
    build.arg(&module).current_dir(folder);
    run(
        build,
        "asc of assemblyscript 0.28",
        "everywhere, in the operator's folder: npm install; which needs node and npm: Debian: sudo apt-get install nodejs npm; macOS: brew install node; Windows: winget install OpenJS.NodeJS",
    )?;
    Ok(module)
}
