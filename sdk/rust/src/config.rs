//! The operator's configuration: the table `config` of its entry in the pipeline file.

use std::cell::RefCell;
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::json::{self, Json};
use crate::operator::Operator;

/// The operator's configuration: the table `config` in the pipeline file.
///
/// ```
/// # use floe_sdk::Config;
/// # fn open(config: Config) -> floe_sdk::Result<()> {
/// let dedup: bool = config.get("dedup")?.unwrap_or(true); // or this default
/// let currency: String = config.require("currency")?;     // or an error that names the key
/// # Ok(()) }
/// ```
///
/// A key that `Operator::open` does not ask for is refused, so a slip of the keyboard does not pass for a
/// default.
#[derive(Clone, Debug)]
pub struct Config(Rc<Table>);

#[derive(Debug)]
struct Table {
    /// Where it stands within the configuration: "" or "limits."
    path: String,
    text: String,
    fields: Vec<(String, Json)>,
    /// A list, not a set: it is short, and a set is 4 kB in the module.
    asked: RefCell<Vec<String>>,
    inner: RefCell<Vec<Config>>,
}

impl Config {
    /// Reads a configuration as the host hands it over: a JSON object.
    pub fn parse(text: &str) -> Result<Config> {
        let parsed = json::parse(text)
            .map_err(|error| Error::new(format!("the configuration is {}", error.text())))?;
        match parsed {
            Json::Object(fields) => Ok(Config::new("", text, fields)),
            other => {
                Err(Error::new(format!("the configuration is {}, not an object", other.kind())))
            }
        }
    }

    /// The value of a key, or `None` where there is none.
    pub fn get<T: FromConfig>(&self, key: &str) -> Result<Option<T>> {
        self.ask(key);
        match self.0.fields.iter().find(|(name, _)| name == key) {
            None | Some((_, Json::Null)) => Ok(None),
            Some((_, value)) => T::from_config(Entry { config: self, key, value }).map(Some),
        }
    }

    /// The value of a key that must be there.
    pub fn require<T: FromConfig>(&self, key: &str) -> Result<T> {
        let missing = || Error::new(format!("config.{}{key} is missing", self.0.path));
        self.get(key)?.ok_or_else(missing)
    }

    /// All of it as JSON text, for reading it by other means. No key is refused then.
    pub fn text(&self) -> &str {
        self.0.fields.iter().for_each(|(name, _)| self.ask(name));
        &self.0.text
    }

    fn ask(&self, key: &str) {
        let mut asked = self.0.asked.borrow_mut();
        if !asked.iter().any(|it| it == key) {
            asked.push(key.to_owned());
        }
    }

    fn new(path: &str, text: &str, fields: Vec<(String, Json)>) -> Config {
        Config(Rc::new(Table {
            path: path.to_owned(),
            text: text.to_owned(),
            fields,
            asked: RefCell::default(),
            inner: RefCell::default(),
        }))
    }

    /// Refuses keys that nobody asked for.
    pub(crate) fn refuse_unread(&self) -> Result<()> {
        let Table { path, fields, asked, inner, .. } = &*self.0;
        let asked = asked.borrow();
        for (name, _) in fields {
            if !asked.contains(name) {
                let known = match asked.join(", ") {
                    none if none.is_empty() => "none".to_owned(),
                    some => some,
                };
                let text = format!("unknown key config.{path}{name}; known here: {known}");
                return Err(Error::new(text));
            }
        }
        inner.borrow().iter().try_for_each(Config::refuse_unread)
    }
}

/// Of a JSON object; `None` where it is empty.
fn first_key(text: &str) -> Option<&str> {
    let begin = text.bytes().position(|it| it == b'"')? + 1;
    let end = begin + text.bytes().skip(begin).position(|it| it == b'"')?;
    text.get(begin..end)
}

/// Opens an operator with the configuration that the host hands over.
pub(crate) fn open<T: Operator>(text: &str) -> Result<T> {
    if let Some(operator) = T::without_config() {
        return match first_key(text) {
            None => Ok(operator),
            Some(key) => {
                Err(Error::new(["unknown key config.", key, "; known here: none"].concat()))
            }
        };
    }
    let config = Config::parse(text)?;
    let operator = T::open(config.clone())?;
    config.refuse_unread()?;
    Ok(operator)
}

/// A type that a value of the configuration can have: `bool`, the integers, `f64`, `String`, `Vec` of
/// them, and `Config` for a table.
pub trait FromConfig: Sized {
    /// Makes the value of what stands there, or says what should stand there.
    fn from_config(entry: Entry<'_>) -> Result<Self>;
}

/// A value in the configuration, and where it stands.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    config: &'a Config,
    key: &'a str,
    value: &'a Json,
}

