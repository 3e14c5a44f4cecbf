//! Exchange: which task of a keyed stage gets which rows, and what a journal keeps of rows that were passed.
//!
//! The same key goes to the same task for as long as a pipeline lives, on every machine: the hash is part of
//! the checkpoint's identity by its name, and a change of it is another name.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Date64Type, Decimal128Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Schema};

use crate::error::{Error, Result};

/// The name of the hash below, and of how a task follows from it.
pub const PARTITIONER: &str = "floe-hash-1";

/// The key columns of the rows that a keyed stage takes, by their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyColumns(Vec<usize>);

impl KeyColumns {
    /// An error names the column that is not there, or is no key.
    pub fn find(schema: &Schema, names: &[String]) -> Result<KeyColumns> {
        let find = |name: &String| {
            let Some((index, field)) = schema.column_with_name(name) else {
                let columns: Vec<&str> =
                    schema.fields().iter().map(|it| it.name().as_str()).collect();
                return Err(Error::invalid(format!(
                    "there is no column {name:?} to key by\n→ the operator takes {}",
                    columns.join(", ")
                )));
            };
            match is_key(field.data_type()) {
                true => Ok(index),
                false => Err(Error::invalid(format!(
                    "column {name:?} of type {} is no key: equal values must have equal bytes\n→ texts, bytes, whole numbers, decimals, dates, timestamps and booleans are keys",
                    field.data_type()
                ))),
            }
        };
        names.iter().map(find).collect::<Result<_>>().map(KeyColumns)
    }

    /// For each task, its rows in their order.
    pub fn part(&self, batch: &RecordBatch, tasks: u32) -> Vec<Vec<u32>> {
        let mut hashes = vec![BEGIN; batch.num_rows()];
        for column in &self.0 {
            mix_column(&mut hashes, batch.column(*column));
        }
        let mut parts = vec![Vec::new(); tasks as usize];
        for (row, hash) in hashes.into_iter().enumerate() {
            parts[task_of(hash, tasks)].push(row as u32);
        }
        parts
    }
}

/// The task of a key whose columns were mixed in.
fn task_of(hash: u64, tasks: u32) -> usize {
    let hash = finished(hash);
    ((u128::from(hash) * u128::from(tasks)) >> 64) as usize
}

/// Every bit of it depends on every bit of what was mixed in.
fn finished(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    hash ^ (hash >> 33)
}

const BEGIN: u64 = 0x243F_6A88_85A3_08D3;
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
/// In place of a value that is null.
const NULL: u64 = 0x6E75_6C6C_6E75_6C6C;

fn mix(hash: u64, word: u64) -> u64 {
    let mixed = (hash ^ word).wrapping_mul(FACTOR);
    mixed ^ (mixed >> 32)
}

/// The length, then the bytes in little-endian words of 8, the last filled with zeros.
fn mix_bytes(hash: u64, bytes: &[u8]) -> u64 {
    let mut hash = mix(hash, bytes.len() as u64);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = mix(hash, u64::from_le_bytes(*word));
    }
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        hash = mix(hash, u64::from_le_bytes(word));
    }
    hash
}

fn is_key(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
            | DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt32
            | DataType::UInt64
            | DataType::Date32
            | DataType::Date64
            | DataType::Timestamp(_, _)
            | DataType::Decimal128(_, _)
            | DataType::Utf8
            | DataType::Binary
    )
}

/// Whole numbers, dates and timestamps are 64 bits with their sign, so that a wider column has the same hash.
fn mix_column(hashes: &mut [u64], column: &ArrayRef) {
    macro_rules! numbers {
        ($type:ty) => {{
            let values = column.as_primitive::<$type>().values();
            each(hashes, column, |row, hash| mix(hash, values[row] as i64 as u64))
        }};
    }
    match column.data_type() {
        DataType::Boolean => {
            let values = column.as_boolean();
            each(hashes, column, |row, hash| mix(hash, u64::from(values.value(row))));
        }
        DataType::Int8 => numbers!(Int8Type),
        DataType::Int16 => numbers!(Int16Type),
        DataType::Int32 => numbers!(Int32Type),
        DataType::Int64 => numbers!(Int64Type),
        DataType::UInt8 => numbers!(UInt8Type),
        DataType::UInt16 => numbers!(UInt16Type),
        DataType::UInt32 => numbers!(UInt32Type),
        DataType::UInt64 => numbers!(UInt64Type),
        DataType::Date32 => numbers!(Date32Type),
        DataType::Date64 => numbers!(Date64Type),
        DataType::Timestamp(_, _) => {
            // Whatever it counts, it is 64 bits.
            fixed(column, 8, |bytes| {
                let (words, _) = bytes.as_chunks::<8>();
                each(hashes, column, |row, hash| mix(hash, u64::from_le_bytes(words[row])));
            });
        }
        DataType::Decimal128(_, _) => {
            let values = column.as_primitive::<Decimal128Type>().values();
            each(hashes, column, |row, hash| {
                mix(mix(hash, values[row] as u64), (values[row] >> 64) as u64)
            });
        }
        DataType::Utf8 => {
            let values = column.as_string::<i32>();
            each(hashes, column, |row, hash| mix_bytes(hash, values.value(row).as_bytes()));
        }
        DataType::Binary => {
            let values = column.as_binary::<i32>();
            each(hashes, column, |row, hash| mix_bytes(hash, values.value(row)));
        }
        other => unreachable!("a key of type {other} was refused at the start"),
    }
}

