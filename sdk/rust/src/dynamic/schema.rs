//! Columns that are known when the pipeline starts: names, types, and how types are written in a file.

use crate::error::{Error, Result};
use crate::row::Field;

/// The type of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Type {
    Boolean,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    F32,
    F64,
    Text,
    Bytes,
    Fixed(usize),
    Date,
    /// Of the day, in microseconds.
    Time,
    /// With the time zone, or without one.
    Timestamp(Unit, Option<String>),
    /// Digits, and how many of them stand after the point.
    Decimal(u8, u8),
    List(Box<Column>),
    Struct(Schema),
}

/// What a timestamp counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Unit {
    Millis,
    Micros,
    Nanos,
}

impl Unit {
    /// How many of them a millisecond has.
    pub fn per_millisecond(self) -> i64 {
        match self {
            Unit::Millis => 1,
            Unit::Micros => 1_000,
            Unit::Nanos => 1_000_000,
        }
    }
}

/// A column: its name, its type, and whether it may be null.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Column {
    pub name: String,
    pub ty: Type,
    pub nullable: bool,
}

impl Column {
    /// A column that is never null.
    pub fn new(name: impl Into<String>, ty: Type) -> Self {
        Column { name: name.into(), ty, nullable: false }
    }

    /// The same column, and it may be null.
    pub fn nullable(self) -> Self {
        Column { nullable: true, ..self }
    }
}

/// The columns of a row, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// The columns.
    pub columns: Vec<Column>,
}

impl Schema {
    /// What comes before the operator, which must be known.
    pub fn known(upstream: Option<&Schema>) -> Result<&Schema> {
        upstream.ok_or_else(|| {
            Error::new(
                "the columns of the source are not known\n  → name them: [source] columns = [\"id: string\", \"amount: long\"]",
            )
        })
    }

    /// The place of a column.
    pub fn index(&self, name: &str) -> Result<usize> {
        self.columns.iter().position(|it| it.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.columns.iter().map(|it| it.name.as_str()).collect();
            Error::new(format!("there is no column {name:?}; known here: {}", known.join(", ")))
        })
    }

    /// The places of several columns.
    pub fn indices(&self, names: &[String]) -> Result<Vec<usize>> {
        names.iter().map(|it| self.index(it)).collect()
    }

    /// Refuses two columns of one name, and a row without columns.
    pub fn checked(self) -> Result<Self> {
        for (index, column) in self.columns.iter().enumerate() {
            if self.columns[..index].iter().any(|it| it.name == column.name) {
                return Err(Error::new(format!("two columns are named {:?}", column.name)));
            }
        }
        match self.columns.is_empty() {
            true => Err(Error::new("no column is left")),
            false => Ok(self),
        }
    }
}

/// What an operator takes and emits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The columns it takes: those that come before it, or, as the first of a chain, those that the host
    /// shall decode.
    pub input: Schema,
    /// Its outputs by name. The first goes to the next operator or to the sink.
    pub outputs: Vec<(String, Schema)>,
}

impl Shape {
    /// Rows go out as they come in.
    pub fn same(input: &Schema) -> Self {
        Shape::new(input.clone(), input.clone())
    }

    /// One output.
    pub fn new(input: Schema, output: Schema) -> Self {
        Shape { input, outputs: vec![("rows".to_owned(), output)] }
    }
}

impl Type {
    /// Reads a type as a pipeline file has it: `long`, `string?` (may be null), `decimal(10,2)`,
    /// `list<long>`, `struct<a: long, b: string?>`. Returns whether it may be null.
    pub fn parse(text: &str) -> Result<(Type, bool)> {
        let mut parser = Parser { text, rest: text };
        let parsed = parser.ty(0)?;
        match parser.rest.trim().is_empty() {
            true => Ok(parsed),
            false => Err(parser.wrong()),
        }
    }

    /// Is it a whole number?
    pub fn is_integer(&self) -> bool {
        matches!(
            self,
            Type::I8
                | Type::I16
                | Type::I32
                | Type::I64
                | Type::U8
                | Type::U16
                | Type::U32
                | Type::U64
        )
    }

