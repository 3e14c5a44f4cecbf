//! An Avro value becomes the cells of one row: how is worked out once for a schema and the columns.

mod read;
mod schema;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use arrow_schema::{DataType, Field, TimeUnit};
use floe_core::schema::{SchemaKind, WriterSchema};

use super::cell::{Cell, complete, decimal_of, expected, from_i64, from_null, scaled, type_name};
use super::written::{Fit, Mismatch, Resolved};
use read::Bytes;
use schema::{Kind, Logical, Schema, Type, TypeId};

/// How values of one schema become rows.
pub(super) struct AvroRows {
    schema: Schema,
    columns: Vec<Field>,
    members: Vec<Member>,
}

/// What to do with a writer's field.
enum Member {
    Skip(TypeId),
    Read { column: usize, reader: Reader },
}

/// A column's reader.
struct Reader {
    field: Field,
    how: How,
}

enum How {
    Null,
    Boolean,
    Int,
    Long,
    /// A number of time units: multiplied, then divided without a rest.
    Time {
        long: bool,
        multiply: i64,
        divide: i64,
    },
    Float,
    Double,
    Text,
    Bytes,
    Fixed(usize),
    Uuid,
    /// `None`: behind its length.
    Decimal {
        fixed: Option<usize>,
        scale: u32,
    },
    Enum(Vec<String>),
    /// A branch that does not fit says what it is.
    Union(Vec<Result<Reader, (TypeId, String)>>),
    List(Box<Reader>),
    /// A map, as a list of keys and values.
    Entries(Box<Reader>),
    Record {
        members: Vec<Member>,
        fields: Vec<Field>,
    },
}

impl AvroRows {
    /// Works out how, or tells what of the schema and the columns does not fit.
    pub(super) fn resolve(
        writer: &WriterSchema,
        columns: &[Field],
    ) -> Result<Resolved<AvroRows>, String> {
        if writer.kind != SchemaKind::Avro {
            return Err(format!("it is a schema for {}, and format is \"avro\"", writer.kind));
        }
        let schema = Schema::parse(writer)?;
        let Kind::Record(fields) = schema.get(schema.root).kind.clone() else {
            return Err(format!("it is {}, and no record", schema.show(schema.root)));
        };
        let fits = columns
            .iter()
            .map(|column| {
                let found = fields.iter().find(|it| it.0 == *column.name());
                let wrong = match found {
                    None if column.is_nullable() => None,
                    None => Some("the schema has no such field".to_owned()),
                    Some((_, id)) => reader(&schema, *id, column).err(),
                };
                let found = found.map(|it| schema.show(it.1));
                Fit { column: column.name().clone(), found, wanted: wanted(column), wrong }
            })
            .collect();
        let members = members(&schema, &fields, columns);
        Ok(Resolved::new(fits, || AvroRows { members, schema, columns: columns.to_vec() }))
    }

    pub(super) fn read<'a>(
        &self,
        value: &'a [u8],
        cells: &mut Vec<Cell<'a>>,
    ) -> Result<(), String> {
        let mut bytes = Bytes::new(value);
        cells.clear();
        cells.resize_with(self.columns.len(), Cell::default);
        read_members(&self.schema, &self.members, &self.columns, &mut bytes, cells, 0)?;
        bytes.finish()
    }
}

fn wanted(column: &Field) -> String {
    let optional = if column.is_nullable() { "?" } else { "" };
    format!("{}{optional}", type_name(column.data_type()))
}

/// In the writer's order. Of columns that do not fit the caller has told; they are passed over.
fn members(schema: &Schema, fields: &[(String, TypeId)], columns: &[Field]) -> Vec<Member> {
    let member = |(name, id): &(String, TypeId)| {
        let column = columns.iter().position(|it| it.name() == name);
        match column.map(|it| (it, reader(schema, *id, &columns[it]))) {
            Some((column, Ok(reader))) => Member::Read { column, reader },
            Some((_, Err(_))) | None => Member::Skip(*id),
        }
    };
    fields.iter().map(member).collect()
}

/// How a type becomes a column, or why it cannot.
fn reader(schema: &Schema, id: TypeId, column: &Field) -> Result<Reader, Mismatch> {
    let how = how(schema, id, column)?;
    Ok(Reader { field: column.clone(), how })
}

