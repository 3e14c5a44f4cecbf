//! Records as they come from a source: a run of one partition's records in one allocation.

use std::ops::Range;

use crate::event_time::EventTime;
use crate::position::{Offset, TopicPartition};

/// Records of one partition, in offset order, their bytes side by side in one arena.
///
/// Invariant: offsets strictly increase, and `next_offset` is greater than the last of them. It may
/// be greater by more than one: transaction markers and compaction leave gaps.
#[derive(Clone, Debug)]
pub struct Records {
    topic_partition: TopicPartition,
    arena: Vec<u8>,
    entries: Vec<Entry>,
    headers: Vec<HeaderEntry>,
    next_offset: Offset,
}

#[derive(Clone, Debug)]
struct Entry {
    offset: Offset,
    timestamp: EventTime,
    key: Option<Range<u32>>,
    value: Option<Range<u32>>,
    headers: Range<u32>,
}

#[derive(Clone, Debug)]
struct HeaderEntry {
    name: Range<u32>,
    value: Option<Range<u32>>,
}

/// One record, borrowed from its `Records`.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    records: &'a Records,
    entry: &'a Entry,
}

/// Bytes in one `Records` at the most: ranges inside the arena are `u32`.
pub const ARENA_BYTES_MAX: usize = u32::MAX as usize;

impl Records {
    pub fn new(topic_partition: TopicPartition, next_offset: Offset) -> Self {
        Records {
            topic_partition,
            arena: Vec::new(),
            entries: Vec::new(),
            headers: Vec::new(),
            next_offset,
        }
    }

    pub fn with_capacity(
        topic_partition: TopicPartition,
        next_offset: Offset,
        records: usize,
        bytes: usize,
    ) -> Self {
        Records {
            topic_partition,
            arena: Vec::with_capacity(bytes),
            entries: Vec::with_capacity(records),
            headers: Vec::new(),
            next_offset,
        }
    }

    /// Appends a record. Panics if the offset does not increase: a source must never hand one out twice.
    pub fn push(
        &mut self,
        offset: Offset,
        timestamp: EventTime,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) {
        if let Some(last) = self.entries.last() {
            assert!(
                last.offset < offset,
                "{} hands out offset {offset} after {}",
                self.topic_partition,
                last.offset
            );
        }
        let key = key.map(|it| append(&mut self.arena, it));
        let value = value.map(|it| append(&mut self.arena, it));
        let at = self.headers.len() as u32;
        self.entries.push(Entry { offset, timestamp, key, value, headers: at..at });
        self.next_offset = self.next_offset.max(Offset(offset.0 + 1));
    }

    /// Adds a header to the record pushed last.
    pub fn push_header(&mut self, name: &[u8], value: Option<&[u8]>) {
        let name = append(&mut self.arena, name);
        let value = value.map(|it| append(&mut self.arena, it));
        self.headers.push(HeaderEntry { name, value });
        let entry = self.entries.last_mut().expect("a header follows its record");
        entry.headers.end = self.headers.len() as u32;
    }

    /// Says that everything before `offset` was looked at, although no record stands right before it.
    pub fn advance_to(&mut self, offset: Offset) {
        self.next_offset = self.next_offset.max(offset);
    }

    pub fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn byte_len(&self) -> usize {
        self.arena.len()
    }

    /// The records of a range as records of their own. The next offset is this one's only for a range
    /// that reaches the end; before, it is the first offset behind the range.
    pub fn slice(&self, range: Range<usize>) -> Records {
        let behind = self.entries.get(range.end).map_or(self.next_offset, |it| it.offset);
        let mut part = Records::new(self.topic_partition.clone(), behind);
        for record in range.map(|it| self.get(it)) {
            part.push(record.offset(), record.timestamp(), record.key(), record.value());
            for (name, value) in record.headers() {
                part.push_header(name, value);
            }
        }
        part
    }

