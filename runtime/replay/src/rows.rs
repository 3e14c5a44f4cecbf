//! A hash over rows by their values: how a batch was sliced does not show in it.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use xxhash_rust::xxh3::Xxh3;

/// Rows of one task in order. Equal for equal rows, however they came in batches.
#[derive(Clone, Default)]
pub struct RowHasher {
    /// One hash a column, so that the batches' bounds do not matter.
    columns: Vec<Xxh3>,
    rows: u64,
}

impl RowHasher {
    pub fn update(&mut self, batch: &RecordBatch) {
        if self.columns.len() < batch.num_columns() {
            self.columns.resize_with(batch.num_columns(), Xxh3::new);
        }
        for (hash, column) in self.columns.iter_mut().zip(batch.columns()) {
            hash_column(hash, column);
        }
        self.rows += batch.num_rows() as u64;
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    pub fn finish(&self) -> u64 {
        let mut all = Xxh3::new();
        all.update(&self.rows.to_le_bytes());
        for column in &self.columns {
            all.update(&column.digest().to_le_bytes());
        }
        all.digest()
    }
}

fn hash_column(hash: &mut Xxh3, column: &ArrayRef) {
    if column.null_count() > 0 || column.data_type().is_nested() {
        return (0..column.len()).for_each(|row| hash_value(hash, column, row));
    }
    match column.data_type() {
        DataType::Boolean => {
            column.as_boolean().values().iter().for_each(|it| hash.update(&[u8::from(it)]));
        }
        DataType::Utf8 => {
            let texts = column.as_string::<i32>();
            for row in 0..texts.len() {
                bytes(hash, texts.value(row).as_bytes());
            }
        }
        DataType::Binary => {
            let all = column.as_binary::<i32>();
            for row in 0..all.len() {
                bytes(hash, all.value(row));
            }
        }
        _ => match fixed(column, 0, column.len()) {
            Some(all) => hash.update(&all),
            None => (0..column.len()).for_each(|row| hash_value(hash, column, row)),
        },
    }
}

fn bytes(hash: &mut Xxh3, value: &[u8]) {
    hash.update(&(value.len() as u64).to_le_bytes());
    hash.update(value);
}

fn hash_value(hash: &mut Xxh3, column: &ArrayRef, row: usize) {
    if column.is_null(row) {
        return hash.update(b"\xffno value\xff");
    }
    match column.data_type() {
        DataType::Boolean => hash.update(&[u8::from(column.as_boolean().value(row))]),
        DataType::Utf8 => bytes(hash, column.as_string::<i32>().value(row).as_bytes()),
        DataType::LargeUtf8 => bytes(hash, column.as_string::<i64>().value(row).as_bytes()),
        DataType::Binary => bytes(hash, column.as_binary::<i32>().value(row)),
        DataType::LargeBinary => bytes(hash, column.as_binary::<i64>().value(row)),
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(row);
            hash.update(&(items.len() as u64).to_le_bytes());
            (0..items.len()).for_each(|it| hash_value(hash, &items, it));
        }
        DataType::LargeList(_) => {
            let items = column.as_list::<i64>().value(row);
            hash.update(&(items.len() as u64).to_le_bytes());
            (0..items.len()).for_each(|it| hash_value(hash, &items, it));
        }
        DataType::Struct(_) => {
            for member in column.as_struct().columns() {
                hash_value(hash, member, row);
            }
        }
        _ => match fixed(column, row, 1) {
            Some(value) => hash.update(&value),
            // A type that no operator can emit (DESIGN §2 refuses dictionaries, views and unions).
            None => unreachable!("a column of type {}", column.data_type()),
        },
    }
}

/// The bytes of values of one width. `None` for a type that has none.
fn fixed(column: &ArrayRef, row: usize, len: usize) -> Option<Vec<u8>> {
    let width = match column.data_type() {
        DataType::FixedSizeBinary(width) => *width as usize,
        DataType::Null => return Some(Vec::new()),
        other => other.primitive_width()?,
    };
    let data = column.to_data();
    let from = (data.offset() + row) * width;
    Some(data.buffers().first()?.as_slice().get(from..from + len * width)?.to_vec())
}

/// Of all sinks together.
pub(crate) fn rows_hash_of(sinks: &[RowHasher]) -> u64 {
    match sinks {
        [one] => one.finish(),
        several => {
            let mut all = Xxh3::new();
            several.iter().for_each(|it| all.update(&it.finish().to_le_bytes()));
            all.digest()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{BooleanArray, Int64Array, ListArray, StringArray};

    use super::*;

    fn rows(numbers: Vec<Option<i64>>) -> RecordBatch {
        let texts: StringArray = numbers.iter().map(|it| it.map(|it| it.to_string())).collect();
        let flags: BooleanArray = numbers.iter().map(|it| it.map(|it| it % 2 == 0)).collect();
        let lists = ListArray::from_iter_primitive::<arrow_array::types::Int32Type, _, _>(
            numbers.iter().map(|it| it.map(|it| vec![Some(it as i32), None])),
        );
        RecordBatch::try_from_iter([
            ("n", Arc::new(Int64Array::from(numbers)) as ArrayRef),
            ("t", Arc::new(texts)),
            ("b", Arc::new(flags)),
            ("l", Arc::new(lists)),
        ])
        .unwrap()
    }

    fn hash(batches: &[RecordBatch]) -> u64 {
        let mut hasher = RowHasher::default();
        batches.iter().for_each(|it| hasher.update(it));
        hasher.finish()
    }

    #[test]
    fn values_count_and_slices_do_not() {
        for numbers in
            [vec![Some(1), Some(2), Some(3), Some(4)], vec![Some(1), None, Some(3), None]]
        {
            let whole = rows(numbers.clone());
            let parts = [whole.slice(0, 1), whole.slice(1, 3)];
            assert_eq!(hash(std::slice::from_ref(&whole)), hash(&parts));
            for index in 0..numbers.len() {
                let mut other = numbers.clone();
                other[index] = Some(9);
                assert_ne!(hash(&[rows(other)]), hash(std::slice::from_ref(&whole)));
            }
        }
    }

    #[test]
    fn texts_do_not_run_together() {
        let of = |texts: [&str; 2]| {
            let texts = StringArray::from(texts.to_vec());
            hash(&[RecordBatch::try_from_iter([("t", Arc::new(texts) as ArrayRef)]).unwrap()])
        };
        assert_ne!(of(["ab", "c"]), of(["a", "bc"]));
    }
}