fn each(hashes: &mut [u64], column: &ArrayRef, mix_in: impl Fn(usize, u64) -> u64) {
    for (row, hash) in hashes.iter_mut().enumerate() {
        *hash = match column.is_null(row) {
            true => mix(*hash, NULL),
            false => mix_in(row, *hash),
        };
    }
}

/// With the bytes of a column's values of one width, whatever their type.
fn fixed(column: &ArrayRef, width: usize, take: impl FnOnce(&[u8])) {
    let data = column.to_data();
    let from = data.offset() * width;
    take(&data.buffers()[0].as_slice()[from..from + data.len() * width]);
}

/// A hash of what `digest` gives out. Long pieces go through four lanes: each word waits for the one before it in
/// its lane alone. `RowsMark::of` over 8,192 payments takes 4 ns a row so, and 29 with one lane and copies.
pub(crate) struct RowsHash(u64);

/// Bytes of the lanes together.
const LANES_BYTES: usize = 32;
/// What the lanes begin with, so that words do not change places unseen.
const LANES: [u64; 4] =
    [BEGIN, BEGIN.rotate_left(16), BEGIN.rotate_left(32), BEGIN.rotate_left(48)];

impl Default for RowsHash {
    fn default() -> RowsHash {
        RowsHash(BEGIN)
    }
}

impl RowsHash {
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        let (rounds, rest) = bytes.as_chunks::<LANES_BYTES>();
        let mut lanes = LANES;
        for round in rounds {
            let (words, _) = round.as_chunks::<8>();
            for (lane, word) in lanes.iter_mut().zip(words) {
                *lane = mix(*lane, u64::from_le_bytes(*word));
            }
        }
        if !rounds.is_empty() {
            self.0 = mix(self.0, rounds.len() as u64);
            self.0 = lanes.into_iter().fold(self.0, mix);
        }
        self.0 = mix_bytes(self.0, rest);
    }

    pub(crate) fn finish(&self) -> u64 {
        finished(self.0)
    }
}

/// Gives out what rows are, piece by piece, for a hash: equal for equal rows in equal columns.
pub fn digest(batch: &RecordBatch, take: &mut dyn FnMut(&[u8])) {
    take(&(batch.num_rows() as u64).to_le_bytes());
    batch.columns().iter().for_each(|it| digest_column(it, take));
}

fn digest_column(column: &ArrayRef, take: &mut dyn FnMut(&[u8])) {
    if column.null_count() > 0 {
        let valid: Vec<u8> = (0..column.len()).map(|it| u8::from(column.is_valid(it))).collect();
        take(&valid);
    }
    match column.data_type() {
        DataType::Null => {}
        DataType::Boolean => {
            let values = column.as_boolean().values();
            take(&values.iter().map(u8::from).collect::<Vec<u8>>());
        }
        DataType::Utf8 => {
            let texts = column.as_string::<i32>();
            digest_bytes(texts.value_offsets(), texts.value_data(), take);
        }
        DataType::Binary => {
            let blobs = column.as_binary::<i32>();
            digest_bytes(blobs.value_offsets(), blobs.value_data(), take);
        }
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            let offsets = list.value_offsets();
            digest_bytes(offsets, &[], take);
            let (first, last) = (offsets[0] as usize, offsets[offsets.len() - 1] as usize);
            digest_column(&list.values().slice(first, last - first), take);
        }
        DataType::Struct(_) => {
            column.as_struct().columns().iter().for_each(|it| digest_column(it, take));
        }
        DataType::FixedSizeBinary(width) => fixed(column, *width as usize, take),
        other => match other.primitive_width() {
            Some(width) => fixed(column, width, take),
            None => unreachable!("no operator emits a column of type {other}"),
        },
    }
}

