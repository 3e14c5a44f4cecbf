//! An Avro schema, parsed (Avro 1.12, "Schema Declaration"): every type in one list, names resolved.

use std::collections::BTreeMap;
use std::fmt::Write;

use floe_core::schema::WriterSchema;
use serde_json::{Map, Value};

/// A type's place in the list.
pub(super) type TypeId = usize;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    Enum(Vec<String>),
    Array(TypeId),
    Map(TypeId),
    Union(Vec<TypeId>),
    Record(Vec<(String, TypeId)>),
}

/// What a number or bytes stand for. A logical type that is not known is left out, as Avro wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Logical {
    Decimal {
        precision: u32,
        scale: u32,
    },
    Uuid,
    Date,
    /// Units of a second.
    Time(i64),
    Timestamp(i64),
}

#[derive(Clone, Debug)]
pub(super) struct Type {
    pub(super) kind: Kind,
    pub(super) logical: Option<Logical>,
}

pub(super) struct Schema {
    types: Vec<Type>,
    names: BTreeMap<String, TypeId>,
    pub(super) root: TypeId,
}

/// A type has a byte length that a computer can hold.
const FIXED_BYTES_MAX: u64 = 1 << 30;

impl Schema {
    pub(super) fn parse(writer: &WriterSchema) -> Result<Schema, String> {
        let mut schema = Schema { types: Vec::new(), names: BTreeMap::new(), root: 0 };
        for (name, text) in &writer.references {
            schema.text(text).map_err(|it| format!("{name}, which it refers to: {it}"))?;
        }
        schema.root = schema.text(&writer.text)?;
        Ok(schema)
    }

    fn text(&mut self, text: &str) -> Result<TypeId, String> {
        let value = serde_json::from_str(text).map_err(|it| format!("it is no JSON: {it}"))?;
        self.declare(&value, "")
    }

    pub(super) fn get(&self, id: TypeId) -> &Type {
        &self.types[id]
    }

    fn add(&mut self, kind: Kind, logical: Option<Logical>) -> TypeId {
        self.types.push(Type { kind, logical });
        self.types.len() - 1
    }

    /// `space` is the namespace around it.
    fn declare(&mut self, value: &Value, space: &str) -> Result<TypeId, String> {
        match value {
            Value::String(name) => self.named(name, space),
            Value::Array(branches) => {
                let branches =
                    branches.iter().map(|it| self.declare(it, space)).collect::<Result<_, _>>()?;
                Ok(self.add(Kind::Union(branches), None))
            }
            Value::Object(map) => match map.get("type") {
                Some(Value::String(name)) => self.complex(name, map, space),
                // A type in a type: {"type": {"type": "long", …}}.
                Some(inner) => self.declare(inner, space),
                None => Err("an object without \"type\"".to_owned()),
            },
            Value::Null | Value::Bool(_) | Value::Number(_) => Err(format!("{value} is no type")),
        }
    }

    fn named(&mut self, name: &str, space: &str) -> Result<TypeId, String> {
        if let Some(kind) = primitive(name) {
            return Ok(self.add(kind, None));
        }
        let full = full_name(name, space);
        self.names
            .get(&full)
            .or_else(|| self.names.get(name))
            .copied()
            .ok_or_else(|| format!("type {full:?} is declared nowhere"))
    }

    fn complex(
        &mut self,
        kind: &str,
        map: &Map<String, Value>,
        space: &str,
    ) -> Result<TypeId, String> {
        let member = |key: &str| map.get(key).ok_or_else(|| format!("{kind} without {key:?}"));
        match kind {
            "array" => {
                let items = self.declare(member("items")?, space)?;
                Ok(self.add(Kind::Array(items), None))
            }
            "map" => {
                let values = self.declare(member("values")?, space)?;
                Ok(self.add(Kind::Map(values), None))
            }
            "record" | "error" => {
                let (full, space) = declared_name(map, space)?;
                // Its fields may name it.
                let id = self.define(&full, Kind::Record(Vec::new()), None)?;
                let Value::Array(list) = member("fields")? else {
                    return Err(format!("the fields of {full} are no list"));
                };
                let mut fields = Vec::with_capacity(list.len());
                for field in list {
                    let name = field.get("name").and_then(Value::as_str);
                    let (Some(name), Some(its_type)) = (name, field.get("type")) else {
                        return Err(format!("a field of {full} has no name or no type"));
                    };
                    let at = |it| format!("field {name} of {full}: {it}");
                    fields.push((name.to_owned(), self.declare(its_type, &space).map_err(at)?));
                }
                self.types[id].kind = Kind::Record(fields);
                Ok(id)
            }
            "enum" => {
                let (full, _) = declared_name(map, space)?;
                let symbols = member("symbols")?.as_array().into_iter().flatten();
                let symbols = symbols.filter_map(|it| it.as_str().map(str::to_owned)).collect();
                self.define(&full, Kind::Enum(symbols), None)
            }
            "fixed" => {
                let (full, _) = declared_name(map, space)?;
                let size = member("size")?.as_u64().filter(|it| *it <= FIXED_BYTES_MAX);
                let size = size.ok_or_else(|| format!("the size of {full} is no size"))?;
                self.define(&full, Kind::Fixed(size as usize), logical(map))
            }
            name => {
                let id = self.named(name, space)?;
                if primitive(name).is_some() {
                    self.types[id].logical = logical(map);
                }
                Ok(id)
            }
        }
    }

