//! `floe upgrade`: other code takes over an operator's state, after it was tried on the last epochs.

mod apply;
mod plan;
mod rescale;
mod partitioner;
mod partitions;
mod rollback;
mod trial;

pub(crate) use partitioner::Partitioner;

use crate::args::UpgradeArgs;
use crate::terminal::Terminal;
use crate::{load, logging};
use floe_pipeline::config::LogFormat;

pub(crate) fn upgrade(args: UpgradeArgs) -> anyhow::Result<()> {
    let terminal = Terminal::new();
    logging::start(if args.json { LogFormat::Json } else { LogFormat::Human }, &terminal)?;
    let spec = load::pipeline(&args.pipeline)?;
    super::block_on(async move {
        match args.try_epochs {
            Some(epochs) => trial::trial(spec, &args, epochs, &terminal).await,
            None if args.apply => apply::apply(spec, &args).await,
            None => rollback::rollback(spec, &args).await,
        }
    })
}
