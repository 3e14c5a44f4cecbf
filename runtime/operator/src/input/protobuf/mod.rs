//! A Protobuf message becomes the cells of one row: how is worked out once for a schema and the columns.

mod known;
mod proto;
mod wire;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;

use arrow_schema::{DataType, Field};
use floe_core::schema::{SchemaKind, WriterSchema};

use super::cell::{Cell, complete, from_bool, from_i64, from_text, from_u64, type_name};
use super::written::{Fit, Mismatch, Resolved};
use known::WellKnown;
use proto::{FieldType, Files, Found, Message, Presence, ProtoField, Scalar};
use wire::{Value, Wire};

/// How values of one schema become rows: which message of it a value is, the value says, or the file.
pub(super) struct ProtobufRows {
    /// By the places of the messages around it and of its own.
    by_place: BTreeMap<Vec<i64>, Result<MessagePlan, String>>,
    /// Where values do not say it.
    bare: Option<Vec<i64>>,
}

/// How one message becomes cells.
struct MessagePlan {
    columns: Vec<Field>,
    /// What an absent column is; `None`: null or a rejection.
    absent: Vec<Option<Cell<'static>>>,
    /// In order of their numbers.
    members: Vec<Member>,
}

struct Member {
    number: u32,
    column: usize,
    /// The columns of the same oneof: what comes last takes the place of the others.
    others: Vec<usize>,
    repeated: bool,
    reader: Reader,
}

struct Reader {
    field: Field,
    how: How,
}

enum How {
    Scalar(Scalar),
    Enum(BTreeMap<i32, String>),
    Message(MessagePlan),
    Known(WellKnown),
    /// Of a map: its key and its value.
    Entry(MessagePlan),
}

impl ProtobufRows {
    /// `message` is its full name, for values that do not say which message they are.
    pub(super) fn resolve(
        writer: &WriterSchema,
        columns: &[Field],
        message: Option<&str>,
        framed: bool,
    ) -> Result<Resolved<ProtobufRows>, String> {
        if writer.kind != SchemaKind::Protobuf {
            return Err(format!("it is a schema for {}, and format is \"protobuf\"", writer.kind));
        }
        let files = Files::parse(writer)?;
        let mut places = BTreeMap::new();
        places_of(&files, &files.top, &mut Vec::new(), &mut places);
        let chosen = match message {
            Some(name) => places
                .iter()
                .find(|it| it.1.name == name)
                .map(|it| it.0.clone())
                .ok_or_else(|| format!("it has no message {name:?}"))?,
            None => vec![0],
        };
        let shown = *places.get(&chosen).ok_or("it has no message")?;
        let fits = fits(&files, shown, columns);
        let by_place: BTreeMap<_, _> = places
            .into_iter()
            .map(|(place, message)| {
                let resolved = Resolved::new(self::fits(&files, message, columns), || {
                    plan(&files, message, columns)
                });
                (place, resolved.rows.map_err(|it| format!("message {}: {it}", message.name)))
            })
            .collect();
        let rows = ProtobufRows { by_place, bare: (!framed).then_some(chosen) };
        // Of several messages in a registered schema each value says which it is.
        match framed {
            true => Ok(Resolved { fits, rows: Ok(rows) }),
            false => Ok(Resolved::new(fits, || rows)),
        }
    }

    pub(super) fn read<'a>(
        &self,
        value: &'a [u8],
        cells: &mut Vec<Cell<'a>>,
    ) -> Result<(), String> {
        let mut wire = Wire::new(value);
        let place = match &self.bare {
            Some(place) => place.clone(),
            None => place(&mut wire)?,
        };
        let plan = match self.by_place.get(&place) {
            Some(Ok(plan)) => plan,
            Some(Err(why)) => return Err(why.clone()),
            None => return Err(format!("the schema has no message at {place:?}")),
        };
        cells.clear();
        cells.resize_with(plan.columns.len(), Cell::default);
        plan.read(wire, cells)?;
        plan.complete(cells)
    }
}

/// Confluent's places: how many, then each; none is the first message of the file.
fn place(wire: &mut Wire<'_>) -> Result<Vec<i64>, String> {
    let count = wire.signed()?;
    match count {
        0 => Ok(vec![0]),
        1..=64 => (0..count).map(|_| wire.signed()).collect(),
        _ => Err(format!("the value does not say which message it is: {count} places")),
    }
}

