//! What is wrong with a pipeline file: the line and the column, what was found, and what to write instead.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use floe_core::Error;
use serde::Deserialize;
use toml::de::{DeTable, DeValue, Deserializer};

use crate::config::document::Document;
use crate::config::environment;

/// Keys that the design has and this version has not, with what to do for now: (section, key, text).
const KEYS_NOT_BUILT: [(&str, &str, &str); 1] =
    [("source", "generator", "the generator is not built yet; use a recording")];

/// One thing that is wrong, with its place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub file: PathBuf,
    /// Line and column, from 1. `None`: the file as a whole.
    pub place: Option<(usize, usize)>,
    pub message: String,
    pub help: Option<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the pipeline file is wrong, nothing was started\n{}", self.file.display())?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, "  {}", self.message)?;
        match &self.help {
            None => Ok(()),
            Some(help) => write!(f, "\n→ {help}"),
        }
    }
}

impl std::error::Error for ConfigError {}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Error {
        Error::invalid(error.to_string())
    }
}

/// Something wrong at a key, found after the file was read.
pub(super) struct Problem {
    /// Keys from the top; a digit is the index in a list.
    at: Vec<String>,
    message: String,
    help: Option<String>,
}

impl Problem {
    /// `at`: "source.kafka", "operator.0.module".
    pub(super) fn new(at: &str, message: impl Into<String>) -> Self {
        Problem {
            at: at.split('.').map(str::to_owned).collect(),
            message: message.into(),
            help: None,
        }
    }

    /// The problem of one table, told of it as the item of a list.
    pub(super) fn of_item(mut self, index: usize) -> Self {
        self.at.insert(1, index.to_string());
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

pub(super) struct SourceText<'a> {
    text: &'a str,
    file: &'a Path,
}

impl<'a> SourceText<'a> {
    pub(super) fn new(text: &'a str, file: &'a Path) -> Self {
        SourceText { text, file }
    }

