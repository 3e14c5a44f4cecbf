//! Fields of records made unreadable, in the lines of a recording.
//!
//! A text becomes digits of a keyed hash, as long as it was: equal texts stay equal, and none can be guessed
//! without the key, which is drawn anew for each file and kept nowhere. Who has a field redacted would not have
//! it sent as the record's key or in a header: keys and headers' values become such digits, too.

use floe_core::{Error, Result};
use serde_json::Value;

pub(crate) struct Redaction {
    fields: Vec<Field>,
    key: [u8; 32],
}

/// A member of that name, wherever it is; or, with dots, the member that its last words lead to.
struct Field {
    text: String,
    path: Vec<String>,
    found: bool,
}

impl Redaction {
    pub(crate) fn new(fields: &[String]) -> Redaction {
        let mut key = [0; 32];
        for half in key.chunks_exact_mut(16) {
            half.copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        }
        let field = |text: &String| Field {
            text: text.clone(),
            path: text.split('.').map(str::to_owned).collect(),
            found: false,
        };
        Redaction { fields: fields.iter().map(field).collect(), key }
    }

    /// Replaces a line of a recording by the same with its value's fields redacted.
    pub(crate) fn line(&mut self, line: &mut Vec<u8>) {
        if self.fields.is_empty() {
            return;
        }
        let Ok(mut record) = serde_json::from_slice::<Value>(line) else { return line.clear() };
        let value = record.get_mut("value").map(Value::take).unwrap_or_default();
        record["value"] = self.value(&value);
        if let Some(key) = record.get_mut("key") {
            self.hide_content(key);
        }
        let headers = record.get_mut("headers").and_then(Value::as_array_mut);
        for header in headers.into_iter().flatten() {
            if let Some(value) = header.get_mut(1) {
                self.hide_content(value);
            }
        }
        line.clear();
        line.extend_from_slice(record.to_string().as_bytes());
        line.push(b'\n');
    }

