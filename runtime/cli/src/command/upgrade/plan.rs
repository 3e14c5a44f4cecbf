//! What an upgrade changes: the newest checkpoint's operators beside those that are to follow.

use std::collections::BTreeMap;
use std::path::PathBuf;

use floe_core::graph::Port;
use floe_core::manifest::{CheckpointManifest, OperatorIdentity, PipelineIdentity};
use floe_core::ports::{ObjectStore, no_state};
use floe_core::protocol::upgrade::changed_operators;
use floe_core::{Error, Result};
use floe_pipeline::config::{PipelineSpec, TASKS_MAX};
use floe_pipeline::upgrade::{OperatorChange, StateFrom};

use crate::args::UpgradeArgs;
use crate::made_by::{self, MadeBy, made_by, named_files};
use crate::show::short_hex;
use crate::wire::{self, Modules};

/// The new chain as a pipeline file would have it.
pub(super) struct New {
    pub(super) spec: PipelineSpec,
    pub(super) modules: Modules,
}

/// The old chain and the new one beside each other.
pub(super) struct Upgrade {
    pub(super) old: MadeBy,
    pub(super) changes: Vec<OperatorChange>,
    /// Of the checkpoint that the upgrade writes.
    pub(super) identity: PipelineIdentity,
}

impl New {
    /// The pipeline file's operators, and those that `--operator` names in their places.
    pub(super) async fn of(
        spec: &PipelineSpec,
        made: &PipelineIdentity,
        args: &UpgradeArgs,
    ) -> Result<New> {
        let files = named_files(&args.operator)?;
        New::with(&with_tasks(spec, made, &args.tasks)?, made, &files).await
    }

    pub(super) async fn with(
        spec: &PipelineSpec,
        made: &PipelineIdentity,
        files: &BTreeMap<String, PathBuf>,
    ) -> Result<New> {
        let mut spec = spec.clone();
        for (name, file) in files {
            let place = made.operators.iter().position(|it| it.name == *name);
            let Some(operator) = place.and_then(|it| spec.operators.get_mut(it)) else {
                let names: Vec<&str> = made.operators.iter().map(|it| it.name.as_str()).collect();
                return Err(Error::invalid(format!(
                    "the checkpoint has no operator {name:?}, it has {}",
                    names.join(", ")
                )));
            };
            operator.module = file.clone();
        }
        let for_modules = spec.clone();
        let modules = wire::blocking(move || made_by::load(&for_modules)).await?;
        Ok(New { spec, modules })
    }

    /// What a run of the new chain would call itself; topics and guarantee are none of an upgrade's.
    pub(super) fn identity(&self, made: &PipelineIdentity) -> Result<PipelineIdentity> {
        let decoder = wire::decoding(&self.spec, &self.modules)?.decoder;
        let name = |port: Port| wire::port_name(&self.modules.chain, port);
        let operators = self.modules.chain.iter().enumerate().map(|(index, it)| {
            let description = it.factory.describe();
            let (inputs, keyed) = self.modules.graph.identity(index, &name);
            OperatorIdentity {
                name: it.name.clone(),
                module_hash: description.module_hash,
                config_hash: description.config_hash,
                state_version: description.state_version,
                inputs,
                keyed,
            }
        });
        Ok(PipelineIdentity {
            pipeline: self.spec.id.clone(),
            operators: operators.collect(),
            decoder: decoder.name().to_owned(),
            engine: self.modules.engine.clone(),
            isa: std::env::consts::ARCH.to_owned(),
            ..made.clone()
        })
    }
}

