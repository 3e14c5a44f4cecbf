//! Conditions on rows and on exported state: `column = 'text' AND other.member >= 5`.
//!
//! Comparisons (`= != <> < <= > >=`, `IS NULL`, `IS NOT NULL`) joined by AND. A name is letters, digits, `_`
//! and `-`, or anything in double quotes; dots lead into structs and objects. Literals are numbers, true,
//! false, and texts in single quotes, a quote in them doubled. Dates and decimals compare as their text.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::str::Chars;

use floe_core::{Error, Result};
use serde_json::Value;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Condition {
    text: String,
    all: Vec<Comparison>,
}

#[derive(Clone, Debug, PartialEq)]
struct Comparison {
    path: Vec<String>,
    operator: Operator,
    literal: Value,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    IsNull,
    IsNotNull,
}

impl Condition {
    pub(crate) fn parse(text: &str) -> Result<Condition> {
        let mut parser = Parser { rest: text.chars().peekable() };
        let all = parser.all().map_err(|what| {
            Error::invalid(format!(
                "the condition {text:?} cannot be read: {what}\n→ for example: txn_id = 'txn-42' AND amount >= 5"
            ))
        })?;
        Ok(Condition { text: text.to_owned(), all })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// `None` if something that it names is not there.
    pub(crate) fn holds(&self, object: &Value) -> Option<bool> {
        let mut holds = true;
        for comparison in &self.all {
            holds &= comparison.holds(at(object, &comparison.path)?);
        }
        Some(holds)
    }

    /// What the object has under the names of the condition.
    pub(crate) fn named(&self, object: &Value) -> Value {
        let each = self
            .all
            .iter()
            .filter_map(|it| Some((it.path.join("."), at(object, &it.path)?.clone())));
        Value::Object(each.collect())
    }

    /// The first name that the object has not.
    pub(crate) fn unknown(&self, object: &Value) -> Option<String> {
        let unknown = self.all.iter().find(|it| at(object, &it.path).is_none());
        unknown.map(|it| it.path.join("."))
    }
}

fn at<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, name| value.get(name.as_str()))
}

impl Comparison {
    fn holds(&self, value: &Value) -> bool {
        // As in SQL, nothing compares with null but IS NULL.
        let order = if value.is_null() { None } else { compare(value, &self.literal) };
        match self.operator {
            Operator::IsNull => value.is_null(),
            Operator::IsNotNull => !value.is_null(),
            Operator::Equal => order == Some(Ordering::Equal),
            Operator::NotEqual => !value.is_null() && order != Some(Ordering::Equal),
            Operator::Less => order == Some(Ordering::Less),
            Operator::LessOrEqual => order.is_some_and(Ordering::is_le),
            Operator::Greater => order == Some(Ordering::Greater),
            Operator::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
        }
    }
}

fn compare(value: &Value, literal: &Value) -> Option<Ordering> {
    match (value, literal) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
        },
        // A decimal is a text in JSON.
        (Value::String(a), Value::Number(b)) => a.parse::<f64>().ok()?.partial_cmp(&b.as_f64()?),
        (Value::String(a), Value::String(b)) => Some(a.as_str().cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

struct Parser<'a> {
    rest: Peekable<Chars<'a>>,
}

