//! The records to be replayed: from a recording as it is, or from what is kept beside the checkpoints and
//! from Kafka, recorded first.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use floe_checkpoint::Recordings;
use floe_core::ports::{ObjectStore, Source};
use floe_core::{Error, ErrorKind, Offset, Position, Records, Result, TopicPartition};
use floe_pipeline::config::PipelineSpec;
use floe_replay::Plan;
use floe_source::RecordingSource;
use floe_source::recording::write_line;
use serde::Deserialize;

use super::folder::TemporaryFolder;
use crate::terminal::Terminal;
use crate::{show, wire};

/// Offsets of each task, the end excluded.
pub(crate) type Ranges = BTreeMap<TopicPartition, Range<Offset>>;

/// A recording that stays until this is dropped.
pub(crate) struct Input {
    pub(crate) file: PathBuf,
    topic: String,
    _folder: Option<TemporaryFolder>,
}

impl Input {
    /// From `--recording`, or the pipeline's own recording, or what was kept or Kafka still has.
    pub(crate) async fn of(
        from: From<'_>,
        recording: Option<&Path>,
        ranges: &Ranges,
        terminal: &Terminal,
    ) -> Result<Input> {
        let file = match recording.or(from.spec.recording_file()) {
            Some(file) => file.to_owned(),
            None => {
                let folder = TemporaryFolder::new()?;
                let file = folder.path().join("input.jsonl");
                record(from, ranges, &file, terminal, &mut |_| {}).await?;
                return Ok(Input { file, topic: String::new(), _folder: Some(folder) });
            }
        };
        // The lines of a recording that is named here may name no topic: it is the tasks'.
        let topic = topic_of(from.spec, ranges.keys(), &file);
        Ok(Input { file, topic, _folder: None })
    }

    pub(crate) fn open(&self) -> Result<RecordingSource> {
        RecordingSource::open(&self.file, &self.topic)
    }
}

/// The topic of lines that name none: the one that tasks have, where there is one source.
pub(crate) fn topic_of<'a>(
    spec: &PipelineSpec,
    tasks: impl IntoIterator<Item = &'a TopicPartition>,
    file: &Path,
) -> String {
    let mut of_tasks = tasks.into_iter().filter(|it| it.stage().is_none());
    match of_tasks.next().filter(|_| spec.sources.len() == 1) {
        Some(task) => task.topic.to_string(),
        None => wire::recording_topic(file),
    }
}

/// Nothing comes for so long: the range is not there.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const POLL_RECORDS: usize = 8192;

/// Where records that belong to a plan can be had.
#[derive(Clone, Copy)]
pub(crate) struct From<'a> {
    pub(crate) spec: &'a PipelineSpec,
    pub(crate) store: &'a Arc<dyn ObjectStore>,
    pub(crate) plan: &'a Plan,
}

/// Writes ranges into a file: epochs that were recorded while the pipeline ran from beside the checkpoints,
/// all else from the pipeline's source. Gives the number of records.
///
/// Offsets are asked for by number: a consumer group, its offsets and the topic stay as they are.
pub(crate) async fn record(
    from: From<'_>,
    ranges: &Ranges,
    file: &Path,
    terminal: &Terminal,
    alter: &mut (dyn FnMut(&mut Vec<u8>) + Send),
) -> Result<u64> {
    let mut lines = Lines::create(file, alter)?;
    let recordings = Recordings::of(Arc::clone(from.store), &from.plan.pipeline)?;
    // Behind the epochs that are done with.
    let mut done: BTreeMap<TopicPartition, Offset> = BTreeMap::new();
    let mut not_recorded = Ranges::new();
    let is_recording = from.spec.recording_file().is_some();
    for epoch in from.plan.epochs.iter().filter(|_| !is_recording) {
        let mut of_epoch = Ranges::new();
        epoch.add_input(&mut of_epoch);
        if of_epoch.is_empty() {
            continue;
        }
        done.extend(of_epoch.iter().map(|(task, range)| (task.clone(), range.end)));
        match recordings.get(epoch.epoch, epoch.manifest.generation).await? {
            None => epoch.add_input(&mut not_recorded),
            Some(kept) => {
                fetch(from.spec, &std::mem::take(&mut not_recorded), &mut lines, terminal).await?;
                floe_source::recording::lines(&kept, |line| match place(line)? {
                    (task, offset)
                        if of_epoch.get(&task).is_some_and(|it| it.contains(&offset)) =>
                    {
                        lines.line(line)
                    }
                    _ => Ok(()),
                })?;
            }
        }
    }
    // What is asked for behind the journals, or all of it.
    for (task, range) in ranges {
        let begin = done.get(task).copied().unwrap_or(range.start);
        if begin < range.end {
            not_recorded.entry(task.clone()).or_insert(begin..range.end).end = range.end;
        }
    }
    fetch(from.spec, &not_recorded, &mut lines, terminal).await?;
    lines.finish()
}

/// Whose record a line of a recording is.
fn place(line: &[u8]) -> Result<(TopicPartition, Offset)> {
    #[derive(Deserialize)]
    struct Place<'a> {
        #[serde(borrow)]
        topic: Cow<'a, str>,
        partition: i32,
        offset: i64,
    }
    let place: Place<'_> = serde_json::from_slice(line)
        .map_err(|error| Error::corrupt(format!("a kept recording: {error}")))?;
    Ok((TopicPartition::new(&place.topic, place.partition), Offset(place.offset)))
}