    /// As a pipeline file has it.
    pub fn name(&self) -> String {
        let simple = SIMPLE.iter().find(|(_, ty)| ty == self);
        match (simple, self) {
            (Some((name, _)), _) => (*name).to_owned(),
            (None, Type::Timestamp(unit, _)) => match unit {
                Unit::Millis => "timestamp".to_owned(),
                Unit::Micros => "timestamp_us".to_owned(),
                Unit::Nanos => "timestamp_ns".to_owned(),
            },
            (None, Type::Fixed(bytes)) => format!("fixed({bytes})"),
            (None, Type::Decimal(precision, scale)) => format!("decimal({precision},{scale})"),
            (None, Type::List(item)) => format!("list<{}>", item.type_name()),
            (None, Type::Struct(inner)) => {
                let inner: Vec<String> = inner
                    .columns
                    .iter()
                    .map(|it| format!("{}: {}", it.name, it.type_name()))
                    .collect();
                format!("struct<{}>", inner.join(", "))
            }
            (None, other) => format!("{other:?}"),
        }
    }

    fn format(&self) -> (String, Vec<Field>) {
        let plain = |format: &str| (format.to_owned(), Vec::new());
        match self {
            Type::Boolean => plain("b"),
            Type::I8 => plain("c"),
            Type::I16 => plain("s"),
            Type::I32 => plain("i"),
            Type::I64 => plain("l"),
            Type::U8 => plain("C"),
            Type::U16 => plain("S"),
            Type::U32 => plain("I"),
            Type::U64 => plain("L"),
            Type::F32 => plain("f"),
            Type::F64 => plain("g"),
            Type::Text => plain("u"),
            Type::Bytes => plain("z"),
            Type::Fixed(bytes) => (format!("w:{bytes}"), Vec::new()),
            Type::Date => plain("tdD"),
            Type::Time => plain("ttu"),
            Type::Timestamp(unit, zone) => {
                let unit = match unit {
                    Unit::Millis => 'm',
                    Unit::Micros => 'u',
                    Unit::Nanos => 'n',
                };
                (format!("ts{unit}:{}", zone.as_deref().unwrap_or_default()), Vec::new())
            }
            Type::Decimal(precision, scale) => (format!("d:{precision},{scale}"), Vec::new()),
            Type::List(item) => ("+l".to_owned(), vec![item.field()]),
            Type::Struct(inner) => {
                ("+s".to_owned(), inner.columns.iter().map(Column::field).collect())
            }
        }
    }

    /// Of the Arrow C Data Interface, as the host writes it.
    #[doc(hidden)]
    pub fn of_format(format: &str, mut children: Vec<Column>) -> Result<Type> {
        let unknown = || Error::new(format!("a column of format {format:?}"));
        Ok(match format {
            "b" => Type::Boolean,
            "c" => Type::I8,
            "s" => Type::I16,
            "i" => Type::I32,
            "l" => Type::I64,
            "C" => Type::U8,
            "S" => Type::U16,
            "I" => Type::U32,
            "L" => Type::U64,
            "f" => Type::F32,
            "g" => Type::F64,
            "u" => Type::Text,
            "z" => Type::Bytes,
            "tdD" => Type::Date,
            "ttu" => Type::Time,
            "+s" => Type::Struct(Schema { columns: children }),
            "+l" => Type::List(Box::new(children.pop().ok_or_else(unknown)?)),
            other => {
                if let Some(bytes) = other.strip_prefix("w:") {
                    return Ok(Type::Fixed(bytes.parse()?));
                }
                if let Some((precision, scale)) =
                    other.strip_prefix("d:").and_then(|it| it.split_once(','))
                {
                    return Ok(Type::Decimal(precision.parse()?, scale.parse()?));
                }
                let (unit, zone) = other.split_once(':').ok_or_else(unknown)?;
                let unit = match unit {
                    "tsm" => Unit::Millis,
                    "tsu" => Unit::Micros,
                    "tsn" => Unit::Nanos,
                    _ => return Err(unknown()),
                };
                Type::Timestamp(unit, (!zone.is_empty()).then(|| zone.to_owned()))
            }
        })
    }
}

impl Column {
    fn type_name(&self) -> String {
        self.ty.name() + if self.nullable { "?" } else { "" }
    }

    #[doc(hidden)]
    pub fn field(&self) -> Field {
        let (format, children) = self.ty.format();
        Field { nullable: self.nullable, ..Field::new(&self.name, format, children) }
    }
}

impl Schema {
    #[doc(hidden)]
    pub fn field(&self) -> Field {
        Column::new("", Type::Struct(self.clone())).field()
    }
}