fn places_of<'f>(
    files: &'f Files,
    names: &[String],
    around: &mut Vec<i64>,
    places: &mut BTreeMap<Vec<i64>, &'f Message>,
) {
    for (index, name) in names.iter().enumerate() {
        let Some(message) = files.message(name) else { continue };
        around.push(index as i64);
        places.insert(around.clone(), message);
        places_of(files, &message.nested, around, places);
        around.pop();
    }
}

fn fits(files: &Files, message: &Message, columns: &[Field]) -> Vec<Fit> {
    let fit = |column: &Field| {
        let found = message.fields.iter().find(|it| it.name == *column.name());
        let wrong = match found {
            None if column.is_nullable() => None,
            None => Some("the schema has no such field".to_owned()),
            Some(field) => member(files, message, field, column).err(),
        };
        let optional = if column.is_nullable() { "?" } else { "" };
        Fit {
            column: column.name().clone(),
            found: found.map(show),
            wanted: format!("{}{optional}", type_name(column.data_type())),
            wrong,
        }
    };
    columns.iter().map(fit).collect()
}

fn show(field: &ProtoField) -> String {
    let its_type = match &field.its_type {
        FieldType::Scalar(Scalar::Text) => "string".to_owned(),
        FieldType::Scalar(scalar) => format!("{scalar:?}").to_lowercase(),
        FieldType::Named(name) => name.clone(),
    };
    match (field.key, field.presence) {
        (Some(_), _) => format!("map of {its_type}"),
        (None, Presence::Repeated) => format!("repeated {its_type}"),
        (None, Presence::Explicit) => format!("optional {its_type}"),
        (None, Presence::Implicit) => its_type,
    }
}

/// Of columns that do not fit the caller has told.
fn plan(files: &Files, message: &Message, columns: &[Field]) -> MessagePlan {
    let mut members: Vec<(Member, Option<usize>)> = Vec::new();
    let mut absent = vec![None; columns.len()];
    for (column, field) in columns.iter().enumerate() {
        let Some(found) = message.fields.iter().find(|it| it.name == *field.name()) else {
            continue;
        };
        let Ok(reader) = member(files, message, found, field) else { continue };
        absent[column] = match found.presence {
            Presence::Repeated => Some(Cell::List(Vec::new())),
            Presence::Implicit => zero(&reader),
            Presence::Explicit => None,
        };
        let repeated = found.presence == Presence::Repeated;
        let member = Member { number: found.number, column, others: Vec::new(), repeated, reader };
        members.push((member, found.oneof));
    }
    let of_oneof: Vec<(usize, Option<usize>)> =
        members.iter().map(|(it, oneof)| (it.column, *oneof)).collect();
    let mut members: Vec<Member> = members
        .into_iter()
        .map(|(mut member, oneof)| {
            let others = of_oneof.iter().filter(|it| oneof.is_some() && it.1 == oneof);
            member.others = others.map(|it| it.0).filter(|it| *it != member.column).collect();
            member
        })
        .collect();
    members.sort_by_key(|it| it.number);
    MessagePlan { columns: columns.to_vec(), absent, members }
}

/// What a field without presence is when it is not there.
fn zero(reader: &Reader) -> Option<Cell<'static>> {
    match &reader.how {
        How::Scalar(scalar) => {
            let zero = match scalar {
                Scalar::Float | Scalar::Double => Ok(Cell::Float(0.0)),
                Scalar::Bool => Ok(Cell::Bool(false)),
                Scalar::Text => text_cell(&reader.field, ""),
                Scalar::Bytes => bytes_cell(&reader.field, &[]),
                _ => from_i64(&reader.field, 0),
            };
            zero.ok()
        }
        How::Enum(values) => match reader.field.data_type() {
            DataType::Utf8 => values.get(&0).map(|it| Cell::Text(Cow::Owned(it.clone()))),
            _ => from_i64(&reader.field, 0).ok(),
        },
        How::Message(_) | How::Known(_) | How::Entry(_) => None,
    }
}

