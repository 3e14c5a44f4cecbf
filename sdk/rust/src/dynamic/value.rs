//! Values of a batch, by row and column.

use crate::abi::{ArrayView, utf8};
use crate::column::bits::BitsReader;
use crate::column::text::{BytesReader, OffsetsReader};
use crate::dynamic::schema::{Column, Schema, Type};

/// One value of a row.
///
/// Whole numbers, dates, times and timestamps are `Int` in their column's unit; 64-bit numbers without a
/// sign are `UInt`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Value<'b> {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    /// The number without its point.
    Decimal(i128),
    Text(&'b str),
    Bytes(&'b [u8]),
    List(ListValue<'b>),
    Struct(StructValue<'b>),
}

/// A row of the input batch.
#[derive(Clone, Copy)]
pub struct Row<'b> {
    readers: &'b [Reader<'b>],
    row: usize,
}

impl<'b> Row<'b> {
    pub(crate) fn new(readers: &'b [Reader<'b>], row: usize) -> Self {
        Row { readers, row }
    }

    /// The value of a column.
    #[inline]
    pub fn get(self, column: usize) -> Value<'b> {
        self.readers[column].get(self.row)
    }

    /// All values, in order.
    pub fn values(self) -> impl Iterator<Item = Value<'b>> {
        self.readers.iter().map(move |it| it.get(self.row))
    }
}

/// The items of a list.
#[derive(Clone, Copy)]
pub struct ListValue<'b> {
    items: &'b Reader<'b>,
    from: usize,
    to: usize,
}

impl<'b> ListValue<'b> {
    /// How many there are.
    pub fn len(self) -> usize {
        self.to - self.from
    }

    /// Is there none?
    pub fn is_empty(self) -> bool {
        self.from == self.to
    }

    /// The items in order.
    pub fn items(self) -> impl Iterator<Item = Value<'b>> {
        (self.from..self.to).map(move |it| self.items.get(it))
    }
}

/// The members of a struct.
#[derive(Clone, Copy)]
pub struct StructValue<'b>(Row<'b>);

impl<'b> StructValue<'b> {
    /// The value of a member.
    pub fn get(self, member: usize) -> Value<'b> {
        self.0.get(member)
    }

    /// All members in order.
    pub fn members(self) -> impl Iterator<Item = Value<'b>> {
        self.0.values()
    }
}

impl PartialEq for ListValue<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.items().eq(other.items())
    }
}

impl PartialEq for StructValue<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.members().eq(other.members())
    }
}

impl std::fmt::Debug for ListValue<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.items()).finish()
    }
}

impl std::fmt::Debug for StructValue<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.members()).finish()
    }
}

/// A column of the input batch.
pub(crate) struct Reader<'b> {
    /// `None`: no row is null.
    validity: Option<BitsReader<'b>>,
    values: Values<'b>,
}

enum Values<'b> {
    Bool(BitsReader<'b>),
    I8(&'b [i8]),
    I16(&'b [i16]),
    I32(&'b [i32]),
    I64(&'b [i64]),
    U8(&'b [u8]),
    U16(&'b [u16]),
    U32(&'b [u32]),
    U64(&'b [u64]),
    F32(&'b [f32]),
    F64(&'b [f64]),
    /// As bytes: the alignment of `i128` is not the same everywhere.
    Decimal(&'b [[u8; 16]]),
    Text(BytesReader<'b>),
    Bytes(BytesReader<'b>),
    Fixed(&'b [u8], usize),
    List(OffsetsReader<'b>, Box<Reader<'b>>),
    Struct(Vec<Reader<'b>>),
}

/// Looks at an array of these columns.
pub(crate) fn readers<'b>(schema: &Schema, array: ArrayView<'b>) -> Vec<Reader<'b>> {
    schema.columns.iter().enumerate().map(|(at, it)| Reader::new(it, array.child(at))).collect()
}

impl<'b> Reader<'b> {
    fn new(column: &Column, array: ArrayView<'b>) -> Self {
        let rows = array.rows();
        let values = match &column.ty {
            Type::Boolean => Values::Bool(BitsReader(array.values(1, rows.div_ceil(8)))),
            Type::I8 => Values::I8(array.values(1, rows)),
            Type::I16 => Values::I16(array.values(1, rows)),
            Type::I32 | Type::Date => Values::I32(array.values(1, rows)),
            Type::I64 | Type::Time | Type::Timestamp(..) => Values::I64(array.values(1, rows)),
            Type::U8 => Values::U8(array.values(1, rows)),
            Type::U16 => Values::U16(array.values(1, rows)),
            Type::U32 => Values::U32(array.values(1, rows)),
            Type::U64 => Values::U64(array.values(1, rows)),
            Type::F32 => Values::F32(array.values(1, rows)),
            Type::F64 => Values::F64(array.values(1, rows)),
            Type::Decimal(..) => Values::Decimal(array.values(1, rows)),
            Type::Text => Values::Text(BytesReader::new(array)),
            Type::Bytes => Values::Bytes(BytesReader::new(array)),
            Type::Fixed(width) => Values::Fixed(array.values(1, rows * width), *width),
            Type::List(item) => {
                Values::List(OffsetsReader::new(array), Box::new(Reader::new(item, array.child(0))))
            }
            Type::Struct(inner) => Values::Struct(readers(inner, array)),
        };
        Reader { validity: array.validity(), values }
    }

    #[inline]
    fn get(&'b self, row: usize) -> Value<'b> {
        if self.validity.is_some_and(|it| !it.get(row)) {
            return Value::Null;
        }
        match &self.values {
            Values::Bool(bits) => Value::Bool(bits.get(row)),
            Values::I8(values) => Value::Int(values[row].into()),
            Values::I16(values) => Value::Int(values[row].into()),
            Values::I32(values) => Value::Int(values[row].into()),
            Values::I64(values) => Value::Int(values[row]),
            Values::U8(values) => Value::Int(values[row].into()),
            Values::U16(values) => Value::Int(values[row].into()),
            Values::U32(values) => Value::Int(values[row].into()),
            Values::U64(values) => Value::UInt(values[row]),
            Values::F32(values) => Value::Float(values[row].into()),
            Values::F64(values) => Value::Float(values[row]),
            Values::Decimal(values) => Value::Decimal(i128::from_le_bytes(values[row])),
            Values::Text(values) => Value::Text(utf8(values.get(row))),
            Values::Bytes(values) => Value::Bytes(values.get(row)),
            Values::Fixed(values, width) => Value::Bytes(&values[row * width..(row + 1) * width]),
            Values::List(offsets, items) => {
                let range = offsets.range(row);
                Value::List(ListValue { items, from: range.start, to: range.end })
            }
            Values::Struct(members) => Value::Struct(StructValue(Row { readers: members, row })),
        }
    }
}
