//! `floe upgrade --apply`: a checkpoint for the new module, as the next entry of the log by a new owner.
//!
//! Before its manifest is visible nothing has happened; a command that is killed is given again.

use std::sync::Arc;

use floe_checkpoint::OwnedLog;
use floe_core::committable::ManifestRef;
use floe_core::manifest::{CheckpointManifest, PipelineIdentity};
use floe_core::ports::CheckpointLog;
use floe_core::protocol::upgrade::rescaled_operators;
use floe_core::task::CapturedTask;
use floe_core::{Error, ErrorKind, Result};
use floe_pipeline::config::PipelineSpec;
use floe_pipeline::upgrade;
use serde::Serialize;

use super::partitions;
use super::plan::{self, New, Upgrade, plan};
use super::rescale::Rescale;
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
    upgrade::refuse_in_flight(&newest)?;
    let new = New::of(&spec, &newest.identity, args).await?;
    if let Some(number) = args.partitions {
        return partitions::apply(&spec, &new, &newest, (number, args)).await;
    }
    if let Some(rescaling) = rescaling(&new, &newest.identity, args)? {
        return apply_rescale(&spec, &new, rescaling, &newest, args).await;
    }
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

/// Operators, by their place, and the identity of the checkpoint that has their new number of tasks.
struct Rescaling {
    operators: Vec<usize>,
    identity: PipelineIdentity,
}

/// `None`: the numbers of tasks are those of the checkpoint.
fn rescaling(new: &New, made: &PipelineIdentity, args: &UpgradeArgs) -> Result<Option<Rescaling>> {
    let identity = new.identity(made)?;
    let operators = rescaled_operators(made, &identity).map_err(|others| {
        let lines: Vec<String> = others.iter().map(|it| format!("  {it}")).collect();
        Error::refused(format!(
            "more than the number of tasks is not as the checkpoint has it, nothing was done\n{}\n→ one thing at a time",
            lines.join("\n")
        ))
    })?;
    if operators.is_empty() {
        return Ok(None);
    }
    for name in &args.fresh {
        let of_stage = |it: &usize| {
            let stage = new.modules.graph.stage_of(*it);
            let all = new.modules.graph.stages[stage].operators.clone();
            new.modules.chain[all].iter().any(|it| it.name == *name)
        };
        if !operators.iter().any(of_stage) {
            return Err(Error::invalid(format!(
                "--fresh {name}: no operator of that name is among those that are rescaled"
            )));
        }
    }
    Ok(Some(Rescaling { operators, identity }))
}

/// Another number of tasks, as the next entry of the log.
async fn apply_rescale(
    spec: &PipelineSpec,
    new: &New,
    rescaling: Rescaling,
    newest: &CheckpointManifest,
    args: &UpgradeArgs,
) -> anyhow::Result<()> {
    let store = wire::store(spec)?;
    let tasks = floe_checkpoint::read_parts(&*store, &spec.id, newest).await?;
    // What an operator says against it is said before the claim.
    let rescaled = rescaled(tasks, spec, new, &rescaling.operators, &newest.identity, args)?;
    let mut rescaled = Some((newest.id, rescaled));
    let mut log = wire::claim(spec, args.take_over).await?;
    let (place, newest) = newest_of(&log).ok_or_else(|| no_checkpoint(spec))?;
    let Some(rescaling) = self::rescaling(new, &newest.identity, args)? else {
        return nothing_to_do(&newest, args.json);
    };
    let tasks = match rescaled.take().filter(|it| it.0 == newest.id) {
        Some((_, tasks)) => tasks,
        // The run that was fenced had completed another checkpoint.
        None => {
            let tasks = log.restore(&newest).await?;
            self::rescaled(tasks, spec, new, &rescaling.operators, &newest.identity, args)?
        }
    };
    let Rescaling { operators, identity } = rescaling;
    let tasks_of = |identity: &PipelineIdentity, index: usize| {
        identity.operators[index].keyed.as_ref().map_or(0, |it| it.tasks)
    };
    let text: Vec<String> = operators
        .iter()
        .map(|index| {
            let (before, after) = (tasks_of(&newest.identity, *index), tasks_of(&identity, *index));
            format!("{}  {before} → {after} tasks", identity.operators[*index].name)
        })
        .collect();
    let (written, _) =
        upgrade::complete(&mut log, (place, &newest), identity, tasks, wall_ms()).await?;
    report(&newest, written, &text.join("\n  "), args.json)?;
    if !args.json {
        for index in operators {
            let stage = new.modules.graph.stage_of(index);
            let keyed = new.modules.graph.stages[stage].keyed.as_ref();
            let tasks = keyed.map_or(0, |it| it.tasks);
            if spec.operators[index].keyed.as_ref().is_some_and(|it| it.tasks != tasks) {
                println!("  set tasks = {tasks} for operator {}", new.modules.chain[index].name);
            }
        }
        println!("  then floe run goes on at epoch {}", written.epoch.0 + 1);
    }
    Ok(())
}

fn rescaled(
    mut tasks: Vec<CapturedTask>,
    spec: &PipelineSpec,
    new: &New,
    operators: &[usize],
    made: &PipelineIdentity,
    args: &UpgradeArgs,
) -> Result<Vec<CapturedTask>> {
    let (graph, chain) = (&new.modules.graph, new.modules.chain.as_slice());
    for index in operators {
        let rescale = Rescale {
            pipeline: &spec.id,
            graph,
            chain,
            stage: graph.stage_of(*index),
            tasks_before: made.operators[*index].keyed.as_ref().map_or(0, |it| it.tasks),
            fresh: &args.fresh,
        };
        tasks = rescale.convert(tasks).map_err(|error| match error.kind {
            ErrorKind::Operator => Error::refused(error.message),
            _ => error,
        })?;
    }
    Ok(tasks)
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

pub(super) fn nothing_to_do(newest: &CheckpointManifest, json: bool) -> anyhow::Result<()> {
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
