//! A configuration against its JSON schema: the part of JSON Schema that plugins need, and no more.

use serde_json::Value;

/// What is wrong, and where: ".key.0".
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) at: String,
    pub(crate) what: String,
}

/// The keywords that are known. `pattern = "duration"` stands for a text such as "48h".
const KEYWORDS: [&str; 11] = [
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "minItems",
    "enum",
    "minimum",
    "maximum",
    "pattern",
    "description",
];

/// A keyword that is not known would be passed over in silence.
pub(crate) fn refuse_unknown(schema: &Value, at: &str) -> Result<(), String> {
    let Some(schema) = schema.as_object() else { return Err(format!("{at} is no JSON schema")) };
    for (keyword, value) in schema {
        match keyword.as_str() {
            "properties" => {
                for (name, inner) in value.as_object().into_iter().flatten() {
                    refuse_unknown(inner, &format!("{at}.{name}"))?;
                }
            }
            "items" => refuse_unknown(value, &format!("{at}.items"))?,
            "additionalProperties" if value.is_object() => refuse_unknown(value, at)?,
            known if KEYWORDS.contains(&known) => {}
            unknown => return Err(format!("{at}: the keyword {unknown:?} is not known")),
        }
    }
    Ok(())
}

pub(crate) fn check(schema: &Value, value: &Value) -> Result<(), Mistake> {
    check_at(schema, value, "")
}

fn check_at(schema: &Value, value: &Value, at: &str) -> Result<(), Mistake> {
    let shown = format!("config{at}");
    let mistake = |what: String| Mistake { at: at.to_owned(), what };
    if let Some(wanted) = schema["type"].as_str()
        && !is_of(value, wanted)
    {
        let what = format!("{shown} must be {}, and is {}", type_text(wanted), kind(value));
        return Err(mistake(what));
    }
    if let Some(choices) = schema["enum"].as_array()
        && !choices.contains(value)
    {
        let choices: Vec<String> = choices.iter().map(Value::to_string).collect();
        return Err(mistake(format!("{shown} must be {}, and is {value}", choices.join(" or "))));
    }
    for (keyword, word, is_wrong) in [
        ("minimum", "at least", (|a, b| a < b) as fn(f64, f64) -> bool),
        ("maximum", "at most", |a, b| a > b),
    ] {
        if let (Some(bound), Some(number)) = (schema[keyword].as_f64(), value.as_f64())
            && is_wrong(number, bound)
        {
            return Err(mistake(format!("{shown} must be {word} {bound}, and is {number}")));
        }
    }
    if schema["pattern"] == "duration"
        && let Some(text) = value.as_str()
        && !is_duration(text)
    {
        let what =
            format!("{shown} must be a duration such as \"10s\" or \"48h\", and is {text:?}");
        return Err(mistake(what));
    }
    if let Some(items) = value.as_array() {
        if schema["minItems"].as_u64().is_some_and(|least| (items.len() as u64) < least) {
            return Err(mistake(format!("{shown} has too few items")));
        }
        for (index, item) in items.iter().enumerate().filter(|_| schema["items"].is_object()) {
            check_at(&schema["items"], item, &format!("{at}.{index}"))?;
        }
    }
    let Some(members) = value.as_object() else { return Ok(()) };
    for (name, member) in members {
        let at = format!("{at}.{name}");
        let known = schema["properties"].as_object();
        match known.and_then(|it| it.get(name)) {
            Some(inner) => check_at(inner, member, &at)?,
            None if schema["additionalProperties"] == false => {
                let known: Vec<&str> =
                    known.into_iter().flatten().map(|(it, _)| it.as_str()).collect();
                let what = format!("unknown key {shown}.{name}; known here: {}", known.join(", "));
                return Err(Mistake { at, what });
            }
            None if schema["additionalProperties"].is_object() => {
                check_at(&schema["additionalProperties"], member, &at)?;
            }
            None => {}
        }
    }
    // Behind the unknown keys: a slip of the keyboard is both.
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !members.contains_key(name) {
            return Err(mistake(format!("{shown} has no {name:?}")));
        }
    }
    Ok(())
}

fn is_of(value: &Value, wanted: &str) -> bool {
    match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => false,
    }
}

fn type_text(wanted: &str) -> &'static str {
    match wanted {
        "object" => "a table",
        "array" => "a list",
        "string" => "a text",
        "boolean" => "true or false",
        "integer" => "a whole number",
        _ => "a number",
    }
}

fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Object(_) => "a table".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::String(_) => format!("the text {value}"),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn is_duration(text: &str) -> bool {
    let text = text.trim();
    let end = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    number.parse::<i64>().is_ok_and(|it| it > 0)
        && ["ms", "s", "m", "h", "d"].contains(&unit.trim())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn mistakes_are_named_with_their_place() {
        let schema = json!({
            "type": "object", "required": ["key"], "additionalProperties": false,
            "properties": {
                "key": {"type": "array", "minItems": 1, "items": {"type": "string"}},
                "window": {"type": "string", "pattern": "duration"},
                "outside": {"enum": ["drop", "pass"]},
                "max": {"type": "integer", "minimum": 1, "maximum": 9},
                "columns": {"type": "object", "additionalProperties": {"type": "string"}},
            }
        });
        refuse_unknown(&schema, "config").unwrap();
        assert_eq!(check(&schema, &json!({"key": ["a"], "window": "48h", "max": 9})), Ok(()));
        for (config, at, what) in [
            (json!({}), "", "config has no \"key\""),
            (json!({"key": "a"}), ".key", "config.key must be a list, and is the text \"a\""),
            (json!({"key": []}), ".key", "config.key has too few items"),
            (json!({"key": ["a", 1]}), ".key.1", "config.key.1 must be a text, and is 1"),
            (
                json!({"key": ["a"], "windw": "1s"}),
                ".windw",
                "unknown key config.windw; known here: columns, key, max, outside, window",
            ),
            (
                json!({"key": ["a"], "window": "1 week"}),
                ".window",
                "config.window must be a duration such as \"10s\" or \"48h\", and is \"1 week\"",
            ),
            (
                json!({"key": ["a"], "outside": "keep"}),
                ".outside",
                "config.outside must be \"drop\" or \"pass\", and is \"keep\"",
            ),
            (json!({"key": ["a"], "max": 10}), ".max", "config.max must be at most 9, and is 10"),
            (json!({"key": ["a"], "max": 0}), ".max", "config.max must be at least 1, and is 0"),
            (
                json!({"key": ["a"], "max": 1.5}),
                ".max",
                "config.max must be a whole number, and is 1.5",
            ),
            (
                json!({"key": ["a"], "columns": {"x": true}}),
                ".columns.x",
                "config.columns.x must be a text, and is true",
            ),
        ] {
            let found = check(&schema, &config).unwrap_err();
            assert_eq!((found.at.as_str(), found.what.as_str()), (at, what));
        }
        assert!(refuse_unknown(&json!({"oneOf": []}), "config").is_err());
    }
}
