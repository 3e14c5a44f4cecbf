//! `floe publish`: what is on the sinks' branches becomes main, after it was looked at.

use floe_core::Error;
use serde::Serialize;

use crate::args::PipelineArgs;
use crate::{load, wire};

#[derive(Serialize)]
struct Shown {
    table: String,
    branch: String,
    snapshot: i64,
    before: Option<i64>,
    snapshots: usize,
}

pub(crate) fn publish(args: PipelineArgs) -> anyhow::Result<()> {
    let spec = load::pipeline(&args.pipeline)?;
    super::block_on(async move {
        let published = wire::publish(&spec).await?;
        if published.is_empty() {
            return Err(Error::invalid(
                "no sink writes to a branch: its rows are on main as soon as they are committed\n→ branch = \"audit\" in [sink]",
            )
            .into());
        }
        for it in &published {
            match it.snapshots {
                _ if args.json => super::print_json(&Shown {
                    table: it.table.clone(),
                    branch: it.branch.clone(),
                    snapshot: it.snapshot_id,
                    before: it.before,
                    snapshots: it.snapshots,
                })?,
                0 => println!("{}: main has all of branch {} already", it.table, it.branch),
                more => println!(
                    "{}: main went on to snapshot {}, {more} snapshots of branch {}",
                    it.table, it.snapshot_id, it.branch
                ),
            }
        }
        Ok(())
    })
}
