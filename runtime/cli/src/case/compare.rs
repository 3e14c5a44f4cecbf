//! What came out of a case beside what should have.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Case, Expected, ExpectedRow, Outcome};

type Row = Map<String, Value>;

/// Differences shown of one case; the rest is counted.
const SHOWN_MAX: usize = 5;

/// Lines for a person; none when all is as expected.
pub(crate) fn differences(case: &Case, outcome: &Outcome, first_output: &str) -> Vec<String> {
    let mut found = match &case.expected {
        Expected::Same => Vec::new(),
        Expected::Rows(rows) => of_recording(rows, outcome),
        Expected::Exactly { rows, .. } => in_order(rows, outcome, first_output),
    };
    if let Expected::Exactly { rejected, .. } = &case.expected {
        for (line, reason) in &outcome.rejected {
            match rejected.iter().find(|it| it.record == *line) {
                None => found.push(format!("line {line}  rejected: {reason}")),
                Some(it) if !reason.contains(&it.part) => found.push(format!(
                    "line {}  expected  ! {}\n          found     ! {reason}",
                    it.line, it.part
                )),
                Some(_) => {}
            }
        }
        for missing in rejected
            .iter()
            .filter(|it| !outcome.rejected.iter().any(|(line, _)| *line == it.record))
        {
            found.push(format!(
                "line {}  the record was not rejected: ! {}",
                missing.line, missing.part
            ));
        }
    } else {
        let rejected = outcome.rejected.iter();
        found.extend(rejected.map(|(record, why)| format!("record {record}  rejected: {why}")));
    }
    let more = found.len().saturating_sub(SHOWN_MAX);
    found.truncate(SHOWN_MAX);
    if more > 0 {
        found.push(format!("and {more} more"));
    }
    found
}

/// For each output, its rows in order.
fn in_order(expected: &[ExpectedRow], outcome: &Outcome, first_output: &str) -> Vec<String> {
    let mut outputs: BTreeMap<&str, (Vec<&ExpectedRow>, Vec<&Row>)> = BTreeMap::new();
    for row in expected {
        let output = row.output.as_deref().unwrap_or(first_output);
        outputs.entry(output).or_default().0.push(row);
    }
    for (output, row) in &outcome.rows {
        outputs.entry(output).or_default().1.push(row);
    }
    let mut found = Vec::new();
    for (output, (expected, rows)) in outputs {
        let name = if output == first_output { String::new() } else { format!("{output} ") };
        for index in 0..expected.len().max(rows.len()) {
            match (expected.get(index), rows.get(index)) {
                (Some(wanted), Some(row)) if is_same(&wanted.row, row) => {}
                (Some(wanted), Some(row)) => found.push(format!(
                    "line {}  expected  {name}{}\n          found     {name}{}",
                    wanted.line,
                    text(&wanted.row),
                    text(row)
                )),
                (Some(wanted), None) => {
                    found.push(format!(
                        "line {}  missing   {name}{}",
                        wanted.line,
                        text(&wanted.row)
                    ));
                }
                (None, Some(row)) => found.push(format!("not expected      {name}{}", text(row))),
                (None, None) => {}
            }
        }
    }
    found
}

/// Each row as often as it is expected, in any order.
fn of_recording(expected: &[Row], outcome: &Outcome) -> Vec<String> {
    let mut left: BTreeMap<String, i64> = BTreeMap::new();
    for row in expected {
        *left.entry(text(&without_nulls(row))).or_default() += 1;
    }
    for (_, row) in &outcome.rows {
        *left.entry(text(&without_nulls(row))).or_default() -= 1;
    }
    left.into_iter()
        .filter(|(_, count)| *count != 0)
        .map(|(row, count)| match count {
            0.. => format!("missing       {row}"),
            ..0 => format!("not expected  {row}"),
        })
        .collect()
}

fn without_nulls(row: &Row) -> Row {
    row.iter()
        .filter(|(_, it)| !it.is_null())
        .map(|(name, it)| (name.clone(), it.clone()))
        .collect()
}

fn text(row: &Row) -> String {
    serde_json::to_string(row).unwrap_or_default()
}

/// A column that is left out is null; a number is the same however it is written.
fn is_same(expected: &Row, found: &Row) -> bool {
    let null = Value::Null;
    expected.keys().all(|name| found.contains_key(name))
        && found.iter().all(|(name, it)| is_same_value(expected.get(name).unwrap_or(&null), it))
}

fn is_same_value(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || (!(a.is_i64() && b.is_i64()) && a.as_f64() == b.as_f64())
        }
        (Value::Object(a), Value::Object(b)) => is_same(a, b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same_value(a, b))
        }
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn found(case: &str, rows: &[(&str, &str)], rejected: &[(usize, &str)]) -> Vec<String> {
        let case = super::super::parse(case, Path::new("x.case")).unwrap();
        let row = |text: &str| serde_json::from_str(text).unwrap();
        let rows = rows.iter().map(|(output, it)| ((*output).to_owned(), row(it))).collect();
        let rejected = rejected.iter().map(|(line, why)| (*line, (*why).to_owned())).collect();
        differences(&case, &Outcome { rows, rejected }, "rows")
    }

    #[test]
    fn every_kind_of_difference_is_seen() {
        let case = "> {}\n< {\"a\": 1, \"b\": null}\n< late {\"a\": 2.0}\n> {}\n! why\n";
        let rows = [("rows", "{\"a\":1,\"b\":null,\"c\":null}"), ("late", "{\"a\":2}")];
        assert_eq!(found(case, &rows, &[(4, "and why not")]), Vec::<String>::new());
        assert_eq!(found(case, &rows, &[]), ["line 5  the record was not rejected: ! why"]);
        assert_eq!(found(case, &rows, &[(4, "x")]).len(), 1);
        assert_eq!(found(case, &rows, &[(1, "x"), (4, "why")]), ["line 1  rejected: x"]);
        assert!(found(case, &rows[..1], &[(4, "why")])[0].contains("missing   late"));
        let other = [("rows", "{\"a\":1,\"b\":0}"), rows[1]];
        assert!(found(case, &other, &[(4, "why")])[0].starts_with("line 2  expected"));
        let more = [rows[0], rows[1], ("rows", "{\"a\":3}")];
        assert!(found(case, &more, &[(4, "why")])[0].starts_with("not expected"));
        let big = "> {}\n< {\"a\": 9007199254740993}\n";
        assert_eq!(found(big, &[("rows", "{\"a\":9007199254740992}")], &[]).len(), 1);
    }
}
