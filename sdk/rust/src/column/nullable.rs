//! `Option`: a column of any type with a bitmap that says which rows are there.

use crate::abi::{ArrayView, Exported};
use crate::column::bits::{Bits, BitsReader};
use crate::row::{Column, Field, Value};

#[derive(Default)]
pub struct NullableColumn<C> {
    validity: Bits,
    values: C,
}

impl<C: Column> Column for NullableColumn<C> {
    fn push_empty(&mut self) {
        self.validity.push(false);
        self.values.push_empty();
    }

    fn rows(&self) -> usize {
        self.validity.rows()
    }

    fn truncate(&mut self, rows: usize) {
        self.validity.truncate(rows);
        self.values.truncate(rows);
    }

    fn bytes(&self) -> usize {
        self.validity.as_bytes().len() + self.values.bytes()
    }

    fn clear(&mut self) {
        self.validity.clear();
        self.values.clear();
    }

    fn export(&self) -> Exported<'_> {
        let values = self.values.export();
        match self.validity.zero_count() {
            0 => values,
            nulls => values.nulls(nulls, self.validity.as_bytes()),
        }
    }
}

pub struct NullableReader<'b, T: Value> {
    /// `None`: no row is null.
    validity: Option<BitsReader<'b>>,
    values: T::Reader<'b>,
}

impl<T: Value> Value for Option<T> {
    type Of<'b> = Option<T::Of<'b>>;
    type Column = NullableColumn<T::Column>;
    type Reader<'b> = NullableReader<'b, T>;

    const NULLABLE: bool = true;

    fn field(name: &str) -> Field {
        const { assert!(!T::NULLABLE, "an Option of an Option cannot be a column") };
        Field { nullable: true, ..T::field(name) }
    }

    #[inline]
    fn append(self, column: &mut Self::Column) {
        match self {
            Some(value) => {
                column.validity.push(true);
                value.append(&mut column.values);
            }
            None => column.push_empty(),
        }
    }

    fn reader<'b>(array: ArrayView<'b>) -> Self::Reader<'b> {
        NullableReader { validity: array.validity(), values: T::reader(array) }
    }

    #[inline]
    fn read<'b>(reader: &Self::Reader<'b>, row: usize) -> Self::Of<'b> {
        let is_there = reader.validity.is_none_or(|it| it.get(row));
        is_there.then(|| T::read(&reader.values, row))
    }
}