impl Parser<'_> {
    fn all(&mut self) -> std::result::Result<Vec<Comparison>, String> {
        let mut all = Vec::new();
        loop {
            all.push(self.comparison()?);
            self.space();
            if self.rest.peek().is_none() {
                return Ok(all);
            }
            self.word("AND")?;
        }
    }

    fn comparison(&mut self) -> std::result::Result<Comparison, String> {
        let mut path = vec![self.name()?];
        while self.rest.next_if_eq(&'.').is_some() {
            path.push(self.name()?);
        }
        self.space();
        let operator = self.operator()?;
        let literal = match operator {
            Operator::IsNull | Operator::IsNotNull => Value::Null,
            _ => self.literal()?,
        };
        Ok(Comparison { path, operator, literal })
    }

    fn name(&mut self) -> std::result::Result<String, String> {
        self.space();
        if self.rest.next_if_eq(&'"').is_some() {
            return self.until('"');
        }
        let name = self.take(|it| it.is_alphanumeric() || it == '_' || it == '-');
        if name.is_empty() { Err("a name is missing".to_owned()) } else { Ok(name) }
    }

    fn operator(&mut self) -> std::result::Result<Operator, String> {
        let sign = self.take(|it| "=!<>".contains(it));
        Ok(match sign.as_str() {
            "=" => Operator::Equal,
            "!=" | "<>" => Operator::NotEqual,
            "<" => Operator::Less,
            "<=" => Operator::LessOrEqual,
            ">" => Operator::Greater,
            ">=" => Operator::GreaterOrEqual,
            "" => {
                self.word("IS")?;
                self.space();
                let is_not = self.rest.peek().is_some_and(|it| "Nn".contains(*it))
                    && self.rest.clone().nth(1).is_some_and(|it| "Oo".contains(it));
                if is_not {
                    self.word("NOT")?;
                }
                self.word("NULL")?;
                if is_not { Operator::IsNotNull } else { Operator::IsNull }
            }
            other => return Err(format!("{other:?} is no comparison")),
        })
    }

    fn literal(&mut self) -> std::result::Result<Value, String> {
        self.space();
        if self.rest.next_if_eq(&'\'').is_some() {
            let mut text = self.until('\'')?;
            while self.rest.next_if_eq(&'\'').is_some() {
                text = text + "'" + &self.until('\'')?;
            }
            return Ok(Value::String(text));
        }
        let word = self.take(|it| it.is_alphanumeric() || "+-._".contains(it));
        match serde_json::from_str(&word) {
            Ok(value @ (Value::Number(_) | Value::Bool(_))) => Ok(value),
            _ => Err(format!("{word:?} is no literal; a text stands in single quotes")),
        }
    }

    fn word(&mut self, word: &str) -> std::result::Result<(), String> {
        self.space();
        let found = self.take(char::is_alphanumeric);
        match found.eq_ignore_ascii_case(word) {
            true => Ok(()),
            false => Err(format!("{word} is missing before {:?}", found + &self.take(|_| true))),
        }
    }

    fn until(&mut self, end: char) -> std::result::Result<String, String> {
        let text = self.take(|it| it != end);
        self.rest.next().map(|_| text).ok_or_else(|| format!("a {end} is missing"))
    }

    fn space(&mut self) {
        self.take(char::is_whitespace);
    }

    fn take(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let mut text = String::new();
        while let Some(it) = self.rest.next_if(|it| wanted(*it)) {
            text.push(it);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_told_apart() {
        let row = serde_json::json!({
            "txn_id": "it's", "n": 5, "f": 1.5, "gone": null, "ok": true, "dec": "12.50",
            "by": { "m-7": 90, "a b": 1 }
        });
        for (text, expected) in [
            ("txn_id = 'it''s'", Some(true)),
            ("txn_id != 'x' AND n >= 5", Some(true)),
            ("n < 5", Some(false)),
            ("n <= 5 and f > 1", Some(true)),
            ("n <> 5", Some(false)),
            ("gone IS NULL AND ok = true", Some(true)),
            ("gone is not null", Some(false)),
            ("gone = 0", Some(false)),
            ("gone != 0", Some(false)),
            ("dec > 12.4", Some(true)),
            ("by.m-7 = 90 AND by.\"a b\" = 1", Some(true)),
            ("absent = 1", None),
        ] {
            assert_eq!(Condition::parse(text).unwrap().holds(&row), expected, "{text}");
        }
        for wrong in
            ["", "n", "n =", "n = x", "n == 5", "n = 5 OR n = 6", "n = 'x", "= 5", "n = 5 AND"]
        {
            assert!(Condition::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Condition::parse("no.way = 1").unwrap().unknown(&row).unwrap(), "no.way");
    }
}