    /// A field that was in no record is misspelt, and what was meant by it is still there.
    pub(crate) fn refuse_unfound(&self, records: u64) -> Result<()> {
        match self.fields.iter().find(|it| !it.found) {
            Some(field) if records > 0 => Err(Error::invalid(format!(
                "--redact {}: no record has that field, so nothing was written\n→ a field is named as in the records' values: city, or address.city for one inside of another",
                field.text
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// A value that is no JSON object or list may hold the field anywhere: it goes whole.
    fn value(&mut self, value: &Value) -> Value {
        let parsed = value.as_str().and_then(|it| serde_json::from_str(it).ok());
        match parsed {
            Some(mut parsed @ (Value::Object(_) | Value::Array(_))) => {
                self.within(&mut parsed, &mut Vec::new());
                Value::String(parsed.to_string())
            }
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | None => {
                // Whatever the fields are, they went with it. A tombstone has none.
                self.fields.iter_mut().for_each(|it| it.found |= !value.is_null());
                Value::Null
            }
        }
    }

    fn within(&mut self, value: &mut Value, path: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    path.push(name.clone());
                    match self.names(path) {
                        true => self.hide(value),
                        false => self.within(value, path),
                    }
                    path.pop();
                }
            }
            // What a list holds is named as the list is; items that are no objects were hidden with it.
            Value::Array(items) => items.iter_mut().for_each(|it| self.within(it, path)),
            // An outbox has its payload as JSON in a text.
            Value::String(text) if text.trim_start().starts_with(['{', '[']) => {
                if let Ok(mut parsed) = serde_json::from_str(text) {
                    self.within(&mut parsed, path);
                    *text = parsed.to_string();
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn names(&mut self, path: &[String]) -> bool {
        let mut named = false;
        for field in &mut self.fields {
            if path.ends_with(&field.path) || path.last() == Some(&field.text) {
                field.found = true;
                named = true;
            }
        }
        named
    }

    fn hide(&self, value: &mut Value) {
        *value = match value {
            Value::String(text) => Value::String(self.digits(text)),
            Value::Number(_) => 0.into(),
            Value::Bool(_) => false.into(),
            Value::Null | Value::Array(_) | Value::Object(_) => Value::Null,
        };
    }

    /// A key, or a header's value: a text, or `{"base64":"…"}`.
    fn hide_content(&self, content: &mut Value) {
        let text = match &*content {
            Value::Null => return,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        *content = Value::String(self.digits(&text));
    }

    fn digits(&self, text: &str) -> String {
        let mut digits = String::new();
        let mut hash = blake3::keyed_hash(&self.key, text.as_bytes());
        while digits.len() < text.len() {
            digits.push_str(hash.to_hex().as_str());
            hash = blake3::keyed_hash(&self.key, hash.as_bytes());
        }
        digits.truncate(text.len());
        digits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(redaction: &mut Redaction, record: &Value) -> Value {
        let mut line = record.to_string().into_bytes();
        redaction.line(&mut line);
        serde_json::from_slice(&line).unwrap()
    }

    fn value(redaction: &mut Redaction, value: &str) -> Option<Value> {
        let record = serde_json::json!({ "partition": 0, "offset": 1, "value": value });
        let record = redacted(redaction, &record);
        record["value"].as_str().map(|it| serde_json::from_str::<Value>(it).unwrap())
    }

    fn fields(names: &[&str]) -> Redaction {
        Redaction::new(&names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_named_is_gone_and_equal_texts_stay_equal() {
        let mut redaction = fields(&["name", "pin"]);
        let one = value(&mut redaction, r#"{"id":7,"name":"Alice","in":[{"pin":1234}]}"#).unwrap();
        let two = value(&mut redaction, r#"{"id":8,"name":"Alice","in":[{"pin":5}]}"#).unwrap();
        assert_eq!(one["name"], two["name"]);
        assert_eq!(one["name"].as_str().unwrap().len(), 5);
        assert_ne!(one["name"], "Alice");
        assert_eq!((&one["id"], &one["in"][0]["pin"]), (&7.into(), &0.into()));
        for none in ["Alice in no JSON", "\"Alice\"", "1234", "true"] {
            assert_eq!(value(&mut redaction, none), None, "{none}");
        }
    }

    #[test]
    fn dots_lead_into_objects_lists_and_texts_of_json() {
        let mut redaction = fields(&["customer.name", "a.b"]);
        let text = r#"{"name":"shop","customer":{"name":"Alice"},"old":{"customer":[{"name":"Bob"}]},"a.b":"Eve","payload":"{\"customer\":{\"name\":\"Carol\"}}"}"#;
        let hidden = value(&mut redaction, text).unwrap();
        for name in ["Alice", "Bob", "Carol", "Eve"] {
            assert!(!hidden.to_string().contains(name), "{name} is in {hidden}");
        }
        assert_eq!(hidden["name"], "shop");
        assert!(redaction.refuse_unfound(1).is_ok());
    }

    #[test]
    fn keys_and_headers_tell_nothing_and_equal_ones_stay_equal() {
        let mut redaction = fields(&["customer"]);
        let record = |key: Value| {
            serde_json::json!({
                "partition": 0, "offset": 1, "key": key, "value": r#"{"customer":"Alice"}"#,
                "headers": [["trace", "Alice"], ["none", null], ["raw", {"base64": "QWxpY2U="}]],
            })
        };
        let hidden = redacted(&mut redaction, &record("Alice".into()));
        assert!(!hidden.to_string().contains("Alice"), "{hidden}");
        assert!(!hidden.to_string().contains("QWxpY2U="), "{hidden}");
        let customer: Value = serde_json::from_str(hidden["value"].as_str().unwrap()).unwrap();
        assert_eq!(hidden["key"], customer["customer"]);
        assert_eq!(hidden["headers"][0][0], "trace");
        assert!(hidden["headers"][1][1].is_null());
        let raw = redacted(&mut redaction, &record(serde_json::json!({ "base64": "/w==" })));
        assert!(raw["key"].is_string(), "{raw}");
        assert!(redacted(&mut redaction, &record(Value::Null))["key"].is_null());
    }

    #[test]
    fn a_field_that_no_record_has_is_said() {
        let mut redaction = fields(&["name", "customer.nmae"]);
        assert!(redaction.refuse_unfound(0).is_ok());
        value(&mut redaction, r#"{"name":"x","customer":{"name":"Alice"}}"#).unwrap();
        let error = redaction.refuse_unfound(1).unwrap_err().message;
        assert!(error.contains("customer.nmae"), "{error}");
    }
}
