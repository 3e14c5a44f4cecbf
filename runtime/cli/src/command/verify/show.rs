//! The comparison for people: on the terminal, and as a report in Markdown.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::Verified;
use super::difference::{Difference, Side};
use crate::show;

pub(super) fn text(verified: &Verified) -> String {
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    line(&format!("{}  {}", verified.table, place(verified)));
    line(&format!("against  {}", verified.against));
    line(&format!("  source  {}", counted_of_source(verified)));
    line(&format!("  table   {}", side(&verified.table_totals)));
    for note in &verified.notes {
        line(&format!("  note    {note}"));
    }
    for difference in &verified.differences {
        line("");
        line(&format!("{}  {}", key(&difference.key), difference.what));
        line(&format!("  source  {}", side(&difference.source)));
        line(&format!("  table   {}", side(&difference.table)));
        for it in &difference.values {
            line(&format!(
                "  {}  {}, and {} in the table",
                it.column,
                plain(&it.source),
                plain(&it.table)
            ));
        }
        for row in &difference.rows {
            line(&format!("  {}  {}{}", key(&row.key), row.what, found_at(row)));
        }
        match (difference.more_rows, difference.rows.is_empty()) {
            (0, false) => {}
            (0, true) => line(&format!("  first   {}", first(difference))),
            (more, _) => line(&format!("  … and {} rows more of it", show::grouped(more))),
        }
    }
    line("");
    line(&verdict(verified));
    out
}

pub(super) fn markdown(verified: &Verified) -> String {
    let mut out = String::new();
    // Writing to a text cannot fail.
    let _ = writeln!(out, "# {}: {}\n", verified.table, verdict(verified));
    let _ = writeln!(out, "- pipeline {}, {}", cell(&verified.pipeline), place(verified));
    let _ = writeln!(out, "- against {}", cell(&verified.against));
    let _ = writeln!(out, "- source: {}", counted_of_source(verified));
    let _ = writeln!(out, "- table: {}", side(&verified.table_totals));
    for note in &verified.notes {
        let _ = writeln!(out, "- note: {note}");
    }
    if verified.differences.is_empty() {
        return out;
    }
    let _ = writeln!(out, "\n| key | difference | source | table | where |\n|--|--|--|--|--|");
    for difference in &verified.differences {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} |",
            cell(&key(&difference.key)),
            cell(&what(difference)),
            cell(&side(&difference.source)),
            cell(&side(&difference.table)),
            cell(&if difference.rows.is_empty() { first(difference) } else { String::new() })
        );
        for row in &difference.rows {
            let (name, at) = (cell(&key(&row.key)), cell(found_at(row).trim_start()));
            let _ = writeln!(out, "| … {name} | {} | | | {at} |", cell(&row.what));
        }
        if difference.more_rows > 0 {
            let _ = writeln!(out, "| … {} rows more | | | | |", difference.more_rows);
        }
    }
    out
}

/// With the values, where each side has one row.
fn what(difference: &Difference) -> String {
    let values = difference.values.iter();
    let values =
        values.map(|it| format!("{}: {} and {}", it.column, plain(&it.source), plain(&it.table)));
    match difference.values.is_empty() {
        true => difference.what.clone(),
        false => values.collect::<Vec<_>>().join(", "),
    }
}

fn place(verified: &Verified) -> String {
    let snapshot =
        verified.snapshot.map_or("no snapshot".to_owned(), |it| format!("snapshot {it}"));
    match verified.epoch {
        Some(epoch) => format!("{snapshot}, epoch {epoch}"),
        None => snapshot,
    }
}

fn counted_of_source(verified: &Verified) -> String {
    let mut text = side(&verified.source_totals);
    if verified.again > 0 {
        let again = show::grouped(verified.again);
        text += &format!("; {again} more that came again were not counted");
    }
    if verified.rejected > 0 {
        let rejected = show::grouped(verified.rejected);
        text += &format!("; {rejected} records that are no rows were not counted");
    }
    text
}

pub(super) fn verdict(verified: &Verified) -> String {
    let keys = show::grouped(verified.keys);
    match verified.keys_that_differ {
        0 => format!("equal: {keys} keys"),
        differ => {
            let mut text = format!("differs: {} of {keys} keys", show::grouped(differ));
            let shown = verified.differences.len() as u64;
            if shown < differ {
                text += &format!(", {} of them shown", show::grouped(shown));
            }
            text
        }
    }
}

fn side(side: &Side) -> String {
    let mut text = format!("{} rows", show::grouped(side.rows.unsigned_abs()));
    for (name, sum) in &side.sums {
        text += &format!("   {name} {}", plain(sum));
    }
    text
}

fn key(key: &Map<String, Value>) -> String {
    key.iter().map(|(name, it)| format!("{name}={}", plain(it))).collect::<Vec<_>>().join(" ")
}

fn plain(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    // Records have their words in it: none of them may move a terminal's cursor.
    text.chars().map(|it| if it.is_control() { char::REPLACEMENT_CHARACTER } else { it }).collect()
}

fn found_at(difference: &Difference) -> String {
    match (&difference.at, difference.epochs) {
        (None, _) => String::new(),
        (Some(at), None) => format!("   {at}"),
        (Some(at), Some((first, last))) if first == last => format!("   {at}, epoch {first}"),
        (Some(at), Some((first, last))) => format!("   {at}, epochs {first} to {last}"),
    }
}

fn first(difference: &Difference) -> String {
    match found_at(difference).trim_start() {
        "" if difference.source.rows > 0 => "not looked for".to_owned(),
        "" => "no record has it".to_owned(),
        at => at.to_owned(),
    }
}

/// A cell of a table in Markdown.
fn cell(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace('\n', " ")
}
