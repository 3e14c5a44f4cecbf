//! A .proto file, parsed as far as a reader needs it: messages, fields and enums (proto2, proto3 and editions).
//! Options, services, extensions and reserved ranges are passed over.

use std::collections::BTreeMap;

use floe_core::schema::WriterSchema;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    Int32,
    Int64,
    UInt32,
    UInt64,
    SInt32,
    SInt64,
    Fixed32,
    Fixed64,
    SFixed32,
    SFixed64,
    Bool,
    Float,
    Double,
    Text,
    Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FieldType {
    Scalar(Scalar),
    /// As it is written; `Files::find` knows what it means.
    Named(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// Absent is the type's zero.
    Implicit,
    /// Absent is nothing.
    Explicit,
    Repeated,
}

#[derive(Clone, Debug)]
pub(super) struct ProtoField {
    pub(super) name: String,
    pub(super) number: u32,
    pub(super) its_type: FieldType,
    pub(super) presence: Presence,
    /// Of a map, which is a repeated field of keys and values.
    pub(super) key: Option<Scalar>,
    /// Its place among the oneofs of its message.
    pub(super) oneof: Option<usize>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Message {
    /// With the package and the messages around it.
    pub(super) name: String,
    pub(super) fields: Vec<ProtoField>,
    /// Full names of the messages inside, in their order.
    pub(super) nested: Vec<String>,
}

/// A file and those that it imports.
#[derive(Default)]
pub(super) struct Files {
    messages: BTreeMap<String, Message>,
    /// Name of a value by its number.
    enums: BTreeMap<String, BTreeMap<i32, String>>,
    /// Of the file itself.
    pub(super) top: Vec<String>,
}

/// What a name means.
pub(super) enum Found<'a> {
    Message(&'a Message),
    Enum(&'a BTreeMap<i32, String>),
    /// Of a file that is not there. Some of those are known to everybody.
    Elsewhere(String),
}

impl Files {
    pub(super) fn parse(writer: &WriterSchema) -> Result<Files, String> {
        let mut files = Files::default();
        for (name, text) in &writer.references {
            Parser::new(text, &mut files)
                .and_then(Parser::file)
                .map_err(|it| format!("{name}, which it imports: {it}"))?;
        }
        files.top.clear();
        Parser::new(&writer.text, &mut files).and_then(Parser::file)?;
        Ok(files)
    }

    pub(super) fn message(&self, name: &str) -> Option<&Message> {
        self.messages.get(name)
    }

    /// Looks from the innermost scope outwards.
    pub(super) fn find(&self, name: &str, scope: &str) -> Found<'_> {
        let (mut scope, name) = match name.strip_prefix('.') {
            Some(full) => ("", full),
            None => (scope, name),
        };
        loop {
            let full = if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") };
            if let Some(message) = self.messages.get(&full) {
                return Found::Message(message);
            }
            if let Some(values) = self.enums.get(&full) {
                return Found::Enum(values);
            }
            if scope.is_empty() {
                return Found::Elsewhere(name.to_owned());
            }
            scope = scope.rsplit_once('.').map_or("", |it| it.0);
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token<'t> {
    /// A name, with its dots, or a number.
    Word(&'t str),
    Text(&'t str),
    Sign(char),
}

/// Messages inside each other, and options: a file decides how deep, and this goes down a stack.
const DEPTH_MAX: usize = 64;

struct Parser<'t, 'f> {
    tokens: Vec<Token<'t>>,
    at: usize,
    files: &'f mut Files,
    package: String,
    /// proto3: what has no label has no presence of its own.
    is_proto3: bool,
}

impl<'t, 'f> Parser<'t, 'f> {
    fn new(text: &'t str, files: &'f mut Files) -> Result<Parser<'t, 'f>, String> {
        let tokens = tokens(text)?;
        Ok(Parser { tokens, at: 0, files, package: String::new(), is_proto3: false })
    }

    fn file(mut self) -> Result<(), String> {
        while self.at < self.tokens.len() {
            if self.takes(';') {
                continue;
            }
            match self.word()? {
                "syntax" => {
                    self.sign('=')?;
                    self.is_proto3 = self.text()? == "proto3";
                    self.sign(';')?;
                }
                "package" => {
                    self.package = self.word()?.to_owned();
                    self.sign(';')?;
                }
                "message" => {
                    let name = self.message("", 0)?;
                    self.files.top.push(name);
                }
                "enum" => self.enumeration("")?,
                // import, option, edition; service and extend have a block.
                _ => self.pass_over()?,
            }
        }
        Ok(())
    }

    fn message(&mut self, around: &str, depth: usize) -> Result<String, String> {
        if depth > DEPTH_MAX {
            return Err(format!("messages inside each other deeper than {DEPTH_MAX}"));
        }
        let own = self.word()?;
        self.message_body(own, around, depth)
    }

    fn message_body(&mut self, own: &str, around: &str, depth: usize) -> Result<String, String> {
        let name = self.full(own, around);
        let mut message = Message { name: name.clone(), ..Message::default() };
        let mut oneofs = 0;
        self.sign('{')?;
        while !self.takes('}') {
            self.member(&mut message, None, &mut oneofs, depth)?;
        }
        match self.files.messages.insert(name.clone(), message) {
            None => Ok(name),
            Some(_) => Err(format!("message {name} is declared twice")),
        }
    }

    fn member(
        &mut self,
        message: &mut Message,
        oneof: Option<usize>,
        oneofs: &mut usize,
        depth: usize,
    ) -> Result<(), String> {
        if self.takes(';') {
            return Ok(());
        }
        // A field may have a type whose name is one of these words; then a name and `=` follow.
        let is_field = matches!(self.tokens.get(self.at + 2), Some(Token::Sign('=')));
        let first = self.word()?;
        match first {
            "message" if !is_field => {
                let nested = self.message(&message.name, depth + 1)?;
                message.nested.push(nested);
                return Ok(());
            }
            "enum" if !is_field => return self.enumeration(&message.name),
            "oneof" if !is_field => {
                self.word()?;
                self.sign('{')?;
                let number = *oneofs;
                *oneofs += 1;
                while !self.takes('}') {
                    self.member(message, Some(number), oneofs, depth)?;
                }
                return Ok(());
            }
            "option" | "reserved" | "extensions" | "extend" if !is_field => {
                return self.pass_over();
            }
            _ => {}
        }
        let (label, type_name) = match first {
            "optional" | "required" | "repeated" if !is_field => (first, self.word()?),
            _ => ("", first),
        };
        if type_name == "map" && self.takes('<') {
            let key = self.word()?;
            let key = scalar(key).ok_or_else(|| format!("{key} is no key of a map"))?;
            self.sign(',')?;
            let value = self.word()?;
            self.sign('>')?;
            let its_type = field_type(value);
            return self.field(message, its_type, Presence::Repeated, Some(key), oneof);
        }
        if type_name == "group" {
            // The group is a message, and a field of its name in small letters.
            let name = self.word()?;
            self.sign('=')?;
            self.word()?;
            self.options()?;
            let nested = self.message_body(name, &message.name, depth + 1)?;
            message.nested.push(nested);
            return Ok(());
        }
        let presence = match label {
            "repeated" => Presence::Repeated,
            "" if self.is_proto3 && oneof.is_none() => Presence::Implicit,
            _ => Presence::Explicit,
        };
        self.field(message, field_type(type_name), presence, None, oneof)
    }

    fn field(
        &mut self,
        message: &mut Message,
        its_type: FieldType,
        presence: Presence,
        key: Option<Scalar>,
        oneof: Option<usize>,
    ) -> Result<(), String> {
        let name = self.word()?.to_owned();
        self.sign('=')?;
        let number = self.word()?;
        let number = integer(number)
            .and_then(|it| u32::try_from(it).ok())
            .ok_or_else(|| format!("field {name} of {} has no number", message.name))?;
        self.options()?;
        self.sign(';')?;
        message.fields.push(ProtoField { name, number, its_type, presence, key, oneof });
        Ok(())
    }

    fn enumeration(&mut self, around: &str) -> Result<(), String> {
        let own = self.word()?;
        let name = self.full(own, around);
        let mut values = BTreeMap::new();
        self.sign('{')?;
        while !self.takes('}') {
            if self.takes(';') {
                continue;
            }
            let value = self.word()?;
            if matches!(value, "option" | "reserved") && !self.is('=') {
                self.pass_over()?;
                continue;
            }
            self.sign('=')?;
            let minus = if self.takes('-') { -1 } else { 1 };
            let number = self.word()?;
            let number = integer(number).and_then(|it| i32::try_from(it * minus).ok());
            let number = number.ok_or_else(|| format!("{value} of enum {name} has no number"))?;
            self.options()?;
            self.sign(';')?;
            // Of aliases the first is the name.
            values.entry(number).or_insert_with(|| value.to_owned());
        }
        self.files.enums.insert(name, values);
        Ok(())
    }

    /// `[deprecated = true, …]`
    fn options(&mut self) -> Result<(), String> {
        if !self.takes('[') {
            return Ok(());
        }
        let mut depth = 1;
        while depth > 0 {
            match self.next()? {
                Token::Sign('[') => depth += 1,
                Token::Sign(']') => depth -= 1,
                Token::Sign(_) | Token::Word(_) | Token::Text(_) => {}
            }
        }
        Ok(())
    }

    /// To the end of a statement: a semicolon, or a block.
    fn pass_over(&mut self) -> Result<(), String> {
        let mut depth = 0;
        let is_value = self.is_option();
        loop {
            match self.next()? {
                Token::Sign(';') if depth == 0 => return Ok(()),
                Token::Sign('{') => depth += 1,
                Token::Sign('}') => {
                    depth -= 1;
                    if depth < 0 {
                        return Err("a block ends that did not begin".to_owned());
                    }
                    // `option (x) = { … };` ends behind its semicolon.
                    if depth == 0 && !is_value {
                        return Ok(());
                    }
                }
                Token::Sign(_) | Token::Word(_) | Token::Text(_) => {}
            }
        }
    }

    /// Does an equals sign come before the next block or end?
    fn is_option(&self) -> bool {
        let rest = self.tokens[self.at..].iter();
        let mut signs = rest.filter_map(|it| match it {
            Token::Sign(sign @ (';' | '{' | '=')) => Some(*sign),
            _ => None,
        });
        signs.next() == Some('=')
    }

    fn full(&self, own: &str, around: &str) -> String {
        let around = if around.is_empty() { &self.package } else { around };
        if around.is_empty() { own.to_owned() } else { format!("{around}.{own}") }
    }

    fn next(&mut self) -> Result<Token<'t>, String> {
        let token = self.tokens.get(self.at).cloned().ok_or("the file ends in the middle")?;
        self.at += 1;
        Ok(token)
    }

    fn word(&mut self) -> Result<&'t str, String> {
        match self.next()? {
            Token::Word(word) => Ok(word),
            other => Err(format!("{other:?} where a name is expected")),
        }
    }

    fn text(&mut self) -> Result<&'t str, String> {
        match self.next()? {
            Token::Text(text) => Ok(text),
            other => Err(format!("{other:?} where a text is expected")),
        }
    }

    fn sign(&mut self, wanted: char) -> Result<(), String> {
        match self.next()? {
            Token::Sign(sign) if sign == wanted => Ok(()),
            other => Err(format!("{other:?} where {wanted:?} is expected")),
        }
    }

    fn is(&self, sign: char) -> bool {
        self.tokens.get(self.at) == Some(&Token::Sign(sign))
    }

    fn takes(&mut self, sign: char) -> bool {
        let is = self.is(sign);
        self.at += usize::from(is);
        is
    }
}

fn integer(text: &str) -> Option<i64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None if text.len() > 1 && text.starts_with('0') => i64::from_str_radix(text, 8).ok(),
        None => text.parse().ok(),
    }
}

fn field_type(name: &str) -> FieldType {
    scalar(name).map_or_else(|| FieldType::Named(name.to_owned()), FieldType::Scalar)
}

fn scalar(name: &str) -> Option<Scalar> {
    Some(match name {
        "int32" => Scalar::Int32,
        "int64" => Scalar::Int64,
        "uint32" => Scalar::UInt32,
        "uint64" => Scalar::UInt64,
        "sint32" => Scalar::SInt32,
        "sint64" => Scalar::SInt64,
        "fixed32" => Scalar::Fixed32,
        "fixed64" => Scalar::Fixed64,
        "sfixed32" => Scalar::SFixed32,
        "sfixed64" => Scalar::SFixed64,
        "bool" => Scalar::Bool,
        "float" => Scalar::Float,
        "double" => Scalar::Double,
        "string" => Scalar::Text,
        "bytes" => Scalar::Bytes,
        _ => return None,
    })
}

fn tokens(text: &str) -> Result<Vec<Token<'_>>, String> {
    let bytes = text.as_bytes();
    let (mut tokens, mut at) = (Vec::new(), 0);
    let is_word = |it: u8| it.is_ascii_alphanumeric() || it == b'_' || it == b'.';
    while let Some(byte) = bytes.get(at) {
        let begin = at;
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c => at += 1,
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at += bytes[at..].iter().position(|it| *it == b'\n').unwrap_or(bytes.len() - at);
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                let end = text[at + 2..].find("*/").ok_or("a comment does not end")?;
                at += end + 4;
            }
            b'"' | b'\'' => {
                at += 1;
                while bytes.get(at).is_some_and(|it| it != byte) {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                let inside = text.get(begin + 1..at).filter(|_| at < bytes.len());
                tokens.push(Token::Text(inside.ok_or("a text does not end")?));
                at += 1;
            }
            byte if is_word(*byte) => {
                while bytes.get(at).is_some_and(|it| is_word(*it)) {
                    at += 1;
                }
                tokens.push(Token::Word(&text[begin..at]));
            }
            byte if byte.is_ascii() => {
                tokens.push(Token::Sign(*byte as char));
                at += 1;
            }
            _ => return Err(format!("a character at byte {at} that belongs nowhere")),
        }
    }
    Ok(tokens)
}
