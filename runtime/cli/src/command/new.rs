//! `floe new`: a new operator with its test, in a folder of its own.

mod template;

use std::path::Path;

use anyhow::Context;
use floe_core::Error;

use crate::args::NewArgs;

pub(crate) fn new(args: NewArgs) -> anyhow::Result<()> {
    let name = args.folder.file_name().and_then(|it| it.to_str()).unwrap_or_default();
    let fits = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-';
    if !name.starts_with(|it: char| it.is_ascii_lowercase()) || !name.chars().all(fits) {
        let text =
            format!("{name:?} cannot be an operator's name\n→ small letters, digits and '-'");
        return Err(Error::invalid(text).into());
    }
    if template::taken(args.lang).contains(&name) {
        let text = format!(
            "{name} is the name of a package that the operator is built with\n→ another name"
        );
        return Err(Error::invalid(text).into());
    }
    if args.folder.exists() {
        let text = format!("{} is there already, and nothing was written", args.folder.display());
        return Err(Error::invalid(text).into());
    }
    for (file, text) in template::files(args.lang, name) {
        write(&args.folder, &file, &text)?;
    }
    println!(
        "{}: an operator that drops repeated clicks, its test, and the SDK's sources\n  cd {}{}\n  floe build        makes target/floe/*.wasm\n  floe test         runs cases/*.case in the sandbox, straight and restored\n  floe dev          does both whenever a file changes",
        args.folder.display(),
        args.folder.display(),
        template::first_command(args.lang)
    );
    Ok(())
}

fn write(folder: &Path, file: &str, text: &str) -> anyhow::Result<()> {
    let path = folder.join(file);
    let parent = path.parent().unwrap_or(folder);
    std::fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}