fn how(schema: &Schema, id: TypeId, column: &Field) -> Result<How, Mismatch> {
    use DataType as D;
    let Type { kind, logical } = schema.get(id);
    let mismatch =
        || format!("{} does not become {}", schema.show(id), type_name(column.data_type()));
    let wide = matches!(column.data_type(), D::Int64 | D::UInt64 | D::Float64 | D::Decimal128(..));
    // Avro has no small and no unsigned numbers: those are held against their range, value by value.
    let narrow =
        matches!(column.data_type(), D::Int8 | D::Int16 | D::UInt8 | D::UInt16 | D::UInt32);
    Ok(match (kind, logical, column.data_type()) {
        (Kind::Union(branches), ..) => {
            let branches: Vec<_> = branches
                .iter()
                .map(|it| reader(schema, *it, column).map_err(|_| (*it, schema.show(*it))))
                .collect();
            let fits =
                |it: &Result<Reader, _>| it.as_ref().is_ok_and(|it| !matches!(it.how, How::Null));
            match branches.iter().any(fits) {
                true => How::Union(branches),
                false => return Err(mismatch()),
            }
        }
        (Kind::Null, ..) => How::Null,
        (Kind::Boolean, _, D::Boolean) => How::Boolean,
        (Kind::Int, Some(Logical::Date), D::Date32) => How::Int,
        (Kind::Int, Some(Logical::Time(per_second)), D::Time64(TimeUnit::Microsecond)) => {
            time(false, *per_second, 1_000_000)
        }
        (Kind::Long, Some(Logical::Time(per_second)), D::Time64(TimeUnit::Microsecond)) => {
            time(true, *per_second, 1_000_000)
        }
        (Kind::Long, Some(Logical::Timestamp(per_second)), D::Timestamp(unit, _)) => {
            time(true, *per_second, per_second_of(*unit))
        }
        // Without a logical type it counts what the column counts.
        (Kind::Int, None, D::Date32) => How::Int,
        (Kind::Long, None, D::Timestamp(..) | D::Time64(_)) => How::Long,
        (Kind::Int, _, D::Int32 | D::Float32) => How::Int,
        (Kind::Int, _, _) if wide || narrow => How::Int,
        (Kind::Long, _, D::Float32) => How::Long,
        (Kind::Long, _, _) if wide || narrow => How::Long,
        (Kind::Float, _, D::Float32 | D::Float64) => How::Float,
        (Kind::Double, _, D::Float64) => How::Double,
        (Kind::Bytes | Kind::Fixed(_), Some(Logical::Decimal { scale, .. }), D::Decimal128(..)) => {
            let fixed = if let Kind::Fixed(size) = kind { Some(*size) } else { None };
            How::Decimal { fixed, scale: *scale }
        }
        (Kind::Text, Some(Logical::Uuid), D::FixedSizeBinary(16)) => How::Uuid,
        (Kind::Text | Kind::Bytes, _, D::Utf8) => How::Text,
        (Kind::Text | Kind::Bytes, _, D::Binary) => How::Bytes,
        (Kind::Fixed(size), _, D::Binary) => How::Fixed(*size),
        (Kind::Fixed(size), _, D::FixedSizeBinary(wanted)) if *size as i32 == *wanted => {
            How::Fixed(*size)
        }
        (Kind::Enum(symbols), _, D::Utf8) => How::Enum(symbols.clone()),
        (Kind::Array(items), _, D::List(item)) => {
            How::List(Box::new(reader(schema, *items, item).map_err(|it| format!("items: {it}"))?))
        }
        (Kind::Map(values), _, D::List(item)) => {
            How::Entries(Box::new(entries(schema, *values, item).ok_or_else(mismatch)?))
        }
        (Kind::Record(writer), _, D::Struct(fields)) => {
            let fields: Vec<Field> = fields.iter().map(|it| it.as_ref().clone()).collect();
            for field in &fields {
                let name = field.name();
                match writer.iter().find(|it| it.0 == *name) {
                    Some((_, id)) => {
                        reader(schema, *id, field).map_err(|it| format!("{name}: {it}"))?;
                    }
                    None if field.is_nullable() => {}
                    None => return Err(format!("{name}: the schema has no such field")),
                }
            }
            How::Record { members: members(schema, writer, &fields), fields }
        }
        _ => return Err(mismatch()),
    })
}

/// A column that a map fits: a list of {key string, value …}.
fn entries(schema: &Schema, values: TypeId, item: &Field) -> Option<Reader> {
    let DataType::Struct(members) = item.data_type() else { return None };
    let [key, value] = &members[..] else { return None };
    let named = key.name() == "key" && value.name() == "value";
    if !named || *key.data_type() != DataType::Utf8 {
        return None;
    }
    reader(schema, values, value).ok()
}

fn time(long: bool, from: i64, to: i64) -> How {
    match from <= to {
        true => How::Time { long, multiply: to / from, divide: 1 },
        false => How::Time { long, multiply: 1, divide: from / to },
    }
}

