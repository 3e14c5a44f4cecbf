//! `floe build`: calls the language's own tool, and says what is missing and how to get it.

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

/// Builds the operator in a folder; the module is in `target/floe` there.
pub(crate) fn module(folder: &Path) -> anyhow::Result<PathBuf> {
    if folder.join("Cargo.toml").is_file() {
        rust(folder)
    } else if folder.join("go.mod").is_file() {
        go(folder)
    } else if folder.join("operator.c").is_file() {
        c(folder)
    } else {
        let text = format!(
            "{} holds no operator: neither Cargo.toml, go.mod nor operator.c\n→ make one: floe new NAME --lang rust",
            folder.display()
        );
        Err(Error::invalid(text).into())
    }
}

const TARGET: &str = "wasm32-unknown-unknown";

fn rust(folder: &Path) -> anyhow::Result<PathBuf> {
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

fn go(folder: &Path) -> anyhow::Result<PathBuf> {
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

const ZIG: &str = "zig 0.15 (zig cc), or python3 with ziglang,";
const GET_ZIG: &str = "Debian: python3 -m venv zig && zig/bin/pip install ziglang==0.15.2, with zig/bin first in PATH; macOS: brew install zig; Windows: winget install zig.zig; FLOE_CC names another clang for wasm32-wasi";

fn c(folder: &Path) -> anyhow::Result<PathBuf> {
    let module = place(folder)?.join("operator.wasm");
    let flags = [
        "--target=wasm32-wasi",
        "-mexec-model=reactor",
        "-O3",
        "-std=gnu2x",
        "-Wl,-z,stack-size=262144",
    ];
    let mut build = match std::env::var_os("FLOE_CC") {
        Some(compiler) => Command::new(compiler),
        None if is_there(Command::new("zig")) => with(Command::new("zig"), &["cc"]),
        None if is_there(with(Command::new("python3"), &["-m", "ziglang"])) => {
            with(Command::new("python3"), &["-m", "ziglang", "cc"])
        }
        None => return Err(missing(ZIG, GET_ZIG)),
    };
    build.args(flags).arg("-o").arg(&module).arg("operator.c").current_dir(folder);
    run(build, ZIG, GET_ZIG)?;
    Ok(module)
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