    fn define(
        &mut self,
        full: &str,
        kind: Kind,
        logical: Option<Logical>,
    ) -> Result<TypeId, String> {
        let id = self.add(kind, logical);
        match self.names.insert(full.to_owned(), id) {
            None => Ok(id),
            Some(_) => Err(format!("type {full:?} is declared twice")),
        }
    }

    /// A type as people write it.
    pub(super) fn show(&self, id: TypeId) -> String {
        let its = self.get(id);
        let base = match &its.kind {
            Kind::Null => "null".to_owned(),
            Kind::Boolean => "boolean".to_owned(),
            Kind::Int => "int".to_owned(),
            Kind::Long => "long".to_owned(),
            Kind::Float => "float".to_owned(),
            Kind::Double => "double".to_owned(),
            Kind::Bytes => "bytes".to_owned(),
            Kind::Text => "string".to_owned(),
            Kind::Fixed(size) => format!("fixed({size})"),
            Kind::Enum(_) => "enum".to_owned(),
            Kind::Array(items) => match &self.get(*items).kind {
                Kind::Record(_) | Kind::Union(_) => "array".to_owned(),
                _ => format!("array of {}", self.show(*items)),
            },
            Kind::Map(_) => "map".to_owned(),
            Kind::Record(_) => "record".to_owned(),
            Kind::Union(branches) => {
                let mut text = String::new();
                for (index, branch) in branches.iter().enumerate() {
                    let between = if index == 0 { "" } else { " or " };
                    let _ = write!(text, "{between}{}", self.show(*branch));
                }
                text
            }
        };
        match its.logical {
            None => base,
            Some(Logical::Decimal { precision, scale }) => format!("decimal({precision},{scale})"),
            Some(Logical::Uuid) => "uuid".to_owned(),
            Some(Logical::Date) => "date".to_owned(),
            Some(Logical::Time(per_second)) => format!("time-{}", unit(per_second)),
            Some(Logical::Timestamp(per_second)) => format!("timestamp-{}", unit(per_second)),
        }
    }
}

fn unit(per_second: i64) -> &'static str {
    match per_second {
        1_000 => "millis",
        1_000_000 => "micros",
        _ => "nanos",
    }
}

fn primitive(name: &str) -> Option<Kind> {
    Some(match name {
        "null" => Kind::Null,
        "boolean" => Kind::Boolean,
        "int" => Kind::Int,
        "long" => Kind::Long,
        "float" => Kind::Float,
        "double" => Kind::Double,
        "bytes" => Kind::Bytes,
        "string" => Kind::Text,
        _ => return None,
    })
}

fn logical(map: &Map<String, Value>) -> Option<Logical> {
    let number = |key: &str| map.get(key).and_then(Value::as_u64).and_then(|it| it.try_into().ok());
    let on = map.get("type").and_then(Value::as_str)?;
    match (map.get("logicalType")?.as_str()?, on) {
        ("decimal", "bytes" | "fixed") => {
            let (precision, scale) = (number("precision")?, number("scale").unwrap_or(0));
            (scale <= precision).then_some(Logical::Decimal { precision, scale })
        }
        ("uuid", "string" | "fixed") => Some(Logical::Uuid),
        ("date", "int") => Some(Logical::Date),
        ("time-millis", "int") => Some(Logical::Time(1_000)),
        ("time-micros", "long") => Some(Logical::Time(1_000_000)),
        ("timestamp-millis" | "local-timestamp-millis", "long") => Some(Logical::Timestamp(1_000)),
        ("timestamp-micros" | "local-timestamp-micros", "long") => {
            Some(Logical::Timestamp(1_000_000))
        }
        ("timestamp-nanos" | "local-timestamp-nanos", "long") => {
            Some(Logical::Timestamp(1_000_000_000))
        }
        _ => None,
    }
}

/// The full name, and the namespace for what is inside.
fn declared_name(map: &Map<String, Value>, space: &str) -> Result<(String, String), String> {
    let name = map.get("name").and_then(Value::as_str).ok_or("a named type without a name")?;
    let own = map.get("namespace").and_then(Value::as_str).unwrap_or(space);
    let full = full_name(name, own);
    let space = full.rsplit_once('.').map_or("", |it| it.0).to_owned();
    Ok((full, space))
}

fn full_name(name: &str, space: &str) -> String {
    match name.contains('.') || space.is_empty() {
        true => name.to_owned(),
        false => format!("{space}.{name}"),
    }
}
