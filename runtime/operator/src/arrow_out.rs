//! Rows from guest memory: bounds first, sizes capped before copying, each buffer copied once, and the
//! result validated in full before a row goes on (A15, A16, A19).

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, make_array};
use arrow_buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer};
use arrow_data::ArrayData;
use arrow_schema::{DataType, Field, SchemaRef};

use crate::abi::{self, array as at};
use crate::memory::{Checked, GuestMemory, Violation, violation};

/// Copies the rows of an emitted `ArrowArray`. `bytes_left` is what the call may still hand out; every
/// buffer counts each time it is named.
pub(crate) fn read_batch(
    memory: GuestMemory<'_>,
    pointer: u64,
    schema: &SchemaRef,
    bytes_left: &mut u64,
) -> Checked<RecordBatch> {
    let root = Header::read(memory, pointer)?;
    if root.offset != 0 {
        return violation("the root array has an offset");
    }
    if root.children.len() != schema.fields().len() {
        return violation(format!(
            "the array has {} columns, and the output declares {}",
            root.children.len(),
            schema.fields().len()
        ));
    }
    if root.n_buffers > 1 {
        return violation(format!("the root array has {} buffers", root.n_buffers));
    }
    if root.n_buffers == 1 && memory.u32(root.buffers)? != 0 && root.null_count != 0 {
        return violation("a row as a whole is null");
    }
    let columns = schema
        .fields()
        .iter()
        .zip(&root.children)
        .map(|(field, child)| {
            let mut reader = Reader { memory, bytes_left };
            let data =
                reader.column(*child, field, root.length, 1).map_err(|it| named(field, it))?;
            refuse_nulls(field, &data, None).map_err(|it| named(field, it))?;
            Ok(make_array(data))
        })
        .collect::<Checked<Vec<ArrayRef>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(root.length as usize));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|error| Violation(error.to_string()))
}

fn named(field: &Field, violation: Violation) -> Violation {
    Violation(format!("column {:?}: {}", field.name(), violation.0))
}

/// The fields of one `ArrowArray`.
struct Header {
    length: u64,
    null_count: i64,
    offset: u64,
    n_buffers: u64,
    buffers: u64,
    children: Vec<u64>,
}

impl Header {
    fn read(memory: GuestMemory<'_>, pointer: u64) -> Checked<Header> {
        let length = memory.count(pointer + at::LENGTH, "length", abi::EMIT_ROWS_MAX)?;
        let offset = memory.count(pointer + at::OFFSET, "offset", abi::EMIT_ROWS_MAX)?;
        let n_buffers = memory.count(pointer + at::N_BUFFERS, "n_buffers", 3)?;
        let n_children = memory.count(pointer + at::N_CHILDREN, "n_children", abi::COLUMNS_MAX)?;
        if memory.u32(pointer + at::DICTIONARY)? != 0 {
            return violation("dictionary encoding is not accepted");
        }
        let children = u64::from(memory.u32(pointer + at::CHILDREN)?);
        let children = (0..n_children)
            .map(|index| memory.u32(children + 4 * index).map(u64::from))
            .collect::<Checked<Vec<u64>>>()?;
        Ok(Header {
            length,
            null_count: memory.i64(pointer + at::NULL_COUNT)?,
            offset,
            n_buffers,
            buffers: u64::from(memory.u32(pointer + at::BUFFERS)?),
            children,
        })
    }
}

struct Reader<'m, 'b> {
    memory: GuestMemory<'m>,
    bytes_left: &'b mut u64,
}