/// Types without parameters. Timestamps are in UTC.
const SIMPLE: [(&str, Type); 18] = [
    ("boolean", Type::Boolean),
    ("byte", Type::I8),
    ("short", Type::I16),
    ("int", Type::I32),
    ("long", Type::I64),
    ("ubyte", Type::U8),
    ("ushort", Type::U16),
    ("uint", Type::U32),
    ("ulong", Type::U64),
    ("float", Type::F32),
    ("double", Type::F64),
    ("string", Type::Text),
    ("binary", Type::Bytes),
    ("date", Type::Date),
    ("time", Type::Time),
    // The zone is filled in by `simple`: a constant holds no text of its own.
    ("timestamp", Type::Timestamp(Unit::Millis, None)),
    ("timestamp_us", Type::Timestamp(Unit::Micros, None)),
    ("timestamp_ns", Type::Timestamp(Unit::Nanos, None)),
];

fn simple(name: &str) -> Option<Type> {
    let (_, ty) = SIMPLE.iter().find(|(known, _)| *known == name)?;
    Some(match ty {
        Type::Timestamp(unit, _) => Type::Timestamp(*unit, Some("UTC".to_owned())),
        other => other.clone(),
    })
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
}

const DEPTH_MAX: usize = 8;

impl<'a> Parser<'a> {
    fn ty(&mut self, depth: usize) -> Result<(Type, bool)> {
        let name = self.word();
        let ty = match name {
            "list" if depth < DEPTH_MAX => {
                self.expect('<')?;
                let (ty, nullable) = self.ty(depth + 1)?;
                self.expect('>')?;
                Type::List(Box::new(Column { name: "item".to_owned(), ty, nullable }))
            }
            "struct" if depth < DEPTH_MAX => {
                self.expect('<')?;
                let mut columns = Vec::new();
                loop {
                    let name = self.word().to_owned();
                    self.expect(':')?;
                    let (ty, nullable) = self.ty(depth + 1)?;
                    columns.push(Column { name, ty, nullable });
                    if !self.take(',') {
                        break;
                    }
                }
                self.expect('>')?;
                Type::Struct(Schema { columns }.checked()?)
            }
            "decimal" => {
                self.expect('(')?;
                let precision = self.number()?;
                self.expect(',')?;
                let scale = self.number()?;
                self.expect(')')?;
                if !(1..=38).contains(&precision) || scale > precision {
                    return Err(self.wrong());
                }
                Type::Decimal(precision as u8, scale as u8)
            }
            "fixed" => {
                self.expect('(')?;
                let bytes = self.number()?;
                self.expect(')')?;
                Type::Fixed(bytes)
            }
            name => simple(name).ok_or_else(|| self.wrong())?,
        };
        Ok((ty, self.take('?')))
    }

    fn word(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|it: char| !(it.is_alphanumeric() || it == '_'));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    fn number(&mut self) -> Result<usize> {
        self.word().parse().map_err(|_| self.wrong())
    }

    fn take(&mut self, wanted: char) -> bool {
        let rest = self.rest.trim_start().strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, wanted: char) -> Result<()> {
        if self.take(wanted) { Ok(()) } else { Err(self.wrong()) }
    }

    #[cold]
    fn wrong(&self) -> Error {
        Error::new(format!(
            "{:?} is no type\n  → boolean, int, long, float, double, string, binary, date, time, timestamp, decimal(10,2), list<long>, struct<a: long>; with ? behind it, it may be null",
            self.text
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_as_they_are_written() {
        for text in [
            "long",
            "string?",
            "decimal(10,2)",
            "fixed(16)?",
            "list<long?>",
            "struct<a: long, b: list<struct<c: binary?>>?>",
        ] {
            let (ty, nullable) = Type::parse(text).unwrap();
            assert_eq!(Column { name: String::new(), ty, nullable }.type_name(), text);
        }
        let utc = Type::Timestamp(Unit::Micros, Some("UTC".to_owned()));
        assert_eq!(Type::parse(" timestamp_us ? ").unwrap(), (utc, true));
        for wrong in ["", "longs", "decimal(0,0)", "decimal(2,3)", "list<>", "struct<a>", "long x"]
        {
            assert!(Type::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn formats_are_read_as_they_are_written() {
        for text in ["ulong", "timestamp", "timestamp_ns", "decimal(38,0)", "fixed(3)", "time"] {
            let (ty, _) = Type::parse(text).unwrap();
            let (format, _) = ty.format();
            assert_eq!(Type::of_format(&format, Vec::new()).unwrap(), ty);
        }
    }
}
