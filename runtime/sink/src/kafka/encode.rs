//! Rows as records: the value is the row as a JSON object, the key its key columns.

use arrow_array::{Array, RecordBatch, StructArray};
use arrow_json::writer::{EncoderOptions, make_encoder};
use arrow_schema::{DataType, Field, SchemaRef};
use floe_core::{Error, Result};
use std::sync::Arc;

pub(super) struct Encoder {
    /// Places of the key columns.
    key: Vec<usize>,
}

/// A record to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OutRecord {
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Vec<u8>,
}

impl Encoder {
    pub(super) fn new(rows: &SchemaRef, key: &[String]) -> Result<Encoder> {
        let place = |name: &String| {
            rows.index_of(name).map_err(|_| {
                let names: Vec<&str> = rows.fields().iter().map(|it| it.name().as_str()).collect();
                Error::invalid(format!(
                    "[sink] key: the operator emits no column {name:?}\n  → it emits {}",
                    names.join(", ")
                ))
            })
        };
        Ok(Encoder { key: key.iter().map(place).collect::<Result<_>>()? })
    }

    /// In the order of the rows. Nulls are written, so that every record has every column.
    pub(super) fn encode(&self, rows: &RecordBatch) -> Result<Vec<OutRecord>> {
        let keys = match self.key.as_slice() {
            [] => None,
            [one] => Some(texts(rows.column(*one).as_ref(), rows.schema_ref().field(*one))?),
            several => {
                let part = rows.project(several).map_err(|it| failed(&it))?;
                Some(objects(part)?)
            }
        };
        let values = objects(rows.clone())?;
        Ok(match keys {
            None => values.into_iter().map(|value| OutRecord { key: None, value }).collect(),
            Some(keys) => keys
                .into_iter()
                .zip(values)
                .map(|(key, value)| OutRecord { key: Some(key), value })
                .collect(),
        })
    }
}

fn objects(rows: RecordBatch) -> Result<Vec<Vec<u8>>> {
    let rows = StructArray::from(rows);
    let field = Arc::new(Field::new("row", rows.data_type().clone(), false));
    json(&rows, &field)
}

/// A text as it is, without quotes; another value as JSON.
fn texts(column: &dyn Array, field: &Field) -> Result<Vec<Vec<u8>>> {
    if matches!(column.data_type(), DataType::Utf8) {
        let strings = arrow_array::cast::AsArray::as_string::<i32>(column);
        return Ok(strings.iter().map(|it| it.unwrap_or("null").as_bytes().to_vec()).collect());
    }
    json(column, &Arc::new(field.clone()))
}

fn json(array: &dyn Array, field: &Arc<Field>) -> Result<Vec<Vec<u8>>> {
    let options = EncoderOptions::default().with_explicit_nulls(true);
    let mut encoder = make_encoder(field, array, &options).map_err(|it| failed(&it))?;
    let encode = |row| {
        let mut text = Vec::new();
        match encoder.is_null(row) {
            true => text.extend_from_slice(b"null"),
            false => encoder.encode(row, &mut text),
        }
        text
    };
    Ok((0..array.len()).map(encode).collect())
}

fn failed(error: &arrow_schema::ArrowError) -> Error {
    Error::invalid(format!("rows cannot be written as JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    #[test]
    fn a_row_is_an_object_and_its_key_is_plain() {
        let rows = RecordBatch::try_from_iter_with_nullable([
            ("id", Arc::new(StringArray::from(vec!["a \"b\" ü", "c"])) as ArrayRef, false),
            ("n", Arc::new(Int64Array::from(vec![Some(1), None])) as ArrayRef, true),
        ])
        .unwrap();
        let text = |key: &[&str]| -> Vec<(Option<String>, String)> {
            let key: Vec<String> = key.iter().map(ToString::to_string).collect();
            let encoder = Encoder::new(&rows.schema(), &key).unwrap();
            let string = |it: Vec<u8>| String::from_utf8(it).unwrap();
            let records = encoder.encode(&rows).unwrap().into_iter();
            records.map(|it| (it.key.map(string), string(it.value))).collect()
        };
        let first = r#"{"id":"a \"b\" ü","n":1}"#.to_owned();
        let second = r#"{"id":"c","n":null}"#.to_owned();
        assert_eq!(text(&[]), [(None, first.clone()), (None, second.clone())]);
        let key = |it: &str| Some(it.to_owned());
        assert_eq!(text(&["id"]), [(key("a \"b\" ü"), first.clone()), (key("c"), second.clone())]);
        assert_eq!(text(&["n"]), [(key("1"), first.clone()), (key("null"), second.clone())]);
        assert_eq!(text(&["n", "id"])[1], (key(r#"{"n":null,"id":"c"}"#), second));
        let wrong = Encoder::new(&rows.schema(), &["m".into()]).err().unwrap();
        assert!(wrong.message.contains("no column \"m\"") && wrong.message.contains("id, n"));
    }
}
