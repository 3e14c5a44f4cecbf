//! A column under construction: cells in, an Arrow array out.

use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, FixedSizeBinaryBuilder, PrimitiveBuilder, StringBuilder,
};
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, Time64MicrosecondType, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{ArrayRef, ListArray, StructArray};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer};
use arrow_schema::{DataType, FieldRef, Fields, TimeUnit};

use super::cell::Cell;

pub(super) enum Column {
    Bool(BooleanBuilder),
    I8(PrimitiveBuilder<Int8Type>),
    I16(PrimitiveBuilder<Int16Type>),
    I32(PrimitiveBuilder<Int32Type>),
    I64(PrimitiveBuilder<Int64Type>),
    U8(PrimitiveBuilder<UInt8Type>),
    U16(PrimitiveBuilder<UInt16Type>),
    U32(PrimitiveBuilder<UInt32Type>),
    U64(PrimitiveBuilder<UInt64Type>),
    F32(PrimitiveBuilder<Float32Type>),
    F64(PrimitiveBuilder<Float64Type>),
    Date(PrimitiveBuilder<Date32Type>),
    Time(PrimitiveBuilder<Time64MicrosecondType>),
    Millis(PrimitiveBuilder<TimestampMillisecondType>),
    Micros(PrimitiveBuilder<TimestampMicrosecondType>),
    Nanos(PrimitiveBuilder<TimestampNanosecondType>),
    Decimal(PrimitiveBuilder<Decimal128Type>),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    Fixed(FixedSizeBinaryBuilder),
    List { item: FieldRef, offsets: Vec<i32>, nulls: NullBufferBuilder, items: Box<Column> },
    Struct { fields: Fields, nulls: NullBufferBuilder, columns: Vec<Column>, len: usize },
}

impl Column {
    pub(super) fn new(data_type: &DataType) -> Column {
        fn typed<T: arrow_array::types::ArrowPrimitiveType>(
            data_type: &DataType,
        ) -> PrimitiveBuilder<T> {
            PrimitiveBuilder::new().with_data_type(data_type.clone())
        }
        match data_type {
            DataType::Boolean => Column::Bool(BooleanBuilder::new()),
            DataType::Int8 => Column::I8(typed(data_type)),
            DataType::Int16 => Column::I16(typed(data_type)),
            DataType::Int32 => Column::I32(typed(data_type)),
            DataType::Int64 => Column::I64(typed(data_type)),
            DataType::UInt8 => Column::U8(typed(data_type)),
            DataType::UInt16 => Column::U16(typed(data_type)),
            DataType::UInt32 => Column::U32(typed(data_type)),
            DataType::UInt64 => Column::U64(typed(data_type)),
            DataType::Float32 => Column::F32(typed(data_type)),
            DataType::Float64 => Column::F64(typed(data_type)),
            DataType::Date32 => Column::Date(typed(data_type)),
            DataType::Time64(_) => Column::Time(typed(data_type)),
            DataType::Timestamp(TimeUnit::Millisecond, _) => Column::Millis(typed(data_type)),
            DataType::Timestamp(TimeUnit::Microsecond, _) => Column::Micros(typed(data_type)),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => Column::Nanos(typed(data_type)),
            DataType::Decimal128(..) => Column::Decimal(typed(data_type)),
            DataType::Utf8 => Column::Text(StringBuilder::new()),
            DataType::Binary => Column::Bytes(BinaryBuilder::new()),
            DataType::FixedSizeBinary(size) => Column::Fixed(FixedSizeBinaryBuilder::new(*size)),
            DataType::List(item) => Column::List {
                item: Arc::clone(item),
                offsets: vec![0],
                nulls: NullBufferBuilder::new(0),
                items: Box::new(Column::new(item.data_type())),
            },
            DataType::Struct(fields) => Column::Struct {
                fields: fields.clone(),
                nulls: NullBufferBuilder::new(0),
                columns: fields.iter().map(|it| Column::new(it.data_type())).collect(),
                len: 0,
            },
            other => unreachable!("{other} is refused at load (A7)"),
        }
    }

