//! Fields of records made unreadable, in the lines of a recording.
//!
//! A text becomes digits of a keyed hash, as long as it was: equal texts stay equal, and none can be guessed
//! without the key, which is drawn anew for each file and kept nowhere.

use serde_json::Value;

pub(crate) struct Redaction {
    fields: Vec<String>,
    key: [u8; 32],
}

impl Redaction {
    pub(crate) fn new(fields: &[String]) -> Redaction {
        let mut key = [0; 32];
        for half in key.chunks_exact_mut(16) {
            half.copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        }
        Redaction { fields: fields.to_vec(), key }
    }

    /// Replaces a line of a recording by the same with its value's fields redacted.
    pub(crate) fn line(&self, line: &mut Vec<u8>) {
        if self.fields.is_empty() {
            return;
        }
        let Ok(mut record) = serde_json::from_slice::<Value>(line) else { return line.clear() };
        let value = record.get_mut("value").map(Value::take);
        // A value that is no JSON object may hold the field anywhere: it goes whole.
        let redacted = value.and_then(|value| {
            let mut object: Value = serde_json::from_str(value.as_str()?).ok()?;
            self.object(&mut object);
            Some(Value::String(object.to_string()))
        });
        record["value"] = redacted.unwrap_or(Value::Null);
        line.clear();
        line.extend_from_slice(record.to_string().as_bytes());
        line.push(b'\n');
    }

    fn object(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match self.fields.contains(name) {
                        true => self.hide(value),
                        false => self.object(value),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|it| self.object(it)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn hide(&self, value: &mut Value) {
        *value = match value {
            Value::String(text) => {
                let mut digits = String::new();
                let mut hash = blake3::keyed_hash(&self.key, text.as_bytes());
                while digits.len() < text.len() {
                    digits.push_str(hash.to_hex().as_str());
                    hash = blake3::keyed_hash(&self.key, hash.as_bytes());
                }
                digits.truncate(text.len());
                Value::String(digits)
            }
            Value::Number(_) => 0.into(),
            Value::Bool(_) => false.into(),
            Value::Null | Value::Array(_) | Value::Object(_) => Value::Null,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_is_gone_and_equal_texts_stay_equal() {
        let redaction = Redaction::new(&["name".to_owned(), "pin".to_owned()]);
        let redact = |value: &str| {
            let line = serde_json::json!({ "partition": 0, "offset": 1, "value": value });
            let mut line = line.to_string().into_bytes();
            redaction.line(&mut line);
            let line: Value = serde_json::from_slice(&line).unwrap();
            line["value"].as_str().map(|it| serde_json::from_str::<Value>(it).unwrap())
        };
        let one = redact(r#"{"id":7,"name":"Alice","in":[{"pin":1234}]}"#).unwrap();
        let two = redact(r#"{"id":8,"name":"Alice","in":[{"pin":5}]}"#).unwrap();
        assert_eq!(one["name"], two["name"]);
        assert_eq!(one["name"].as_str().unwrap().len(), 5);
        assert_ne!(one["name"], "Alice");
        assert_eq!((&one["id"], &one["in"][0]["pin"]), (&7.into(), &0.into()));
        assert_eq!(redact("Alice in no JSON"), None);
    }
}
