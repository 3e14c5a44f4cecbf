//! The operators of `cargo xtask bench languages`: the same one in each language, on raw and on typed input,
//! built as `floe build` builds.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::build::{root, target};
use crate::guests::{Toolchain, copy};
use crate::languages::{is_there, run, toolchain};
use crate::{guests, languages};

/// What comes in; a module each.
const KINDS: [&str; 2] = ["raw", "typed"];

/// Builds them into the folder that it gives. A language whose compiler is missing is said, and has no modules
/// there afterwards: the bench names it too.
pub(crate) fn build() -> Result<PathBuf> {
    guests::build()?;
    languages::build()?;
    let out = target().join("guest/bench");
    match std::fs::remove_dir_all(&out) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("empty {}", out.display()));
        }
        _ => std::fs::create_dir_all(&out).with_context(|| format!("make {}", out.display()))?,
    }
    rust(&out)?;
    type Build = fn(&Path, &str) -> Result<()>;
    let others: [(&str, Build); 6] = [
        ("c", c),
        ("cpp", cpp),
        ("zig", zig),
        ("go", go),
        ("as", assemblyscript),
        ("js", javascript),
    ];
    for (language, build) in others {
        let built = KINDS.iter().try_for_each(|kind| build(&out, kind));
        if let Err(error) = built {
            println!("missing {language}: {error:#}");
        }
    }
    Ok(out)
}

fn sources() -> PathBuf {
    root().join("tests/bench/languages")
}

fn rust(out: &Path) -> Result<()> {
    let toolchain = Toolchain::find()?;
    let folder = target().join("guest");
    let mut cargo = toolchain.build_guests(&folder);
    cargo.args(["--package", "floe-bench-totals", "--examples"]);
    run(&mut cargo)?;
    let built = folder.join(&toolchain.target).join("guest/examples");
    KINDS.iter().try_for_each(|kind| {
        copy(&built.join(format!("totals_{kind}.wasm")), &out.join(format!("rust_{kind}.wasm")))
    })
}

fn clang(out: &Path, language: &str, source: String, first: &[&str]) -> Result<()> {
    let mut compile = Command::new(toolchain("zig")?);
    compile.current_dir(sources()).args(first);
    compile.args(["--target=wasm32-wasi", "-mexec-model=reactor", "-O3"]);
    compile.args(["-Wl,-z,stack-size=262144", "-o"]);
    run(compile.arg(out.join(format!("{language}.wasm"))).arg(source))
}

/// The same source natively, for this very processor, by the same compiler.
fn native_clang(out: &Path, language: &str, source: String, first: &[&str]) -> Result<()> {
    let mut compile = Command::new(toolchain("zig")?);
    compile.current_dir(sources()).args(first);
    compile.args(["-O3", "-shared", "-fPIC", "-fvisibility=hidden", "-I."]);
    compile.arg(format!("-DOPERATOR=\"{source}\"")).arg("-o").arg(out.join(language));
    run(compile.arg("native/native.c"))
}

fn c(out: &Path, kind: &str) -> Result<()> {
    let (first, source) = (["cc", "-std=gnu2x"], format!("c/{kind}.c"));
    native_clang(out, &format!("c_{kind}.so"), source.clone(), &first)?;
    clang(out, &format!("c_{kind}"), source, &first)
}

fn cpp(out: &Path, kind: &str) -> Result<()> {
    let first = ["c++", "-std=c++20", "-fno-exceptions"];
    let source = format!("cpp/{kind}.cpp");
    native_clang(
        out,
        &format!("cpp_{kind}.so"),
        source.clone(),
        &[&first[..], &["-x", "c++"]].concat(),
    )?;
    clang(out, &format!("cpp_{kind}"), source, &first)
}

fn zig(out: &Path, kind: &str) -> Result<()> {
    let mut native = Command::new(toolchain("zig")?);
    native.current_dir(sources()).args(["build-lib", "-dynamic", "-O", "ReleaseFast"]);
    native.args(["--dep", "floe", "--dep", "operator", "-Mroot=native/native.zig"]);
    native.args(["--dep", "floe"]).arg(format!("-Moperator=zig/{kind}.zig"));
    native.arg(format!("-femit-bin={}", out.join(format!("zig_{kind}.so")).display()));
    run(native.arg("-Mfloe=../../../sdk/zig/floe.zig"))?;
    let mut build = Command::new(toolchain("zig")?);
    build.current_dir(sources().join("zig"));
    build.args(["build-exe", "-target", "wasm32-freestanding", "-O", "ReleaseFast"]);
    build.args(["-fno-entry", "-rdynamic", "--stack", "262144", "--dep", "floe"]);
    build.arg(format!("-femit-bin={}", out.join(format!("zig_{kind}.wasm")).display()));
    run(build.arg(format!("-Mroot={kind}.zig")).arg("-Mfloe=../../../../sdk/zig/floe.zig"))
}

fn go(out: &Path, kind: &str) -> Result<()> {
    let mut build = Command::new("go");
    build.current_dir(sources().join("go")).env("GOOS", "wasip1").env("GOARCH", "wasm");
    build.args(["build", "-buildmode=c-shared", "-o"]).arg(out.join(format!("go_{kind}.wasm")));
    run(build.arg(format!("./{kind}")))
}

fn assemblyscript(out: &Path, kind: &str) -> Result<()> {
    let mut compile = Command::new(toolchain("asc")?);
    // Of a folder that holds all that is imported.
    compile.current_dir(root()).arg(format!("tests/bench/languages/assemblyscript/{kind}.ts"));
    compile.args(["-O3", "--runtime", "incremental"]);
    compile.args(["--use", "abort=sdk/assemblyscript/assembly/abi/floeAbort", "-o"]);
    run(compile.arg(out.join(format!("as_{kind}.wasm"))))
}

/// The bench puts the script into the interpreter.
fn javascript(out: &Path, kind: &str) -> Result<()> {
    let interpreter = target().join("guest/javascript.wasm");
    is_there(&interpreter)?;
    copy(&interpreter, &out.join("javascript.wasm"))?;
    copy(&sources().join(format!("javascript/{kind}.js")), &out.join(format!("js_{kind}.js")))
}
