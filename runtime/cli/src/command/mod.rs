//! The commands, one file each.

pub(crate) mod align;
pub(crate) mod bisect;
pub(crate) mod bundle;
pub(crate) mod build;
pub(crate) mod check;
mod graph;
pub(crate) mod checkpoint;
pub(crate) mod checkpoint_diff;
pub(crate) mod conformance;
pub(crate) mod effects;
pub(crate) mod dead_letters;
pub(crate) mod dev;
pub(crate) mod inspect;
pub(crate) mod new;
pub(crate) mod record;
pub(crate) mod replay;
mod replay_core;
mod replay_debug;
mod replay_other;
pub(crate) mod plugin;
pub(crate) mod publish;
pub(crate) mod rows;
pub(crate) mod run;
mod rewind;
pub(crate) mod savepoint;
pub(crate) mod schema;
pub(crate) mod state;
pub(crate) mod status;
pub(crate) mod sweep;
pub(crate) mod trace;
pub(crate) mod verify;
pub(crate) mod verify_determinism;
pub(crate) mod test;
pub(crate) mod upgrade;

use anyhow::Context;

/// For commands that look and do not run: one thread is enough.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("start the async runtime")?
        .block_on(work)
}

fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    use std::io::Write;
    let text = serde_json::to_string_pretty(value).context("write JSON")?;
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}
