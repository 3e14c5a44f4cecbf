//! `floe demo`: the promise, shown on the real runtime. Processes are killed, tables are read back, and
//! every row is compared with a plain recomputation.

mod child;
mod files;
pub(crate) mod naive;
mod orders;
mod payments;

use std::path::{Path, PathBuf};
use std::time::Instant;

use floe_core::Error;

use crate::args::DemoArgs;
use crate::exit::Differs;
use crate::show;

use child::Children;

pub(crate) fn demo(args: DemoArgs) -> anyhow::Result<()> {
    let begin = Instant::now();
    let module = args.module.canonicalize().map_err(|error| {
        Error::invalid(format!(
            "the payments operator {} cannot be read: {error}\n→ cargo xtask demo builds it and starts this demo",
            args.module.display()
        ))
    })?;
    let dir = folder(args.dir.as_deref())?;
    println!("floe demo, in {}\n", dir.display());
    let mut story = Story { children: Children::new(&dir)?, dir, failed: Vec::new() };
    orders::tell(&mut story)?;
    payments::tell_five(&mut story, &module)?;
    payments::tell_many(&mut story, &module, args.records, args.kills)?;
    let took = show::duration(begin.elapsed());
    if story.failed.is_empty() {
        println!("✓ all as promised, in {took}");
        return Ok(());
    }
    Err(Differs(format!(
        "{} of the demo's checks failed:\n{}",
        story.failed.len(),
        story.failed.join("\n")
    ))
    .into())
}

/// The folder of the demo's files: new, or empty, so that no earlier table is in the way.
fn folder(dir: Option<&Path>) -> anyhow::Result<PathBuf> {
    let dir = match dir {
        Some(dir) => dir.to_owned(),
        None => std::env::temp_dir().join(format!("floe-demo-{}", std::process::id())),
    };
    std::fs::create_dir_all(&dir)?;
    if std::fs::read_dir(&dir)?.next().is_some() {
        return Err(Error::invalid(format!(
            "{} is not empty\n→ name a new folder with --dir",
            dir.display()
        ))
        .into());
    }
    Ok(dir.canonicalize()?)
}

pub(crate) struct Story {
    dir: PathBuf,
    children: Children,
    failed: Vec<String>,
}

impl Story {
    fn check(&mut self, holds: bool, text: &str) {
        if holds {
            println!("  ✓ {text}\n");
        } else {
            println!("  ✗ {text}\n");
            self.failed.push(text.to_owned());
        }
    }
}
