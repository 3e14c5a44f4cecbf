//! Schemas from guest memory: `ArrowSchema` of the Arrow C Data Interface, with 32-bit pointers.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

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
