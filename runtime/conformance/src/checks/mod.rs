//! The checks, in the order of the clauses.

mod module;
mod types;
mod input;
mod output;
mod world;
mod state;
mod told;
mod parted;
mod configured;
mod limits;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use floe_operator::{Engine, Limits, Metering, Module};

use crate::lab::{Lab, Shown, TIME_PER_CALL};
use crate::report::{Check, Outcome, Report};

/// One check: the clauses that it shows, and what holds.
pub(crate) struct Case {
    clauses: &'static [&'static str],
    name: &'static str,
    holds: fn(&Lab) -> Shown<()>,
}

pub(crate) const fn case(
    clauses: &'static [&'static str],
    name: &'static str,
    holds: fn(&Lab) -> Shown<()>,
) -> Case {
    Case { clauses, name, holds }
}

/// A check's error that begins so is no contradiction.
const NOT_SHOWN: &str = "not shown: ";

pub(crate) fn not_shown(why: &str) -> Shown<()> {
    Err(format!("{NOT_SHOWN}{why}"))
}

pub(crate) fn all(engine: &Arc<Engine>, path: &str, bytes: &[u8]) -> Report {
    let mut checks = Vec::new();
    let report = |checks| Report { module: path.to_owned(), checks };
    let limits =
        Limits { metering: Metering::Time, time_per_batch: TIME_PER_CALL, ..Limits::default() };
    let loaded = engine.load(path, bytes, &limits);
    let module = match loaded {
        Ok(module) => {
            checks.push(made(&["A1", "A2", "A4", "A22"], "it is loaded", Ok(())));
            module
        }
        Err(error) => {
            checks.push(made(&["A1", "A2", "A4", "A22"], "it is loaded", Err(error.message)));
            return report(checks);
        }
    };
    if module.is_configurable() {
        checks.extend(configured::checks(&module));
        return report(checks);
    }
    let (described, is_the_operator) = module::described(engine, path, bytes, &module);
    checks.extend(described);
    // Without its columns no row can be made for it.
    if is_the_operator {
        let lab = || Lab::new(&module);
        let themes =
            [types::CASES, input::CASES, output::CASES, world::CASES, state::CASES, told::CASES];
        let themes = themes.into_iter().chain([parted::CASES, limits::CASES]);
        checks.extend(themes.flatten().map(|case| run(case, lab())));
    }
    report(checks)
}

fn run(case: &Case, lab: Lab) -> Check {
    // A check that looks for a row that is not there is one that does not hold.
    let held = catch_unwind(AssertUnwindSafe(|| (case.holds)(&lab)))
        .unwrap_or_else(|_| Err("the rows that came are of another shape".to_owned()));
    made(case.clauses, case.name, held)
}

pub(crate) fn made(clauses: &'static [&'static str], name: &'static str, held: Shown<()>) -> Check {
    let outcome = match held {
        Ok(()) => Outcome::Passed,
        Err(why) => match why.strip_prefix(NOT_SHOWN) {
            Some(why) => Outcome::NotShown(why.to_owned()),
            None => Outcome::Failed(why),
        },
    };
    Check { clauses, name, outcome }
}

pub(crate) fn outputs(module: &Module) -> usize {
    module.outputs().len()
}
