//! `floe state`: what operators tell of their state in a checkpoint, as JSON, and what changed between two.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use floe_checkpoint::{read_log, read_parts};
use floe_core::image::OperatorImage;
use floe_core::ports::no_state;
use floe_core::{Error, Result, TopicPartition};

use crate::args::{StateArgs, StateCommand, StateDiffArgs, StateOfArgs};
use crate::exit::Differs;
use crate::json_text::{self, Change, Tree};
use crate::made_by::made_by;
use crate::wire::Module;
use crate::{load, show, wire};

use super::replay::parse_task;

/// Differences shown to a person; all come with `--json`.
const SHOWN: usize = 100;

/// What one operator of one task told.
pub(crate) struct Told {
    pub(crate) task: TopicPartition,
    pub(crate) operator: String,
    module: String,
    version: u32,
    pub(crate) state: Tree,
}

/// Where states are looked for.
struct Wanted {
    task: Option<TopicPartition>,
    operator: Option<String>,
}

impl Wanted {
    fn of(args: &StateOfArgs) -> Result<Wanted> {
        let task = args.task.as_deref().map(parse_task).transpose()?;
        Ok(Wanted { task, operator: args.operator.clone() })
    }
}

pub(crate) fn state(args: StateArgs) -> anyhow::Result<()> {
    if let Some(StateCommand::Diff(args)) = args.command {
        return diff(&args);
    }
    let pipeline = args.pipeline.expect("clap asks for it");
    let wanted = Wanted::of(&args.of)?;
    super::block_on(async move {
        let (epoch, told) = told_at(&pipeline, args.checkpoint, &wanted).await?;
        let mut out = std::io::stdout().lock();
        if args.of.json {
            write!(out, "{}", json(epoch, &told))?;
            return Ok(());
        }
        writeln!(out, "epoch {epoch}")?;
        for it in told {
            writeln!(
                out,
                "\n{}  {}  module {}  state version {}",
                it.task, it.operator, it.module, it.version
            )?;
            let mut text = String::new();
            it.state.pretty(0, &mut text);
            writeln!(out, "{text}")?;
        }
        Ok(())
    })
}

/// By hand, for numbers stay as the operator wrote them.
fn json(epoch: u64, told: &[Told]) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let states: Vec<String> = told
        .iter()
        .map(|it| {
            format!(
                "{{\"task\":{},\"operator\":{},\"module\":{},\"state_version\":{},\"state\":{}}}",
                quoted(&it.task.to_string()),
                quoted(&it.operator),
                quoted(&it.module),
                it.version,
                it.state.line()
            )
        })
        .collect();
    format!("{{\"epoch\":{epoch},\"states\":[\n{}\n]}}\n", states.join(",\n"))
}

fn diff(args: &StateDiffArgs) -> anyhow::Result<()> {
    let wanted = Wanted::of(&args.of)?;
    super::block_on(async move {
        let (_, before) = told_at(&args.pipeline, Some(args.before), &wanted).await?;
        let (_, after) = told_at(&args.pipeline, Some(args.after), &wanted).await?;
        let changes = changes(&before, &after);
        if args.of.json {
            super::print_json(&changes)?;
        } else {
            print_changes(&changes, SHOWN)?;
        }
        let number: usize = changes.iter().map(|it| it.changes.len()).sum();
        match number {
            0 => Ok(()),
            _ => Err(Differs(format!(
                "{} differences between epoch {} and {}",
                show::grouped(number as u64),
                args.before,
                args.after
            ))
            .into()),
        }
    })
}

#[derive(serde::Serialize)]
pub(crate) struct TaskChanges {
    task: String,
    operator: String,
    pub(crate) changes: Vec<Change>,
}

/// Operator by operator. One that is in one of the two alone is compared with nothing.
pub(crate) fn changes(before: &[Told], after: &[Told]) -> Vec<TaskChanges> {
    let mut both: BTreeMap<(&TopicPartition, &str), [Option<&Tree>; 2]> = BTreeMap::new();
    for (side, told) in [before, after].into_iter().enumerate() {
        for it in told {
            both.entry((&it.task, &it.operator)).or_default()[side] = Some(&it.state);
        }
    }
    let nothing = Tree::Object(Vec::new());
    let compared = both.into_iter().map(|((task, operator), [before, after])| TaskChanges {
        task: task.to_string(),
        operator: operator.to_owned(),
        changes: json_text::diff(before.unwrap_or(&nothing), after.unwrap_or(&nothing)),
    });
    compared.filter(|it| !it.changes.is_empty()).collect()
}

