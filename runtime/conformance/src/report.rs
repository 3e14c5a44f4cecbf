//! What came of the checks: by check, and by clause of ABI.md.

use serde::Serialize;

/// The clauses that a guest can show; the others bind the host, whose own tests show them.
pub const CLAUSES: &[(&str, &str)] = &[
    ("A1", "core module with one memory"),
    ("A2", "exports"),
    ("A3", "a call that fails ends with its message"),
    ("A4", "imports: log"),
    ("A5", "description, several outputs"),
    ("A6", "schemas"),
    ("A7", "types, nulls, nesting"),
    ("A8", "record fields"),
    ("A9", "the same description each time"),
    ("A10", "an input region that grows and moves"),
    ("A11", "batches are read in the schema's order"),
    ("A12", "batches with and without nulls"),
    ("A13", "nothing of the input is kept by pointer"),
    ("A14", "1 and 65,536 rows, and more emitted"),
    ("A15", "emit"),
    ("A16", "the limit of a call's output"),
    ("A17", "a failed call leaves nothing"),
    ("A18", "reject"),
    ("A19", "empty buffers"),
    ("A20", "virtual time and seeded random numbers"),
    ("A21", "captured and restored to the bit"),
    ("A22", "nothing that is refused at load"),
    ("A23", "goes on from the image before a trap"),
    ("A24", "the state is told as JSON"),
    ("A25", "and taken by a fresh instance"),
    ("A26", "within fuel by its size"),
    ("A27", "columns by the configuration"),
    ("A28", "state that is parted by key"),
    ("config", "configuration"),
    ("watermark", "watermark"),
    ("limits", "memory and fuel"),
];

/// What an SDK may do without, and the words for one that does.
const OPTIONAL: &[(&str, &str)] = &[("A27", "its rows are types")];

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", content = "why", rename_all = "kebab-case")]
pub enum Outcome {
    Passed,
    Failed(String),
    /// The module has no means for it: no contradiction, and no proof.
    NotShown(String),
}

#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// The first is the clause that it is about; a failure counts for all.
    pub clauses: &'static [&'static str],
    pub name: &'static str,
    #[serde(flatten)]
    pub outcome: Outcome,
}

#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub module: String,
    pub checks: Vec<Check>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClauseResult {
    pub clause: &'static str,
    pub about: &'static str,
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl Report {
    /// Each clause: failed if a check of it failed; shown if all that were made passed.
    pub fn clauses(&self) -> Vec<ClauseResult> {
        let result = |(clause, about): &(&'static str, &'static str)| {
            let of_it = || self.checks.iter().filter(|it| it.clauses.contains(clause));
            let failed = of_it().find(|it| matches!(it.outcome, Outcome::Failed(_)));
            let missing = of_it().find(|it| matches!(it.outcome, Outcome::NotShown(_)));
            let outcome = match failed.or(missing) {
                Some(check) => check.outcome.clone(),
                None if of_it().next().is_none() => {
                    let optional = OPTIONAL.iter().find(|it| it.0 == *clause);
                    let why = optional.map_or("a check before it failed", |it| it.1);
                    Outcome::NotShown(why.to_owned())
                }
                None => Outcome::Passed,
            };
            ClauseResult { clause, about, outcome }
        };
        CLAUSES.iter().map(result).collect()
    }

    pub fn failed(&self) -> usize {
        self.checks.iter().filter(|it| matches!(it.outcome, Outcome::Failed(_))).count()
    }

    /// But for what is optional and has not been tried.
    pub fn passes_every_clause(&self) -> bool {
        let is_optional = |clause: &str| OPTIONAL.iter().any(|it| it.0 == clause);
        self.clauses().iter().all(|it| match it.outcome {
            Outcome::Passed => true,
            Outcome::Failed(_) => false,
            Outcome::NotShown(_) => is_optional(it.clause),
        })
    }

    /// With the checks of another module of the same SDK.
    pub fn and(mut self, other: Report) -> Report {
        self.checks.extend(other.checks);
        self
    }
}
