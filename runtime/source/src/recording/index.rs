//! What one pass over a recording learns: each partition's range, and marks to begin reading near.
//!
//! Invariant: within a partition offsets strictly increase; a file that breaks it is refused by line.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use floe_core::{Error, EventTime, Offset, Position, Result, TopicPartition};

use super::by_partition::ByPartition;
use super::line::{NO_TIMESTAMP, Place, parse};

pub(super) struct Index {
    path: PathBuf,
    topic: String,
    pub(super) partitions: ByPartition<Range>,
    /// How far the file was looked at. What is appended later is looked at by the next `refresh`.
    scanned: Mark,
}

/// One partition of the file.
pub(super) struct Range {
    pub(super) earliest: Offset,
    pub(super) end: Offset,
    record_count: u64,
    marks: Vec<(Offset, Mark)>,
}

/// A place between two lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    pub(super) byte: u64,
    /// Lines before it.
    pub(super) line: u64,
}

/// One mark for so many records of a partition: 24 bytes for about a megabyte of lines, which are
/// read again in a few milliseconds.
const MARK_EVERY: u64 = 4096;

/// Lines are a few hundred bytes; this makes a pass limited by memory, not by calls.
pub(super) const BUFFER_BYTES: usize = 1 << 20;

impl Index {
    pub(super) fn new(path: &Path, topic: &str) -> Self {
        Index {
            path: path.to_owned(),
            topic: topic.to_owned(),
            partitions: ByPartition::default(),
            scanned: Mark { byte: 0, line: 0 },
        }
    }

    /// Looks at what was appended since the last time, the first time at all of it.
    pub(super) fn refresh(&mut self) -> Result<()> {
        let len = std::fs::metadata(&self.path).map_err(|it| open_error(&self.path, &it))?.len();
        if len < self.scanned.byte {
            return Err(Error::refused(format!(
                "recording {} is {len} bytes long and was {}: it must only grow while it is read",
                self.path.display(),
                self.scanned.byte
            )));
        }
        if len == self.scanned.byte {
            return Ok(());
        }
        let mut lines = Lines::open(&self.path, self.scanned)?;
        while let Some((mark, line)) = lines.next()? {
            let place: Place<'_> = parse(line).map_err(|it| line_error(&self.path, mark, &it))?;
            let topic = place.topic.as_deref().unwrap_or(&self.topic);
            self.partitions
                .note(topic, place.partition, Offset(place.offset), mark)
                .map_err(|it| line_error(&self.path, mark, &it))?;
        }
        if let Some(mark) = lines.unfinished {
            tracing::warn!(
                "{}:{}: the last line is not whole, waiting for the rest of it",
                self.path.display(),
                mark.line + 1
            );
        }
        self.scanned = lines.mark();
        Ok(())
    }

    /// Where to begin so that nothing at or after these offsets is missed.
    pub(super) fn start(&self, position: &Position) -> Mark {
        let marks = position.0.iter().filter_map(|(partition, offset)| {
            let range = self.partitions.get(&partition.topic, partition.partition)?;
            // A partition read to its end needs nothing of the file.
            (*offset < range.end).then(|| range.mark_before(*offset))
        });
        marks.min().unwrap_or(self.scanned)
    }

    /// The first offset of each partition at or after a time; its end where all records are older.
    pub(super) fn at_time(
        &self,
        partitions: &[TopicPartition],
        time: EventTime,
    ) -> Result<Position> {
        let mut found: ByPartition<Option<Offset>> = ByPartition::default();
        for it in partitions {
            found.insert(&it.topic, it.partition, None);
        }
        let mut lines = Lines::open(&self.path, Mark { byte: 0, line: 0 })?;
        while let Some((mark, line)) = lines.next()? {
            let place: Place<'_> = parse(line).map_err(|it| line_error(&self.path, mark, &it))?;
            let topic = place.topic.as_deref().unwrap_or(&self.topic);
            if let Some(first @ None) = found.get_mut(topic, place.partition)
                && place.timestamp.unwrap_or(NO_TIMESTAMP) >= time.0
            {
                *first = Some(Offset(place.offset));
            }
        }
        let mut position = Position::default();
        for (partition, first) in found.iter() {
            let offset = match first {
                Some(offset) => *offset,
                None => self.range(&partition)?.end,
            };
            position.0.insert(partition, offset);
        }
        Ok(position)
    }