pub(crate) fn print_changes(changes: &[TaskChanges], most: usize) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let mut left = most;
    for it in changes {
        if left > 0 {
            writeln!(out, "{}  {}", it.task, it.operator)?;
        }
        for change in it.changes.iter().take(left) {
            let text = |it: &Option<String>| it.clone().unwrap_or_else(|| "–".to_owned());
            let path = if change.path.is_empty() { "(all)" } else { &change.path };
            writeln!(out, "  {path}   {} → {}", text(&change.before), text(&change.after))?;
        }
        left = left.saturating_sub(it.changes.len());
    }
    let all: usize = changes.iter().map(|it| it.changes.len()).sum();
    if all > most {
        writeln!(out, "… and {} more; --json prints all", show::grouped((all - most) as u64))?;
    }
    Ok(())
}

async fn told_at(pipeline: &Path, epoch: Option<u64>, wanted: &Wanted) -> Result<(u64, Vec<Told>)> {
    let spec = load::pipeline(pipeline)?;
    let none = || Error::invalid(format!("pipeline {:?} has no checkpoint yet", spec.id));
    let store = wire::store_to_read(&spec)?.ok_or_else(none)?;
    let reading = read_log(&*store, &spec.id).await?;
    let found = match epoch {
        Some(epoch) => reading.manifests().find(|it| it.0.epoch.0 == epoch),
        None => reading.newest_manifest(),
    };
    let Some((at, manifest)) = found else {
        let kept = reading.manifests().next().zip(reading.newest_manifest());
        let ((oldest, _), (newest, _)) = kept.ok_or_else(none)?;
        return Err(Error::invalid(format!(
            "pipeline {:?} has no checkpoint of epoch {}, it has {} to {}",
            spec.id,
            epoch.unwrap_or_default(),
            oldest.epoch,
            newest.epoch
        )));
    };
    let chain = made_by(&spec, &*store, &manifest.identity, &BTreeMap::new()).await?;
    if let Some(name) = &wanted.operator
        && chain.modules.chain.iter().all(|it| it.name != *name)
    {
        return Err(Error::invalid(format!("the pipeline has no operator {name:?}")));
    }
    let mut tasks = read_parts(&*store, &spec.id, manifest).await?;
    if let Some(task) = &wanted.task {
        tasks.retain(|it| it.task == *task);
        if tasks.is_empty() {
            return Err(Error::invalid(format!("the checkpoint has no task {task}")));
        }
    }
    let operator = wanted.operator.clone();
    let silent: Vec<&str> = chain
        .modules
        .chain
        .iter()
        .filter(|it| !it.factory.describe().exports_state)
        .map(|it| it.name.as_str())
        .collect();
    if silent.len() == chain.modules.chain.len() {
        return Err(no_state(silent[0], "export_state"));
    }
    if operator.is_none() && !silent.is_empty() {
        eprintln!("note: {} cannot tell its state", silent.join(", "));
    }
    let told = wire::blocking(move || {
        let mut told = Vec::new();
        for task in tasks {
            let chosen = |it: &Module| match &operator {
                Some(name) => it.name == *name,
                None => it.factory.describe().exports_state,
            };
            told.extend(tell(&chain.modules.chain, &task.task, &task.operators, chosen)?);
        }
        Ok(told)
    })
    .await?;
    Ok((at.epoch.0, told))
}

/// What the chosen operators of a task tell of their images, of which a task has those of its stage.
pub(crate) fn tell(
    chain: &[Module],
    task: &TopicPartition,
    images: &[(String, OperatorImage)],
    chosen: impl Fn(&Module) -> bool,
) -> Result<Vec<Told>> {
    let mut told = Vec::new();
    for module in chain.iter().filter(|it| chosen(it)) {
        let Some((_, image)) = images.iter().find(|it| it.0 == module.name) else { continue };
        let operator = module.factory.restore(task, image)?;
        let state = operator.export().map_err(|error| error.context(format!("{task}")))?;
        told.push(Told {
            task: task.clone(),
            operator: module.name.clone(),
            module: show::short_hex(&module.factory.describe().module_hash),
            version: state.version,
            state: json_text::parse(&state.json)?,
        });
    }
    Ok(told)
}
