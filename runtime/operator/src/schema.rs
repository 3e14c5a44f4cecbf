//! Schemas from guest memory: `ArrowSchema` of the Arrow C Data Interface, with 32-bit pointers.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};

use crate::abi::{self, schema as at};
use crate::memory::{Checked, GuestMemory, violation};

/// The root: a struct whose children are the columns.
pub(crate) fn read_schema(memory: GuestMemory<'_>, pointer: u64) -> Checked<SchemaRef> {
    // The root is no column.
    let mut fields_left = abi::COLUMNS_MAX + 1;
    let field = read_field(memory, pointer, 0, &mut fields_left)?;
    let DataType::Struct(columns) = field.data_type() else {
        return violation(format!(
            "a schema's root is {}, and must be a struct (+s)",
            field.data_type()
        ));
    };
    for (index, column) in columns.iter().enumerate() {
        if column.name().is_empty() {
            return violation(format!("column {index} has no name"));
        }
        if columns[..index].iter().any(|it| it.name() == column.name()) {
            return violation(format!("two columns are named {:?}", column.name()));
        }
    }
    Ok(Arc::new(Schema::new(columns.clone())))
}

/// `fields_left` bounds the whole tree: structs may name one child again and again, at each depth.
fn read_field(
    memory: GuestMemory<'_>,
    pointer: u64,
    depth: usize,
    fields_left: &mut u64,
) -> Checked<Field> {
    *fields_left = match fields_left.checked_sub(1) {
        Some(left) => left,
        None => return violation(format!("a schema has over {} columns", abi::COLUMNS_MAX)),
    };
    if depth > abi::DEPTH_MAX {
        return violation(format!("a type is nested deeper than {}", abi::DEPTH_MAX));
    }
    let name = match memory.u32(pointer + at::NAME)? {
        0 => "",
        name => memory.c_text(u64::from(name), 1024)?,
    };
    let format = memory.c_text(u64::from(memory.u32(pointer + at::FORMAT)?), 1024)?;
    let nullable = memory.i64(pointer + at::FLAGS)? as u64 & at::NULLABLE != 0;
    if memory.u32(pointer + at::DICTIONARY)? != 0 {
        return violation(format!("column {name:?}: dictionary encoding is not accepted"));
    }
    let count = memory.count(pointer + at::N_CHILDREN, "n_children", abi::COLUMNS_MAX)?;
    let children = u64::from(memory.u32(pointer + at::CHILDREN)?);
    let children = (0..count)
        .map(|index| {
            let child = memory.u32(children + 4 * index)?;
            read_field(memory, u64::from(child), depth + 1, fields_left)
        })
        .collect::<Checked<Vec<Field>>>()?;
    let data_type = match data_type(format, &children) {
        Some(data_type) => data_type,
        None => return violation(format!("column {name:?}: type {format:?} is not accepted")),
    };
    Ok(Field::new(name, data_type, nullable))
}

pub(crate) fn data_type(format: &str, children: &[Field]) -> Option<DataType> {
    let leaf = match format {
        "b" => DataType::Boolean,
        "c" => DataType::Int8,
        "s" => DataType::Int16,
        "i" => DataType::Int32,
        "l" => DataType::Int64,
        "C" => DataType::UInt8,
        "S" => DataType::UInt16,
        "I" => DataType::UInt32,
        "L" => DataType::UInt64,
        "f" => DataType::Float32,
        "g" => DataType::Float64,
        "u" => DataType::Utf8,
        "z" => DataType::Binary,
        "tdD" => DataType::Date32,
        "ttu" => DataType::Time64(TimeUnit::Microsecond),
        "+s" if !children.is_empty() => {
            return Some(DataType::Struct(Fields::from(children.to_vec())));
        }
        "+l" => match children {
            [item] => return Some(DataType::List(Arc::new(item.clone()))),
            _ => return None,
        },
        _ => parameterised(format)?,
    };
    children.is_empty().then_some(leaf)
}

/// A schema as A6 has it, to be written at `base` of the guest's memory; the root is its first byte.
pub(crate) fn lay_out(schema: &Schema, base: u32) -> Vec<u8> {
    let mut layout = Layout { bytes: Vec::new(), base };
    layout.field(&Field::new("", DataType::Struct(schema.fields().clone()), false));
    layout.bytes
}

struct Layout {
    bytes: Vec<u8>,
    base: u32,
}

