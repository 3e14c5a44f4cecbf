//! C, C++ and Zig, by the compilers that ziglang brings, or by another clang.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::build::{is_there, missing, place, run, with};

const ZIG: &str = "zig 0.15, or python3 with ziglang,";
const GET_ZIG: &str = "Debian: python3 -m venv zig && zig/bin/pip install ziglang==0.15.2, with zig/bin first in PATH; macOS: brew install zig; Windows: winget install zig.zig; for C and C++, FLOE_CC and FLOE_CXX name another clang for wasm32-wasi";

const STACK: &str = "-Wl,-z,stack-size=262144";

pub(super) fn c(folder: &Path) -> anyhow::Result<PathBuf> {
    clang(folder, "FLOE_CC", "cc", &["-std=gnu2x", "operator.c"])
}

pub(super) fn cpp(folder: &Path) -> anyhow::Result<PathBuf> {
    // Exceptions in WebAssembly are refused at load: an image cannot hold one in flight.
    clang(folder, "FLOE_CXX", "c++", &["-std=c++20", "-fno-exceptions", "operator.cpp"])
}

fn clang(folder: &Path, own: &str, name: &str, last: &[&str]) -> anyhow::Result<PathBuf> {
    let module = place(folder)?.join("operator.wasm");
    let mut build = match std::env::var_os(own) {
        Some(compiler) => Command::new(compiler),
        None => with(compiler()?, &[name]),
    };
    build.args(["--target=wasm32-wasi", "-mexec-model=reactor", "-O3", STACK, "-o"]);
    build.arg(&module).args(last).current_dir(folder);
    run(build, ZIG, GET_ZIG)?;
    Ok(module)
}

pub(super) fn zig(folder: &Path) -> anyhow::Result<PathBuf> {
    let module = place(folder)?.join("operator.wasm");
    let mut build = compiler()?;
    build.args(["build-exe", "-target", "wasm32-freestanding", "-O", "ReleaseFast", "-fno-entry"]);
    build.args(["-rdynamic", "--stack", "262144"]);
    build.arg(format!("-femit-bin={}", module.display()));
    build.args(["--dep", "floe", "-Mroot=operator.zig", "-Mfloe=floe-sdk/floe.zig"]);
    build.current_dir(folder);
    run(build, ZIG, GET_ZIG)?;
    Ok(module)
}

fn compiler() -> anyhow::Result<Command> {
    let python = || with(Command::new("python3"), &["-m", "ziglang"]);
    if is_there(Command::new("zig")) {
        Ok(Command::new("zig"))
    } else if is_there(python()) {
        Ok(python())
    } else {
        Err(missing(ZIG, GET_ZIG))
    }
}
