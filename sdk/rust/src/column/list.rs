//! Lists: offsets and a column of all items. A list of `u8` is binary, whose layout is the same but for
//! the place of the items.

use crate::abi::{ArrayView, Exported};
use crate::column::bits::clear_to_zero;
use crate::column::text::{OffsetsReader, end_offset};
use crate::row::{Column, Field, Value};

pub struct ListColumn<C> {
    offsets: Vec<i32>,
    items: C,
}

impl<C: Column> Default for ListColumn<C> {
    fn default() -> Self {
        ListColumn { offsets: vec![0], items: C::default() }
    }
}

impl<C: Column> ListColumn<C> {
    fn end_row(&mut self) {
        self.offsets.push(end_offset(self.items.rows()));
    }
}

impl<C: Column> Column for ListColumn<C> {
    fn push_empty(&mut self) {
        self.end_row();
    }

    fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    fn truncate(&mut self, rows: usize) {
        self.items.truncate(self.offsets[rows] as usize);
        self.offsets.truncate(rows + 1);
    }

    fn bytes(&self) -> usize {
        self.offsets.len() * size_of::<i32>() + self.items.bytes()
    }

    fn clear(&mut self) {
        self.items.clear();
        clear_to_zero(&mut self.offsets);
        self.offsets.push(0);
    }

    fn export(&self) -> Exported<'_> {
        let list = Exported::new(self.rows()).buffer(&self.offsets);
        let items = self.items.export();
        if C::LIST_IS_BINARY { list.buffers_of(items) } else { list.child(items) }
    }
}

pub struct ListReader<'b, T: Value> {
    offsets: OffsetsReader<'b>,
    items: T::Reader<'b>,
}

impl<T: Value> Value for Vec<T> {
    type Of<'b> = Vec<T::Of<'b>>;
    type Column = ListColumn<T::Column>;
    type Reader<'b> = ListReader<'b, T>;

    fn field(name: &str) -> Field {
        if T::Column::LIST_IS_BINARY {
            return Field::new(name, "z", Vec::new());
        }
        Field::new(name, "+l", vec![T::field("item")])
    }

    fn append(self, column: &mut Self::Column) {
        for item in self {
            item.append(&mut column.items);
        }
        column.end_row();
    }

    fn reader<'b>(array: ArrayView<'b>) -> Self::Reader<'b> {
        let offsets = OffsetsReader::new(array);
        let items = if T::Column::LIST_IS_BINARY {
            array.data_as_array(2, offsets.end())
        } else {
            array.child(0)
        };
        ListReader { items: T::reader(items), offsets }
    }

    fn read<'b>(reader: &Self::Reader<'b>, row: usize) -> Self::Of<'b> {
        reader.offsets.range(row).map(|it| T::read(&reader.items, it)).collect()
    }
}
