//! The source over a recording: one pass over the file in its own order.

use std::path::{Path, PathBuf};
use std::time::Duration;

use floe_core::ports::{PartitionFacts, Source, StartAt};
use floe_core::{Error, EventTime, Offset, Position, Records, Result, TopicPartition};

use super::by_partition::ByPartition;
use super::index::{Index, Lines, line_error};
use super::line::{Line, NO_TIMESTAMP, parse};

/// Reads a recording as if its records came from the broker.
pub struct RecordingSource {
    path: PathBuf,
    topic: String,
    index: Index,
    lines: Option<Lines>,
    assigned: ByPartition<Task>,
    /// An error found behind records that were handed out first.
    held: Option<Error>,
}

/// An assigned partition.
struct Task {
    next: Offset,
    /// Its place in what the running poll gathers.
    place: Option<usize>,
}

/// A poll hands out no more than this, so that a task's input stays small.
const POLL_BYTES: usize = 32 << 20;

/// A poll looks at no more lines than this, however many of them lie before the position.
const POLL_LINES: usize = 1 << 20;

impl RecordingSource {
    /// `topic` is the topic of lines that name none.
    pub fn open(path: impl AsRef<Path>, topic: &str) -> Result<Self> {
        let path = path.as_ref();
        let mut source = RecordingSource {
            path: path.to_owned(),
            topic: topic.to_owned(),
            index: Index::new(path, topic),
            lines: None,
            assigned: ByPartition::default(),
            held: None,
        };
        source.index.refresh()?;
        Ok(source)
    }

    /// Reads lines into `gathered` until there is enough, or the file ends.
    fn gather(&mut self, gathered: &mut Vec<Records>, records_max: usize) -> Result<()> {
        let Some(lines) = &mut self.lines else { return Ok(()) };
        let mut byte_len = 0;
        for _ in 0..POLL_LINES {
            let Some((mark, line)) = lines.next()? else { return Ok(()) };
            let line_len = line.len();
            let line: Line<'_> = parse(line).map_err(|it| line_error(&self.path, mark, &it))?;
            let topic = line.topic.as_deref().unwrap_or(&self.topic);
            let offset = Offset(line.offset);
            let Some(task) = self.assigned.get_mut(topic, line.partition) else { continue };
            // Before the position: handed out by an earlier run.
            if offset < task.next {
                continue;
            }
            let place = *task.place.get_or_insert_with(|| {
                let partition = TopicPartition::new(topic, line.partition);
                gathered.push(Records::new(partition, task.next));
                gathered.len() - 1
            });
            let records = &mut gathered[place];
            push(records, &line);
            task.next = Offset(offset.0 + 1);
            byte_len += line_len;
            if records.len() == records_max || byte_len >= POLL_BYTES {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn push(records: &mut Records, line: &Line<'_>) {
    let timestamp = EventTime(line.timestamp.unwrap_or(NO_TIMESTAMP));
    records.push(Offset(line.offset), timestamp, line.key.bytes(), line.value.bytes());
    for (name, value) in &line.headers {
        records.push_header(name.as_bytes(), value.bytes());
    }
}

impl Source for RecordingSource {
    fn partitions(&mut self) -> Result<Vec<PartitionFacts>> {
        self.index.refresh()?;
        if self.index.partitions.is_empty() {
            return Err(Error::invalid(format!(
                "recording {} holds no records",
                self.path.display()
            )));
        }
        let facts = self.index.partitions.iter().map(|(topic_partition, range)| PartitionFacts {
            topic_partition,
            // A file has no identity but its path.
            topic_id: None,
            earliest: range.earliest,
            end: range.end,
        });
        Ok(facts.collect())
    }

    fn resolve_start(&mut self, partitions: &[TopicPartition], start: StartAt) -> Result<Position> {
        self.index.refresh()?;
        if let StartAt::Timestamp(time) = start {
            return self.index.at_time(partitions, time);
        }
        let offsets = partitions.iter().map(|it| {
            let range = self.index.range(it)?;
            Ok((it.clone(), if start == StartAt::Earliest { range.earliest } else { range.end }))
        });
        Ok(Position(offsets.collect::<Result<_>>()?))
    }

    fn assign(&mut self, position: &Position) -> Result<()> {
        self.index.refresh()?;
        let mut assigned = ByPartition::default();
        for (partition, wanted) in &position.0 {
            let range = self.index.range(partition)?;
            if *wanted < range.earliest || range.end < *wanted {
                return Err(Error::refused(format!(
                    "partition {partition}: offset {wanted} is out of range, recording {} has offsets {} to {} \
                     (excluded); is it the recording that the pipeline began with?",
                    self.path.display(),
                    range.earliest,
                    range.end
                )));
            }
            assigned.insert(
                &partition.topic,
                partition.partition,
                Task { next: *wanted, place: None },
            );
        }
        self.lines = Some(Lines::open(&self.path, self.index.start(position))?);
        self.assigned = assigned;
        self.held = None;
        Ok(())
    }

    fn poll(&mut self, timeout: Duration, records_max: usize) -> Result<Vec<Records>> {
        if let Some(error) = self.held.take() {
            return Err(error);
        }
        let mut gathered = Vec::new();
        let read = self.gather(&mut gathered, records_max.max(1));
        self.assigned.values_mut().for_each(|it| it.place = None);
        match read {
            Err(error) if gathered.is_empty() => return Err(error),
            Err(error) => self.held = Some(error),
            // The file's end, for now: nothing comes sooner by asking again at once.
            Ok(()) if gathered.is_empty() => std::thread::sleep(timeout),
            Ok(()) => {}
        }
        Ok(gathered)
    }

    /// A file has no dashboard.
    fn report(&mut self, _committed: &Position) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
