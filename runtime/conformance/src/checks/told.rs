//! The state in the operator's own words, for other code: told as JSON and taken back (A24 to A26).

use floe_core::ports::{ExportedState, Operator};

use super::{Case, case, not_shown};
use crate::lab::{Lab, Shown, Step, ensure, one};
use crate::rows::{Row, big_at};

pub(super) const CASES: &[Case] = &[
    case(&["A24"], "the state is told, and equal states alike", told),
    case(&["A25", "A26"], "what was told is taken, and goes on", taken),
    case(&["A25"], "a version that it cannot know is refused", of_another_version),
    case(&["A26"], "20,000 keys are told and taken", large),
];

/// A name that an SDK may give to an operator's missing function, or the host's words for it.
const MISSING: &[&str] = &["has no export_state", "has no exportState"];

/// Beyond any that the operator of the suite has had.
const UNKNOWN_VERSION: u32 = 4_000_000_000;

/// Each key is counted as often as it stands here.
pub(super) fn keep<'a>(keys: impl IntoIterator<Item = &'a str>) -> Step {
    Step::Rows(0, keys.into_iter().map(|it| Row::new("keep").text(it)).collect())
}

/// The state after these calls; `None` of an operator that tells none.
pub(super) fn after(lab: &Lab, steps: &[Step]) -> Shown<Option<ExportedState>> {
    let mut operator = lab.open()?;
    for (index, step) in steps.iter().enumerate() {
        lab.call(&mut *operator, index, step)?;
    }
    tell(operator)
}

pub(super) fn tell(operator: Box<dyn Operator>) -> Shown<Option<ExportedState>> {
    match operator.export() {
        Ok(state) => Ok(Some(state)),
        Err(error) if MISSING.iter().any(|it| error.message.contains(it)) => Ok(None),
        Err(error) => Err(error.message),
    }
}

pub(super) const SAYS_NOTHING: &str = "it does not tell its state";

fn told(lab: &Lab) -> Shown<()> {
    // The same counts, reached on two ways: batches cut elsewhere, keys in another order.
    let Some(state) = after(lab, &[keep(["b", "a", "é\"\n", "a"])])? else {
        return not_shown(SAYS_NOTHING);
    };
    let again = after(lab, &[keep(["a"]), keep(["é\"\n", "a"]), keep(["b"])])?;
    ensure(state.version == lab.module().inspection().state_version, || {
        format!("it names state version {}", state.version)
    })?;
    ensure(again.as_ref() == Some(&state), || {
        "the same counts, reached in another order, are told otherwise".to_owned()
    })?;
    let other = after(lab, &[keep(["a"])])?;
    ensure(other.as_ref() != Some(&state), || "another state is told alike".to_owned())
}

fn taken(lab: &Lab) -> Shown<()> {
    let Some(state) = after(lab, &[keep(["a", "a", "b"])])? else {
        return not_shown(SAYS_NOTHING);
    };
    let mut operator = lab.import(&state)?;
    let staged = lab.call(&mut *operator, 0, &keep(["a"]))?;
    let count = big_at(one(&staged)?, 0);
    ensure(count == Some(3), || format!("after the import the third a is counted {count:?}"))?;
    let Some(later) = tell(operator)? else { return not_shown(SAYS_NOTHING) };
    let expected = after(lab, &[keep(["a", "a", "b", "a"])])?;
    ensure(Some(&later) == expected.as_ref(), || {
        "it goes on to another state than the one that was never told".to_owned()
    })
}

fn of_another_version(lab: &Lab) -> Shown<()> {
    let Some(state) = after(lab, &[keep(["a"])])? else { return not_shown(SAYS_NOTHING) };
    let unknown = ExportedState { version: UNKNOWN_VERSION, ..state };
    ensure(lab.import(&unknown).is_err(), || {
        format!("state version {UNKNOWN_VERSION} is taken, and nobody can know it")
    })
}

fn large(lab: &Lab) -> Shown<()> {
    let keys: Vec<String> = (0..20_000).map(|it| format!("key-{it}")).collect();
    let all = || keep(keys.iter().map(String::as_str));
    let Some(state) = after(lab, &[all()])? else { return not_shown(SAYS_NOTHING) };
    let operator = lab.import(&state)?;
    ensure(tell(operator)?.as_ref() == Some(&state), || {
        "20,000 keys that were taken are told otherwise".to_owned()
    })
}
