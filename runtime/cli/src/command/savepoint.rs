//! `floe savepoint`: a checkpoint that stays until it is given up, of a running pipeline or a stopped one.

use floe_checkpoint::claim::PATIENCE;
use floe_checkpoint::{
    ClaimRequest, OwnerIdentity, Runs, drop_savepoint, make_savepoint, process_alive, random_ids,
};
use floe_core::committable::ManifestRef;
use floe_core::{Epoch, Error};
use floe_pipeline::config::PipelineSpec;
use serde::Serialize;

use crate::args::SavepointArgs;
use crate::command::run::replaces_partitions;
use crate::telemetry::facts::wall_ms;
use crate::{load, logging, show, terminal, wire};

#[derive(Serialize)]
struct Shown {
    epoch: u64,
    slot: u64,
    id: String,
    given_up: bool,
}

pub(crate) fn savepoint(args: SavepointArgs) -> anyhow::Result<()> {
    let spec = load::pipeline(&args.pipeline)?;
    logging::start(spec.telemetry.log, &terminal::Terminal::new())?;
    super::block_on(async move {
        let at = match args.drop {
            Some(epoch) => give_up(&spec, Epoch(epoch)).await?,
            None => make(&spec, args.json).await?,
        };
        if args.json {
            return super::print_json(&Shown {
                epoch: at.epoch.0,
                slot: at.slot.0,
                id: at.id.to_string(),
                given_up: args.drop.is_some(),
            });
        }
        let file = args.pipeline.display();
        match args.drop {
            Some(_) => println!(
                "savepoint {} is given up; the next sweep takes what nothing else needs of it",
                at.epoch
            ),
            None => println!(
                "savepoint: epoch {} is kept until\n  floe savepoint {file} --drop {}",
                at.epoch, at.epoch
            ),
        }
        Ok(())
    })
}

async fn make(spec: &PipelineSpec, json: bool) -> anyhow::Result<ManifestRef> {
    let store = wire::store_to_read(spec)?.ok_or_else(|| {
        Error::invalid(format!("pipeline {:?} has no checkpoint yet\n→ run it first", spec.id))
    })?;
    if !json {
        eprintln!("asking the process that runs {:?}, if there is one", spec.id);
    }
    let runs = match replaces_partitions(spec) {
        true => Runs::AsOneEpoch,
        false => Runs::WithCheckpoints,
    };
    let request = ClaimRequest {
        owner: OwnerIdentity::of_this_process(wall_ms()),
        take_over: false,
        watch: spec.checkpoint.interval * 2,
        patience: PATIENCE,
        alive: &process_alive,
        new_id: random_ids(),
    };
    let (at, manifest) = make_savepoint(store, &spec.id, wall_ms(), runs, request).await?;
    if !json {
        eprintln!("made {} by generation {}", show::time(manifest.created_ms), manifest.generation);
    }
    Ok(at)
}

async fn give_up(spec: &PipelineSpec, epoch: Epoch) -> anyhow::Result<ManifestRef> {
    let store = wire::store_to_read(spec)?
        .ok_or_else(|| Error::invalid(format!("pipeline {:?} has no savepoint", spec.id)))?;
    Ok(drop_savepoint(&*store, &spec.id, epoch).await?)
}
