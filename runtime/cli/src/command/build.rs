//! `floe build`: calls the language's own tool, and says what is missing and how to get it.

mod assemblyscript;
mod go;
mod rust;
mod script;
mod zig;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use floe_core::Error;
use floe_operator::{Engine, Limits};
use floe_pipeline::config::units::show_bytes;

use crate::args::BuildArgs;
use crate::{show, wire};

pub(crate) fn build(args: BuildArgs) -> anyhow::Result<()> {
    let module = module(&args.folder)?;
    let loaded =
        wire::load_module(&Engine::new(Some(wire::module_cache()))?, &module, &Limits::default())?;
    let found = loaded.inspection();
    println!(
        "{}  {} {}, {}, blake3 {}",
        module.display(),
        found.name,
        found.version,
        show_bytes(found.bytes),
        show::short_hex(loaded.hash())
    );
    Ok(())
}

/// Builds a folder; gives the module's path.
type Build = fn(&Path) -> anyhow::Result<PathBuf>;

/// By the file that tells the language; the first one that is there.
const LANGUAGES: &[(&str, Build)] = &[
    ("Cargo.toml", rust::build),
    ("go.mod", go::build),
    ("operator.c", zig::c),
    ("operator.cpp", zig::cpp),
    ("operator.zig", zig::zig),
    // AssemblyScript's sources end as TypeScript's do: its configuration tells it.
    ("asconfig.json", assemblyscript::build),
    ("operator.ts", script::typescript),
    ("operator.js", script::javascript),
];

/// Builds the operator in a folder; the module is in `target/floe` there.
pub(crate) fn module(folder: &Path) -> anyhow::Result<PathBuf> {
    let found = LANGUAGES.iter().find(|(file, _)| folder.join(file).is_file());
    let Some((_, build)) = found else {
        let files: Vec<&str> = LANGUAGES.iter().map(|(file, _)| *file).collect();
        let text = format!(
            "{} holds no operator: none of {}\n→ make one: floe new NAME --lang rust",
            folder.display(),
            files.join(", ")
        );
        return Err(Error::invalid(text).into());
    };
    build(folder)
}

fn with(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments);
    command
}

fn is_there(program: Command) -> bool {
    with(program, &["version"]).output().is_ok_and(|it| it.status.success())
}

fn run(mut command: Command, what: &str, how: &str) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Err(_) => Err(missing(what, how)),
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(Error::invalid(format!("{program} did not build it")).into()),
    }
}

/// An absolute path, for tools that run elsewhere.
fn place(folder: &Path) -> anyhow::Result<PathBuf> {
    let place = std::path::absolute(folder)?.join("target/floe");
    std::fs::create_dir_all(&place).with_context(|| format!("make {}", place.display()))?;
    Ok(place)
}

fn missing(what: &str, how: &str) -> anyhow::Error {
    let how = how.replace("; ", "\n→ ");
    Error::invalid(format!("{what} is not here\n→ {how}")).into()
}
