//! `${NAME}` and `${NAME:-default}` in the texts of the file, replaced after the file is parsed: a value
//! can hold quotes and newlines and still be one value.

use std::borrow::Cow;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// Where a substitution failed, and why.
pub(super) struct Unset {
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

pub(super) fn substitute_table(
    table: &mut DeTable<'_>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(), Unset> {
    for (_, value) in table.iter_mut() {
        let span = value.span();
        substitute_value(value.get_mut(), span, env)?;
    }
    Ok(())
}

fn substitute_value(
    value: &mut DeValue<'_>,
    span: Range<usize>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(), Unset> {
    match value {
        DeValue::String(text) => {
            if text.contains("${") {
                let replaced = substitute(text, env).map_err(|message| {
                    let name = message.strip_prefix(UNSET);
                    let help = name.map(|it| format!("export {it}=…, or write ${{{it}:-default}}"));
                    Unset { span, message: message.clone(), help }
                })?;
                *text = Cow::Owned(replaced);
            }
        }
        // A timestamp without quotes means the same as one with them.
        DeValue::Datetime(datetime) => *value = DeValue::String(Cow::Owned(datetime.to_string())),
        DeValue::Array(items) => {
            for item in items.iter_mut() {
                let span = item.span();
                substitute_value(item.get_mut(), span, env)?;
            }
        }
        DeValue::Table(table) => substitute_table(table, env)?,
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) => {}
    }
    Ok(())
}

const UNSET: &str = "no environment variable ";

fn substitute(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut replaced = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        replaced.push_str(&rest[..start]);
        let Some(len) = rest[start + 2..].find('}') else {
            return Err("\"${\" without its \"}\"".to_owned());
        };
        let inside = &rest[start + 2..start + 2 + len];
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        if name.is_empty() || !name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_') {
            return Err(format!("{name:?} is no name of an environment variable"));
        }
        match (env(name), default) {
            // As in a shell, `:-` also replaces an empty value.
            (Some(value), Some(default)) if value.is_empty() => replaced.push_str(default),
            (Some(value), _) => replaced.push_str(&value),
            (None, Some(default)) => replaced.push_str(default),
            (None, None) => return Err(format!("{UNSET}{name}")),
        }
        rest = &rest[start + 2 + len + 1..];
    }
    replaced.push_str(rest);
    Ok(replaced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_by_their_values() {
        let env = |name: &str| match name {
            "KAFKA" => Some("broker:9092".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        for (text, expected) in [
            ("${KAFKA}", Ok("broker:9092")),
            ("a-${KAFKA}-${KAFKA}", Ok("a-broker:9092-broker:9092")),
            ("${NONE:-x}y", Ok("xy")),
            ("${EMPTY:-x}", Ok("x")),
            ("${EMPTY}", Ok("")),
            ("$KAFKA {}", Ok("$KAFKA {}")),
            ("${NONE}", Err("variable NONE")),
            ("${KAFKA", Err("without")),
            ("${A B}", Err("no name")),
        ] {
            match (substitute(text, &env), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{text}"),
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
                (found, expected) => panic!("{text}: {found:?}, not {expected:?}"),
            }
        }
    }
}
