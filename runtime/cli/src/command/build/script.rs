//! JavaScript and TypeScript: the author's script is put into the interpreter's module, without a compiler.
//!
//! The interpreter is `languages/javascript.wasm` in a folder of `FLOE_LANGUAGES`, beside this program, or in
//! `../lib/floe/languages`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use floe_core::Error;
use floe_operator::with_script;

use crate::command::build::{missing, place, run};

const INTERPRETER: &str = "languages/javascript.wasm";

const ESBUILD: &str = "everywhere, in the operator's folder: npm install --save-dev esbuild; which needs node and npm: Debian: sudo apt-get install nodejs npm; macOS: brew install node; Windows: winget install OpenJS.NodeJS";

/// As it stands, or as one file where the folder has esbuild: then it may import others.
pub(super) fn javascript(folder: &Path) -> anyhow::Result<PathBuf> {
    let script = match esbuild(folder)? {
        Some(esbuild) => bundled(folder, &esbuild, "operator.js")?,
        None => read(&folder.join("operator.js"))?,
    };
    put(folder, &script)
}

pub(super) fn typescript(folder: &Path) -> anyhow::Result<PathBuf> {
    let esbuild = esbuild(folder)?
        .ok_or_else(|| missing("esbuild, which takes the types out of operator.ts,", ESBUILD))?;
    put(folder, &bundled(folder, &esbuild, "operator.ts")?)
}

fn put(folder: &Path, script: &str) -> anyhow::Result<PathBuf> {
    let interpreter = interpreter()?;
    let bytes =
        std::fs::read(&interpreter).with_context(|| format!("read {}", interpreter.display()))?;
    let module = place(folder)?.join("operator.wasm");
    std::fs::write(&module, with_script(&bytes, script)?)
        .with_context(|| format!("write {}", module.display()))?;
    Ok(module)
}

fn bundled(folder: &Path, esbuild: &Path, source: &str) -> anyhow::Result<String> {
    let script = place(folder)?.join("operator.js");
    let mut build = Command::new(esbuild);
    build.args([source, "--bundle", "--format=esm", "--target=es2023", "--external:floe"]);
    build.args(["--log-level=warning", "--charset=utf8"]);
    build.arg(format!("--outfile={}", script.display())).current_dir(folder);
    run(build, "esbuild", ESBUILD)?;
    read(&script)
}

fn esbuild(folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    let own = std::path::absolute(folder)?.join("node_modules/.bin/esbuild");
    Ok(own.is_file().then_some(own))
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        Error::invalid(format!("{} cannot be read: {error}", path.display())).into()
    })
}

fn interpreter() -> anyhow::Result<PathBuf> {
    let mut places: Vec<PathBuf> = std::env::var_os("FLOE_LANGUAGES")
        .map(|it| std::env::split_paths(&it).map(|it| it.join("javascript.wasm")).collect())
        .unwrap_or_default();
    if let Some(bin) = std::env::current_exe().ok().as_deref().and_then(Path::parent) {
        places.push(bin.join(INTERPRETER));
        if let Some(prefix) = bin.parent() {
            places.push(prefix.join("lib/floe").join(INTERPRETER));
        }
    }
    places.iter().find(|it| it.is_file()).cloned().ok_or_else(|| {
        let looked: Vec<String> = places.iter().map(|it| it.display().to_string()).collect();
        let text = format!(
            "the interpreter of JavaScript is not here: looked for {}\n→ set FLOE_LANGUAGES to its folder (cargo xtask guests makes target/release/languages)",
            looked.join(", ")
        );
        Error::invalid(text).into()
    })
}