/// How a field becomes a column, or why it cannot.
fn member(
    files: &Files,
    message: &Message,
    field: &ProtoField,
    column: &Field,
) -> Result<Reader, Mismatch> {
    let column = match field.presence {
        Presence::Repeated => match column.data_type() {
            DataType::List(item) => item.as_ref(),
            other => return Err(format!("{} does not become {}", show(field), type_name(other))),
        },
        Presence::Implicit | Presence::Explicit => column,
    };
    let how = match field.key {
        Some(key) => entry(files, message, field, key, column)?,
        None => how(files, &field.its_type, &message.name, column)?,
    };
    Ok(Reader { field: column.clone(), how })
}

fn entry(
    files: &Files,
    message: &Message,
    field: &ProtoField,
    key: Scalar,
    column: &Field,
) -> Result<How, Mismatch> {
    let of = |name: &str, number, its_type| ProtoField {
        name: name.to_owned(),
        number,
        its_type,
        presence: Presence::Implicit,
        key: None,
        oneof: None,
    };
    let entry = Message {
        name: message.name.clone(),
        fields: vec![of("key", 1, FieldType::Scalar(key)), of("value", 2, field.its_type.clone())],
        nested: Vec::new(),
    };
    inside(files, &entry, column).map(How::Entry)
}

fn how(files: &Files, its_type: &FieldType, scope: &str, column: &Field) -> Result<How, Mismatch> {
    let to = column.data_type();
    let name = match its_type {
        FieldType::Scalar(scalar) => {
            return match scalar_fits(*scalar, to) {
                true => Ok(How::Scalar(*scalar)),
                false => Err(format!("{scalar:?} does not become {}", type_name(to))),
            };
        }
        FieldType::Named(name) => name,
    };
    let mismatch = || format!("{name} does not become {}", type_name(to));
    match files.find(name, scope) {
        Found::Enum(values) => match to {
            DataType::Utf8 | DataType::Int32 | DataType::Int64 => Ok(How::Enum(values.clone())),
            _ => Err(mismatch()),
        },
        Found::Message(message) => match WellKnown::of(&message.name) {
            Some(known) if known.fits(to) => Ok(How::Known(known)),
            Some(_) | None => inside(files, message, column).map(How::Message),
        },
        Found::Elsewhere(full) => match WellKnown::of(&full) {
            Some(known) if known.fits(to) => Ok(How::Known(known)),
            Some(_) => Err(mismatch()),
            None => Err(format!("type {full} is declared nowhere")),
        },
    }
}

fn inside(files: &Files, message: &Message, column: &Field) -> Result<MessagePlan, Mismatch> {
    let DataType::Struct(fields) = column.data_type() else {
        return Err(format!("{} does not become {}", message.name, type_name(column.data_type())));
    };
    let columns: Vec<Field> = fields.iter().map(|it| it.as_ref().clone()).collect();
    match fits(files, message, &columns).into_iter().find_map(|it| Some((it.column, it.wrong?))) {
        Some((name, wrong)) => Err(format!("{name}: {wrong}")),
        None => Ok(plan(files, message, &columns)),
    }
}

fn scalar_fits(scalar: Scalar, to: &DataType) -> bool {
    use DataType as D;
    let wide = matches!(to, D::Int64 | D::UInt64 | D::Float64 | D::Decimal128(..));
    let narrow = matches!(to, D::Int8 | D::Int16 | D::UInt8 | D::UInt16 | D::UInt32);
    match scalar {
        Scalar::Int32 | Scalar::SInt32 | Scalar::SFixed32 => {
            wide || narrow || matches!(to, D::Int32 | D::Float32 | D::Date32)
        }
        Scalar::UInt32 | Scalar::Fixed32 => wide || narrow,
        Scalar::Int64 | Scalar::SInt64 | Scalar::SFixed64 => {
            wide || narrow || matches!(to, D::Float32 | D::Timestamp(..) | D::Time64(_))
        }
        // No column of a table is unsigned: a long, where each value is within it.
        Scalar::UInt64 | Scalar::Fixed64 => wide,
        Scalar::Bool => *to == D::Boolean,
        Scalar::Float => matches!(to, D::Float32 | D::Float64),
        Scalar::Double => *to == D::Float64,
        Scalar::Text => matches!(to, D::Utf8 | D::Binary | D::Decimal128(..)),
        Scalar::Bytes => matches!(to, D::Binary | D::FixedSizeBinary(_)),
    }
}

