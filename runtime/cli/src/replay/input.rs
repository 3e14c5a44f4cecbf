//! The records to be replayed: from a recording as it is, or from Kafka, recorded first.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use floe_core::ports::Source;
use floe_core::{Error, Offset, Position, Records, Result, TopicPartition};
use floe_pipeline::config::{Origin, PipelineSpec};
use floe_source::RecordingSource;
use floe_source::recording::write_line;

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
    /// From `--recording`, or the pipeline's own recording, or what Kafka still has.
    pub(crate) async fn of(
        spec: &PipelineSpec,
        recording: Option<&Path>,
        ranges: &Ranges,
        terminal: &Terminal,
    ) -> Result<Input> {
        let file = match (recording, &spec.source.origin) {
            (Some(file), _) => file.to_owned(),
            (None, Origin::Recording { file }) => file.clone(),
            (None, Origin::Kafka { .. }) => {
                let folder = TemporaryFolder::new()?;
                let file = folder.path().join("input.jsonl");
                record(spec, ranges, &file, terminal, &mut |_| {}).await?;
                return Ok(Input { file, topic: String::new(), _folder: Some(folder) });
            }
        };
        // The lines of a recording that is named here may name no topic: it is the tasks'.
        let of_tasks = ranges.keys().next().map(|it| it.topic.to_string());
        let topic = of_tasks.unwrap_or_else(|| wire::recording_topic(&file));
        Ok(Input { file, topic, _folder: None })
    }

    pub(crate) fn open(&self) -> Result<RecordingSource> {
        RecordingSource::open(&self.file, &self.topic)
    }
}

/// Nothing comes for so long: the range is not there.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const POLL_RECORDS: usize = 8192;

/// Reads ranges from the pipeline's source into a file. Gives the number of records.
///
/// The offsets are asked for by number: a consumer group, its offsets and the topic stay as they are.
pub(crate) async fn record(
    spec: &PipelineSpec,
    ranges: &Ranges,
    file: &Path,
    terminal: &Terminal,
    alter: &mut (dyn FnMut(&mut Vec<u8>) + Send),
) -> Result<u64> {
    let failed = |error: std::io::Error| {
        Error::retry(format!("{} cannot be written: {error}", file.display()))
    };
    let mut out = std::io::BufWriter::new(std::fs::File::create(file).map_err(failed)?);
    if ranges.values().all(|it| it.is_empty()) {
        return Ok(0);
    }
    let source = wire::source(spec).await?;
    // The source blocks; nothing else is to be done meanwhile.
    let mut reading = Reading::new(source, ranges.clone())?;
    let wanted = reading.left();
    let (mut count, mut line) = (0, Vec::new());
    while let Some(runs) = reading.next()? {
        for records in runs {
            for record in records.iter() {
                line.clear();
                write_line(&mut line, records.topic_partition(), &record);
                alter(&mut line);
                out.write_all(&line).map_err(failed)?;
                count += 1;
            }
        }
        terminal.progress(&format!("recording  {} of {}", show::count(count), show::count(wanted)));
    }
    out.flush().map_err(failed)?;
    terminal.end_progress();
    Ok(count)
}

/// The records of ranges, run by run.
pub(crate) struct Reading {
    source: Box<dyn Source>,
    ranges: Ranges,
    poll_records: usize,
    last_came: Instant,
}

impl Reading {
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