    pub(super) fn read(
        &mut self,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Document, ConfigError> {
        let mut table = DeTable::parse(self.text).map_err(|error| self.explain(&error))?;
        environment::substitute_table(table.get_mut(), env)
            .map_err(|unset| self.error(Some(unset.span), unset.message, unset.help))?;
        Document::deserialize(Deserializer::from(table)).map_err(|error| self.explain(&error))
    }

    pub(super) fn error_at(&self, problem: Problem) -> ConfigError {
        let span = DeTable::parse(self.text)
            .ok()
            .and_then(|table| find(table.get_ref(), &problem.at))
            .or_else(|| {
                // What is missing has no place; its table has.
                let table = DeTable::parse(self.text).ok()?;
                find(table.get_ref(), &problem.at[..problem.at.len().checked_sub(1)?])
            });
        self.error(span, problem.message, problem.help)
    }

    fn explain(&self, error: &toml::de::Error) -> ConfigError {
        let span = error.span();
        let message = error.message().trim_end().replace('\n', ", ");
        let section = span.as_ref().and_then(|span| self.section(span)).unwrap_or_default();
        if let Some((name, known)) = unknown(&message, "unknown field") {
            let (message, help) = unknown_key(&name, &section, &known);
            return self.error(span, message, Some(help));
        }
        if let Some((name, known)) = unknown(&message, "unknown variant") {
            let (message, help) = unknown_value(&name, &known);
            return self.error(span, message, Some(help));
        }
        if let Some(name) = message.strip_prefix("missing field ").map(|it| it.trim_matches('`')) {
            return if section.is_empty() {
                self.error(None, format!("[{name}] is missing"), None)
            } else {
                self.error(span, format!("{name} is missing in {}", bracketed(&section)), None)
            };
        }
        self.error(span, message, None)
    }

    fn error(
        &self,
        span: Option<Range<usize>>,
        message: String,
        help: Option<String>,
    ) -> ConfigError {
        let place = span.map(|span| place(self.text, span.start));
        ConfigError { file: self.file.to_owned(), place, message, help }
    }

    /// The table around a place: "source", "operator.limits"; empty at the top.
    fn section(&self, span: &Range<usize>) -> Option<String> {
        let table = DeTable::parse(self.text).ok()?;
        let mut found = None;
        search_table(table.get_ref(), &mut Vec::new(), span, &mut found);
        found
    }
}

/// Follows keys; the place is the key's, or the item's in a list.
fn find(table: &DeTable<'_>, at: &[String]) -> Option<Range<usize>> {
    let (first, rest) = at.split_first()?;
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == first.as_str())?;
    let mut span = key.span();
    let mut value = value;
    let mut rest = rest;
    while let Some((step, tail)) = rest.split_first() {
        match value.get_ref() {
            DeValue::Table(inner) => return find(inner, rest).or(Some(span)),
            DeValue::Array(items) => {
                let Some(item) = step.parse().ok().and_then(|index: usize| items.get(index)) else {
                    return Some(span);
                };
                (value, span, rest) = (item, item.span(), tail);
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => return Some(span),
        }
    }
    Some(span)
}

/// Finds the table that has a key or is itself at the place.
fn search_table(
    table: &DeTable<'_>,
    path: &mut Vec<String>,
    wanted: &Range<usize>,
    found: &mut Option<String>,
) {
    for (key, value) in table.iter() {
        if key.span() == *wanted {
            *found = Some(path.join("."));
        }
        path.push(key.get_ref().to_string());
        search_value(value, path, wanted, found);
        path.pop();
    }
}

fn search_value(
    value: &toml::Spanned<DeValue<'_>>,
    path: &mut Vec<String>,
    wanted: &Range<usize>,
    found: &mut Option<String>,
) {
    match value.get_ref() {
        DeValue::Table(inner) => {
            if value.span() == *wanted {
                *found = Some(path.join("."));
            }
            search_table(inner, path, wanted, found);
        }
        DeValue::Array(items) => {
            for item in items.iter() {
                search_value(item, path, wanted, found);
            }
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => {}
    }
}

/// serde's "unknown field `x`, expected one of `a`, `b`" → ("x", ["a", "b"]).
fn unknown(message: &str, prefix: &str) -> Option<(String, Vec<String>)> {
    let quoted: Vec<String> =
        message.strip_prefix(prefix)?.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let (name, known) = quoted.split_first()?;
    Some((name.clone(), known.to_vec()))
}

fn unknown_key(name: &str, section: &str, known: &[String]) -> (String, String) {
    let table = section.rsplit('.').next().unwrap_or_default();
    for (in_section, key, text) in KEYS_NOT_BUILT {
        if key == name && in_section == table {
            return (format!("{name} in {} is not built yet", bracketed(section)), text.to_owned());
        }
    }
    let what = if section.is_empty() {
        format!("unknown section [{name}]")
    } else {
        format!("unknown key {name:?} in {}", bracketed(section))
    };
    (what, nearest(name, known))
}

fn unknown_value(name: &str, known: &[String]) -> (String, String) {
    (format!("unknown value {name:?}"), nearest(name, known))
}

/// "did you mean …? known here: …".
pub(super) fn nearest(name: &str, known: &[String]) -> String {
    let list = known.join(", ");
    let best = known
        .iter()
        .map(|it| (strsim::jaro_winkler(name, it), it))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        // 0.75 takes typing slips and singulars, and leaves words that merely begin alike.
        Some((likeness, it)) if likeness > 0.75 => {
            format!("did you mean {it:?}? known here: {list}")
        }
        Some(_) | None => format!("known here: {list}"),
    }
}

fn bracketed(section: &str) -> String {
    match section {
        "operator" => "[[operator]]".to_owned(),
        _ => format!("[{section}]"),
    }
}

/// Line and column from 1; columns count characters.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(at)];
    let line_start = before.rfind('\n').map_or(0, |it| it + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