impl<'m> Reader<'m, '_> {
    /// Reads the rows `0..rows` of a column; the parent's offset is never passed down but for structs,
    /// whose children are read to `offset + length`.
    fn column(
        &mut self,
        pointer: u64,
        field: &Field,
        rows: u64,
        depth: usize,
    ) -> Checked<ArrayData> {
        if depth > abi::DEPTH_MAX {
            return violation(format!("nested deeper than {}", abi::DEPTH_MAX));
        }
        spend(self.bytes_left, ARRAY_BYTES)?;
        let header = Header::read(self.memory, pointer)?;
        if header.length < rows {
            return violation(format!("{} rows, and {rows} are wanted", header.length));
        }
        let header = Header { length: rows, ..header };
        let expected = match field.data_type() {
            DataType::Utf8 | DataType::Binary => 3,
            DataType::Struct(_) => 1,
            _ => 2,
        };
        if header.n_buffers != expected {
            return violation(format!(
                "{} buffers, and {} has {expected}",
                header.n_buffers,
                field.data_type()
            ));
        }
        let nulls = self.nulls(&header)?;
        let (buffers, children) = self.content(&header, field, depth)?;
        if let DataType::Struct(members) = field.data_type() {
            for (member, child) in members.iter().zip(&children) {
                refuse_nulls(member, child, nulls.as_ref()).map_err(|it| named(member, it))?;
            }
        }
        if let (DataType::List(item), [child]) = (field.data_type(), &children[..]) {
            refuse_nulls(item, child, None)?;
        }
        let builder = ArrayData::builder(field.data_type().clone())
            .len(rows as usize)
            .nulls(nulls)
            .buffers(buffers)
            .child_data(children);
        // Checks offsets and UTF-8 too.
        let data = builder.build().map_err(|error| Violation(error.to_string()))?;
        check_values(&data)?;
        Ok(data)
    }

    fn content(
        &mut self,
        header: &Header,
        field: &Field,
        depth: usize,
    ) -> Checked<(Vec<Buffer>, Vec<ArrayData>)> {
        let wanted_children = match field.data_type() {
            DataType::Struct(fields) => fields.len(),
            DataType::List(_) => 1,
            _ => 0,
        };
        if header.children.len() != wanted_children {
            return violation(format!(
                "{} children, and there must be {wanted_children}",
                header.children.len()
            ));
        }
        match field.data_type() {
            DataType::Boolean => Ok((vec![self.bits(header, 1)?.into_inner()], Vec::new())),
            DataType::Utf8 | DataType::Binary => {
                let (offsets, first, last) = self.offsets(header)?;
                let data = self.buffer(header, 2, first, last - first)?;
                Ok((vec![offsets, data], Vec::new()))
            }
            DataType::Struct(fields) => {
                let rows = header.offset + header.length;
                let children = fields
                    .iter()
                    .zip(&header.children)
                    .map(|(field, child)| {
                        let whole = self
                            .column(*child, field, rows, depth + 1)
                            .map_err(|it| named(field, it))?;
                        Ok(whole.slice(header.offset as usize, header.length as usize))
                    })
                    .collect::<Checked<Vec<ArrayData>>>()?;
                Ok((Vec::new(), children))
            }
            DataType::List(item) => {
                let (offsets, first, last) = self.offsets(header)?;
                let child = self.column(header.children[0], item, last, depth + 1)?;
                Ok((vec![offsets], vec![child.slice(first as usize, (last - first) as usize)]))
            }
            other => {
                let width =
                    fixed_width(other).expect("schemas with other types are refused at load");
                let start = header.offset * width;
                let values = self.buffer(header, 1, start, header.length * width)?;
                Ok((vec![values], Vec::new()))
            }
        }
    }

    fn nulls(&mut self, header: &Header) -> Checked<Option<NullBuffer>> {
        if self.memory.u32(header.buffers)? == 0 {
            if header.null_count > 0 {
                return violation(format!("{} nulls and no validity buffer", header.null_count));
            }
            return Ok(None);
        }
        let nulls = NullBuffer::new(self.bits(header, 0)?);
        let counted = nulls.null_count() as i64;
        if header.null_count >= 0 && header.offset == 0 && counted != header.null_count {
            return violation(format!(
                "null_count is {}, and {counted} rows are null",
                header.null_count
            ));
        }
        Ok((counted > 0).then_some(nulls))
    }

    fn bits(&mut self, header: &Header, index: u64) -> Checked<BooleanBuffer> {
        let first = header.offset / 8;
        let end = (header.offset + header.length).div_ceil(8);
        let bytes = self.buffer(header, index, first, end - first)?;
        let bits = BooleanBuffer::new(bytes, (header.offset % 8) as usize, header.length as usize);
        Ok(BooleanBuffer::new(bits.sliced(), 0, header.length as usize))
    }

    /// `length + 1` offsets that begin at 0, with the range of the child that they span.
    fn offsets(&mut self, header: &Header) -> Checked<(Buffer, u64, u64)> {
        let pointer = self.memory.u32(header.buffers + 4)?;
        if pointer == 0 && header.length == 0 {
            return Ok((Buffer::from(vec![0u8; 4]), 0, 0));
        }
        let raw = self.raw(pointer, header.offset * 4, (header.length + 1) * 4)?;
        let mut offsets = Vec::with_capacity(header.length as usize + 1);
        offsets.extend(
            raw.chunks_exact(4)
                .map(|it| i32::from_le_bytes(it.try_into().expect("chunks of four"))),
        );
        let first = offsets[0];
        if first < 0 {
            return violation(format!("the first offset is {first}"));
        }
        if let Some(at) = offsets.windows(2).position(|it| it[0] > it[1]) {
            return violation(format!(
                "offsets go back at row {at}: {} after {}",
                offsets[at + 1],
                offsets[at]
            ));
        }
        let last = *offsets.last().expect("there is one more offset than rows");
        if first != 0 {
            offsets.iter_mut().for_each(|it| *it -= first);
        }
        Ok((Buffer::from_vec(offsets), first as u64, last as u64))
    }

    fn buffer(&mut self, header: &Header, index: u64, start: u64, len: u64) -> Checked<Buffer> {
        let pointer = self.memory.u32(header.buffers + 4 * index)?;
        if len == 0 {
            return Ok(Buffer::from(MutableBuffer::new(0)));
        }
        if pointer == 0 {
            return violation(format!("buffer {index} is null, and {len} bytes of it are wanted"));
        }
        Ok(Buffer::from(self.raw(pointer, start, len)?))
    }

    fn raw(&mut self, pointer: u32, start: u64, len: u64) -> Checked<&'m [u8]> {
        spend(self.bytes_left, len)?;
        self.memory.bytes(u64::from(pointer) + start, len)
    }
}

