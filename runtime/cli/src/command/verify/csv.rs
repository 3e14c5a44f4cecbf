//! A file of comma-separated values (RFC 4180), batch by batch: names in the first line, types from the table.
//!
//! Read here and not by a crate, since those take an empty text in quotation marks and no value for the same,
//! and pass over what is wrong with quotation marks.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_cast::{CastOptions, can_cast_types, cast_with_options};
use arrow_schema::{DataType, SchemaRef};
use floe_core::{Error, Result};

use super::reader::{Places, Rows, open};

const ROWS: usize = 8192;
/// Past that a quotation mark is missing, and not a long text there.
const RECORD_BYTES_MAX: usize = 16 << 20;

pub(super) struct Csv {
    file: PathBuf,
    records: Records<BufReader<File>>,
    columns: SchemaRef,
    /// For each column, which field of a record it is.
    fields: Vec<usize>,
    field_count: usize,
}

impl Csv {
    pub(super) fn open(file: &Path, columns: SchemaRef) -> Result<Csv> {
        let is_tabs = file.extension().is_some_and(|it| it == "tsv");
        let delimiter = if is_tabs { b'\t' } else { b',' };
        let mut records = Records::new(BufReader::new(open(file)?), delimiter);
        let wrong = |what: String| Error::invalid(format!("{}: {what}", file.display()));
        let header = records.next().map_err(wrong)?.ok_or_else(|| wrong("it is empty".into()))?;
        let names: Vec<&str> =
            header.fields.iter().map(|it| it.as_deref().unwrap_or_default()).collect();
        let mut fields = Vec::new();
        for column in columns.fields() {
            let of_name = |it: &(usize, &&str)| **it.1 == *column.name();
            let mut found = names.iter().enumerate().filter(of_name);
            match (found.next(), found.next()) {
                (Some((number, _)), None) => fields.push(number),
                (Some(_), Some(_)) => {
                    return Err(wrong(format!("two columns are named {:?}", column.name())));
                }
                (None, _) => {
                    return Err(wrong(format!(
                        "its first line names no column {:?}\n→ it names {}",
                        column.name(),
                        names.join(", ")
                    )));
                }
            }
            if !can_cast_types(&DataType::Utf8, column.data_type()) {
                return Err(wrong(format!(
                    "column {:?} is {} in the table, which has no spelling in CSV\n→ Parquet or JSON lines have one",
                    column.name(),
                    column.data_type()
                )));
            }
        }
        let field_count = names.len();
        Ok(Csv { file: file.to_owned(), records, columns, fields, field_count })
    }

    pub(super) fn next(&mut self) -> Result<Option<Rows>> {
        let mut texts: Vec<Vec<Option<String>>> = vec![Vec::new(); self.fields.len()];
        let mut lines = Vec::new();
        while lines.len() < ROWS {
            let next = self.records.next();
            let Some(mut record) =
                next.map_err(|it| Error::invalid(format!("{}: {it}", self.file.display())))?
            else {
                break;
            };
            if record.fields.len() != self.field_count {
                return Err(self.wrong(
                    record.line,
                    &format!(
                        "it has {} fields, and the first line {}",
                        record.fields.len(),
                        self.field_count
                    ),
                ));
            }
            for (texts, number) in texts.iter_mut().zip(&self.fields) {
                texts.push(record.fields[*number].take());
            }
            lines.push(record.line);
        }
        if lines.is_empty() {
            return Ok(None);
        }
        let columns = texts.into_iter().enumerate();
        let columns: Vec<ArrayRef> =
            columns.map(|(at, texts)| self.column(at, texts, &lines)).collect::<Result<_>>()?;
        let batch = RecordBatch::try_new(Arc::clone(&self.columns), columns)
            .map_err(|error| Error::invalid(format!("{}: {error}", self.file.display())))?;
        let places = lines.iter().map(|it| format!("line {it}")).collect();
        Ok(Some(Rows { batch, places: Places::Each(places) }))
    }

    fn column(&self, at: usize, texts: Vec<Option<String>>, lines: &[u64]) -> Result<ArrayRef> {
        let field = self.columns.field(at);
        if let DataType::Decimal128(_, scale) = field.data_type() {
            // A cast would round.
            let digits = |it: &String| digits_behind_the_point(it).is_none_or(|it| it > *scale);
            if let Some(row) = texts.iter().position(|it| it.as_ref().is_some_and(digits)) {
                let text = texts[row].as_deref().unwrap_or_default();
                return Err(self.wrong(lines[row], &not_of(field, text)));
            }
        }
        let texts: ArrayRef = Arc::new(StringArray::from(texts));
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let cast = |it: &ArrayRef| cast_with_options(it, field.data_type(), &options);
        cast(&texts).map_err(|error| {
            let row = (0..lines.len()).find(|row| cast(&texts.slice(*row, 1)).is_err());
            self.wrong(
                row.map_or(0, |it| lines[it]),
                &format!("column {:?}: {error}", field.name()),
            )
        })
    }

    fn wrong(&self, line: u64, what: &str) -> Error {
        Error::invalid(format!("{}, line {line}: {what}", self.file.display()))
    }
}

fn not_of(field: &arrow_schema::Field, text: &str) -> String {
    format!("column {:?}: {text:?} is no {}", field.name(), field.data_type())
}

/// `None`: it is no plain number.
fn digits_behind_the_point(text: &str) -> Option<i8> {
    let digits = text.trim_start_matches(['-', '+']);
    let is_plain = !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit() || it == b'.');
    let behind = digits.split_once('.').map_or("", |it| it.1).trim_end_matches('0');
    i8::try_from(behind.len()).ok().filter(|_| is_plain)
}