/// Lengths, then what they are of. Of lists, whose items follow by themselves, the lengths alone.
fn digest_bytes(offsets: &[i32], data: &[u8], take: &mut dyn FnMut(&[u8])) {
    let mut lengths = vec![[0; 4]; offsets.len() - 1];
    for (length, it) in lengths.iter_mut().zip(offsets.windows(2)) {
        *length = (it[1] - it[0]).to_le_bytes();
    }
    take(lengths.as_flattened());
    if !data.is_empty() {
        take(&data[offsets[0] as usize..offsets[offsets.len() - 1] as usize]);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{BooleanArray, Int32Array, Int64Array, StringArray};

    use super::*;

    fn names(names: &[Option<&str>]) -> RecordBatch {
        let column = Arc::new(StringArray::from(names.to_vec())) as ArrayRef;
        RecordBatch::try_from_iter([("name", column)]).unwrap()
    }

    fn key(batch: &RecordBatch, columns: &[&str]) -> KeyColumns {
        let columns: Vec<String> = columns.iter().map(|it| (*it).to_owned()).collect();
        KeyColumns::find(&batch.schema(), &columns).unwrap()
    }

    /// These numbers are what "floe-hash-1" means: state stands where they say.
    #[test]
    fn a_key_goes_where_it_always_went() {
        let batch = names(&[Some("m-1"), Some("m-2"), Some(""), None, Some("a longer name")]);
        let mut hashes = vec![BEGIN; 5];
        mix_column(&mut hashes, batch.column(0));
        let tasks: Vec<usize> = hashes.iter().map(|it| task_of(*it, 1000)).collect();
        assert_eq!(tasks, TASKS_OF_1000);
    }

    const TASKS_OF_1000: [usize; 5] = [825, 578, 80, 718, 895];

    #[test]
    fn every_row_goes_to_one_task_and_in_order() {
        let keys: Vec<String> = (0..10_000).map(|it| format!("merchant-{}", it % 500)).collect();
        let keys: Vec<Option<&str>> = keys.iter().map(|it| Some(it.as_str())).collect();
        let batch = names(&keys);
        let parts = key(&batch, &["name"]).part(&batch, 7);
        assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), 10_000);
        for part in &parts {
            assert!(part.is_sorted());
            assert!(
                (700..2400).contains(&part.len()),
                "{} rows of 10,000 for one of 7",
                part.len()
            );
        }
        let of = |row: u32| parts.iter().position(|it| it.contains(&row));
        for row in 0..500 {
            assert_eq!(of(row), of(row + 9_500), "one key, one task");
        }
        assert_eq!(key(&batch, &["name"]).part(&batch, 1)[0].len(), 10_000);
    }

    #[test]
    fn a_wider_number_has_the_same_hash_and_two_columns_another() {
        let narrow = Arc::new(Int32Array::from(vec![-5, 7, i32::MAX])) as ArrayRef;
        let wide = Arc::new(Int64Array::from(vec![-5, 7, i64::from(i32::MAX)])) as ArrayRef;
        let flags = Arc::new(BooleanArray::from(vec![true, false, true])) as ArrayRef;
        let narrow =
            RecordBatch::try_from_iter([("a", narrow), ("b", Arc::clone(&flags))]).unwrap();
        let wide = RecordBatch::try_from_iter([("a", wide), ("b", flags)]).unwrap();
        let part = |batch: &RecordBatch, columns: &[&str]| key(batch, columns).part(batch, 1000);
        assert_eq!(part(&narrow, &["a"]), part(&wide, &["a"]));
        assert_ne!(part(&narrow, &["a", "b"]), part(&narrow, &["a"]));
        assert_ne!(part(&narrow, &["a", "b"]), part(&narrow, &["b", "a"]));
    }

    #[test]
    fn what_is_no_key_is_refused_by_name() {
        let numbers = Arc::new(arrow_array::Float64Array::from(vec![1.0])) as ArrayRef;
        let batch = RecordBatch::try_from_iter([("f", numbers)]).unwrap();
        let wrong =
            |name: &str| KeyColumns::find(&batch.schema(), &[name.to_owned()]).unwrap_err().message;
        assert!(wrong("f").contains("is no key"));
        assert!(wrong("g").contains("there is no column \"g\""));
    }

    #[test]
    fn slices_digest_as_what_they_hold() {
        let digest_of = |batch: &RecordBatch| {
            let mut all = Vec::new();
            digest(batch, &mut |it| all.extend_from_slice(it));
            all
        };
        let whole = names(&[Some("x"), Some("ab"), None, Some("c")]);
        let same = names(&[Some("ab"), None, Some("c")]);
        assert_eq!(digest_of(&whole.slice(1, 3)), digest_of(&same));
        let other = names(&[Some("a"), Some("bc")]);
        assert_ne!(digest_of(&names(&[Some("ab"), Some("c")])), digest_of(&other));
    }
}
