//! Checks how processes ended: no hang, no refusal without a reason, and fenced only by a later claim.

use floe_core::error::ErrorKind;
use floe_core::log_entry::LogEntry;

use crate::simulation::history::{Ended, History, How};
use crate::simulation::plan::Plan;
use crate::simulation::world::State;

pub fn check(plan: &Plan, state: &State) -> Vec<String> {
    let history = &state.history;
    let mut wrong: Vec<String> =
        history.ends.iter().filter_map(|it| check_one(plan, history, it)).collect();
    let forked = plan.hosts.iter().any(|it| it.on_a_copy);
    let last = history.ends.last().map(|it| &it.how);
    if !forked && last != Some(&How::Finished) {
        wrong.push(format!("the last start, without any fault, ended in {last:?}"));
    }
    wrong
}

fn check_one(plan: &Plan, history: &History, ended: &Ended) -> Option<String> {
    let place = format!("process {} on host {}", ended.process, ended.host);
    let forked = plan.hosts.iter().any(|it| it.on_a_copy);
    let several = plan.hosts.len() > 1;
    match &ended.how {
        How::Finished | How::Stopped | How::Killed => None,
        How::Hung => Some(format!("{place} hung")),
        How::NotClaimed(kind, message) => match kind {
            ErrorKind::Retry | ErrorKind::Unknown => None,
            ErrorKind::Refused if several => None,
            _ => Some(format!("{place} could not claim: {kind:?}: {message}")),
        },
        How::Failed(kind, message) => match kind {
            ErrorKind::Retry | ErrorKind::Unknown => None,
            ErrorKind::Fenced { by } => {
                let ours = generation_of(history, ended.process);
                let by = by.map_or(0, |it| it.0);
                (by <= ours).then(|| format!("{place}, generation {ours}, is fenced by {by}"))
            }
            // Two logs claim one table: one of them must be told.
            ErrorKind::Refused if forked => None,
            _ => Some(format!("{place} failed: {kind:?}: {message}")),
        },
    }
}

/// The highest generation that a process claimed; 0 if its claim never became visible.
fn generation_of(history: &History, process: u32) -> u64 {
    let claims = history.entries.iter().filter(|it| it.process == process);
    claims
        .filter_map(|it| match &it.entry {
            LogEntry::Claim(claim) => Some(claim.generation.0),
            LogEntry::Manifest(_) => None,
        })
        .max()
        .unwrap_or(0)
}
