//! `floe dead-letters`: what was rejected, one whole, and back through the operators.

mod letter;
mod topic;
mod retry;

use std::io::Write;

use arrow_array::RecordBatch;
use floe_core::{Error, Result};
use floe_pipeline::config::{PipelineSpec, SinkSpec};

use crate::args::{DeadLettersCommand, LetterFilterArgs, LettersListArgs, LettersShowArgs};
use crate::{load, show, wire};
use letter::{Letter, letters};

/// Lines shown to a person; all come with `--json`.
const SHOWN: usize = 100;
const MESSAGE: usize = 70;

pub(crate) fn dead_letters(command: DeadLettersCommand) -> anyhow::Result<()> {
    match command {
        DeadLettersCommand::List(args) => list(&args),
        DeadLettersCommand::Show(args) => show_one(&args),
        DeadLettersCommand::Retry(args) => retry::retry(args),
    }
}

fn place(spec: &PipelineSpec) -> Result<&SinkSpec> {
    let dead_letters = spec.dead_letters.as_ref();
    let none = || Error::invalid("the pipeline has no [dead-letters]");
    dead_letters.map(|it| &it.sink).ok_or_else(none)
}

/// The rows of the table, or the records of the topic.
pub(crate) async fn rows(sink: &SinkSpec) -> Result<Vec<RecordBatch>> {
    match sink {
        SinkSpec::Table(table) => wire::rows(table, None).await,
        SinkSpec::Topic(topic) => {
            let topic = topic.clone();
            wire::blocking(move || topic::read(&topic)).await
        }
    }
}

async fn read(spec: &PipelineSpec) -> Result<Vec<Letter>> {
    letters(&rows(place(spec)?).await?)
}

impl LetterFilterArgs {
    fn takes(&self, it: &Letter) -> bool {
        self.class.as_ref().is_none_or(|class| *class == it.class)
            && self.operator.as_ref().is_none_or(|operator| *operator == it.operator)
            && self.epoch.is_none_or(|epoch| epoch == it.epoch)
            && self.task.as_ref().is_none_or(|task| *task == it.task.to_string())
    }
}

fn list(args: &LettersListArgs) -> anyhow::Result<()> {
    super::block_on(async move {
        let mut found = read(&load::pipeline(&args.pipeline)?).await?;
        found.retain(|it| (args.all || !it.settled) && args.filter.takes(it));
        let mut out = std::io::stdout().lock();
        if args.json {
            for it in found {
                writeln!(out, "{}", it.json())?;
            }
            return Ok(());
        }
        if found.is_empty() {
            writeln!(out, "no dead letters{}", if args.all { "" } else { " that wait" })?;
            return Ok(());
        }
        let row = |it: &Letter| {
            let line = first_words(&it.message);
            let mut message: String = line.chars().take(MESSAGE).collect();
            if message.len() < line.len() {
                message.push('…');
            }
            let state = if it.settled { "given back" } else { "" };
            vec![
                it.id(),
                it.class.clone(),
                it.operator.clone(),
                it.epoch.to_string(),
                message,
                state.to_owned(),
            ]
        };
        let rows: Vec<Vec<String>> = found.iter().take(SHOWN).map(row).collect();
        let header = ["letter", "class", "operator", "epoch", "message", ""];
        write!(out, "{}", show::table(&header, &rows))?;
        if found.len() > SHOWN {
            writeln!(out, "… and {} more; --json prints all", found.len() - SHOWN)?;
        }
        Ok(())
    })
}

/// The first line; of a panic what it says, before the place that its first line names.
fn first_words(message: &str) -> String {
    let mut lines = message.lines();
    let first = lines.next().unwrap_or_default();
    match (first.split_once("panicked at "), lines.next()) {
        (Some((_, place)), Some(said)) => format!("{said}, at {}", place.trim_end_matches(':')),
        _ => first.to_owned(),
    }
}

fn show_one(args: &LettersShowArgs) -> anyhow::Result<()> {
    super::block_on(async move {
        let mut found = read(&load::pipeline(&args.pipeline)?).await?;
        found.retain(|it| it.id() == args.letter);
        if found.is_empty() {
            let text = format!("there is no dead letter {}", args.letter);
            return Err(Error::invalid(text + "\n→ floe dead-letters list names them").into());
        }
        let mut out = std::io::stdout().lock();
        for it in found {
            if args.json {
                writeln!(out, "{}", it.json())?;
                continue;
            }
            let state = if it.settled { "  given back since" } else { "" };
            writeln!(out, "{}  {}  epoch {}{state}", it.id(), it.class, it.epoch)?;
            writeln!(out, "  operator   {}  module {}", it.operator, it.module_hash)?;
            writeln!(out, "  message    {}", it.message.replace('\n', "\n             "))?;
            if let Some(backtrace) = &it.backtrace {
                let lines = backtrace.lines().map(|it| format!("             {}", it.trim_start()));
                writeln!(out, "  backtrace\n{}", lines.collect::<Vec<_>>().join("\n"))?;
            }
            let json = it.json();
            writeln!(out, "  timestamp  {}", json["timestamp"])?;
            writeln!(out, "  headers    {}", json["headers"])?;
            writeln!(out, "  key        {}", json["key"])?;
            writeln!(out, "  value      {}", json["value"])?;
        }
        Ok(())
    })
}