    pub(super) fn range(&self, partition: &TopicPartition) -> Result<&Range> {
        self.partitions.get(&partition.topic, partition.partition).ok_or_else(|| {
            Error::refused(format!(
                "recording {} has no records of partition {partition}",
                self.path.display()
            ))
        })
    }
}

impl Range {
    fn mark_before(&self, offset: Offset) -> Mark {
        let at = self.marks.partition_point(|(it, _)| *it <= offset);
        self.marks[at.saturating_sub(1)].1
    }
}

impl ByPartition<Range> {
    fn note(
        &mut self,
        topic: &str,
        partition: i32,
        offset: Offset,
        mark: Mark,
    ) -> Result<(), String> {
        if partition < 0 || offset.0 < 0 {
            return Err("partition and offset count from 0".to_owned());
        }
        let end = Offset(offset.0 + 1);
        let Some(range) = self.get_mut(topic, partition) else {
            if topic.starts_with('@') {
                return Err(format!(
                    "topic {topic:?} begins with '@': so tasks behind a key-by are named; give it a name that Kafka would take"
                ));
            }
            let marks = vec![(offset, mark)];
            self.insert(topic, partition, Range { earliest: offset, end, record_count: 1, marks });
            return Ok(());
        };
        if offset < range.end {
            return Err(format!(
                "offset {offset} of {topic}/{partition} comes after offset {}: offsets of a partition must increase",
                range.end.0 - 1
            ));
        }
        if range.record_count.is_multiple_of(MARK_EVERY) {
            range.marks.push((offset, mark));
        }
        range.record_count += 1;
        range.end = end;
        Ok(())
    }
}

/// The lines of a file from a mark on, without their newlines; blank lines are passed over.
///
/// A last line that has no newline and is no whole value yet is one that is being written: it is not there
/// until the rest has come.
pub(super) struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    next: Mark,
    line: Vec<u8>,
    /// The last line, when it is not whole.
    unfinished: Option<Mark>,
}

impl Lines {
    pub(super) fn open(path: &Path, from: Mark) -> Result<Self> {
        let mut file = File::open(path).map_err(|it| open_error(path, &it))?;
        file.seek(SeekFrom::Start(from.byte)).map_err(|it| open_error(path, &it))?;
        let reader = BufReader::with_capacity(BUFFER_BYTES, file);
        Ok(Lines { path: path.to_owned(), reader, next: from, line: Vec::new(), unfinished: None })
    }

    /// The next line and the mark before it.
    pub(super) fn next(&mut self) -> Result<Option<(Mark, &[u8])>> {
        loop {
            self.line.clear();
            let read = self.reader.read_until(b'\n', &mut self.line);
            let read = read.map_err(|it| {
                Error::retry(format!("recording {} cannot be read: {it}", self.path.display()))
            })?;
            if read == 0 {
                return Ok(None);
            }
            let mark = self.next;
            if !self.line.ends_with(b"\n") && !is_whole(&self.line) {
                self.reader
                    .seek(SeekFrom::Start(mark.byte))
                    .map_err(|it| open_error(&self.path, &it))?;
                self.unfinished = Some(mark);
                return Ok(None);
            }
            self.next = Mark { byte: mark.byte + read as u64, line: mark.line + 1 };
            if !self.line.trim_ascii().is_empty() {
                return Ok(Some((mark, self.line.trim_ascii_end())));
            }
        }
    }

    /// Behind the line read last.
    pub(super) fn mark(&self) -> Mark {
        self.next
    }
}

fn is_whole(line: &[u8]) -> bool {
    parse::<serde::de::IgnoredAny>(line).is_ok() || line.trim_ascii().is_empty()
}

pub(super) fn line_error(path: &Path, mark: Mark, what: &str) -> Error {
    Error::invalid(format!("{}:{}: {what}", path.display(), mark.line + 1))
}

fn open_error(path: &Path, error: &std::io::Error) -> Error {
    Error::invalid(format!("recording {} cannot be opened: {error}", path.display()))
}
