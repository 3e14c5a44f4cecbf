//! Rows into guest memory: a canonical `ArrowArray` (A12) inside the input region, each buffer copied once.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::{BooleanBuffer, OffsetBuffer};
use arrow_schema::DataType;

use crate::abi::array as at;
use crate::arrow_out::fixed_width;

const ALIGN: u64 = 64;

/// Where everything of a batch goes, relative to the region.
pub(crate) struct Plan {
    root: Node,
    pub(crate) bytes: u64,
}

struct Node {
    at: u64,
    length: u64,
    null_count: u64,
    buffers_at: u64,
    children_at: u64,
    buffers: Vec<Option<Piece>>,
    children: Vec<Node>,
}

struct Piece {
    at: u64,
    source: Source,
}

enum Source {
    /// Bytes as they are.
    Bytes(arrow_buffer::Buffer),
    /// Bits from bit 0 on, the last byte's rest cleared.
    Bits(BooleanBuffer),
    /// Offsets that shall begin at 0.
    Offsets(OffsetBuffer<i32>),
}

impl Plan {
    pub(crate) fn of(batch: &RecordBatch) -> Plan {
        let mut cursor = Cursor(0);
        let mut root = Node::place(&mut cursor, batch.num_rows() as u64, 1, batch.num_columns());
        root.buffers.push(None);
        for column in batch.columns() {
            root.children.push(plan_column(&mut cursor, column));
        }
        Plan { root, bytes: cursor.0 }
    }

    /// Writes into the region, whose first byte is at `base` of the guest's memory. Returns the root's pointer.
    pub(crate) fn write(&self, region: &mut [u8], base: u32) -> u32 {
        self.root.write(region, base);
        base + self.root.at as u32
    }
}

struct Cursor(u64);

impl Cursor {
    fn take(&mut self, bytes: u64) -> u64 {
        let at = self.0;
        self.0 = (at + bytes).next_multiple_of(ALIGN);
        at
    }
}

fn plan_column(cursor: &mut Cursor, column: &ArrayRef) -> Node {
    let length = column.len() as u64;
    let nulls = column.nulls().filter(|it| it.null_count() > 0);
    let (buffers, children) = match column.data_type() {
        DataType::Utf8 | DataType::Binary => (3, 0),
        DataType::Struct(fields) => (1, fields.len()),
        DataType::List(_) => (2, 1),
        _ => (2, 0),
    };
    let mut node = Node::place(cursor, length, buffers, children);
    node.null_count = nulls.map_or(0, |it| it.null_count() as u64);
    node.buffers.push(nulls.map(|it| Piece::bits(cursor, it.inner().clone())));
    match column.data_type() {
        DataType::Boolean => {
            node.buffers.push(Some(Piece::bits(cursor, column.as_boolean().values().clone())));
        }
        DataType::Utf8 => {
            let strings = column.as_string::<i32>();
            node.push_varying(cursor, strings.offsets(), strings.values());
        }
        DataType::Binary => {
            let blobs = column.as_binary::<i32>();
            node.push_varying(cursor, blobs.offsets(), blobs.values());
        }
        DataType::Struct(_) => {
            for child in column.as_struct().columns() {
                node.children.push(plan_column(cursor, child));
            }
        }
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            let offsets = list.offsets();
            let (first, last) = span(offsets);
            node.buffers.push(Some(Piece::offsets(cursor, offsets.clone())));
            node.children.push(plan_column(cursor, &list.values().slice(first, last - first)));
        }
        other => {
            let width =
                fixed_width(other).expect("schemas with other types are refused at load") as usize;
            let data = column.to_data();
            let start = data.offset() * width;
            let values = data.buffers()[0].slice_with_length(start, data.len() * width);
            node.buffers.push(Piece::bytes(cursor, values));
        }
    }
    node
}

fn span(offsets: &OffsetBuffer<i32>) -> (usize, usize) {
    let first = *offsets.first().expect("there is one more offset than rows");
    let last = *offsets.last().expect("there is one more offset than rows");
    (first as usize, last as usize)
}

impl Piece {
    fn bits(cursor: &mut Cursor, bits: BooleanBuffer) -> Piece {
        let at = cursor.take((bits.len() as u64).div_ceil(8));
        Piece { at, source: Source::Bits(bits) }
    }

