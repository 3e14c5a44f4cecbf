//! Cases: what goes into an operator and what must come out, as text that people write and read.
//!
//! ```text
//! # One line a thing; the first sign says what it is.
//! columns ["id: string", "n: long"]    for an operator that takes any columns
//! config {"key": ["id"]}               what `open` gets; {} unless said
//! format raw                           how values are decoded; json unless said
//!
//! > {"id": "a", "n": 1}                a record's value
//! < {"id": "a", "n": 1}                a row that comes out, in order; a column left out is null
//! > @1767225600000 key=k1 {"n": "x"}   with a timestamp (ms) and a key
//! > source=rates {"eur": 1}            of that source, for an operator that takes several
//! ! expected a number                  the record above is rejected, with this in the reason
//! =                                    a barrier: state is captured and restored here
//! ~ 1767225660000                      a watermark (ms)
//! < late {"id": "a"}                   a row of another output than the first
//! ```

mod compare;
mod parse;
mod recorded;
mod run;

use std::path::PathBuf;

use serde_json::{Map, Value};

pub(crate) use compare::differences;
pub(crate) use parse::parse;
pub(crate) use recorded::recorded;
pub(crate) use run::{Subject, Way, run};

/// A case, read.
#[derive(Debug, Default)]
pub(crate) struct Case {
    pub(crate) file: PathBuf,
    pub(crate) columns: Option<Vec<String>>,
    /// JSON text.
    pub(crate) config: String,
    pub(crate) raw: bool,
    pub(crate) steps: Vec<Step>,
    pub(crate) expected: Expected,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    Record(CaseRecord),
    Barrier,
    Watermark(i64),
}

#[derive(Debug, Default, PartialEq)]
pub(crate) struct CaseRecord {
    /// In the case's file, from 1.
    pub(crate) line: usize,
    /// `None`: one more than the record before.
    pub(crate) timestamp: Option<i64>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    /// Of several sources the one that it is of.
    pub(crate) source: Option<String>,
    pub(crate) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Partition and offset, for a record of a recording.
    pub(crate) place: Option<(i32, i64)>,
}

#[derive(Debug)]
pub(crate) enum Expected {
    /// Rows in order, and rejected records.
    Exactly { rows: Vec<ExpectedRow>, rejected: Vec<ExpectedRejection> },
    /// The rows of a recording in any order.
    Rows(Vec<Map<String, Value>>),
    /// Nothing is known but that all ways must give the same.
    Same,
}

impl Default for Expected {
    fn default() -> Self {
        Expected::Exactly { rows: Vec::new(), rejected: Vec::new() }
    }
}

#[derive(Debug, PartialEq)]
pub(crate) struct ExpectedRow {
    pub(crate) line: usize,
    /// `None`: the first output.
    pub(crate) output: Option<String>,
    pub(crate) row: Map<String, Value>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct ExpectedRejection {
    pub(crate) line: usize,
    /// The record's line.
    pub(crate) record: usize,
    pub(crate) part: String,
}

/// What came out.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    /// Output and row, in order.
    pub(crate) rows: Vec<(String, Map<String, Value>)>,
    /// The record's line, and why.
    pub(crate) rejected: Vec<(usize, String)>,
}
