//! Cheap checks over the repository itself. They link nothing, take a second, and run first.

mod imports;
mod lock;
mod prose;

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// The root of the workspace.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text_of(command: &mut Command) -> String {
    let out = command.output().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("its output is UTF-8")
}

/// `cargo metadata`, without the network.
fn metadata(arguments: &[&str]) -> Value {
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    command.args(["metadata", "--offline", "--format-version", "1"]).args(arguments);
    serde_json::from_str(&text_of(command.current_dir(root()))).expect("cargo metadata is JSON")
}

fn assert_none(errors: &[String]) {
    assert!(errors.is_empty(), "\n{}", errors.join("\n"));
}