/// What the host keeps for an array beside its buffers. Without it a guest that emits row by row would
/// cost the host many times its limit.
const ARRAY_BYTES: u64 = 256;

/// Takes bytes from what the call may still hand out, before they are copied.
pub(crate) fn spend(bytes_left: &mut u64, bytes: u64) -> Checked<()> {
    match bytes_left.checked_sub(bytes) {
        Some(left) => *bytes_left = left,
        None => {
            return violation("the call hands out more bytes than its limit (output-per-batch)");
        }
    }
    Ok(())
}

/// A column without nulls may have them only where its struct is null itself.
fn refuse_nulls(field: &Field, data: &ArrayData, mask: Option<&NullBuffer>) -> Checked<()> {
    let Some(nulls) = data.nulls().filter(|it| it.null_count() > 0) else { return Ok(()) };
    match field.is_nullable() || mask.is_some_and(|it| it.contains(nulls)) {
        true => Ok(()),
        false => violation("a null, and the column is declared without"),
    }
}

const DAY_MICROS: i64 = 86_400_000_000;

/// What Arrow does not check and a table would store wrong: digits over a decimal's precision, and times
/// that are no time of day.
fn check_values(data: &ArrayData) -> Checked<()> {
    let valid = |row: &usize| data.nulls().is_none_or(|it| it.is_valid(*row));
    match data.data_type() {
        DataType::Decimal128(precision, _) => {
            let values = data.buffer::<i128>(0);
            let bound = 10u128.pow(u32::from(*precision));
            match (0..data.len()).filter(valid).find(|row| values[*row].unsigned_abs() >= bound) {
                Some(row) => violation(format!(
                    "row {row} is {} unscaled, which has more than {precision} digits",
                    values[row]
                )),
                None => Ok(()),
            }
        }
        DataType::Time64(_) => {
            let values = data.buffer::<i64>(0);
            let day = 0..DAY_MICROS;
            match (0..data.len()).filter(valid).find(|row| !day.contains(&values[*row])) {
                Some(row) => {
                    violation(format!("row {row} is {} µs, which is no time", values[row]))
                }
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Bytes of one value, where all are of one size.
pub(crate) fn fixed_width(data_type: &DataType) -> Option<u64> {
    match data_type {
        DataType::FixedSizeBinary(bytes) => Some(*bytes as u64),
        DataType::Boolean => None,
        other => other.primitive_width().map(|it| it as u64),
    }
}
