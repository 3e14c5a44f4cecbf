//! `floe conformance`: does an SDK's module keep the operator ABI, clause by clause?

use std::io::Write;

use anyhow::Context;
use floe_conformance::{Outcome, Report};
use floe_operator::Engine;
use serde::Serialize;

use crate::args::ConformanceArgs;
use crate::exit::Differs;
use crate::wire;

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    report: &'a Report,
    clauses: Vec<floe_conformance::ClauseResult>,
}

pub(crate) fn conformance(args: ConformanceArgs) -> anyhow::Result<()> {
    let engine = Engine::new(Some(wire::module_cache()))?;
    let path = args.module.display().to_string();
    let bytes = std::fs::read(&args.module).with_context(|| format!("read {path}"))?;
    let report = floe_conformance::run(&engine, &path, &bytes);
    if args.json {
        super::print_json(&Shown { report: &report, clauses: report.clauses() })?;
    } else {
        print(&report)?;
    }
    match report.failed() {
        0 => Ok(()),
        failed => {
            let all = report.checks.len();
            Err(Differs(format!("{failed} of {all} checks failed")).into())
        }
    }
}

fn print(report: &Report) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for clause in report.clauses() {
        let mark = mark(&clause.outcome);
        writeln!(out, "{mark} {:9} {}", clause.clause, clause.about)?;
        for check in report.checks.iter().filter(|it| it.clauses[0] == clause.clause) {
            write_check(&mut out, check)?;
        }
    }
    Ok(())
}

fn write_check(out: &mut impl Write, check: &floe_conformance::Check) -> std::io::Result<()> {
    let also = match &check.clauses[1..] {
        [] => String::new(),
        also => format!(" (also {})", also.join(", ")),
    };
    writeln!(out, "  {} {}{also}", mark(&check.outcome), check.name)?;
    match &check.outcome {
        Outcome::Passed => Ok(()),
        Outcome::Failed(why) | Outcome::NotShown(why) => {
            why.lines().try_for_each(|line| writeln!(out, "      {line}"))
        }
    }
}

fn mark(outcome: &Outcome) -> char {
    match outcome {
        Outcome::Passed => '✓',
        Outcome::Failed(_) => '✗',
        Outcome::NotShown(_) => '–',
    }
}