/// Reads ranges from the pipeline's source.
async fn fetch(
    spec: &PipelineSpec,
    ranges: &Ranges,
    lines: &mut Lines<'_>,
    terminal: &Terminal,
) -> Result<()> {
    if ranges.values().all(|it| it.is_empty()) {
        return Ok(());
    }
    let source = wire::source(spec).await?;
    // The source blocks; nothing else is to be done meanwhile.
    let mut reading = Reading::new(source, ranges.clone()).map_err(records_gone)?;
    let wanted = lines.count + reading.left();
    let mut line = Vec::new();
    while let Some(runs) = reading.next().map_err(records_gone)? {
        for records in runs {
            for record in records.iter() {
                line.clear();
                write_line(&mut line, records.topic_partition(), &record);
                lines.line(&mut line)?;
            }
        }
        let (count, wanted) = (show::count(lines.count), show::count(wanted));
        terminal.progress(&format!("recording  {count} of {wanted}"));
    }
    terminal.end_progress();
    Ok(())
}

/// A topic that has not got the records says so; where else they may be is known here.
fn records_gone(error: Error) -> Error {
    match error.kind {
        ErrorKind::Refused => Error::refused(format!(
            "{}\n  → what the topic has not got any more can be replayed from what [recording] keep = \"10 epochs\" keeps, from a bundle, or from --recording FILE",
            error.message
        )),
        _ => error,
    }
}

/// A recording that is being written.
struct Lines<'a> {
    file: &'a Path,
    out: std::io::BufWriter<std::fs::File>,
    alter: &'a mut (dyn FnMut(&mut Vec<u8>) + Send),
    count: u64,
}

impl<'a> Lines<'a> {
    fn create(
        file: &'a Path,
        alter: &'a mut (dyn FnMut(&mut Vec<u8>) + Send),
    ) -> Result<Lines<'a>> {
        let made = std::fs::File::create(file).map_err(|it| cannot_write(file, &it))?;
        Ok(Lines { file, out: std::io::BufWriter::new(made), alter, count: 0 })
    }

    fn line(&mut self, line: &mut Vec<u8>) -> Result<()> {
        (self.alter)(line);
        self.out.write_all(line).map_err(|it| cannot_write(self.file, &it))?;
        self.count += 1;
        Ok(())
    }

    fn finish(mut self) -> Result<u64> {
        self.out.flush().map_err(|it| cannot_write(self.file, &it))?;
        Ok(self.count)
    }
}

fn cannot_write(file: &Path, error: &std::io::Error) -> Error {
    Error::retry(format!("{} cannot be written: {error}", file.display()))
}

/// The records of ranges, run by run.
pub(crate) struct Reading {
    source: Box<dyn Source>,
    ranges: Ranges,
    poll_records: usize,
    last_came: Instant,
}

impl Reading {
    /// `None`: nothing is to be read.
    pub(crate) fn of(input: &Input, ranges: Ranges) -> Result<Option<Reading>> {
        match ranges.is_empty() {
            true => Ok(None),
            false => Reading::new(Box::new(input.open()?), ranges).map(Some),
        }
    }

    pub(crate) fn new(source: Box<dyn Source>, ranges: Ranges) -> Result<Reading> {
        Reading::in_runs_of(source, ranges, POLL_RECORDS)
    }

    pub(crate) fn in_runs_of(
        mut source: Box<dyn Source>,
        mut ranges: Ranges,
        poll_records: usize,
    ) -> Result<Reading> {
        ranges.retain(|_, it| !it.is_empty());
        let position =
            Position(ranges.iter().map(|(it, range)| (it.clone(), range.start)).collect());
        source.assign(&position)?;
        Ok(Reading { source, ranges, poll_records, last_came: Instant::now() })
    }

    /// Offsets that are still to come.
    pub(crate) fn left(&self) -> u64 {
        self.ranges.values().map(|it| (it.end.0 - it.start.0).max(0) as u64).sum()
    }

    /// `None` when all ranges are through.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<Records>>> {
        while !self.ranges.is_empty() {
            let polled = self.source.poll(Duration::from_millis(20), self.poll_records)?;
            let mut runs = Vec::with_capacity(polled.len());
            for records in polled {
                let Some(range) = self.ranges.get_mut(records.topic_partition()) else { continue };
                let end = range.end;
                range.start = range.start.max(records.next_offset());
                let inside = records.iter().take_while(|it| it.offset() < end).count();
                let through = range.start >= end;
                if through {
                    self.ranges.remove(records.topic_partition());
                }
                match inside {
                    0 => {}
                    all if all == records.len() => runs.push(records),
                    some => runs.push(records.slice(0..some)),
                }
            }
            if !runs.is_empty() {
                self.last_came = Instant::now();
                return Ok(Some(runs));
            }
            if self.last_came.elapsed() > PATIENCE {
                return Err(self.nothing_comes());
            }
        }
        Ok(None)
    }

    fn nothing_comes(&self) -> Error {
        let missing: Vec<String> =
            self.ranges.iter().map(|(it, range)| format!("{it} from {}", range.start)).collect();
        Error::retry(format!(
            "no record came for {} s of what is to be replayed: {}",
            PATIENCE.as_secs(),
            missing.join(", ")
        ))
    }
}