/// The pipeline file with the numbers of tasks that the command line names.
fn with_tasks(
    spec: &PipelineSpec,
    made: &PipelineIdentity,
    given: &[String],
) -> Result<PipelineSpec> {
    let mut spec = spec.clone();
    for text in given {
        let (name, number) =
            text.split_once('=').map_or((None, text.as_str()), |it| (Some(it.0), it.1));
        let tasks = number.parse().ok().filter(|it| (1..=TASKS_MAX).contains(it));
        let tasks: u32 = tasks.ok_or_else(|| {
            Error::invalid(format!(
                "--tasks {text}: {number:?} is no number of tasks, 1 to {TASKS_MAX}"
            ))
        })?;
        let all = spec.operators.iter_mut().zip(&made.operators);
        let mut keyed: Vec<_> = all
            .filter(|(_, made)| name.is_none_or(|it| it == made.name))
            .filter_map(|(operator, _)| operator.keyed.as_mut())
            .collect();
        match keyed.as_mut_slice() {
            [one] => one.tasks = tasks,
            [] => {
                return Err(Error::invalid(format!(
                    "--tasks {text}: there is no such operator with key-by"
                )));
            }
            _ => {
                return Err(Error::invalid(format!(
                    "--tasks {text}: several operators have key-by\n→ --tasks NAME={number}"
                )));
            }
        }
    }
    Ok(spec)
}

/// `None`: the checkpoint has these operators already.
pub(super) async fn plan(
    spec: &PipelineSpec,
    store: &dyn ObjectStore,
    newest: &CheckpointManifest,
    new: &New,
    args: &UpgradeArgs,
) -> Result<Option<Upgrade>> {
    let identity = new.identity(&newest.identity)?;
    let changed = changed_operators(&newest.identity, &identity).map_err(|others| {
        let lines: Vec<String> = others.iter().map(|it| format!("  {it}")).collect();
        Error::refused(format!(
            "more than an operator is not as checkpoint {} has it, nothing was done\n{}",
            newest.epoch,
            lines.join("\n")
        ))
    })?;
    for name in &args.fresh {
        if !changed.iter().any(|it| identity.operators[*it].name == *name) {
            return Err(Error::invalid(format!(
                "--fresh {name}: no changed operator has that name"
            )));
        }
    }
    if changed.is_empty() {
        return Ok(None);
    }
    let old = made_by(spec, store, &newest.identity, &named_files(&args.old)?).await?;
    let mut changes = Vec::new();
    for index in changed {
        let (before, after) = (&old.modules.chain[index], &new.modules.chain[index]);
        let state = match args.fresh.contains(&after.name) {
            true => StateFrom::Fresh,
            false => {
                let way = |function| {
                    let error = no_state(&after.name, function);
                    let whose = if function == "export_state" { "old" } else { "new" };
                    let message = format!(
                        "the {whose} module: {}\n  → an operator that keeps nothing that counts: --fresh {}",
                        error.message, after.name
                    );
                    Error::refused(message)
                };
                if !before.factory.describe().exports_state {
                    return Err(way("export_state"));
                }
                if !after.factory.describe().imports_state {
                    return Err(way("import_state"));
                }
                StateFrom::Export(before.factory.clone())
            }
        };
        let name = after.name.clone();
        changes.push(OperatorChange { index, name, new: after.factory.clone(), state });
    }
    Ok(Some(Upgrade { old, changes, identity }))
}

/// "totals 9f2c… → 77ab…"
pub(super) fn text(made: &PipelineIdentity, upgrade: &Upgrade) -> String {
    let one = |change: &OperatorChange| {
        let (before, after) =
            (&made.operators[change.index], &upgrade.identity.operators[change.index]);
        let config = match before.config_hash == after.config_hash {
            true => "",
            false => ", another config",
        };
        let fresh = match change.state {
            StateFrom::Export(_) => "",
            StateFrom::Fresh => ", begins anew",
        };
        let versions = match before.state_version == after.state_version {
            true => String::new(),
            false => format!(", state version {} → {}", before.state_version, after.state_version),
        };
        format!(
            "{}  {} → {}{versions}{config}{fresh}",
            before.name,
            short_hex(&before.module_hash),
            short_hex(&after.module_hash)
        )
    };
    upgrade.changes.iter().map(one).collect::<Vec<_>>().join("\n  ")
}