impl MessagePlan {
    fn read<'a>(&self, mut wire: Wire<'a>, cells: &mut [Cell<'a>]) -> Result<(), String> {
        // Fields mostly come in the order of their numbers: the search begins behind the last hit.
        let mut next = 0;
        while !wire.is_empty() {
            let (number, value) = wire.field()?;
            let hit = match self.members.get(next).filter(|it| it.number == number) {
                Some(_) => Some(next),
                None => self.members.binary_search_by_key(&number, |it| it.number).ok(),
            };
            let Some(hit) = hit else { continue };
            let member = &self.members[hit];
            next = hit + usize::from(!member.repeated);
            let read = member.read(value, &mut cells[member.column]);
            read.map_err(|it| format!("field {}: {it}", self.columns[member.column].name()))?;
            for other in &member.others {
                cells[*other] = Cell::Missing;
            }
        }
        Ok(())
    }

    /// Behind the last field: what is absent.
    fn complete<'a>(&self, cells: &mut [Cell<'a>]) -> Result<(), String> {
        for member in &self.members {
            if let (How::Message(plan), Cell::Struct(inner)) =
                (&member.reader.how, &mut cells[member.column])
            {
                plan.complete(inner)
                    .map_err(|it| format!("field {}: {it}", member.reader.field.name()))?;
            }
        }
        for ((field, absent), cell) in self.columns.iter().zip(&self.absent).zip(cells) {
            if let (Cell::Missing, Some(absent)) = (&*cell, absent) {
                *cell = absent.clone();
            }
            complete(field, cell)?;
        }
        Ok(())
    }
}

impl Member {
    fn read<'a>(&self, value: Value<'a>, cell: &mut Cell<'a>) -> Result<(), String> {
        if !self.repeated {
            // Of a message that comes twice the second is merged into the first; of all else it counts.
            let before = std::mem::take(cell);
            *cell = self.reader.read(value, before)?;
            return Ok(());
        }
        if *cell == Cell::Missing {
            *cell = Cell::List(Vec::new());
        }
        let Cell::List(items) = cell else { unreachable!("a repeated field is a list") };
        // Numbers may stand side by side.
        if let (Value::Bytes(bytes), Some(width)) = (value, self.reader.packed()) {
            let mut wire = Wire::new(bytes);
            while !wire.is_empty() {
                let value = match width {
                    Width::Varint => Value::Varint(wire.varint()?),
                    Width::Four => Value::Four(wire.four()?),
                    Width::Eight => Value::Eight(wire.eight()?),
                };
                items.push(self.reader.read(value, Cell::Missing)?);
            }
            return Ok(());
        }
        let mut item = self.reader.read(value, Cell::Missing)?;
        if let (How::Message(plan), Cell::Struct(cells)) = (&self.reader.how, &mut item) {
            plan.complete(cells)?;
        }
        items.push(item);
        Ok(())
    }
}

/// How wide a number of a packed field is.
enum Width {
    Varint,
    Four,
    Eight,
}

impl Reader {
    fn packed(&self) -> Option<Width> {
        match &self.how {
            How::Enum(_) => Some(Width::Varint),
            How::Scalar(scalar) => match scalar {
                Scalar::Text | Scalar::Bytes => None,
                Scalar::Fixed32 | Scalar::SFixed32 | Scalar::Float => Some(Width::Four),
                Scalar::Fixed64 | Scalar::SFixed64 | Scalar::Double => Some(Width::Eight),
                _ => Some(Width::Varint),
            },
            How::Message(_) | How::Known(_) | How::Entry(_) => None,
        }
    }

