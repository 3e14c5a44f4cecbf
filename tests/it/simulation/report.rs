//! How a failing plan is told: what is wrong, the smallest plan that shows it, and the command to repeat it.

use floe_tests::simulation::shrink::shrink;
use floe_tests::simulation::{Outcome, Plan, simulate};

const COMMAND: &str = "cargo test --release -p floe-tests --test it simulation::random::one_seed -- --nocapture --include-ignored";

/// Lines of a trace that are shown: the end is where it shows.
const TRACE_LINES: usize = 400;

/// The environment that repeats the plan.
pub(super) fn repeat(environment: &str) -> String {
    format!("{environment} {COMMAND}")
}

/// Simulates, and panics with all that helps if something is wrong.
pub(super) fn check(plan: &Plan, environment: &str) -> Outcome {
    let outcome = simulate(plan, None);
    if outcome.violations.is_empty() {
        return outcome;
    }
    let (smallest, still_wrong) = shrink(plan, None);
    panic!(
        "{}\nrepeat it with\n  {}\nsmallest plan:\n{smallest:#?}\nwhich shows\n{}",
        outcome.violations.join("\n"),
        repeat(environment),
        still_wrong.join("\n")
    );
}

pub(super) fn print(plan: &Plan, outcome: &Outcome) {
    println!("{plan:#?}");
    let from = match std::env::var("SIM_TRACE") {
        Ok(_) => 0,
        Err(_) => outcome.trace.len().saturating_sub(TRACE_LINES),
    };
    outcome.trace[from..].iter().for_each(|it| println!("{it}"));
    outcome.violations.iter().for_each(|it| println!("WRONG: {it}"));
}