    /// Hands out all that makes these records what they are, in a fixed order, for hashing.
    pub fn digest(&self, mut write: impl FnMut(&[u8])) {
        write(&self.arena);
        let bound = |range: &Option<Range<u32>>| range.as_ref().map_or(u32::MAX, |it| it.end);
        for entry in &self.entries {
            let mut line = [0u8; 28];
            line[..8].copy_from_slice(&entry.offset.0.to_le_bytes());
            line[8..16].copy_from_slice(&entry.timestamp.0.to_le_bytes());
            line[16..20].copy_from_slice(&bound(&entry.key).to_le_bytes());
            line[20..24].copy_from_slice(&bound(&entry.value).to_le_bytes());
            line[24..].copy_from_slice(&entry.headers.end.to_le_bytes());
            write(&line);
        }
        for header in &self.headers {
            write(&header.name.end.to_le_bytes());
            write(&bound(&header.value).to_le_bytes());
        }
    }

    pub fn get(&self, index: usize) -> Record<'_> {
        Record { records: self, entry: &self.entries[index] }
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = Record<'_>> + Clone {
        self.entries.iter().map(|entry| Record { records: self, entry })
    }

    pub fn first_offset(&self) -> Option<Offset> {
        self.entries.first().map(|it| it.offset)
    }

    pub fn last_offset(&self) -> Option<Offset> {
        self.entries.last().map(|it| it.offset)
    }
}

impl<'a> Record<'a> {
    pub fn offset(&self) -> Offset {
        self.entry.offset
    }

    pub fn timestamp(&self) -> EventTime {
        self.entry.timestamp
    }

    pub fn key(&self) -> Option<&'a [u8]> {
        self.entry.key.clone().map(|it| self.records.bytes(it))
    }

    /// The value; a tombstone has none.
    pub fn value(&self) -> Option<&'a [u8]> {
        self.entry.value.clone().map(|it| self.records.bytes(it))
    }

    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        let records = self.records;
        let range = self.entry.headers.start as usize..self.entry.headers.end as usize;
        records.headers[range].iter().map(|it| {
            (records.bytes(it.name.clone()), it.value.clone().map(|value| records.bytes(value)))
        })
    }
}

impl Records {
    fn bytes(&self, range: Range<u32>) -> &[u8] {
        &self.arena[range.start as usize..range.end as usize]
    }
}

fn append(arena: &mut Vec<u8>, bytes: &[u8]) -> Range<u32> {
    let start = arena.len();
    assert!(start + bytes.len() <= ARENA_BYTES_MAX, "a run of records is over 4 GiB");
    arena.extend_from_slice(bytes);
    start as u32..arena.len() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_gives_back_what_was_pushed() {
        let mut records = Records::new(TopicPartition::new("t", 3), Offset(5));
        records.push(Offset(7), EventTime(10), Some(b"k"), Some(b"value"));
        records.push_header(b"h", Some(b"1"));
        records.push_header(b"n", None);
        records.push(Offset(9), EventTime(11), None, None);
        assert_eq!(records.next_offset(), Offset(10));
        let first = records.get(0);
        assert_eq!((first.key(), first.value()), (Some(&b"k"[..]), Some(&b"value"[..])));
        let headers: Vec<_> = first.headers().collect();
        assert_eq!(headers, [(&b"h"[..], Some(&b"1"[..])), (&b"n"[..], None)]);
        let second = records.get(1);
        assert_eq!((second.key(), second.value(), second.headers().len()), (None, None, 0));
    }

    #[test]
    fn slices_side_by_side_are_the_whole() {
        let mut records = Records::new(TopicPartition::new("t", 0), Offset(0));
        for offset in [1, 2, 5, 9] {
            records.push(Offset(offset), EventTime(offset), Some(b"k"), Some(&[offset as u8]));
        }
        records.advance_to(Offset(20));
        let (left, right) = (records.slice(0..2), records.slice(2..4));
        assert_eq!((left.next_offset(), right.next_offset()), (Offset(5), Offset(20)));
        let values: Vec<_> = left.iter().chain(right.iter()).map(|it| it.value()).collect();
        assert_eq!(values, records.iter().map(|it| it.value()).collect::<Vec<_>>());
    }

    #[test]
    #[should_panic(expected = "hands out offset")]
    fn an_offset_never_comes_twice() {
        let mut records = Records::new(TopicPartition::new("t", 0), Offset(0));
        records.push(Offset(7), EventTime(10), None, None);
        records.push(Offset(7), EventTime(10), None, None);
    }
}