impl Layout {
    /// The place of the field within the bytes.
    fn field(&mut self, field: &Field) -> usize {
        let place = self.room(at::BYTES as usize);
        let (format, children) = format_of(field.data_type());
        let (format, name) = (self.text(&format), self.text(field.name()));
        let list = self.room(4 * children.len());
        for (index, child) in children.iter().enumerate() {
            let child = self.field(child);
            self.pointer(list + 4 * index, child);
        }
        self.pointer(place + at::FORMAT as usize, format);
        self.pointer(place + at::NAME as usize, name);
        let flags = if field.is_nullable() { at::NULLABLE } else { 0 };
        self.put(place + at::FLAGS as usize, &flags.to_le_bytes());
        self.put(place + at::N_CHILDREN as usize, &(children.len() as u64).to_le_bytes());
        if !children.is_empty() {
            self.pointer(place + at::CHILDREN as usize, list);
        }
        place
    }

    fn text(&mut self, text: &str) -> usize {
        let place = self.room(text.len() + 1);
        self.put(place, text.as_bytes());
        place
    }

    /// Zeros, aligned to 8 bytes.
    fn room(&mut self, len: usize) -> usize {
        let place = self.bytes.len();
        self.bytes.resize((place + len).next_multiple_of(8), 0);
        place
    }

    fn pointer(&mut self, at: usize, to: usize) {
        self.put(at, &(self.base + to as u32).to_le_bytes());
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

/// The format of a type that A7 has, and its children.
fn format_of(data_type: &DataType) -> (String, Vec<FieldRef>) {
    let leaf = match data_type {
        DataType::Boolean => "b",
        DataType::Int8 => "c",
        DataType::Int16 => "s",
        DataType::Int32 => "i",
        DataType::Int64 => "l",
        DataType::UInt8 => "C",
        DataType::UInt16 => "S",
        DataType::UInt32 => "I",
        DataType::UInt64 => "L",
        DataType::Float32 => "f",
        DataType::Float64 => "g",
        DataType::Utf8 => "u",
        DataType::Binary => "z",
        DataType::Date32 => "tdD",
        DataType::Time64(TimeUnit::Microsecond) => "ttu",
        DataType::Struct(fields) => return ("+s".to_owned(), fields.iter().cloned().collect()),
        DataType::List(item) => return ("+l".to_owned(), vec![FieldRef::clone(item)]),
        DataType::Timestamp(unit, zone) => {
            let unit = match unit {
                TimeUnit::Second | TimeUnit::Millisecond => 'm',
                TimeUnit::Microsecond => 'u',
                TimeUnit::Nanosecond => 'n',
            };
            return (format!("ts{unit}:{}", zone.as_deref().unwrap_or_default()), Vec::new());
        }
        DataType::FixedSizeBinary(bytes) => return (format!("w:{bytes}"), Vec::new()),
        DataType::Decimal128(precision, scale) => {
            return (format!("d:{precision},{scale}"), Vec::new());
        }
        other => unreachable!("{other} is no type of a column (A7)"),
    };
    (leaf.to_owned(), Vec::new())
}

fn parameterised(format: &str) -> Option<DataType> {
    if let Some(zone) = format.strip_prefix("ts") {
        let unit = match zone.get(..2)? {
            "m:" => TimeUnit::Millisecond,
            "u:" => TimeUnit::Microsecond,
            "n:" => TimeUnit::Nanosecond,
            _ => return None,
        };
        let zone = &zone[2..];
        return Some(DataType::Timestamp(unit, (!zone.is_empty()).then(|| zone.into())));
    }
    if let Some(bytes) = format.strip_prefix("w:") {
        let bytes: i32 = bytes.parse().ok()?;
        return (1..=1 << 16).contains(&bytes).then_some(DataType::FixedSizeBinary(bytes));
    }
    let (precision, scale) = format.strip_prefix("d:")?.split_once(',')?;
    let (precision, scale): (u8, i8) = (precision.parse().ok()?, scale.parse().ok()?);
    let sound = (1..=38).contains(&precision) && scale >= 0 && scale as u8 <= precision;
    sound.then_some(DataType::Decimal128(precision, scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_that_was_laid_out_reads_as_itself() {
        let point = Fields::from(vec![
            Field::new("x", DataType::Decimal128(12, 2), true),
            Field::new("at", DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())), false),
        ]);
        let item = Arc::new(Field::new("item", DataType::Struct(point), true));
        let schema = Schema::new(vec![
            Field::new("id", DataType::Utf8, false),
            Field::new("points", DataType::List(item), true),
            Field::new("local", DataType::Timestamp(TimeUnit::Millisecond, None), true),
            Field::new("digest", DataType::FixedSizeBinary(16), false),
            Field::new("n", DataType::UInt16, false),
        ]);
        let mut memory = vec![0xaa; 4096];
        let bytes = lay_out(&schema, 640);
        memory[640..640 + bytes.len()].copy_from_slice(&bytes);
        assert_eq!(*read_schema(GuestMemory(&memory), 640).unwrap(), schema);
    }
}
