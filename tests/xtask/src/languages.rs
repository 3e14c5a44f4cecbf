//! The operators that are not in Rust: for each language the conformance operator and the example, built with
//! the language's own compiler.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, bail};

use crate::build::{is_ci, root, target};
use crate::children;

struct Language {
    name: &'static str,
    /// Fetches what is missing, tests natively and builds into the folder.
    build: fn(&Path) -> Result<()>,
}

const LANGUAGES: &[Language] = &[
    Language { name: "c", build: c },
    Language { name: "c++", build: cpp },
    Language { name: "go", build: go },
    Language { name: "assemblyscript", build: assemblyscript },
    Language { name: "zig", build: zig },
    Language { name: "javascript", build: javascript },
];

/// A guest's name, and its source without the ending.
const GUESTS: [(&str, &str); 2] =
    [("conformance", "conformance/conformance"), ("dedup", "examples/dedup")];

/// Builds all of them side by side. On a laptop a language whose compiler is missing is said; in CI it is
/// an error.
pub(crate) fn build() -> Result<()> {
    let out = target().join("guest");
    std::fs::create_dir_all(&out).with_context(|| format!("make {}", out.display()))?;
    let built = thread::scope(|scope| {
        let started: Vec<_> =
            LANGUAGES.iter().map(|it| (it.name, scope.spawn(|| (it.build)(&out)))).collect();
        let join = |(name, thread): (_, thread::ScopedJoinHandle<'_, Result<()>>)| {
            (name, thread.join().expect("building a guest does not panic"))
        };
        started.into_iter().map(join).collect::<Vec<_>>()
    });
    for (name, done) in built {
        match done {
            Ok(()) => println!("guests  {name}"),
            Err(error) if is_ci() => bail!("guests in {name}: {error:#}"),
            Err(error) => {
                println!("missing guests in {name}: {error:#}\n        their tests are skipped")
            }
        }
    }
    Ok(())
}

/// A compiler that tests/components/guest-toolchains.sh finds or fetches.
pub(crate) fn toolchain(name: &str) -> Result<PathBuf> {
    let mut script = Command::new("bash");
    script.arg(root().join("tests/components/guest-toolchains.sh")).arg(name);
    let path = children::output(&mut script).with_context(|| format!("fetch {name}"))?;
    Ok(PathBuf::from(path.trim()))
}

/// Runs to its end beside others; what it prints is shown if it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let done = command.output().with_context(|| format!("start {command:?}"))?;
    if !done.status.success() {
        let said = [done.stdout, done.stderr].concat();
        bail!("{command:?}: {}\n{}", done.status, String::from_utf8_lossy(&said));
    }
    Ok(())
}

/// What another build made.
pub(crate) fn is_there(file: &Path) -> Result<()> {
    if !file.is_file() {
        bail!("{} is not built", file.display());
    }
    Ok(())
}

