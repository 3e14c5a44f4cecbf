//! Operators' states in their own words, from images, and what differs between two of them.

use floe_core::image::OperatorImage;
use floe_core::{Error, Result, TopicPartition};
use floe_replay::Link;
use serde_json::{Map, Value};

/// The states of those operators that can tell theirs, by name; a task has the images of its stage's. An image
/// that is told stays as it is.
pub(crate) fn told(
    links: &[Link],
    task: &TopicPartition,
    images: &[(String, OperatorImage)],
) -> Result<Map<String, Value>> {
    let mut told = Map::new();
    for (name, image) in images {
        let link = links.iter().find(|it| *it.name == **name);
        let Some(link) = link.filter(|it| it.factory.describe().exports_state) else { continue };
        let state = link.factory.restore(task, image)?.export()?;
        let state = serde_json::from_slice(&state.json).map_err(|error| {
            Error::operator(format!(
                "operator {} tells a state that is no JSON: {error}",
                link.name
            ))
        })?;
        told.insert(link.name.to_string(), state);
    }
    Ok(told)
}

/// One value that differs.
pub(crate) struct Changed {
    pub(crate) path: String,
    pub(crate) before: Value,
    pub(crate) after: Value,
}

pub(crate) fn changes(before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<Changed> {
    let mut found = Vec::new();
    for (operator, after) in after {
        walk("", before.get(operator).unwrap_or(&Value::Null), after, &mut found);
    }
    found
}

fn walk(path: &str, before: &Value, after: &Value, found: &mut Vec<Changed>) {
    match (before, after) {
        (a, b) if a == b => {}
        (Value::Object(a), Value::Object(b)) => {
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let path = match path.is_empty() {
                    true => name.clone(),
                    false => format!("{path}[{name:?}]"),
                };
                let (a, b) = (a.get(name), b.get(name));
                walk(&path, a.unwrap_or(&Value::Null), b.unwrap_or(&Value::Null), found);
            }
        }
        (a, b) => {
            found.push(Changed { path: path.to_owned(), before: a.clone(), after: b.clone() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_told() {
        let object = |value: Value| value.as_object().unwrap().clone();
        let before =
            object(serde_json::json!({ "totals": { "by": { "m-7": 1, "m-8": 2 }, "n": 3 } }));
        let after = object(
            serde_json::json!({ "totals": { "by": { "m-7": 5, "m-8": 2, "m-9": 1 }, "n": 3 } }),
        );
        let found: Vec<String> = changes(&before, &after)
            .iter()
            .map(|it| format!("{} {} {}", it.path, it.before, it.after))
            .collect();
        assert_eq!(found, ["by[\"m-7\"] 1 5", "by[\"m-9\"] null 1"]);
    }
}
