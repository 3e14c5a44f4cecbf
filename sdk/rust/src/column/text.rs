//! Text and bytes: offsets, and all bytes side by side.

use std::borrow::Cow;

use crate::abi::{ArrayView, Exported, utf8};
use crate::column::bits::clear_to_zero;
use crate::copy::copy;
use crate::row::{Column, Field, Value};

/// Texts or byte strings.
///
/// Invariant: one offset more than rows, ascending, the last of them the number of bytes.
pub struct BytesColumn {
    offsets: Vec<i32>,
    arena: Arena,
}

impl Default for BytesColumn {
    fn default() -> Self {
        BytesColumn { offsets: vec![0], arena: Arena::default() }
    }
}

impl BytesColumn {
    #[inline]
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.arena.append(bytes);
        self.offsets.push(end_offset(self.arena.len));
    }
}

/// Bytes side by side.
///
/// Invariant: what lies behind `len` is zero.
#[derive(Default)]
struct Arena {
    room: Vec<u8>,
    len: usize,
}

impl Arena {
    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        let len = bytes.len();
        if self.room.len() - self.len < len {
            self.grow(len);
        }
        let place = &mut self.room[self.len..self.len + len];
        copy(place, bytes);
        self.len += len;
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, len: usize) {
        self.room.resize((self.room.len() * 2).max(self.len + len).max(1024), 0);
    }

    fn as_bytes(&self) -> &[u8] {
        &self.room[..self.len]
    }

    fn truncate(&mut self, len: usize) {
        self.room[len..self.len].fill(0);
        self.len = len;
    }
}

/// The end of a value as an offset.
#[inline]
pub(crate) fn end_offset(len: usize) -> i32 {
    i32::try_from(len).expect("a column of one batch holds less than 2 GiB")
}

impl Column for BytesColumn {
    fn push_empty(&mut self) {
        self.push(b"");
    }

    #[inline]
    fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    fn truncate(&mut self, rows: usize) {
        self.arena.truncate(self.offsets[rows] as usize);
        self.offsets.truncate(rows + 1);
    }

    fn bytes(&self) -> usize {
        self.offsets.len() * size_of::<i32>() + self.arena.len
    }

    fn clear(&mut self) {
        self.arena.truncate(0);
        clear_to_zero(&mut self.offsets);
        self.offsets.push(0);
    }

    fn export(&self) -> Exported<'_> {
        Exported::new(self.rows()).buffer(&self.offsets).buffer(self.arena.as_bytes())
    }
}

/// Where each value of a column with offsets begins and ends.
pub(crate) struct OffsetsReader<'b>(&'b [i32]);

impl<'b> OffsetsReader<'b> {
    pub(crate) fn new(array: ArrayView<'b>) -> Self {
        OffsetsReader(match array.rows() {
            // An array without rows may come without offsets.
            0 => &[0],
            rows => array.values(1, rows + 1),
        })
    }

    #[inline]
    pub(crate) fn range(&self, row: usize) -> std::ops::Range<usize> {
        self.0[row] as usize..self.0[row + 1] as usize
    }

    pub(crate) fn end(&self) -> usize {
        self.0.last().map_or(0, |it| *it as usize)
    }
}

pub struct BytesReader<'b> {
    offsets: OffsetsReader<'b>,
    bytes: &'b [u8],
}

impl<'b> BytesReader<'b> {
    pub(crate) fn new(array: ArrayView<'b>) -> Self {
        let offsets = OffsetsReader::new(array);
        let bytes = array.values(2, offsets.end());
        BytesReader { offsets, bytes }
    }

    #[inline]
    pub(crate) fn get(&self, row: usize) -> &'b [u8] {
        &self.bytes[self.offsets.range(row)]
    }
}

/// Types that are text or bytes: how to append one, and how to make one of what was read.
macro_rules! bytes_value {
    ($type:ty, $of:ty, $format:literal, $as_bytes:expr, $read:expr) => {
        impl Value for $type {
            type Of<'b> = $of;
            type Column = BytesColumn;
            type Reader<'b> = BytesReader<'b>;

            fn field(name: &str) -> Field {
                Field::new(name, $format, Vec::new())
            }
            #[inline]
            fn append(self, column: &mut Self::Column) {
                let as_bytes: fn(&Self) -> &[u8] = $as_bytes;
                column.push(as_bytes(&self));
            }
            fn reader<'b>(array: ArrayView<'b>) -> Self::Reader<'b> {
                BytesReader::new(array)
            }
            #[inline]
            fn read<'b>(reader: &Self::Reader<'b>, row: usize) -> Self::Of<'b> {
                let read: fn(&'b [u8]) -> Self::Of<'b> = $read;
                read(reader.get(row))
            }
        }
    };
}

bytes_value!(String, String, "u", |it| it.as_bytes(), |it| utf8(it).to_owned());
bytes_value!(Box<str>, Box<str>, "u", |it| it.as_bytes(), |it| utf8(it).into());
bytes_value!(&str, &'b str, "u", |it| it.as_bytes(), utf8);
bytes_value!(Cow<'_, str>, Cow<'b, str>, "u", |it| it.as_bytes(), |it| Cow::Borrowed(utf8(it)));
bytes_value!(&[u8], &'b [u8], "z", |it| it, |it| it);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_every_length_are_appended_whole() {
        let text: Vec<u8> = (0..100).collect();
        let (mut arena, mut expected) = (Arena::default(), Vec::new());
        for len in 0..=100 {
            arena.append(&text[..len]);
            expected.extend_from_slice(&text[..len]);
            assert_eq!(arena.as_bytes(), expected, "after {len} bytes");
        }
        arena.truncate(7);
        assert_eq!(arena.as_bytes(), &expected[..7]);
        assert!(arena.room[7..].iter().all(|it| *it == 0));
    }
}