fn per_second_of(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// Structs in lists in structs are as deep as the operator declares them: no value makes them deeper.
fn read_members<'a>(
    schema: &Schema,
    members: &[Member],
    fields: &[Field],
    bytes: &mut Bytes<'a>,
    cells: &mut [Cell<'a>],
    depth: usize,
) -> Result<(), String> {
    for member in members {
        match member {
            Member::Skip(id) => bytes.skip(schema, *id, depth)?,
            Member::Read { column, reader } => {
                let cell = reader.read(schema, bytes, depth);
                cells[*column] =
                    cell.map_err(|it| format!("field {}: {it}", reader.field.name()))?;
            }
        }
    }
    fields.iter().zip(cells).try_for_each(|(field, cell)| complete(field, cell))
}

impl Reader {
    fn read<'a>(
        &self,
        schema: &Schema,
        bytes: &mut Bytes<'a>,
        depth: usize,
    ) -> Result<Cell<'a>, String> {
        let field = &self.field;
        match &self.how {
            How::Null => from_null(field),
            How::Boolean => Ok(Cell::Bool(bytes.boolean()?)),
            How::Int => from_i64(field, bytes.int()?),
            How::Long => from_i64(field, bytes.long()?),
            How::Time { long, multiply, divide } => {
                let value = if *long { bytes.long()? } else { bytes.int()? };
                let scaled = value.checked_mul(*multiply).filter(|it| it % divide == 0);
                let scaled = scaled
                    .ok_or_else(|| format!("{value} is no whole number of the column's units"))?;
                from_i64(field, scaled / divide)
            }
            How::Float => Ok(Cell::Float(f64::from(f32::from_le_bytes(bytes.array()?)))),
            How::Double => Ok(Cell::Float(f64::from_le_bytes(bytes.array()?))),
            How::Text => Ok(Cell::Text(Cow::Borrowed(text(bytes.bytes()?)?))),
            How::Bytes => Ok(Cell::Bytes(Cow::Borrowed(bytes.bytes()?))),
            How::Fixed(size) => Ok(Cell::Bytes(Cow::Borrowed(bytes.take(*size)?))),
            How::Uuid => uuid(text(bytes.bytes()?)?),
            How::Decimal { fixed, scale } => {
                let unscaled = match fixed {
                    Some(size) => bytes.take(*size)?,
                    None => bytes.bytes()?,
                };
                scaled(field, decimal_of(unscaled)?, *scale)
            }
            How::Enum(symbols) => {
                let index = bytes.index(symbols.len(), "symbol of the enum")?;
                // The symbols live as long as the schema, which may be shorter than the cells.
                Ok(Cell::Text(Cow::Owned(symbols[index].clone())))
            }
            How::Union(branches) => {
                match &branches[bytes.index(branches.len(), "branch of a union")?] {
                    Ok(reader) => reader.read(schema, bytes, depth),
                    Err((_, found)) => Err(expected(field, found)),
                }
            }
            How::List(reader) => {
                let mut cells = Vec::new();
                loop {
                    let count = bytes.block()?;
                    if count == 0 {
                        return Ok(Cell::List(cells));
                    }
                    for _ in 0..count {
                        let at = |it| format!("item {}: {it}", cells.len());
                        let cell = reader.read(schema, bytes, depth + 1).map_err(at)?;
                        cells.push(cell);
                    }
                }
            }
            How::Entries(reader) => {
                let mut cells = Vec::new();
                loop {
                    let count = bytes.block()?;
                    if count == 0 {
                        return Ok(Cell::List(cells));
                    }
                    for _ in 0..count {
                        let key = Cell::Text(Cow::Borrowed(text(bytes.bytes()?)?));
                        let value = reader.read(schema, bytes, depth + 1)?;
                        cells.push(Cell::Struct(vec![key, value]));
                    }
                }
            }
            How::Record { members, fields } => {
                let mut cells = vec![Cell::Missing; fields.len()];
                read_members(schema, members, fields, bytes, &mut cells, depth + 1)?;
                Ok(Cell::Struct(cells))
            }
        }
    }
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|it| format!("not UTF-8 (byte {})", it.valid_up_to()))
}

/// 8-4-4-4-12 hexadecimal digits, with or without the hyphens.
fn uuid<'a>(text: &str) -> Result<Cell<'a>, String> {
    let digits = text.bytes().filter(|it| *it != b'-');
    let digits: Option<Vec<u8>> =
        digits.map(|it| (it as char).to_digit(16).map(|it| it as u8)).collect();
    match digits.filter(|it| it.len() == 32) {
        Some(digits) => {
            let bytes = digits.chunks_exact(2).map(|it| it[0] << 4 | it[1]).collect();
            Ok(Cell::Bytes(Cow::Owned(bytes)))
        }
        None => Err(format!("expected a UUID, found {text:?}")),
    }
}
