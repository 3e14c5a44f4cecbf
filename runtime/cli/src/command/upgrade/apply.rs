//! `floe upgrade --apply`: a checkpoint for the new module, as the next entry of the log by a new owner.
//!
//! Before its manifest is visible nothing has happened; a command that is killed is given again.

use std::sync::Arc;

use floe_checkpoint::OwnedLog;
use floe_core::committable::ManifestRef;
use floe_core::manifest::CheckpointManifest;
use floe_core::ports::CheckpointLog;
use floe_core::task::CapturedTask;
use floe_core::{Error, ErrorKind, Result};
use floe_pipeline::config::PipelineSpec;
use floe_pipeline::upgrade;
use serde::Serialize;

use super::plan::{self, New, Upgrade, plan};
use crate::args::UpgradeArgs;
use crate::telemetry::facts::wall_ms;
use crate::{made_by, wire};

#[derive(Serialize)]
pub(super) struct Written {
    /// The checkpoint that was written; `None`: there was nothing to do.
    epoch: Option<u64>,
    from_epoch: u64,
    operators: Vec<String>,
}

pub(super) async fn apply(spec: PipelineSpec, args: &UpgradeArgs) -> anyhow::Result<()> {
    let store = wire::store_to_read(&spec)?.ok_or_else(|| no_checkpoint(&spec))?;
    let reading = floe_checkpoint::read_log(&*store, &spec.id).await?;
    let newest = reading.newest_manifest().ok_or_else(|| no_checkpoint(&spec))?.1.clone();
    let new = New::of(&spec, &newest.identity, args).await?;
    // All that can be wrong is found before the claim: a wrong command must not fence a good run.
    let Some(upgrade) = plan(&spec, &*store, &newest, &new, args).await? else {
        return nothing_to_do(&newest, args.json);
    };
    for checked in wire::check_tables(&new.spec, &new.modules).await {
        checked?;
    }
    let tasks = floe_checkpoint::read_parts(&*store, &spec.id, &newest).await?;
    let mut converted = Some((newest.id, converted(tasks, &upgrade).await?));

    let mut log = wire::claim(&spec, args.take_over).await?;
    let (place, newest) = newest_of(&log).ok_or_else(|| no_checkpoint(&spec))?;
    let Some(upgrade) = plan(&spec, &*store, &newest, &new, args).await? else {
        return nothing_to_do(&newest, args.json);
    };
    made_by::keep(&*store, &spec.id, &new.modules.chain).await;
    made_by::keep(&*store, &spec.id, &upgrade.old.modules.chain).await;
    let tasks = match converted.take().filter(|it| it.0 == newest.id) {
        Some((_, tasks)) => tasks,
        // The run that was fenced had completed another checkpoint.
        None => self::converted(log.restore(&newest).await?, &upgrade).await?,
    };
    let text = plan::text(&newest.identity, &upgrade);
    let (written, _) =
        upgrade::complete(&mut log, (place, &newest), upgrade.identity, tasks, wall_ms()).await?;
    report(&newest, written, &text, args.json)?;
    if !args.json {
        for (mine, file) in new.modules.chain.iter().zip(&spec.operators) {
            if mine.file != file.module {
                println!("  set module = {:?} for operator {}", mine.file.display(), mine.name);
            }
        }
        println!(
            "  then floe run goes on at epoch {}; floe upgrade --rollback goes back",
            written.epoch.0 + 1
        );
    }
    Ok(())
}

/// The tasks for the new operators. What an operator says against it is for a person to decide on.
pub(super) async fn converted(
    tasks: Vec<CapturedTask>,
    upgrade: &Upgrade,
) -> Result<Vec<CapturedTask>> {
    let changes = upgrade.changes.clone();
    wire::blocking(move || upgrade::convert(tasks, &changes)).await.map_err(|error| {
        match error.kind {
            ErrorKind::Operator => Error::refused(error.message),
            _ => error,
        }
    })
}

pub(super) fn newest_of(log: &OwnedLog) -> Option<(ManifestRef, Arc<CheckpointManifest>)> {
    log.manifests().pop()
}

pub(super) fn no_checkpoint(spec: &PipelineSpec) -> Error {
    Error::invalid(format!(
        "pipeline {:?} has no checkpoint yet: there is no state to take over\n→ floe run begins with the new module",
        spec.id
    ))
}

fn nothing_to_do(newest: &CheckpointManifest, json: bool) -> anyhow::Result<()> {
    if json {
        let from_epoch = newest.epoch.0;
        return crate::command::print_json(&Written {
            epoch: None,
            from_epoch,
            operators: Vec::new(),
        });
    }
    println!("nothing to do: checkpoint {} has these operators already", newest.epoch);
    Ok(())
}

pub(super) fn report(
    before: &CheckpointManifest,
    written: ManifestRef,
    text: &str,
    json: bool,
) -> Result<()> {
    if json {
        let operators = text.split("\n  ").map(str::to_owned).collect();
        let (epoch, from_epoch) = (Some(written.epoch.0), before.epoch.0);
        return crate::command::print_json(&Written { epoch, from_epoch, operators })
            .map_err(|error| Error::retry(error.to_string()));
    }
    println!("checkpoint {} follows {}, with no record between them", written.epoch, before.epoch);
    println!("  {text}");
    Ok(())
}