    fn read<'a>(&self, value: Value<'a>, before: Cell<'a>) -> Result<Cell<'a>, String> {
        let field = &self.field;
        match (&self.how, value) {
            (How::Scalar(scalar), value) => scalar_cell(field, *scalar, value),
            (How::Enum(values), Value::Varint(number)) => {
                let number = number as i32;
                match field.data_type() {
                    DataType::Utf8 => match values.get(&number) {
                        Some(name) => Ok(Cell::Text(Cow::Owned(name.clone()))),
                        None => Err(format!("{number} is no value of the enum")),
                    },
                    _ => from_i64(field, i64::from(number)),
                }
            }
            (How::Known(known), Value::Bytes(bytes)) => known.read(field, Wire::new(bytes)),
            (How::Message(plan), Value::Bytes(bytes)) => {
                let mut cells = match before {
                    Cell::Struct(cells) => cells,
                    _ => vec![Cell::Missing; plan.columns.len()],
                };
                plan.read(Wire::new(bytes), &mut cells)?;
                Ok(Cell::Struct(cells))
            }
            (How::Entry(plan), Value::Bytes(bytes)) => {
                let mut cells = vec![Cell::Missing; plan.columns.len()];
                plan.read(Wire::new(bytes), &mut cells)?;
                plan.complete(&mut cells)?;
                Ok(Cell::Struct(cells))
            }
            (_, other) => Err(wrong_wire(other)),
        }
    }
}

fn wrong_wire(value: Value<'_>) -> String {
    let found = match value {
        Value::Varint(_) => "a varint",
        Value::Eight(_) => "eight bytes",
        Value::Four(_) => "four bytes",
        Value::Bytes(_) => "bytes behind their length",
        Value::Group => "a group",
    };
    format!("not Protobuf by this schema: {found}")
}

fn scalar_cell<'a>(field: &Field, scalar: Scalar, value: Value<'a>) -> Result<Cell<'a>, String> {
    let zigzag = |it: u64| (it >> 1) as i64 ^ -((it & 1) as i64);
    match (scalar, value) {
        // A negative number has ten bytes, of which the low half counts.
        (Scalar::Int32, Value::Varint(it)) => from_i64(field, i64::from(it as i32)),
        (Scalar::Int64, Value::Varint(it)) => from_i64(field, it as i64),
        (Scalar::UInt32, Value::Varint(it)) => from_i64(field, i64::from(it as u32)),
        (Scalar::UInt64, Value::Varint(it)) => from_u64(field, it),
        (Scalar::SInt32, Value::Varint(it)) => from_i64(field, i64::from(zigzag(it) as i32)),
        (Scalar::SInt64, Value::Varint(it)) => from_i64(field, zigzag(it)),
        (Scalar::Bool, Value::Varint(it)) => from_bool(field, it != 0),
        (Scalar::Fixed32, Value::Four(it)) => from_i64(field, i64::from(u32::from_le_bytes(it))),
        (Scalar::SFixed32, Value::Four(it)) => from_i64(field, i64::from(i32::from_le_bytes(it))),
        (Scalar::Fixed64, Value::Eight(it)) => from_u64(field, u64::from_le_bytes(it)),
        (Scalar::SFixed64, Value::Eight(it)) => from_i64(field, i64::from_le_bytes(it)),
        (Scalar::Float, Value::Four(it)) => Ok(Cell::Float(f64::from(f32::from_le_bytes(it)))),
        (Scalar::Double, Value::Eight(it)) => Ok(Cell::Float(f64::from_le_bytes(it))),
        (Scalar::Text, Value::Bytes(it)) => {
            let text = std::str::from_utf8(it)
                .map_err(|error| format!("not UTF-8 (byte {})", error.valid_up_to()))?;
            text_cell(field, text)
        }
        (Scalar::Bytes, Value::Bytes(it)) => bytes_cell(field, it),
        (_, other) => Err(wrong_wire(other)),
    }
}

fn text_cell<'a>(field: &Field, text: &'a str) -> Result<Cell<'a>, String> {
    match field.data_type() {
        DataType::Binary => Ok(Cell::Bytes(Cow::Borrowed(text.as_bytes()))),
        _ => from_text(field, Cow::Borrowed(text)),
    }
}

fn bytes_cell<'a>(field: &Field, bytes: &'a [u8]) -> Result<Cell<'a>, String> {
    match field.data_type() {
        DataType::FixedSizeBinary(size) if bytes.len() != *size as usize => {
            Err(format!("expected {size} bytes, found {}", bytes.len()))
        }
        _ => Ok(Cell::Bytes(Cow::Borrowed(bytes))),
    }
}
