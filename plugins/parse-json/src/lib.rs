//! `parse-json`: takes columns out of a JSON text.

use floe_plugin_expression::{Computed, cast};
use floe_sdk::dynamic::{Column, DynamicOperator, Out, Row, Schema, Shape, Type, Value};
use floe_sdk::json::{self, Json};
use floe_sdk::{Config, Error, Result, bail};

struct ParseJson {
    column: usize,
    /// Columns that are handed on.
    kept: Vec<usize>,
    fields: Vec<Field>,
}

struct Field {
    column: Column,
    /// Members, one within the other.
    path: Vec<String>,
}

impl DynamicOperator for ParseJson {
    fn open(config: Config, upstream: Option<&Schema>) -> Result<(Self, Shape)> {
        // As the first operator it takes the record's value as it is.
        let value = Schema { columns: vec![Column::new("_value", Type::Bytes).nullable()] };
        let input = upstream.unwrap_or(&value);
        let name = config.get::<String>("column")?.unwrap_or_else(|| "_value".to_owned());
        let column = input.index(&name)?;
        if !matches!(input.columns[column].ty, Type::Text | Type::Bytes) {
            bail!("column {name:?} is no text: it is {}", input.columns[column].ty.name());
        }
        let kept: Vec<usize> = (0..input.columns.len()).filter(|it| *it != column).collect();
        let mut fields = Vec::new();
        for text in config.require::<Vec<String>>("columns")? {
            fields.push(field(&text)?);
        }
        let columns = kept.iter().map(|it| input.columns[*it].clone());
        let columns = columns.chain(fields.iter().map(|it| it.column.clone())).collect();
        let shape = Shape::new(input.clone(), Schema { columns }.checked()?);
        Ok((ParseJson { column, kept, fields }, shape))
    }

    fn process(&mut self, row: Row<'_>, out: &mut Out) -> Result<()> {
        let text = match row.get(self.column) {
            Value::Text(it) => it,
            Value::Bytes(it) => std::str::from_utf8(it)?,
            _ => bail!("it has no text"),
        };
        let parsed = json::parse(text)?;
        let mut texts = vec![String::new(); self.fields.len()];
        let mut values: Vec<Value<'_>> = self.kept.iter().map(|it| row.get(*it)).collect();
        for (field, text) in self.fields.iter().zip(&mut texts) {
            let value = field.value(&parsed, text);
            values.push(
                value.map_err(|it| Error::new(format!("field {}: {it}", field.path.join("."))))?,
            );
        }
        out.emit(values)
    }
}

/// `PATH [as NAME]: TYPE`.
fn field(text: &str) -> Result<Field> {
    let wrong = || Error::new(format!("{text:?} is no column such as \"user.id as user: string\""));
    let (name, ty) = text.split_once(':').ok_or_else(wrong)?;
    let (ty, nullable) = Type::parse(ty)?;
    if matches!(ty, Type::List(_) | Type::Struct(_) | Type::Bytes | Type::Fixed(_) | Type::Time) {
        bail!("{text:?}: a {} is not taken out of JSON; as string it is its text", ty.name());
    }
    let (path, name) = match name.split_once(" as ") {
        Some((path, name)) => (path, name.trim()),
        None => (name, name.rsplit('.').next().unwrap_or(name).trim()),
    };
    let path: Vec<String> = path.split('.').map(|it| it.trim().to_owned()).collect();
    if name.is_empty() || path.iter().any(String::is_empty) {
        return Err(wrong());
    }
    Ok(Field { column: Column { name: name.to_owned(), ty, nullable }, path })
}

impl Field {
    fn value<'v>(&self, parsed: &Json, text: &'v mut String) -> Result<Value<'v>> {
        let mut found = Some(parsed);
        for step in &self.path {
            found = match found {
                // Of members with the same name the last counts.
                Some(Json::Object(members)) => {
                    members.iter().rev().find(|(name, _)| name == step).map(|(_, it)| it)
                }
                _ => None,
            };
        }
        let Some(found) = found.filter(|it| **it != Json::Null) else {
            return if self.column.nullable {
                Ok(Value::Null)
            } else {
                Err(Error::new("it is missing"))
            };
        };
        let computed = match found {
            Json::Bool(it) => Computed::Bool(*it),
            Json::Text(it) => Computed::Text(it.clone().into()),
            // As it is written: the cast reads it for the type.
            Json::Number(it) => Computed::Text(it.clone().into()),
            Json::Null | Json::List(_) | Json::Object(_) if self.column.ty == Type::Text => {
                Computed::Text(found.to_string().into())
            }
            Json::Null | Json::List(_) | Json::Object(_) => {
                bail!("expected {}, found {}", self.column.ty.name(), found.kind())
            }
        };
        if matches!((found, &self.column.ty), (Json::Text(_), Type::Boolean)) {
            bail!("expected boolean, found a text");
        }
        let number_of_time = match (found, &self.column.ty) {
            (Json::Number(it), Type::Timestamp(..) | Type::Date) => {
                Some(it.parse::<i64>().map_err(|_| Error::new(format!("{it} is no time")))?)
            }
            _ => None,
        };
        match number_of_time {
            Some(number) => Ok(Value::Int(number)),
            None => cast(computed, &self.column.ty, text),
        }
    }
}

floe_sdk::dynamic_operator!(ParseJson, name = "parse-json", state_version = 1);
