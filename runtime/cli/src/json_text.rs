//! JSON as a tree of texts: numbers stay as they are written, for 64 bits are not enough for all of them.

use std::collections::BTreeMap;
use std::fmt::Write;

use floe_core::{Error, Result};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    Object(Vec<(String, Tree)>),
    List(Vec<Tree>),
    /// A number, a quoted text, true, false or null, as it is written.
    Leaf(String),
}

/// What is at a path in one tree and otherwise, or not at all, in another.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Change {
    pub(crate) path: String,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
}

/// The host checked that it is JSON, and how deep it is.
pub(crate) fn parse(text: &[u8]) -> Result<Tree> {
    let wrong = || Error::corrupt("an exported state is no JSON");
    let text = std::str::from_utf8(text).map_err(|_| wrong())?;
    let mut parser = Parser { text, at: 0 };
    parser.value().ok_or_else(wrong)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn value(&mut self) -> Option<Tree> {
        match self.peek()? {
            b'{' => {
                let mut fields = Vec::new();
                self.at += 1;
                while self.peek()? != b'}' {
                    let name = self.leaf()?;
                    self.expect(b':')?;
                    fields.push((name, self.value()?));
                    if self.peek()? == b',' {
                        self.at += 1;
                    }
                }
                self.at += 1;
                Some(Tree::Object(fields))
            }
            b'[' => {
                let mut items = Vec::new();
                self.at += 1;
                while self.peek()? != b']' {
                    items.push(self.value()?);
                    if self.peek()? == b',' {
                        self.at += 1;
                    }
                }
                self.at += 1;
                Some(Tree::List(items))
            }
            _ => self.leaf().map(Tree::Leaf),
        }
    }

    fn leaf(&mut self) -> Option<String> {
        self.peek()?;
        let rest = &self.text[self.at..];
        let len = match rest.strip_prefix('"') {
            Some(inner) => {
                let mut escaped = false;
                let end = inner.bytes().position(|it| {
                    let ends = it == b'"' && !escaped;
                    escaped = it == b'\\' && !escaped;
                    ends
                });
                end? + 2
            }
            None => rest
                .find(|it: char| matches!(it, ',' | ']' | '}' | ':') || it.is_ascii_whitespace())
                .unwrap_or(rest.len()),
        };
        self.at += len;
        Some(rest[..len].to_owned())
    }

    /// The next letter that is no white space.
    fn peek(&mut self) -> Option<u8> {
        while matches!(self.text.as_bytes().get(self.at)?, b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
        self.text.as_bytes().get(self.at).copied()
    }

    fn expect(&mut self, letter: u8) -> Option<()> {
        (self.peek()? == letter).then(|| self.at += 1)
    }
}

impl Tree {
    /// On one line.
    pub(crate) fn line(&self) -> String {
        match self {
            Tree::Leaf(text) => text.clone(),
            Tree::List(items) => {
                format!("[{}]", items.iter().map(Tree::line).collect::<Vec<_>>().join(","))
            }
            Tree::Object(fields) => {
                let fields = fields.iter().map(|(name, it)| format!("{name}:{}", it.line()));
                format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
            }
        }
    }

    /// Indented; what fits on a line is on one.
    pub(crate) fn pretty(&self, indent: usize, out: &mut String) {
        const LINE: usize = 96;
        let line = self.line();
        let (open, close) = match self {
            Tree::Leaf(_) => return out.push_str(&line),
            _ if line.len() + indent <= LINE => return out.push_str(&line),
            Tree::List(_) => ('[', ']'),
            Tree::Object(_) => ('{', '}'),
        };
        let pad = " ".repeat(indent + 2);
        let mut separator = "";
        out.push(open);
        let mut item = |name: &str, it: &Tree, out: &mut String| {
            // Writing to a string does not fail.
            let _ = write!(out, "{separator}\n{pad}{name}");
            it.pretty(indent + 2, out);
            separator = ",";
        };
        match self {
            Tree::Leaf(_) => {}
            Tree::List(items) => items.iter().for_each(|it| item("", it, out)),
            Tree::Object(fields) => {
                fields.iter().for_each(|(name, it)| item(&format!("{name}: "), it, out));
            }
        }
        let _ = write!(out, "\n{}{close}", " ".repeat(indent));
    }
}

/// All differences, in the order of the first tree. Lists of plain values are compared as sets, so that one
/// value more is one difference.
pub(crate) fn diff(before: &Tree, after: &Tree) -> Vec<Change> {
    let mut found = Vec::new();
    diff_at("", before, after, &mut found);
    found
}

fn diff_at(path: &str, before: &Tree, after: &Tree, found: &mut Vec<Change>) {
    match (before, after) {
        _ if before == after => {}
        (Tree::Object(one), Tree::Object(other)) => {
            let others: BTreeMap<&str, &Tree> =
                other.iter().map(|(name, it)| (name.as_str(), it)).collect();
            let ones: BTreeMap<&str, &Tree> =
                one.iter().map(|(name, it)| (name.as_str(), it)).collect();
            for (name, value) in one {
                match others.get(name.as_str()) {
                    Some(other) => diff_at(&field(path, name), value, other, found),
                    None => found.push(change(field(path, name), Some(value), None)),
                }
            }
            for (name, value) in other.iter().filter(|it| !ones.contains_key(it.0.as_str())) {
                found.push(change(field(path, name), None, Some(value)));
            }
        }
        (Tree::List(one), Tree::List(other)) if one.iter().chain(other).all(is_leaf) => {
            let mut counts: BTreeMap<String, i64> = BTreeMap::new();
            one.iter().for_each(|it| *counts.entry(it.line()).or_default() -= 1);
            other.iter().for_each(|it| *counts.entry(it.line()).or_default() += 1);
            for (value, count) in counts {
                let leaf = Tree::Leaf(value);
                for _ in 0..count.unsigned_abs() {
                    let at = format!("{path}[]");
                    found.push(match count < 0 {
                        true => change(at, Some(&leaf), None),
                        false => change(at, None, Some(&leaf)),
                    });
                }
            }
            // The same values in another order.
            if found.is_empty() {
                found.push(change(path.to_owned(), Some(before), Some(after)));
            }
        }
        (Tree::List(one), Tree::List(other)) => {
            for index in 0..one.len().max(other.len()) {
                let at = format!("{path}[{index}]");
                match (one.get(index), other.get(index)) {
                    (Some(one), Some(other)) => diff_at(&at, one, other, found),
                    (one, other) => found.push(change(at, one, other)),
                }
            }
        }
        _ => found.push(change(path.to_owned(), Some(before), Some(after))),
    }
}

fn is_leaf(tree: &Tree) -> bool {
    matches!(tree, Tree::Leaf(_))
}

fn change(path: String, before: Option<&Tree>, after: Option<&Tree>) -> Change {
    Change { path, before: before.map(Tree::line), after: after.map(Tree::line) }
}

/// `totals.m-7`, and `totals["a b"]` where the name is no word.
fn field(path: &str, quoted: &str) -> String {
    let name = quoted.trim_matches('"');
    let is_word = !name.is_empty()
        && name.bytes().all(|it| it.is_ascii_alphanumeric() || b"_-".contains(&it));
    match (is_word, path.is_empty()) {
        (true, true) => name.to_owned(),
        (true, false) => format!("{path}.{name}"),
        (false, _) => format!("{path}[{quoted}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Tree {
        parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn values_stay_as_they_are_written() {
        let text = r#"{"a":[1,170141183460469231731687303715884105727,1e300],"b":{"c\"}":null},"d":[],"e":{}}"#;
        assert_eq!(tree(text).line(), text);
        assert_eq!(tree(" { \"a\" : [ 1 , true ] } ").line(), r#"{"a":[1,true]}"#);
        let mut pretty = String::new();
        tree(&format!("{{\"a\":{text},\"long\":{text}}}")).pretty(0, &mut pretty);
        assert_eq!(tree(&pretty), tree(&format!("{{\"a\":{text},\"long\":{text}}}")));
        assert!(pretty.lines().count() > 3);
    }

    #[test]
    fn each_difference_is_named_by_its_path() {
        let before =
            tree(r#"{"totals":{"m-1":1,"m 2":2,"gone":3},"seen":["a","b"],"l":[{"x":1}]}"#);
        let after =
            tree(r#"{"totals":{"m-1":5,"m 2":2,"new":4},"seen":["a","b","c"],"l":[{"x":2},{}]}"#);
        let shown: Vec<String> = diff(&before, &after)
            .iter()
            .map(|it| {
                let text = |it: &Option<String>| it.clone().unwrap_or("–".to_owned());
                format!("{} {} {}", it.path, text(&it.before), text(&it.after))
            })
            .collect();
        assert_eq!(
            shown,
            [
                "totals.m-1 1 5",
                "totals.gone 3 –",
                "totals.new – 4",
                "seen[] – \"c\"",
                "l[0].x 1 2",
                "l[1] – {}"
            ]
        );
        assert_eq!(diff(&before, &before), []);
        assert_eq!(diff(&tree("[1,2]"), &tree("[2,1]")).len(), 1);
        assert_eq!(diff(&tree(r#"{"m 2":1}"#), &tree("{}"))[0].path, "[\"m 2\"]");
    }
}