    /// Appends a cell that was made for this column's type.
    pub(super) fn push(&mut self, cell: Cell<'_>) {
        match (self, cell) {
            (Column::Text(column), Cell::Text(text)) => column.append_value(text),
            (Column::I64(column), Cell::Int(value)) => column.append_value(value),
            (Column::Bool(column), Cell::Bool(value)) => column.append_value(value),
            (Column::I8(column), Cell::Int(value)) => column.append_value(value as i8),
            (Column::I16(column), Cell::Int(value)) => column.append_value(value as i16),
            (Column::I32(column), Cell::Int(value)) => column.append_value(value as i32),
            (Column::U8(column), Cell::Int(value)) => column.append_value(value as u8),
            (Column::U16(column), Cell::Int(value)) => column.append_value(value as u16),
            (Column::U32(column), Cell::Int(value)) => column.append_value(value as u32),
            (Column::U64(column), Cell::UInt(value)) => column.append_value(value),
            (Column::F32(column), Cell::Float(value)) => column.append_value(value as f32),
            (Column::F64(column), Cell::Float(value)) => column.append_value(value),
            (Column::Date(column), Cell::Int(value)) => column.append_value(value as i32),
            (Column::Time(column), Cell::Int(value)) => column.append_value(value),
            (Column::Millis(column), Cell::Int(value)) => column.append_value(value),
            (Column::Micros(column), Cell::Int(value)) => column.append_value(value),
            (Column::Nanos(column), Cell::Int(value)) => column.append_value(value),
            (Column::Decimal(column), Cell::Decimal(value)) => column.append_value(value),
            (Column::Bytes(column), Cell::Bytes(bytes)) => column.append_value(bytes),
            (Column::Fixed(column), Cell::Bytes(bytes)) => {
                column.append_value(bytes).expect("the cell was made with the column's size");
            }
            (Column::List { offsets, nulls, items, .. }, Cell::List(cells)) => {
                offsets.push(offsets[offsets.len() - 1] + cells.len() as i32);
                nulls.append_non_null();
                cells.into_iter().for_each(|it| items.push(it));
            }
            (Column::Struct { nulls, columns, len, .. }, Cell::Struct(cells)) => {
                nulls.append_non_null();
                *len += 1;
                columns.iter_mut().zip(cells).for_each(|(column, cell)| column.push(cell));
            }
            (column, Cell::Null) => column.push_null(),
            (_, cell) => unreachable!("{cell:?} was made for another type"),
        }
    }

    fn push_null(&mut self) {
        match self {
            Column::Bool(column) => column.append_null(),
            Column::I8(column) => column.append_null(),
            Column::I16(column) => column.append_null(),
            Column::I32(column) => column.append_null(),
            Column::I64(column) => column.append_null(),
            Column::U8(column) => column.append_null(),
            Column::U16(column) => column.append_null(),
            Column::U32(column) => column.append_null(),
            Column::U64(column) => column.append_null(),
            Column::F32(column) => column.append_null(),
            Column::F64(column) => column.append_null(),
            Column::Date(column) => column.append_null(),
            Column::Time(column) => column.append_null(),
            Column::Millis(column) => column.append_null(),
            Column::Micros(column) => column.append_null(),
            Column::Nanos(column) => column.append_null(),
            Column::Decimal(column) => column.append_null(),
            Column::Text(column) => column.append_null(),
            Column::Bytes(column) => column.append_null(),
            Column::Fixed(column) => column.append_null(),
            Column::List { offsets, nulls, .. } => {
                offsets.push(offsets[offsets.len() - 1]);
                nulls.append_null();
            }
            Column::Struct { nulls, columns, len, .. } => {
                nulls.append_null();
                *len += 1;
                columns.iter_mut().for_each(Column::push_null);
            }
        }
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        match self {
            Column::Bool(column) => Arc::new(column.finish()),
            Column::I8(column) => Arc::new(column.finish()),
            Column::I16(column) => Arc::new(column.finish()),
            Column::I32(column) => Arc::new(column.finish()),
            Column::I64(column) => Arc::new(column.finish()),
            Column::U8(column) => Arc::new(column.finish()),
            Column::U16(column) => Arc::new(column.finish()),
            Column::U32(column) => Arc::new(column.finish()),
            Column::U64(column) => Arc::new(column.finish()),
            Column::F32(column) => Arc::new(column.finish()),
            Column::F64(column) => Arc::new(column.finish()),
            Column::Date(column) => Arc::new(column.finish()),
            Column::Time(column) => Arc::new(column.finish()),
            Column::Millis(column) => Arc::new(column.finish()),
            Column::Micros(column) => Arc::new(column.finish()),
            Column::Nanos(column) => Arc::new(column.finish()),
            Column::Decimal(column) => Arc::new(column.finish()),
            Column::Text(column) => Arc::new(column.finish()),
            Column::Bytes(column) => Arc::new(column.finish()),
            Column::Fixed(column) => Arc::new(column.finish()),
            Column::List { item, offsets, nulls, items } => {
                let offsets = OffsetBuffer::new(std::mem::replace(offsets, vec![0]).into());
                Arc::new(ListArray::new(Arc::clone(item), offsets, items.finish(), nulls.finish()))
            }
            Column::Struct { fields, nulls, columns, len } => {
                let children: Vec<ArrayRef> = columns.iter_mut().map(Column::finish).collect();
                *len = 0;
                // A null struct has null members, whatever their own fields say.
                Arc::new(
                    StructArray::try_new(fields.clone(), children, nulls.finish())
                        .expect("members were pushed with their struct"),
                )
            }
        }
    }
}
