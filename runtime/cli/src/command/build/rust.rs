//! Rust, by cargo.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use floe_core::Error;

use crate::command::build::{missing, place};

const TARGET: &str = "wasm32-unknown-unknown";

pub(super) fn build(folder: &Path) -> anyhow::Result<PathBuf> {
    let own = std::env::var_os("FLOE_CARGO");
    let cargo = own.clone().unwrap_or_else(|| "cargo".into());
    if own.is_none() {
        let rustc = Command::new("rustc").args(["--print", "sysroot"]).output();
        let Ok(rustc) = rustc else {
            return Err(missing(
                "rustc",
                "Debian: sudo apt-get install rustup && rustup default stable; macOS: brew install rustup && rustup default stable; Windows: winget install Rustlang.Rustup",
            ));
        };
        let sysroot = PathBuf::from(String::from_utf8_lossy(&rustc.stdout).trim());
        if !sysroot.join("lib/rustlib").join(TARGET).is_dir() {
            return Err(missing(
                &format!("the target {TARGET}"),
                &format!("everywhere: rustup target add {TARGET}"),
            ));
        }
    }
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "--target", TARGET]);
    build.args(["--message-format", "json-render-diagnostics"]);
    build.current_dir(folder).stderr(std::process::Stdio::inherit());
    // Flags for this machine's processor are none for wasm.
    build.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    let done = build.output().context("start cargo")?;
    if !done.status.success() {
        return Err(Error::invalid("cargo did not build it").into());
    }
    let built = String::from_utf8_lossy(&done.stdout);
    let mut modules = built.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let files = message["filenames"].as_array()?;
        let module = files.iter().filter_map(|it| it.as_str()).find(|it| it.ends_with(".wasm"))?;
        Some(PathBuf::from(module))
    });
    // What is built last is the folder's own.
    let module = modules.next_back().ok_or_else(|| {
        Error::invalid(
            "cargo built no module\n→ in Cargo.toml: [lib] crate-type = [\"cdylib\", \"rlib\"]",
        )
    })?;
    let name = module.file_name().unwrap_or_default().to_owned();
    let place = place(folder)?.join(name);
    std::fs::copy(&module, &place).with_context(|| format!("copy {}", module.display()))?;
    Ok(place)
}
