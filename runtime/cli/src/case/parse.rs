//! A case's text.

use std::path::Path;

use floe_core::{Error, Result};
use serde_json::{Map, Value};

use super::{Case, CaseRecord, Expected, ExpectedRejection, ExpectedRow, Step};

pub(crate) fn parse(text: &str, file: &Path) -> Result<Case> {
    let mut case = Case { file: file.to_owned(), config: "{}".to_owned(), ..Case::default() };
    let (mut rows, mut rejected) = (Vec::new(), Vec::new());
    let mut last_record = None;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let wrong =
            |what: &str| Error::invalid(format!("{}:{number}  {what}: {line}", file.display()));
        let (sign, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let rest = rest.trim();
        match sign {
            "" | "#" => {}
            comment if comment.starts_with('#') => {}
            "columns" => {
                let columns = serde_json::from_str(rest);
                case.columns = Some(columns.map_err(|_| wrong("no list of texts"))?);
            }
            "config" => {
                let config: Value =
                    serde_json::from_str(rest).map_err(|it| wrong(&format!("no JSON ({it})")))?;
                case.config = config.to_string();
            }
            "format" => match rest {
                "json" => case.raw = false,
                "raw" => case.raw = true,
                _ => return Err(wrong("format is json or raw")),
            },
            ">" => {
                case.steps.push(Step::Record(record(rest, number).map_err(|it| wrong(&it))?));
                last_record = Some(number);
            }
            "<" => {
                let (output, row) = match rest.find('{') {
                    Some(0) | None => (None, rest),
                    Some(at) => (Some(rest[..at].trim().to_owned()), &rest[at..]),
                };
                let row: Map<String, Value> = serde_json::from_str(row)
                    .map_err(|it| wrong(&format!("no JSON object ({it})")))?;
                rows.push(ExpectedRow { line: number, output, row });
            }
            "!" => {
                let record = last_record.ok_or_else(|| wrong("no record stands before it"))?;
                rejected.push(ExpectedRejection { line: number, record, part: rest.to_owned() });
            }
            "=" => case.steps.push(Step::Barrier),
            "~" => {
                let time = rest.parse().map_err(|_| wrong("a watermark is a number of ms"))?;
                case.steps.push(Step::Watermark(time));
            }
            _ => return Err(wrong("a line begins with > < ! = ~ # columns, config or format")),
        }
    }
    case.expected = Expected::Exactly { rows, rejected };
    Ok(case)
}

/// `[@MS] [key=TEXT] [source=NAME] VALUE`, where `null` is no value at all.
fn record(mut rest: &str, line: usize) -> Result<CaseRecord, String> {
    let mut record = CaseRecord { line, ..CaseRecord::default() };
    loop {
        let (word, behind) = rest.split_once(' ').unwrap_or((rest, ""));
        if let Some(time) = word.strip_prefix('@') {
            let time = time.parse().map_err(|_| "a timestamp is a number of ms".to_owned())?;
            record.timestamp = Some(time);
        } else if let Some(key) = word.strip_prefix("key=") {
            record.key = Some(key.as_bytes().to_vec());
        } else if let Some(source) = word.strip_prefix("source=") {
            record.source = Some(source.to_owned());
        } else {
            break;
        }
        rest = behind.trim_start();
    }
    record.value = (rest != "null").then(|| rest.as_bytes().to_vec());
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_read_line_by_line() {
        let text = "# note\ncolumns [\"a: long\"]\nconfig {\"b\": 1}\n\n> @5 key=k {\"a\":1}\n< {\"a\":1}\n=\n> source=rates null\n! tombstone\n~ 10\n< late {\"a\": 2}\n";
        let case = parse(text, Path::new("x.case")).unwrap();
        assert_eq!(case.columns, Some(vec!["a: long".to_owned()]));
        assert_eq!(case.config, "{\"b\":1}");
        let first = CaseRecord {
            line: 5,
            timestamp: Some(5),
            key: Some(b"k".to_vec()),
            value: Some(b"{\"a\":1}".to_vec()),
            ..CaseRecord::default()
        };
        let second =
            CaseRecord { line: 8, source: Some("rates".to_owned()), ..CaseRecord::default() };
        let steps = [Step::Record(first), Step::Barrier, Step::Record(second), Step::Watermark(10)];
        assert_eq!(case.steps, steps);
        let Expected::Exactly { rows, rejected } = case.expected else { panic!("exactly") };
        assert_eq!((rows[0].line, rows[0].output.as_deref()), (6, None));
        assert_eq!(rows[1].output.as_deref(), Some("late"));
        assert_eq!((rejected[0].record, rejected[0].part.as_str()), (8, "tombstone"));
        for wrong in ["?", "! x", "< x", "~ soon", "> @x {}", "config {", "format xml"] {
            let error = parse(wrong, Path::new("x.case")).unwrap_err().to_string();
            assert!(error.starts_with("x.case:1  "), "{error}");
        }
    }
}
