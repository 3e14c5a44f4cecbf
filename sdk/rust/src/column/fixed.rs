//! Byte strings of one length: one buffer.

use crate::abi::{ArrayView, Exported};
use crate::row::{Column, Field, Value};

pub struct FixedColumn<const N: usize> {
    values: Vec<[u8; N]>,
}

impl<const N: usize> Default for FixedColumn<N> {
    fn default() -> Self {
        FixedColumn { values: Vec::new() }
    }
}

impl<const N: usize> Column for FixedColumn<N> {
    fn push_empty(&mut self) {
        self.values.push([0; N]);
    }

    fn rows(&self) -> usize {
        self.values.len()
    }

    fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows);
    }

    fn bytes(&self) -> usize {
        self.values.len() * N
    }

    fn clear(&mut self) {
        self.values.as_flattened_mut().fill(0);
        self.values.clear();
    }

    fn export(&self) -> Exported<'_> {
        Exported::new(self.rows()).buffer(self.values.as_flattened())
    }
}

pub struct FixedReader<'b, const N: usize> {
    values: &'b [u8],
}

impl<const N: usize> Value for [u8; N] {
    type Of<'b> = Self;
    type Column = FixedColumn<N>;
    type Reader<'b> = FixedReader<'b, N>;

    fn field(name: &str) -> Field {
        const { assert!(N > 0, "an array of no bytes cannot be a column") };
        Field::new(name, format!("w:{N}"), Vec::new())
    }

    fn append(self, column: &mut Self::Column) {
        column.values.push(self);
    }

    fn reader<'b>(array: ArrayView<'b>) -> Self::Reader<'b> {
        FixedReader { values: array.values(1, array.rows() * N) }
    }

    fn read<'b>(reader: &Self::Reader<'b>, row: usize) -> Self::Of<'b> {
        let mut value = [0; N];
        value.copy_from_slice(&reader.values[row * N..(row + 1) * N]);
        value
    }
}
