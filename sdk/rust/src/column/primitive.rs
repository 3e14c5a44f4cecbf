//! Numbers: one buffer of values.

use crate::abi::{ArrayView, Exported};
use crate::column::bits::clear_to_zero;
use crate::row::{Column, Field, Value};

pub trait Number: Copy + Default + 'static {
    const IS_BYTE: bool = false;
}

pub struct PrimitiveColumn<T> {
    values: Vec<T>,
}

impl<T> Default for PrimitiveColumn<T> {
    fn default() -> Self {
        PrimitiveColumn { values: Vec::new() }
    }
}

impl<T> PrimitiveColumn<T> {
    #[inline]
    pub(crate) fn push(&mut self, value: T) {
        self.values.push(value);
    }
}

impl<T: Number> Column for PrimitiveColumn<T> {
    const LIST_IS_BINARY: bool = T::IS_BYTE;

    fn push_empty(&mut self) {
        self.values.push(T::default());
    }

    #[inline]
    fn rows(&self) -> usize {
        self.values.len()
    }

    fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows);
    }

    fn bytes(&self) -> usize {
        self.values.len() * size_of::<T>()
    }

    fn clear(&mut self) {
        clear_to_zero(&mut self.values);
    }

    fn export(&self) -> Exported<'_> {
        Exported::new(self.rows()).buffer(&self.values)
    }
}

pub struct PrimitiveReader<'b, T> {
    values: &'b [T],
}

impl<'b, T: Copy> PrimitiveReader<'b, T> {
    pub(crate) fn new(array: ArrayView<'b>) -> Self {
        PrimitiveReader { values: array.values(1, array.rows()) }
    }

    #[inline]
    pub(crate) fn get(&self, row: usize) -> T {
        self.values[row]
    }
}

impl Number for i128 {}

macro_rules! primitive_value {
    ($($number:ty: $format:literal $is_byte:literal),*) => {$(
        impl Number for $number {
            const IS_BYTE: bool = $is_byte;
        }

        impl Value for $number {
            type Of<'b> = Self;
            type Column = PrimitiveColumn<Self>;
            type Reader<'b> = PrimitiveReader<'b, Self>;

            fn field(name: &str) -> Field {
                Field::new(name, $format, Vec::new())
            }
            #[inline]
            fn append(self, column: &mut Self::Column) {
                column.push(self);
            }
            fn reader<'b>(array: ArrayView<'b>) -> Self::Reader<'b> {
                PrimitiveReader::new(array)
            }
            #[inline]
            fn read<'b>(reader: &Self::Reader<'b>, row: usize) -> Self::Of<'b> {
                reader.get(row)
            }
        }
    )*};
}

primitive_value!(
    i8: "c" false, i16: "s" false, i32: "i" false, i64: "l" false,
    u8: "C" true, u16: "S" false, u32: "I" false, u64: "L" false,
    f32: "f" false, f64: "g" false
);
