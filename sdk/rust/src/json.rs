//! JSON as the configuration and exported states come in: parsed whole, numbers kept as they are written.

use crate::error::{Error, Result};

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Number(_) => "a number",
            Json::Text(_) => "a text",
            Json::List(_) => "a list",
            Json::Object(_) => "an object",
        }
    }
}

impl std::fmt::Display for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(it) => write!(f, "{it}"),
            Json::Number(it) => f.write_str(it),
            Json::Text(it) => write_text(f, it),
            Json::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    f.write_str(if index > 0 { "," } else { "" })?;
                    write!(f, "{item}")?;
                }
                f.write_str("]")
            }
            Json::Object(members) => {
                f.write_str("{")?;
                for (index, (name, member)) in members.iter().enumerate() {
                    f.write_str(if index > 0 { "," } else { "" })?;
                    write_text(f, name)?;
                    write!(f, ":{member}")?;
                }
                f.write_str("}")
            }
        }
    }
}

fn write_text(f: &mut std::fmt::Formatter<'_>, text: &str) -> std::fmt::Result {
    use std::fmt::Write;
    f.write_str("\"")?;
    for letter in text.chars() {
        match letter {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            control if control < ' ' => write!(f, "\\u{:04x}", u32::from(control))?,
            other => f.write_char(other)?,
        }
    }
    f.write_str("\"")
}

/// Reads a whole text as one value.
pub fn parse(text: &str) -> Result<Json> {
    let mut parser = Parser { text, at: 0 };
    let value = parser.value(0)?;
    parser.skip_space();
    match parser.peek() {
        None => Ok(value),
        Some(_) => Err(parser.wrong("something behind the end")),
    }
}

/// Lists and objects within one another.
const DEPTH_MAX: usize = 64;

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn value(&mut self, depth: usize) -> Result<Json> {
        if depth > DEPTH_MAX {
            return Err(self.wrong("too many lists within lists"));
        }
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.string().map(Json::Text),
            Some(b'-' | b'0'..=b'9') => Ok(self.number()),
            Some(_) | None => self.word(),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json> {
        let mut fields = Vec::new();
        self.at += 1;
        if self.take(b'}') {
            return Ok(Json::Object(fields));
        }
        loop {
            self.skip_space();
            let name = self.string()?;
            if !self.take(b':') {
                return Err(self.wrong("no colon"));
            }
            fields.push((name, self.value(depth + 1)?));
            if self.take(b'}') {
                return Ok(Json::Object(fields));
            }
            if !self.take(b',') {
                return Err(self.wrong("no comma in an object"));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Json> {
        let mut items = Vec::new();
        self.at += 1;
        if self.take(b']') {
            return Ok(Json::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.take(b']') {
                return Ok(Json::List(items));
            }
            if !self.take(b',') {
                return Err(self.wrong("no comma in a list"));
            }
        }
    }

    fn string(&mut self) -> Result<String> {
        if self.peek() != Some(b'"') {
            return Err(self.wrong("no text"));
        }
        self.at += 1;
        let mut text = String::new();
        loop {
            let begin = self.at;
            while self.peek().is_some_and(|it| it != b'"' && it != b'\\') {
                self.at += 1;
            }
            // A text ends before a quote or a backslash, never within a character.
            text.push_str(self.text.get(begin..self.at).unwrap_or_default());
            let Some(end) = self.peek() else {
                return Err(self.wrong("a text without an end"));
            };
            self.at += 1;
            if end == b'"' {
                return Ok(text);
            }
            text.push(self.escaped()?);
        }
    }

    fn escaped(&mut self) -> Result<char> {
        let Some(letter) = self.peek() else {
            return Err(self.wrong("a text without an end"));
        };
        self.at += 1;
        match letter {
            b'"' | b'\\' | b'/' => Ok(char::from(letter)),
            b'n' => Ok('\n'),
            b't' => Ok('\t'),
            b'r' => Ok('\r'),
            b'b' => Ok('\u{8}'),
            b'f' => Ok('\u{c}'),
            b'u' => {
                let high = self.hex()?;
                let mut units = vec![high];
                if (0xd800..0xdc00).contains(&high) && self.follows(b"\\u") {
                    self.at += 2;
                    units.push(self.hex()?);
                }
                match char::decode_utf16(units).next() {
                    Some(Ok(letter)) => Ok(letter),
                    Some(Err(_)) | None => Err(self.wrong("half a character")),
                }
            }
            _ => Err(self.wrong("an unknown escape")),
        }
    }

    fn hex(&mut self) -> Result<u16> {
        let digits = self.text.get(self.at..self.at + 4);
        let unit = digits.and_then(|it| u16::from_str_radix(it, 16).ok());
        self.at += 4;
        unit.ok_or_else(|| self.wrong("no four hex digits"))
    }

    fn number(&mut self) -> Json {
        let begin = self.at;
        while let Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E') = self.peek() {
            self.at += 1;
        }
        Json::Number(self.text.get(begin..self.at).unwrap_or_default().to_owned())
    }

    fn word(&mut self) -> Result<Json> {
        let words =
            [("true", Json::Bool(true)), ("false", Json::Bool(false)), ("null", Json::Null)];
        for (word, value) in words {
            if self.follows(word.as_bytes()) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.wrong("no value"))
    }

    /// Skips white space and takes the letter if it is next.
    fn take(&mut self, letter: u8) -> bool {
        self.skip_space();
        let found = self.peek() == Some(letter);
        self.at += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn follows(&self, text: &[u8]) -> bool {
        self.text.as_bytes().get(self.at..).is_some_and(|rest| rest.starts_with(text))
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn wrong(&self, what: &str) -> Error {
        Error::new(format!("no JSON: {what} at byte {}", self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read() {
        let text = r#" {"a": [1, -2.5e3, "x\n\u00e9\ud83d\ude00", true, null], "b": {}} "#;
        let list = vec![
            Json::Number("1".into()),
            Json::Number("-2.5e3".into()),
            Json::Text("x\né😀".into()),
            Json::Bool(true),
            Json::Null,
        ];
        let expected = vec![("a".into(), Json::List(list)), ("b".into(), Json::Object(Vec::new()))];
        let parsed = parse(text).unwrap();
        assert_eq!(parsed, Json::Object(expected));
        assert_eq!(parse(&parsed.to_string()).unwrap(), parsed);
    }

    #[test]
    fn what_is_no_json_is_refused_without_a_panic() {
        let deep = "[".repeat(100_000);
        let whole = r#"{"a":[1,"\ud83d\ude00é",{"b":null}]}"#;
        let cut = (0..whole.len()).filter_map(|it| whole.get(..it));
        for text in cut.chain(["nul", "1 2", r#""\x""#, r#""\ud83d""#, "{1:2}", &deep]) {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
