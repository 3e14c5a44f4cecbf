//! Booleans: one buffer of bits.

use crate::abi::{ArrayView, Exported};
use crate::column::bits::{Bits, BitsReader};
use crate::row::{Column, Field, Value};

#[derive(Default)]
pub struct BooleanColumn {
    bits: Bits,
}

impl BooleanColumn {
    #[inline]
    pub(crate) fn push(&mut self, bit: bool) {
        self.bits.push(bit);
    }
}

impl Column for BooleanColumn {
    fn push_empty(&mut self) {
        self.bits.push(false);
    }

    fn rows(&self) -> usize {
        self.bits.rows()
    }

    fn truncate(&mut self, rows: usize) {
        self.bits.truncate(rows);
    }

    fn bytes(&self) -> usize {
        self.bits.as_bytes().len()
    }

    fn clear(&mut self) {
        self.bits.clear();
    }

    fn export(&self) -> Exported<'_> {
        Exported::new(self.rows()).buffer(self.bits.as_bytes())
    }
}

impl Value for bool {
    type Of<'b> = Self;
    type Column = BooleanColumn;
    type Reader<'b> = BitsReader<'b>;

    fn field(name: &str) -> Field {
        Field::new(name, "b", Vec::new())
    }

    #[inline]
    fn append(self, column: &mut Self::Column) {
        column.bits.push(self);
    }

    fn reader<'b>(array: ArrayView<'b>) -> Self::Reader<'b> {
        BitsReader(array.values(1, array.rows().div_ceil(8)))
    }

    #[inline]
    fn read<'b>(reader: &Self::Reader<'b>, row: usize) -> Self::Of<'b> {
        reader.get(row)
    }
}
