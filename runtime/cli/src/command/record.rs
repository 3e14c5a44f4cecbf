//! `floe record`: the records that epochs took, from the source into a recording.

use std::path::Path;

use floe_core::Offset;
use floe_core::ports::Source;
use floe_pipeline::config::LogFormat;
use floe_replay::Plan;

use crate::args::{RangeArgs, RecordArgs};
use crate::replay::input::{self, Ranges};
use crate::replay::redact::Redaction;
use crate::replay::subject::Subject;
use crate::terminal::Terminal;
use crate::{logging, show, wire};

use super::replay::parse_task;

pub(crate) fn record(args: RecordArgs) -> anyhow::Result<()> {
    let terminal = Terminal::new();
    logging::start(LogFormat::Human, &terminal)?;
    let args = args.range;
    super::block_on(async move {
        let mut subject = Subject::open(&args.pipeline)?;
        let (_, records) = chosen(&mut subject, &args, &args.output, &terminal).await?;
        println!("{} records in {}", show::grouped(records), args.output.display());
        println!("it holds them as they are{}", redacted(&args));
        Ok(())
    })
}

pub(super) fn redacted(args: &RangeArgs) -> String {
    match args.redact.is_empty() {
        true => String::new(),
        false => format!(
            ", but for the fields {}, all keys and the values of headers, which are redacted",
            args.redact.join(", ")
        ),
    }
}

/// Writes the chosen records to a file. Gives the plan that they are for, and their number.
pub(super) async fn chosen(
    subject: &mut Subject,
    args: &RangeArgs,
    file: &Path,
    terminal: &Terminal,
) -> anyhow::Result<(Plan, u64)> {
    let only = args.task.as_deref().map(parse_task).transpose()?;
    let plan = subject.plan_of_any(args.checkpoint, args.to, only.as_ref()).await?;
    let beyond = args.beyond.unwrap_or(if plan.epochs.is_empty() { BEYOND } else { 0 });
    let mut ranges = plan.input();
    if beyond > 0 {
        add_beyond(subject, &plan, &mut ranges, beyond).await?;
    }
    let mut redaction = Redaction::new(&args.redact);
    let mut alter = |line: &mut Vec<u8>| redaction.line(line);
    let records = input::record(subject.input(&plan), &ranges, file, terminal, &mut alter).await?;
    if let Err(error) = redaction.refuse_unfound(records) {
        // It holds what was to be redacted. The error stands, whatever becomes of the file.
        let _ = std::fs::remove_file(file);
        return Err(error.into());
    }
    Ok((plan, records))
}

/// Enough to hold the batch that stopped an operator, and those before it.
const BEYOND: u64 = 10_000;

async fn add_beyond(
    subject: &Subject,
    plan: &Plan,
    ranges: &mut Ranges,
    beyond: u64,
) -> anyhow::Result<()> {
    let mut source: Box<dyn Source> = wire::source(&subject.spec).await?;
    let wanted = plan.all_tasks();
    for facts in source.partitions()?.into_iter().filter(|it| wanted.contains(&it.topic_partition))
    {
        let task = facts.topic_partition;
        let last =
            plan.epochs.last().and_then(|it| it.tasks.get(&task)).map(|it| it.stand.next_offset);
        let begin =
            last.or(plan.tasks.get(&task).map(|it| it.next_offset)).unwrap_or(facts.earliest);
        let end = Offset(begin.0.saturating_add_unsigned(beyond)).min(facts.end);
        let range = ranges.entry(task).or_insert(begin..begin);
        range.end = range.end.max(end);
    }
    Ok(())
}
