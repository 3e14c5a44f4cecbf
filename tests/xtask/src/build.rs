//! Where things are, and how cargo is called so that nothing is built twice.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::children;

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("tests/xtask stands two folders below the root")
}

/// Cargo's target folder.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    // What cargo told this program of itself is not for the cargo that it starts: build scripts that look at
    // such a variable would run again, and with them half of the dependencies be built again.
    let own = |name: &str| name.starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR";
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(own) {
            command.env_remove(name);
        }
    }
    command
}

pub(crate) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|it| !it.is_empty() && it != "false" && it != "0")
}

/// Builds the program and gives its path. The whole workspace is named, so that features are unified the
/// same way as for the tests, and no dependency is built a second time.
pub(crate) fn floe() -> Result<PathBuf> {
    children::run(cargo().args(["build", "--release", "--workspace", "--bins"]))?;
    Ok(floe_path())
}

pub(crate) fn floe_path() -> PathBuf {
    target().join("release/floe")
}