fn c(out: &Path) -> Result<()> {
    let zig = toolchain("zig")?;
    let folder = root().join("sdk/c");
    let compile = || {
        let mut command = Command::new(&zig);
        command.arg("cc").current_dir(&folder);
        command.args(["-std=gnu2x", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function"]);
        command
    };
    for name in ["dedup", "types", "state"] {
        let test = out.join(format!("{name}_test_c"));
        run(compile()
            .args(["-fsanitize=undefined", "-o"])
            .arg(&test)
            .arg(format!("tests/{name}_test.c")))?;
        run(&mut Command::new(&test))?;
    }
    for (name, source) in GUESTS {
        let flags = ["--target=wasm32-wasi", "-mexec-model=reactor", "-O3"];
        let small = ["-Wl,-z,stack-size=262144", "-Wl,--strip-debug"];
        let module = out.join(format!("{name}_c.wasm"));
        run(compile().args(flags).args(small).arg("-o").arg(module).arg(format!("{source}.c")))?;
    }
    // Of a chain of three languages, the last.
    let totals = "../../examples/06-three-languages/totals/operator.c";
    let flags = ["--target=wasm32-wasi", "-mexec-model=reactor", "-O3", "-o"];
    run(compile().args(flags).arg(out.join("totals_c.wasm")).arg(totals))
}

fn cpp(out: &Path) -> Result<()> {
    let zig = toolchain("zig")?;
    let folder = root().join("sdk/cpp");
    let warn = ["-std=c++20", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function"];
    // By the machine's own compiler: natively zig would first build another standard library.
    for name in ["dedup", "state"] {
        let test = out.join(format!("{name}_test_cpp"));
        let native = ["-Wno-invalid-offsetof", "-Wno-missing-field-initializers", "-o"];
        let mut compile = Command::new("c++");
        compile.current_dir(&folder).args(warn).args(native).arg(&test);
        run(compile.arg(format!("tests/{name}_test.cpp")))?;
        run(&mut Command::new(&test))?;
    }
    for (name, source) in GUESTS {
        let mut compile = Command::new(&zig);
        compile.arg("c++").current_dir(&folder).args(warn).arg("-fno-exceptions");
        compile.args(["--target=wasm32-wasi", "-mexec-model=reactor", "-O3"]);
        // With its debug information, as `floe build` has it: else zig builds the standard library twice.
        compile.args(["-Wl,-z,stack-size=262144", "-o"]);
        run(compile.arg(out.join(format!("{name}_cpp.wasm"))).arg(format!("{source}.cpp")))?;
    }
    Ok(())
}

fn go(out: &Path) -> Result<()> {
    let go = || {
        let mut command = Command::new("go");
        command.current_dir(root().join("sdk/go"));
        command
    };
    run(go().args(["test", "./..."]))?;
    for (name, package) in [("conformance", "./conformance"), ("dedup", "./examples/dedup")] {
        let module = out.join(format!("{name}_go.wasm"));
        let mut build = go();
        build.env("GOOS", "wasip1").env("GOARCH", "wasm");
        run(build.args(["build", "-buildmode=c-shared", "-o"]).arg(module).arg(package))?;
    }
    // Of a chain of three languages, the first.
    let mut unique = Command::new("go");
    unique.current_dir(root().join("examples/06-three-languages/unique"));
    unique.env("GOOS", "wasip1").env("GOARCH", "wasm");
    run(unique
        .args(["build", "-buildmode=c-shared", "-o"])
        .arg(out.join("unique_go.wasm"))
        .arg("."))
}

fn assemblyscript(out: &Path) -> Result<()> {
    let asc = toolchain("asc")?;
    for (name, source) in GUESTS {
        let mut compile = Command::new(&asc);
        compile.current_dir(root().join("sdk/assemblyscript")).arg(format!("{source}.ts"));
        compile.args(["-O3", "--runtime", "incremental", "--use", "abort=assembly/abi/floeAbort"]);
        run(compile.arg("-o").arg(out.join(format!("{name}_as.wasm"))))?;
    }
    Ok(())
}

fn zig(out: &Path) -> Result<()> {
    let zig = toolchain("zig")?;
    let compile = |verb: &str| {
        let mut command = Command::new(&zig);
        command.arg(verb).current_dir(root().join("sdk/zig"));
        command
    };
    for test in ["-Mroot=examples/dedup_test.zig", "-Mroot=tests/state_test.zig"] {
        run(compile("test").args(["--dep", "floe", test, "-Mfloe=floe.zig"]))?;
    }
    for (name, source) in GUESTS {
        let mut build = compile("build-exe");
        build.args([
            "-target",
            "wasm32-freestanding",
            "-O",
            "ReleaseFast",
            "-fno-entry",
            "-rdynamic",
        ]);
        build.args(["--stack", "262144", "-fstrip", "--dep", "floe"]);
        let module = out.join(format!("{name}_zig.wasm"));
        build.arg(format!("-femit-bin={}", module.display()));
        run(build.arg(format!("-Mroot={source}.zig")).arg("-Mfloe=floe.zig"))?;
    }
    Ok(())
}

/// The interpreter, beside the program, which puts scripts into it.
fn javascript(out: &Path) -> Result<()> {
    let zig = toolchain("zig")?;
    let quickjs = toolchain("quickjs")?;
    let module = out.join("javascript.wasm");
    let mut compile = Command::new(&zig);
    compile.arg("cc").current_dir(root().join("sdk/javascript/engine"));
    compile.args(["--target=wasm32-wasi", "-mexec-model=reactor", "-std=gnu2x", "-O2"]);
    compile.args(["-D_GNU_SOURCE", "-DNDEBUG", "-isystem"]).arg(&quickjs);
    compile.args(["-Wl,-z,stack-size=1048576", "-Wl,--export=floe_script", "-Wl,--strip-debug"]);
    compile.arg("-o").arg(&module).arg("engine.c");
    for source in ["quickjs.c", "dtoa.c", "libregexp.c", "libunicode.c"] {
        compile.arg(quickjs.join(source));
    }
    run(&mut compile)?;
    let folder = target().join("release/languages");
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    // Through another name: whoever reads it meanwhile sees the old file or the new one.
    let next = folder.join("javascript.next");
    std::fs::copy(&module, &next)
        .and_then(|_| std::fs::rename(&next, folder.join("javascript.wasm")))
        .with_context(|| format!("copy {} to {}", module.display(), folder.display()))
}
