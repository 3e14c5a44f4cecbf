//! What the lock file may hold: one Arrow, one of each crate whose types cross our borders, and licences
//! that go with Apache-2.0.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::{assert_none, metadata, root, text_of};

/// Licences by their SPDX names. Each asks for its text to be passed on and for nothing of our source.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Two majors of one of these would be two types of one name, or two C libraries of one symbol.
const ONE_VERSION: &[&str] = &[
    "arrow-array",
    "arrow-buffer",
    "arrow-data",
    "arrow-schema",
    "arrow-select",
    "bytes",
    "http",
    "hyper",
    "iceberg",
    "libsqlite3-sys",
    "object_store",
    "parquet",
    "rdkafka",
    "rdkafka-sys",
    "rustls",
    "serde",
    "sqlx",
    "tokio",
    "wasmtime",
    "zstd-sys",
];

#[test]
fn one_version_of_what_crosses_borders() {
    let text = std::fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock");
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut name = "";
    for line in text.lines() {
        if let Some(value) = line.strip_prefix("name = ") {
            name = value.trim_matches('"');
        } else if let Some(value) = line.strip_prefix("version = ") {
            versions.entry(name).or_default().insert(value.trim_matches('"'));
        }
    }
    let mut errors = Vec::new();
    for name in ONE_VERSION {
        let found = versions.get(name).cloned().unwrap_or_default();
        if found.len() > 1 {
            errors.push(format!("{name} is locked in {found:?}: only one version may be"));
        }
    }
    for (name, found) in versions.iter().filter(|(it, _)| it.starts_with("arrow-")) {
        if found.iter().any(|it| !it.starts_with("58.")) {
            errors.push(format!("{name} is locked in {found:?}: Arrow is 58, as iceberg's is"));
        }
    }
    assert_none(&errors);
}

#[test]
fn every_licence_is_on_the_list() {
    let host = text_of(Command::new("rustc").arg("-vV"));
    let host = host.lines().find_map(|it| it.strip_prefix("host: ")).expect("rustc names its host");
    let metadata = metadata(&["--locked", "--filter-platform", host]);
    let mut errors = Vec::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let (name, version) = (&package["name"], &package["version"]);
        match package["license"].as_str() {
            None => errors.push(format!("{name} {version} names no licence")),
            Some(licence) if is_allowed(licence) => {}
            Some(licence) => errors.push(format!("{name} {version} is under {licence}")),
        }
        refuse_git(package, &mut errors);
    }
    assert_none(&errors);
}

/// A crate from outside comes from the registry, by version and hash.
fn refuse_git(package: &Value, errors: &mut Vec<String>) {
    if let Some(source) = package["source"].as_str()
        && !source.starts_with("registry+")
    {
        errors.push(format!("{} comes from {source}", package["name"]));
    }
}

/// An SPDX expression: `OR` needs one side, `AND` both. `A/B` is the old spelling of `A OR B`.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.trim();
    if let Some(sides) = split(expression, " AND ") {
        return sides.into_iter().all(is_allowed);
    }
    let spellings = [" OR ", "/"];
    if let Some(sides) = spellings.iter().find_map(|it| split(expression, it)) {
        return sides.into_iter().any(is_allowed);
    }
    match expression.strip_prefix('(').and_then(|it| it.strip_suffix(')')) {
        Some(inside) => is_allowed(inside),
        None => LICENCES.contains(&expression),
    }
}

/// Splits at the operator where it stands outside of parentheses. `AND` is tried first although `OR`
/// binds weaker: an expression that mixes them without parentheses is read more strictly than need be.
fn split<'a>(expression: &'a str, operator: &str) -> Option<Vec<&'a str>> {
    let mut sides = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, byte) in expression.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ if depth == 0 && at >= start && expression[at..].starts_with(operator) => {
                sides.push(&expression[start..at]);
                start = at + operator.len();
            }
            _ => {}
        }
    }
    sides.push(&expression[start..]);
    (sides.len() > 1).then_some(sides)
}

#[test]
fn expressions_are_read_as_spdx_has_them() {
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT OR GPL-3.0", true),
        ("MIT/GPL-3.0", true),
        ("MIT AND GPL-3.0", false),
        ("(MIT OR GPL-3.0) AND ISC", true),
        ("ISC AND (GPL-3.0 OR AGPL-3.0)", false),
        ("Apache-2.0 WITH LLVM-exception OR GPL-2.0", true),
    ] {
        assert_eq!(is_allowed(expression), expected, "{expression}");
    }
}
