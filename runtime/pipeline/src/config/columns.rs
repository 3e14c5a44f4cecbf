//! Columns as a file names them: `"amount: decimal(10,2)?"`.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

pub const HELP: &str = "\"name: type\", with ? behind the type where it may be null; types are boolean, int, long, float, double, string, binary, date, time, timestamp, decimal(10,2), list<long>, struct<a: long>";

/// What is wrong: the index of the text, and why.
pub type Wrong = (usize, String);

/// The schema that these columns make.
pub fn schema(columns: &[String]) -> Result<SchemaRef, Wrong> {
    let mut fields: Vec<Field> = Vec::new();
    for (index, text) in columns.iter().enumerate() {
        let mut parser = Parser { rest: text, depth: 0 };
        let field = parser.column().filter(|_| parser.rest.trim().is_empty());
        let field = field.ok_or_else(|| (index, format!("{text:?} is no column")))?;
        if fields.iter().any(|it| it.name() == field.name()) {
            return Err((index, format!("two columns are named {:?}", field.name())));
        }
        fields.push(field);
    }
    match fields.is_empty() {
        true => Err((0, "there is no column".to_owned())),
        false => Ok(Arc::new(Schema::new(fields))),
    }
}

/// The columns of a schema as a file names them. Read again, they are the same.
pub fn texts(schema: &Schema) -> Vec<String> {
    schema.fields().iter().map(|it| column_text(it)).collect()
}

fn column_text(field: &Field) -> String {
    format!("{}: {}", field.name(), type_text(field.data_type(), field.is_nullable()))
}

fn type_text(data_type: &DataType, nullable: bool) -> String {
    let text = match data_type {
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 => "byte".to_owned(),
        DataType::Int16 => "short".to_owned(),
        DataType::Int32 => "int".to_owned(),
        DataType::Int64 => "long".to_owned(),
        DataType::UInt8 => "ubyte".to_owned(),
        DataType::UInt16 => "ushort".to_owned(),
        DataType::UInt32 => "uint".to_owned(),
        DataType::UInt64 => "ulong".to_owned(),
        DataType::Float32 => "float".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Utf8 => "string".to_owned(),
        DataType::Binary => "binary".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Time64(_) => "time".to_owned(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => "timestamp_us".to_owned(),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => "timestamp_ns".to_owned(),
        DataType::Timestamp(..) => "timestamp".to_owned(),
        DataType::FixedSizeBinary(bytes) => format!("fixed({bytes})"),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::List(item) => {
            format!("list<{}>", type_text(item.data_type(), item.is_nullable()))
        }
        DataType::Struct(members) => {
            let members: Vec<String> = members.iter().map(|it| column_text(it)).collect();
            format!("struct<{}>", members.join(", "))
        }
        other => unreachable!("{other} is no type that a file names"),
    };
    if nullable { text + "?" } else { text }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

/// A7 of the ABI.
const DEPTH_MAX: usize = 8;

impl<'a> Parser<'a> {
    fn column(&mut self) -> Option<Field> {
        let name = self.word()?;
        self.expect(':')?;
        let (data_type, nullable) = self.data_type()?;
        Some(Field::new(name, data_type, nullable))
    }

    fn data_type(&mut self) -> Option<(DataType, bool)> {
        self.depth += 1;
        let utc = || Some("UTC".into());
        let data_type = match self.word()? {
            "boolean" => DataType::Boolean,
            "byte" => DataType::Int8,
            "short" => DataType::Int16,
            "int" => DataType::Int32,
            "long" => DataType::Int64,
            "ubyte" => DataType::UInt8,
            "ushort" => DataType::UInt16,
            "uint" => DataType::UInt32,
            "ulong" => DataType::UInt64,
            "float" => DataType::Float32,
            "double" => DataType::Float64,
            "string" => DataType::Utf8,
            "binary" => DataType::Binary,
            "date" => DataType::Date32,
            "time" => DataType::Time64(TimeUnit::Microsecond),
            "timestamp" => DataType::Timestamp(TimeUnit::Millisecond, utc()),
            "timestamp_us" => DataType::Timestamp(TimeUnit::Microsecond, utc()),
            "timestamp_ns" => DataType::Timestamp(TimeUnit::Nanosecond, utc()),
            "fixed" => {
                self.expect('(')?;
                let bytes: i32 = self.word()?.parse().ok()?;
                self.expect(')')?;
                (1..=1 << 16).contains(&bytes).then_some(DataType::FixedSizeBinary(bytes))?
            }
            "decimal" => {
                self.expect('(')?;
                let precision: u8 = self.word()?.parse().ok()?;
                self.expect(',')?;
                let scale: i8 = self.word()?.parse().ok()?;
                self.expect(')')?;
                let sound = (1..=38).contains(&precision) && scale as u8 <= precision;
                sound.then_some(DataType::Decimal128(precision, scale))?
            }
            "list" if self.depth <= DEPTH_MAX => {
                self.expect('<')?;
                let (item, nullable) = self.data_type()?;
                self.expect('>')?;
                DataType::List(Arc::new(Field::new("item", item, nullable)))
            }
            "struct" if self.depth <= DEPTH_MAX => {
                self.expect('<')?;
                let mut members = vec![self.column()?];
                while self.take(',') {
                    members.push(self.column()?);
                }
                self.expect('>')?;
                DataType::Struct(Fields::from(members))
            }
            _ => return None,
        };
        self.depth -= 1;
        Some((data_type, self.take('?')))
    }

    fn word(&mut self) -> Option<&'a str> {
        self.rest = self.rest.trim_start();
        let belongs = |it: char| it.is_alphanumeric() || it == '_' || it == '-';
        let end = self.rest.find(|it| !belongs(it)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    fn take(&mut self, wanted: char) -> bool {
        let rest = self.rest.trim_start().strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, wanted: char) -> Option<()> {
        self.take(wanted).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_read_and_mistakes_named() {
        let columns = [
            "id: string",
            "n :long ?",
            "d: decimal(10,2)",
            "l: list<struct<a: long, b: string?>?>",
        ];
        let read = schema(&columns.map(str::to_owned)).unwrap();
        assert_eq!(schema(&texts(&read)).unwrap(), read);
        assert_eq!(*read.field(1), Field::new("n", DataType::Int64, true));
        assert_eq!(*read.field(2).data_type(), DataType::Decimal128(10, 2));
        let DataType::List(item) = read.field(3).data_type() else { panic!("a list") };
        assert!(item.is_nullable());
        for wrong in ["id", "id:", "id: text", "id: decimal(2,3)", "id: list<>", "id: long x", ""] {
            assert_eq!(schema(&["a: int".to_owned(), wrong.to_owned()]).unwrap_err().0, 1);
        }
        let deep = format!("x: {}long{}", "list<".repeat(9), ">".repeat(9));
        assert!(schema(&[deep]).is_err());
        assert!(schema(&["a: int".to_owned(), "a: int".to_owned()]).unwrap_err().1.contains("two"));
    }
}