    fn offsets(cursor: &mut Cursor, offsets: OffsetBuffer<i32>) -> Piece {
        let at = cursor.take(4 * offsets.len() as u64);
        Piece { at, source: Source::Offsets(offsets) }
    }

    /// A buffer without bytes is a null pointer (A19).
    fn bytes(cursor: &mut Cursor, bytes: arrow_buffer::Buffer) -> Option<Piece> {
        let len = bytes.len() as u64;
        (len > 0).then(|| Piece { at: cursor.take(len), source: Source::Bytes(bytes) })
    }

    fn write(&self, region: &mut [u8]) {
        let at = self.at as usize;
        let len = match &self.source {
            Source::Bytes(bytes) => {
                region[at..at + bytes.len()].copy_from_slice(bytes);
                bytes.len()
            }
            Source::Bits(bits) => {
                let len = bits.len().div_ceil(8);
                let packed = bits.sliced();
                region[at..at + len].copy_from_slice(&packed[..len]);
                if bits.len() % 8 != 0 {
                    region[at + len - 1] &= (1 << (bits.len() % 8)) - 1;
                }
                len
            }
            Source::Offsets(offsets) => {
                let first = offsets[0];
                let target = &mut region[at..at + 4 * offsets.len()];
                for (slot, offset) in target.chunks_exact_mut(4).zip(offsets.iter()) {
                    slot.copy_from_slice(&(offset - first).to_le_bytes());
                }
                4 * offsets.len()
            }
        };
        // Padding is zero, so that a batch is the same bytes whatever lay there before.
        let end = (at + len).next_multiple_of(ALIGN as usize).min(region.len());
        region[at + len..end].fill(0);
    }
}

impl Node {
    fn place(cursor: &mut Cursor, length: u64, buffers: usize, children: usize) -> Node {
        let at = cursor.take(at::BYTES);
        let buffers_at = cursor.take(4 * buffers as u64);
        let children_at = cursor.take(4 * children as u64);
        Node {
            at,
            length,
            null_count: 0,
            buffers_at,
            children_at,
            buffers: Vec::with_capacity(buffers),
            children: Vec::with_capacity(children),
        }
    }

    fn push_varying(
        &mut self,
        cursor: &mut Cursor,
        offsets: &OffsetBuffer<i32>,
        values: &arrow_buffer::Buffer,
    ) {
        let (first, last) = span(offsets);
        self.buffers.push(Some(Piece::offsets(cursor, offsets.clone())));
        self.buffers.push(Piece::bytes(cursor, values.slice_with_length(first, last - first)));
    }

    fn write(&self, region: &mut [u8], base: u32) {
        // The struct and both lists of pointers, with their padding.
        let lists = [4 * self.buffers.len() as u64, 4 * self.children.len() as u64];
        let parts =
            [(self.at, at::BYTES), (self.buffers_at, lists[0]), (self.children_at, lists[1])];
        for (begin, bytes) in parts {
            region[begin as usize..(begin + bytes.next_multiple_of(ALIGN)) as usize].fill(0);
        }
        put_i64(region, self.at + at::LENGTH, self.length);
        put_i64(region, self.at + at::NULL_COUNT, self.null_count);
        put_i64(region, self.at + at::N_BUFFERS, self.buffers.len() as u64);
        put_i64(region, self.at + at::N_CHILDREN, self.children.len() as u64);
        put_u32(region, self.at + at::BUFFERS, base + self.buffers_at as u32);
        if !self.children.is_empty() {
            put_u32(region, self.at + at::CHILDREN, base + self.children_at as u32);
        }
        for (index, piece) in self.buffers.iter().enumerate() {
            let pointer = piece.as_ref().map_or(0, |it| base + it.at as u32);
            put_u32(region, self.buffers_at + 4 * index as u64, pointer);
            if let Some(piece) = piece {
                piece.write(region);
            }
        }
        for (index, child) in self.children.iter().enumerate() {
            put_u32(region, self.children_at + 4 * index as u64, base + child.at as u32);
            child.write(region, base);
        }
    }
}

fn put_u32(region: &mut [u8], at: u64, value: u32) {
    region[at as usize..at as usize + 4].copy_from_slice(&value.to_le_bytes());
}

fn put_i64(region: &mut [u8], at: u64, value: u64) {
    region[at as usize..at as usize + 8].copy_from_slice(&value.to_le_bytes());
}
