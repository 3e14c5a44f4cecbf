//! The state as JSON: what `floe state` shows, and what `floe upgrade` gives to other code.
//!
//! Equal values give equal bytes: the keys of maps and structs are sorted, and numbers are exact.
//! A `HashSet` is a list in an order of its own; use a `BTreeSet`, or `#[serde(serialize_with =
//! "floe_sdk::state::sorted")]`. A map whose keys are neither texts nor numbers is a list of pairs.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::json::{self, Json};
use crate::operator::Operator;

mod read;
mod write;

use read::Reader;
use write::Writer;

/// A state that an operator told: the fields that it named, and the version that it had.
pub struct State {
    version: u32,
    own_version: u32,
    fields: Vec<(String, Json)>,
}

impl State {
    /// The `state_version` of the module that told it.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// A field of it. A missing one is read as `null`, which an `Option` takes.
    pub fn get<T: for<'de> Deserialize<'de>>(&self, field: &str) -> Result<T> {
        let found = self.fields.iter().find(|(name, _)| name == field);
        let value = found.map_or(&Json::Null, |(_, value)| value);
        T::deserialize(Reader(value))
            .map_err(|error| Error::new(format!("field {field} of the state: {}", error.0)))
    }

    /// An error that says that this version is not read.
    pub fn refuse<T>(&self) -> Result<T> {
        Err(Error::new(format!(
            "a state of version {} is not read by this operator, whose state_version is {}: write `fn migrate_state`",
            self.version, self.own_version
        )))
    }
}

/// The member of a state that names those which are maps by the columns of `key-by`: `floe upgrade --tasks`
/// parts them among another number of tasks. `#[operator(state(by_key(field, …)))]` writes it.
pub const BY_KEY: &str = "floe:by-key";

/// Takes a state: its own version by `import_state`, another by `migrate_state`.
pub(crate) fn import<T: Operator>(
    operator: &mut T,
    own_version: u32,
    version: u32,
    text: &str,
) -> Result<()> {
    let fields = match json::parse(text)? {
        Json::Object(fields) => fields,
        // An operator that writes `export_state` itself may tell anything.
        other => vec![(String::new(), other)],
    };
    let state = State { version, own_version, fields };
    match version == own_version {
        true => operator.import_state(&state),
        false => operator.migrate_state(&state),
    }
}

/// Collects the fields of a state; `#[operator(state(…))]` uses it.
#[derive(Default)]
pub struct Fields(write::Entries);

impl Fields {
    /// Adds a field.
    pub fn put<T: Serialize + ?Sized>(&mut self, field: &str, value: &T) -> Result<()> {
        let value = value
            .serialize(Writer)
            .map_err(|error| Error::new(format!("field {field} of the state: {}", error.0)))?;
        self.0.insert(write::quoted(field), value.text());
        Ok(())
    }

    /// The state as JSON.
    pub fn finish(self) -> String {
        write::object(&self.0)
    }
}

/// A value as JSON, for an `export_state` of your own.
pub fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    match value.serialize(Writer) {
        Ok(fragment) => Ok(fragment.text()),
        Err(error) => Err(Error::new(error.0)),
    }
}

/// Writes a set in the order of its items' JSON: `#[serde(serialize_with = "floe_sdk::state::sorted")]`.
pub fn sorted<T, S>(items: T, serializer: S) -> std::result::Result<S::Ok, S::Error>
where
    T: IntoIterator<Item: Serialize>,
    S: serde::Serializer,
{
    use serde::ser::Error;
    let mut texts = Vec::new();
    for item in items {
        let key = item.serialize(Writer).map_err(|error| S::Error::custom(error.0))?.text();
        texts.push((key, item));
    }
    texts.sort_by(|a, b| a.0.cmp(&b.0));
    serializer.collect_seq(texts.into_iter().map(|(_, item)| item))
}

/// Why a value is no JSON, or JSON no such value.
#[derive(Debug)]
struct Wrong(String);

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

impl serde::ser::Error for Wrong {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Wrong(message.to_string())
    }
}

impl serde::de::Error for Wrong {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Wrong(message.to_string())
    }
}

#[cfg(test)]
mod tests;
