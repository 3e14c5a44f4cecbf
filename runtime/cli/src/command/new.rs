//! `floe new`: a new operator with its test, in a folder of its own.

use std::path::Path;

use anyhow::Context;
use floe_core::Error;

use crate::args::{Language, NewArgs};

/// The SDKs' sources, as build.rs found them.
mod sdks {
    include!(concat!(env!("OUT_DIR"), "/sdks.rs"));
}

const RUST_SDK: &str = r#"[package]
name = "floe-sdk"
version = "0.1.0"
edition = "2024"

[lib]
doctest = false

[features]
default = ["state"]
# The state as JSON, for `floe state` and `floe upgrade`.
state = ["dep:serde"]

[dependencies]
floe-sdk-derive = { path = "derive" }
serde = { version = "1", features = ["derive"], optional = true }
"#;

const RUST_DERIVE: &str = r#"[package]
name = "floe-sdk-derive"
version = "0.1.0"
edition = "2024"

[lib]
doctest = false
proc-macro = true

[dependencies]
proc-macro2 = "1"
quote = "1"
syn = { version = "2", features = ["full"] }
"#;

/// The template's own, with a workspace of its own and a profile for modules.
const RUST_MANIFEST: &str = include_str!("../../../../sdk/rust/template/Cargo.toml");

const RUST_PROFILE: &str = r#"
[profile.release]
lto = true
codegen-units = 1
panic = "abort"
debug = "line-tables-only"           # backtraces with lines

# A workspace of its own, wherever the folder lies.
[workspace]
"#;

const CASE: &str = include_str!("../../../../sdk/rust/template/cases/dedup.case");
const C_SOURCE: &str = include_str!("../../../../sdk/c/examples/dedup.c");
const GO_SOURCE: &str = include_str!("../../../../sdk/go/examples/dedup/main.go");
const GO_MODULE: &str =
    "\n\ngo 1.24\n\nrequire floe.dev/sdk v0.1.0\n\nreplace floe.dev/sdk => ./floe-sdk\n";

pub(crate) fn new(args: NewArgs) -> anyhow::Result<()> {
    let name = args.folder.file_name().and_then(|it| it.to_str()).unwrap_or_default();
    let fits = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-';
    if !name.starts_with(|it: char| it.is_ascii_lowercase()) || !name.chars().all(fits) {
        let text =
            format!("{name:?} cannot be an operator's name\n→ small letters, digits and '-'");
        return Err(Error::invalid(text).into());
    }
    if args.folder.exists() {
        let text = format!("{} is there already, and nothing was written", args.folder.display());
        return Err(Error::invalid(text).into());
    }
    let write = |file: &str, text: &str| write(&args.folder, file, text);
    let sources = match args.lang {
        Language::Rust => sdks::RUST,
        Language::C => sdks::C,
        Language::Go => sdks::GO,
    };
    sources.iter().try_for_each(|(file, text)| write(file, text))?;
    match args.lang {
        Language::Rust => {
            let manifest = RUST_MANIFEST
                .replace("floe-template-rust", name)
                .replace("path = \"..\"", "path = \"floe-sdk\"");
            write("Cargo.toml", &(manifest + RUST_PROFILE))?;
            write("floe-sdk/Cargo.toml", RUST_SDK)?;
            write("floe-sdk/derive/Cargo.toml", RUST_DERIVE)?;
        }
        Language::C => {
            write("operator.c", &C_SOURCE.replace("\"../floe.h\"", "\"floe-sdk/c/floe.h\""))?;
            write("cases/dedup.case", CASE)?;
        }
        Language::Go => {
            write("main.go", GO_SOURCE)?;
            write("go.mod", &format!("module {name}{GO_MODULE}"))?;
            write("cases/dedup.case", CASE)?;
        }
    }
    write(".gitignore", "target/\n")?;
    println!(
        "{}: an operator that drops repeated clicks, its test, and the SDK's sources\n  cd {}\n  floe build        makes target/floe/*.wasm\n  floe test         runs cases/*.case in the sandbox, straight and restored\n  floe dev          does both whenever a file changes",
        args.folder.display(),
        args.folder.display()
    );
    Ok(())
}

fn write(folder: &Path, file: &str, text: &str) -> anyhow::Result<()> {
    let path = folder.join(file);
    let parent = path.parent().unwrap_or(folder);
    std::fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}
