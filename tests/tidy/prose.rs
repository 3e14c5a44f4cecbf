//! Texts that go with the repository: no path of somebody's home, no word left over, no file too long.

use std::process::Command;

use crate::{assert_none, root, text_of};

/// Rust files beyond this tire a reader; what is longer is split.
const LINES_MAX: usize = 600;

const TEXT: &[&str] = &["rs", "md", "toml", "py", "sh", "yml", "yaml", "h", "wat", "html", "in"];

fn files() -> Vec<(String, String)> {
    let listed = text_of(Command::new("git").args(["ls-files", "-z"]).current_dir(root()));
    let is_text = |it: &&str| {
        it.rsplit_once('.').is_some_and(|(_, end)| TEXT.contains(&end)) || *it == ".ci/run"
    };
    listed
        .split('\0')
        .filter(is_text)
        // A file may be deleted and not committed yet.
        .filter_map(|it| Some((it.to_owned(), std::fs::read_to_string(root().join(it)).ok()?)))
        .collect()
}

fn find(wrong: impl Fn(&str, &str) -> Option<&'static str>) {
    let mut errors = Vec::new();
    for (path, text) in files() {
        for (number, line) in text.lines().enumerate() {
            if let Some(what) = wrong(&path, line) {
                errors.push(format!("{path}:{}: {what}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none(&errors);
}

#[test]
fn no_path_of_somebodys_home() {
    // In halves, so that this file does not find itself.
    let homes = [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/")];
    find(|_, line| {
        let found = homes.iter().any(|it| {
            line.match_indices(it).any(|(at, _)| {
                // Inside of a longer path it is no home: "/v1/home/…".
                !line[..at].ends_with(|it: char| it.is_alphanumeric() || it == '_' || it == '}')
            })
        });
        found.then_some("an absolute path of a home")
    });
}

#[test]
fn nothing_is_left_for_later() {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
    find(|path, line| {
        let found = words.iter().any(|it| {
            line.match_indices(it).any(|(at, word)| {
                // With an issue's number it may stay.
                !line[at + word.len()..].starts_with("(#")
            })
        });
        (found && path.ends_with(".rs")).then_some("a word left over")
    });
    find(|path, line| {
        let macros = [concat!("to", "do!("), concat!("unimple", "mented!(")];
        (path.ends_with(".rs") && macros.iter().any(|it| line.contains(it))).then_some("a stub")
    });
}

#[test]
fn every_rust_file_says_what_it_is() {
    let mut errors = Vec::new();
    for (path, text) in files().iter().filter(|(path, _)| path.ends_with(".rs")) {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            errors.push(format!("{path}: {lines} lines, {LINES_MAX} at most"));
        }
        // Tests beside a file are about that file.
        let is_beside = path.ends_with("/tests.rs") || path.contains("/src/tests/");
        if !is_beside && !text.starts_with("//!") {
            errors.push(format!("{path}: begins with no //! sentence"));
        }
    }
    assert_none(&errors);
}
