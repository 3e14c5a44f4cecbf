//! `floe upgrade --rollback`: the modules before the last upgrade. Where nothing ran since, with the images of
//! the checkpoint before it; else the old module takes the new one's state as in any upgrade.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use floe_core::committable::ManifestRef;
use floe_core::manifest::{CheckpointManifest, PipelineIdentity};
use floe_core::ports::CheckpointLog;
use floe_core::protocol::upgrade::nothing_ran_since;
use floe_core::{Error, Result};
use floe_pipeline::config::PipelineSpec;
use floe_pipeline::upgrade;

use super::apply::{converted, newest_of, no_checkpoint, report};
use super::plan::{self, New, plan};
use crate::args::UpgradeArgs;
use crate::made_by::{MadeBy, made_by, named_files};
use crate::telemetry::facts::wall_ms;
use crate::wire;

pub(super) async fn rollback(spec: PipelineSpec, args: &UpgradeArgs) -> anyhow::Result<()> {
    let store = wire::store_to_read(&spec)?.ok_or_else(|| no_checkpoint(&spec))?;
    let reading = floe_checkpoint::read_log(&*store, &spec.id).await?;
    let kept: Vec<_> = reading.manifests().map(|(at, it)| (at, it.clone())).collect();
    // The old module is found before the claim.
    let before = before_upgrade(&kept)?;
    if let Some((_, newest)) = kept.last() {
        refuse_rescaled(&before, newest)?;
        upgrade::refuse_in_flight(newest)?;
    }
    let old = made_by(&spec, &*store, &before.identity, &named_files(&args.old)?).await?;
    for checked in wire::check_tables(&old.spec, &old.modules).await {
        checked?;
    }

    if let Some((_, newest)) = kept.last().filter(|_| !is_untouched(&kept, &before)) {
        let new = New::with(&spec, &newest.identity, &files(&old)).await?;
        if let Some(back) = plan(&spec, &*store, newest, &new, args).await? {
            let tasks = floe_checkpoint::read_parts(&*store, &spec.id, newest).await?;
            converted(tasks, &back).await.map_err(because)?;
        }
    }

    let mut log = wire::claim(&spec, args.take_over).await?;
    let kept = log.manifests();
    let before = before_upgrade(&kept)?;
    let (place, newest) = newest_of(&log).ok_or_else(|| no_checkpoint(&spec))?;
    refuse_rescaled(&before, &newest)?;
    let how = if is_untouched(&kept, &before) {
        let tasks = log.restore(&before).await?;
        // The guarantee and the topics are the pipeline's, whatever its operators are.
        let identity = PipelineIdentity {
            guarantee: newest.identity.guarantee.clone(),
            topics: newest.identity.topics.clone(),
            ..before.identity.clone()
        };
        let (written, _) =
            upgrade::complete(&mut log, (place, &newest), identity, tasks, wall_ms()).await?;
        let text = format!("the state of checkpoint {}, to the bit", before.epoch);
        report(&newest, written, &text, args.json)?;
        "nothing had run since the upgrade"
    } else {
        let new = New::with(&spec, &newest.identity, &files(&old)).await?;
        let Some(back) = plan(&spec, &*store, &newest, &new, args).await? else {
            return Err(Error::invalid("the modules before the upgrade are there already").into());
        };
        let tasks = log.restore(&newest).await?;
        let text = plan::text(&newest.identity, &back);
        let tasks = converted(tasks, &back).await.map_err(because)?;
        let (written, _) =
            upgrade::complete(&mut log, (place, &newest), back.identity, tasks, wall_ms()).await?;
        report(&newest, written, &text, args.json)?;
        "the old module took the state that the new one had"
    };
    if !args.json {
        println!("  {how}; set the old module in the pipeline file, then floe run goes on");
    }
    Ok(())
}

/// The newest checkpoint has the state that the upgrade behind `before` wrote.
fn is_untouched(
    kept: &[(ManifestRef, Arc<CheckpointManifest>)],
    before: &CheckpointManifest,
) -> bool {
    let upgraded = kept.iter().map(|it| &it.1).find(|it| it.epoch > before.epoch);
    let newest = kept.last().map(|it| &it.1);
    upgraded.zip(newest).is_some_and(|(it, newest)| nothing_ran_since(before, it, newest))
}

/// The way back from another number of tasks is the way there.
fn refuse_rescaled(before: &CheckpointManifest, newest: &CheckpointManifest) -> Result<()> {
    let pairs = before.identity.operators.iter().zip(&newest.identity.operators);
    for (before, newest) in pairs {
        if let (Some(old), Some(now)) = (&before.keyed, &newest.keyed)
            && old.tasks != now.tasks
        {
            return Err(Error::refused(format!(
                "the last upgrade changed the number of tasks of operator {}, {} → {}\n→ floe upgrade --tasks {}={} --apply parts its keys again",
                before.name, old.tasks, now.tasks, before.name, old.tasks
            )));
        }
    }
    Ok(())
}

fn because(error: Error) -> Error {
    error.context(
        "records ran or letters were given back since the upgrade, so the old module must read the new one's state",
    )
}

/// The files of a chain by its operators' names.
fn files(chain: &MadeBy) -> BTreeMap<String, PathBuf> {
    chain.modules.chain.iter().map(|it| (it.name.clone(), it.file.clone())).collect()
}

/// The newest checkpoint of other operators than the last one's.
fn before_upgrade(
    kept: &[(ManifestRef, Arc<CheckpointManifest>)],
) -> Result<Arc<CheckpointManifest>> {
    let newest = kept.last().map(|it| &it.1);
    let found = kept.iter().rev().find(|(_, it)| {
        newest.is_some_and(|newest| newest.identity.operators != it.identity.operators)
    });
    found.map(|it| it.1.clone()).ok_or_else(|| {
        Error::invalid(
            "no upgrade is among the checkpoints that are kept\n→ floe upgrade --operator NAME=old.wasm --apply gives the state to any module",
        )
    })
}