struct Record {
    /// An empty field without quotation marks is no value.
    fields: Vec<Option<String>>,
    /// Of its beginning.
    line: u64,
}

struct Records<R> {
    input: R,
    delimiter: u8,
    /// Lines that were read.
    lines: u64,
    record: Vec<u8>,
}

impl<R: BufRead> Records<R> {
    fn new(input: R, delimiter: u8) -> Records<R> {
        Records { input, delimiter, lines: 0, record: Vec::new() }
    }

    /// Empty lines are passed over. What is wrong is said in words.
    fn next(&mut self) -> Result<Option<Record>, String> {
        loop {
            let line = self.lines + 1;
            if !self.read(line)? {
                return Ok(None);
            }
            let text = std::str::from_utf8(&self.record)
                .map_err(|_| format!("line {line}: it is not UTF-8"))?;
            let text = if line == 1 { text.trim_start_matches('\u{feff}') } else { text };
            if !text.is_empty() {
                let fields = fields(text, char::from(self.delimiter))
                    .map_err(|it| format!("line {line}: {it}"))?;
                return Ok(Some(Record { fields, line }));
            }
        }
    }

    /// Lines until all quotation marks are closed, without the last one's end. `false`: there are no more.
    fn read(&mut self, line: u64) -> Result<bool, String> {
        self.record.clear();
        loop {
            let before = self.record.len();
            let mut bytes = std::io::Read::take(&mut self.input, RECORD_BYTES_MAX as u64);
            let read = bytes
                .read_until(b'\n', &mut self.record)
                .map_err(|it| format!("line {line}: {it}"))?;
            self.lines += u64::from(read > 0);
            let marks = self.record.iter().filter(|it| **it == b'"').count();
            if read == 0 && before > 0 || self.record.len() >= RECORD_BYTES_MAX {
                return Err(format!("line {line}: a quotation mark is not closed"));
            }
            if marks % 2 == 0 {
                if self.record.ends_with(b"\n") {
                    self.record.pop();
                }
                if self.record.ends_with(b"\r") {
                    self.record.pop();
                }
                return Ok(read > 0);
            }
        }
    }
}

fn fields(text: &str, delimiter: char) -> Result<Vec<Option<String>>, String> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, behind) = match rest.strip_prefix('"') {
            None => {
                let end = rest.find(delimiter).unwrap_or(rest.len());
                let field = &rest[..end];
                if field.contains('"') {
                    return Err(format!("a quotation mark stands inside of {field:?}"));
                }
                (Some(field.to_owned()).filter(|it| !it.is_empty()), &rest[end..])
            }
            Some(quoted) => {
                let (field, behind) = quoted_field(quoted)?;
                (Some(field), behind)
            }
        };
        fields.push(field);
        match behind.strip_prefix(delimiter) {
            Some(more) => rest = more,
            None if behind.is_empty() => return Ok(fields),
            None => return Err("something stands behind a closing quotation mark".to_owned()),
        }
    }
}

/// What is between quotation marks, two of which are one, and what is behind them.
fn quoted_field(text: &str) -> Result<(String, &str), String> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let Some((before, behind)) = rest.split_once('"') else {
            return Err("a quotation mark is not closed".to_owned());
        };
        field.push_str(before);
        match behind.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None => return Ok((field, behind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Decimal128Type, Int64Type};
    use arrow_schema::{Field, Schema};

    use super::*;
    use crate::replay::folder::TemporaryFolder;

    fn read(text: &str) -> Result<Vec<RecordBatch>> {
        let folder = TemporaryFolder::new().unwrap();
        let file = folder.path().join("truth.csv");
        std::fs::write(&file, text).unwrap();
        let columns = Schema::new(vec![
            Field::new("amount", DataType::Decimal128(9, 2), true),
            Field::new("id", DataType::Int64, true),
            Field::new("name", DataType::Utf8, true),
        ]);
        let mut csv = Csv::open(&file, Arc::new(columns))?;
        let mut batches = Vec::new();
        while let Some(rows) = csv.next()? {
            batches.push(rows.batch);
        }
        Ok(batches)
    }

    #[test]
    fn values_are_read_as_they_were_quoted() {
        let text = "\u{feff}id,more,name,amount\r\n1,x,\"a, \"\"b\"\"\nc\",12.5\r\n\r\n2,,,\n3,x,\"\",-0.10";
        let batches = read(text).unwrap();
        let batch = &batches[0];
        let names: Vec<Option<&str>> = batch.column(2).as_string::<i32>().iter().collect();
        assert_eq!(names, [Some("a, \"b\"\nc"), None, Some("")]);
        let amounts: Vec<_> = batch.column(0).as_primitive::<Decimal128Type>().iter().collect();
        assert_eq!(amounts, [Some(1250), None, Some(-10)]);
        assert_eq!(batch.column(1).as_primitive::<Int64Type>().values(), &[1, 2, 3]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, expected) in [
            ("", "it is empty"),
            ("id,name\n", "names no column \"amount\""),
            ("id,id,name,amount\n", "two columns are named \"id\""),
            ("id,name,amount\n1,a,1\n2,b\n", "line 3: it has 2 fields"),
            ("id,name,amount\n1,\"a\nb\",1\nx,b,1\n", "line 4: column \"id\""),
            ("id,name,amount\n1,a,1.005\n", "line 2: column \"amount\": \"1.005\" is no"),
            ("id,name,amount\n1,a,1e3\n", "line 2: column \"amount\""),
            ("id,name,amount\n1,\"a,1\n", "line 2: a quotation mark is not closed"),
            ("id,name,amount\n1,\"a\"b,1\n", "behind a closing quotation mark"),
            ("id,name,amount\n1,a\"b\",1\n", "inside of"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.message.contains(expected), "{text:?}: {error}");
        }
    }
}
