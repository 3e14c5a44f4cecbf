//! `floe new` in each language, then its own next lines, far from the repository: what was written builds
//! with the language's own tool and passes its cases in the sandbox, straight and restored.
//! Its name is the language's, which a compiler may have for something else.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::lab::{check, root, variable};

/// The language, and the lines of a shell in the repository's root that put its tool in reach.
struct New {
    language: &'static str,
    tool: &'static str,
}

const RUST: New = New {
    language: "rust",
    tool: r#"eval "$(tests/components/guest-rust-toolchain.sh)"; export FLOE_CARGO=$GUEST_CARGO"#,
};

/// A program of `guest-toolchains.sh`, first in PATH.
macro_rules! fetched {
    ($language:literal, $tool:literal) => {
        New {
            language: $language,
            tool: concat!(
                r#"tool=$(tests/components/guest-toolchains.sh "#,
                $tool,
                r#"); PATH="$(dirname "$tool"):$PATH""#
            ),
        }
    };
}

#[test]
fn a_new_operator_in_rust_builds_and_passes_its_cases() {
    builds_and_passes(&RUST);
}

#[test]
fn a_new_operator_in_go_builds_and_passes_its_cases() {
    builds_and_passes(&New { language: "go", tool: "go version >/dev/null" });
}

#[test]
fn a_new_operator_in_c_builds_and_passes_its_cases() {
    builds_and_passes(&fetched!("c", "zig"));
}

#[test]
fn a_new_operator_in_cpp_builds_and_passes_its_cases() {
    builds_and_passes(&fetched!("cpp", "zig"));
}

#[test]
fn a_new_operator_in_zig_builds_and_passes_its_cases() {
    builds_and_passes(&fetched!("zig", "zig"));
}

#[test]
fn a_new_operator_in_assemblyscript_builds_and_passes_its_cases() {
    // npm install in the folder would fetch the same compiler once more.
    builds_and_passes(&fetched!("as", "asc"));
}

/// No tool at all: the interpreter is the program's own.
#[test]
fn a_new_operator_in_javascript_builds_and_passes_its_cases() {
    builds_and_passes(&New { language: "js", tool: "true" });
}

#[test]
fn a_new_operator_in_typescript_builds_and_passes_its_cases() {
    builds_and_passes(&New {
        language: "ts",
        tool: r#"tool=$(tests/components/guest-toolchains.sh esbuild); node_modules=$(dirname "$(dirname "$tool")")"#,
    });
}

/// A program that exits with this says that the language's tool cannot be had here.
const NO_TOOL: i32 = 99;

fn builds_and_passes(new: &New) {
    let name = format!("new_operators::{}", new.language);
    check(&name, &[], |lab| {
        let folder =
            std::env::temp_dir().join(format!("floe-kill-{}-{}", std::process::id(), new.language));
        std::fs::create_dir_all(&folder)?;
        let commands = format!(
            r#"cd "{root}"; {{ {tool}; }} || exit {NO_TOOL}
            cd "{folder}"; floe new {language} --lang {language}; cd {language}
            if [ -n "${{node_modules:-}}" ]; then ln -s "$node_modules" node_modules; fi
            floe build; floe test
            floe inspect target/floe/*.wasm"#,
            root = root().canonicalize()?.display(),
            tool = new.tool,
            folder = folder.display(),
            language = new.language,
        );
        let bin = lab.floe.parent().unwrap_or(Path::new("/"));
        let done = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &commands])
            .env("PATH", format!("{}:{}", bin.display(), variable("PATH")?))
            .env_remove("CARGO_TARGET_DIR")
            .output()?;
        let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
        if done.status.code() == Some(NO_TOOL) && std::env::var_os("CI").is_none() {
            eprintln!("skipped: no tool for {}: {said}", new.language);
            return std::fs::remove_dir_all(&folder).context("remove the folder");
        }
        ensure!(done.status.success(), "{said}");
        ensure!(said.contains("✓ ./cases/dedup.case  5 records, 3 rows"), "{said}");
        refuses_to_write_over(lab.floe.as_path(), &folder, new.language)?;
        std::fs::remove_dir_all(&folder).context("remove the folder")
    });
}

/// It is a folder of its own now: the same name again is refused, and nothing is written over.
fn refuses_to_write_over(floe: &Path, folder: &Path, language: &str) -> Result<()> {
    let mut again = Command::new(floe);
    let again = again.args(["new", language, "--lang", language]).current_dir(folder).output()?;
    ensure!(again.status.code() == Some(2), "{}", String::from_utf8_lossy(&again.stderr));
    Ok(())
}