impl Entry<'_> {
    fn wrong(&self, wanted: &str) -> Error {
        let found = match self.value {
            Json::Number(number) => number.clone(),
            other => other.kind().to_owned(),
        };
        let Entry { config, key, .. } = self;
        Error::new(format!("config.{}{key} must be {wanted}, and is {found}", config.0.path))
    }
}

impl FromConfig for bool {
    fn from_config(entry: Entry<'_>) -> Result<Self> {
        match entry.value {
            Json::Bool(it) => Ok(*it),
            _ => Err(entry.wrong("true or false")),
        }
    }
}

impl FromConfig for String {
    fn from_config(entry: Entry<'_>) -> Result<Self> {
        match entry.value {
            Json::Text(it) => Ok(it.clone()),
            _ => Err(entry.wrong("a text")),
        }
    }
}

macro_rules! number_from_config {
    ($($number:ty: $wanted:literal),*) => {$(
        impl FromConfig for $number {
            fn from_config(entry: Entry<'_>) -> Result<Self> {
                let number = match entry.value {
                    Json::Number(it) => it.parse().ok(),
                    _ => None,
                };
                number.ok_or_else(|| entry.wrong($wanted))
            }
        }
    )*};
}

number_from_config!(
    i8: "a whole number of 8 bits", i16: "a whole number of 16 bits",
    i32: "a whole number of 32 bits", i64: "a whole number of 64 bits",
    u8: "a whole number from 0 to 255", u16: "a whole number from 0 to 65535",
    u32: "a whole number of 32 bits, not negative", u64: "a whole number of 64 bits, not negative",
    usize: "a whole number, not negative", f64: "a number"
);

impl<T: FromConfig> FromConfig for Vec<T> {
    fn from_config(entry: Entry<'_>) -> Result<Self> {
        match entry.value {
            Json::List(items) => {
                items.iter().map(|value| T::from_config(Entry { value, ..entry })).collect()
            }
            _ => Err(entry.wrong("a list")),
        }
    }
}

impl FromConfig for Config {
    fn from_config(entry: Entry<'_>) -> Result<Self> {
        match entry.value {
            Json::Object(fields) => {
                let path = format!("{}{}.", entry.config.0.path, entry.key);
                let table = Config::new(&path, "", fields.clone());
                entry.config.0.inner.borrow_mut().push(table.clone());
                Ok(table)
            }
            _ => Err(entry.wrong("a table")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error<T: FromConfig + std::fmt::Debug>(text: &str, key: &str) -> String {
        let read = Config::parse(text).and_then(|it| it.require::<T>(key));
        read.expect_err("refused").to_string()
    }

    #[test]
    fn values_come_out_as_the_type_that_is_asked_for() {
        let text =
            r#"{"a": true, "b": 9007199254740993, "c": ["x", "y"], "d": {"e": 1.5}, "f": null}"#;
        let config = Config::parse(text).unwrap();
        assert_eq!(config.get("a").unwrap(), Some(true));
        assert_eq!(config.require::<i64>("b").unwrap(), 9_007_199_254_740_993);
        assert_eq!(config.require::<Vec<String>>("c").unwrap(), ["x", "y"]);
        assert_eq!(config.get::<i64>("f").unwrap(), None);
        assert_eq!(config.get::<i64>("absent").unwrap(), None);
        let unread = config.refuse_unread().unwrap_err().to_string();
        assert_eq!(unread, "unknown key config.d; known here: a, b, c, f, absent");
        let table: Config = config.require("d").unwrap();
        let unread = config.refuse_unread().unwrap_err().to_string();
        assert_eq!(unread, "unknown key config.d.e; known here: none");
        assert_eq!(table.require::<f64>("e").unwrap(), 1.5);
        config.refuse_unread().unwrap();
    }

    #[test]
    fn the_first_key_of_an_object_is_found() {
        assert_eq!(first_key("{}"), None);
        assert_eq!(first_key(" { } "), None);
        assert_eq!(first_key(r#"{"limit": "é", "b": 1}"#), Some("limit"));
        assert_eq!(first_key(r#"{"é": 1}"#), Some("é"));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        assert_eq!(error::<bool>(r#"{"a":1}"#, "a"), "config.a must be true or false, and is 1");
        assert_eq!(
            error::<u8>(r#"{"a":300}"#, "a"),
            "config.a must be a whole number from 0 to 255, and is 300"
        );
        assert_eq!(
            error::<String>(r#"{"a":{}}"#, "a"),
            "config.a must be a text, and is an object"
        );
        assert_eq!(error::<String>("{}", "a"), "config.a is missing");
        assert_eq!(error::<String>("[]", "a"), "the configuration is a list, not an object");
    }
}
