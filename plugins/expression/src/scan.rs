//! An expression's text as tokens.

use floe_sdk::{Error, Result};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    /// A name or a keyword.
    Word(String),
    /// A name between double quotes: never a keyword.
    Quoted(String),
    Number(String),
    Text(String),
    Sign(&'static str),
}

const SIGNS: [&str; 17] =
    ["<=", ">=", "!=", "<>", "=", "<", ">", "+", "-", "*", "/", "%", "(", ")", ",", ".", ":"];

pub(crate) fn scan(text: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let len = if first.is_alphabetic() || first == '_' {
            let len = end(rest, |it| it.is_alphanumeric() || it == '_');
            tokens.push(Token::Word(rest[..len].to_owned()));
            len
        } else if first.is_ascii_digit() {
            let mut len = end(rest, |it| it.is_ascii_digit() || it == '.');
            if let Some(exponent) = rest[len..].strip_prefix(['e', 'E']) {
                let sign = exponent.starts_with(['+', '-']) as usize;
                len += 1 + sign + end(&exponent[sign..], |it| it.is_ascii_digit());
            }
            tokens.push(Token::Number(rest[..len].to_owned()));
            len
        } else if first == '\'' || first == '"' {
            let (inner, len) = quoted(rest, first)
                .ok_or_else(|| Error::new(format!("a quote is not closed in {text:?}")))?;
            tokens.push(if first == '\'' { Token::Text(inner) } else { Token::Quoted(inner) });
            len
        } else {
            let sign = SIGNS
                .iter()
                .find(|it| rest.starts_with(**it))
                .ok_or_else(|| Error::new(format!("{first:?} has no meaning in {text:?}")))?;
            tokens.push(Token::Sign(sign));
            sign.len()
        };
        rest = rest[len..].trim_start();
    }
    Ok(tokens)
}

fn end(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|it| !belongs(it)).unwrap_or(text.len())
}

/// A quote within is written twice.
fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut inner = String::new();
    let mut letters = text.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        if letter != quote {
            inner.push(letter);
        } else if letters.peek().is_some_and(|(_, next)| *next == quote) {
            inner.push(quote);
            letters.next();
        } else {
            return Some((inner, at + 1));
        }
    }
    None
}
