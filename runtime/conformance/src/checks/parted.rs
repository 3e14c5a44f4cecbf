//! A28: a state that says which members of it are by key, so that they are parted among other tasks.

use floe_core::ports::ExportedState;
use serde_json::{Map, Value};

use super::told::{SAYS_NOTHING, after, keep, tell};
use super::{Case, case, not_shown};
use crate::lab::{Lab, Shown, ensure, one};
use crate::rows::big_at;

pub(super) const CASES: &[Case] = &[
    case(&["A28"], "what is by key is named, and is a map", named),
    case(&["A28"], "parted between two instances, each goes on with its keys", parted),
];

const BY_KEY: &str = "floe:by-key";
const NAMES_NOTHING: &str = "its state has no member floe:by-key";

/// Counted so often before the state is told.
const COUNTS: &[(&str, i64)] = &[("a", 1), ("b", 2), ("c", 3), ("d", 4), ("é\"", 5)];

fn counted() -> impl Iterator<Item = &'static str> {
    COUNTS.iter().flat_map(|(key, count)| (0..*count).map(|_| *key))
}

/// The members of a state that was told; an error says why there are none to look at.
fn members(state: &ExportedState) -> Shown<Map<String, Value>> {
    match serde_json::from_slice(&state.json) {
        Ok(Value::Object(members)) if members.contains_key(BY_KEY) => Ok(members),
        Ok(_) => not_shown(NAMES_NOTHING).map(|()| Map::new()),
        Err(error) => Err(format!("the state is no JSON: {error}")),
    }
}

fn names(members: &Map<String, Value>) -> Shown<Vec<String>> {
    let names = members[BY_KEY].as_array().into_iter().flatten();
    let names: Option<Vec<String>> = names.map(|it| it.as_str().map(str::to_owned)).collect();
    match names {
        Some(names) if !names.is_empty() => Ok(names),
        _ => Err(format!("{BY_KEY} is {}, and no list of names", members[BY_KEY])),
    }
}

fn named(lab: &Lab) -> Shown<()> {
    let Some(opened) = after(lab, &[])? else { return not_shown(SAYS_NOTHING) };
    let Some(state) = after(lab, &[keep(counted())])? else { return not_shown(SAYS_NOTHING) };
    let (opened, members) = (members(&opened)?, members(&state)?);
    let names = names(&members)?;
    for name in &names {
        let map = members.get(name).ok_or_else(|| format!("{name} is no member of the state"))?;
        ensure(entries(map).is_some_and(|it| it.len() == COUNTS.len()), || {
            format!("{name} is {map}, and no map of {} keys", COUNTS.len())
        })?;
    }
    // Nobody could say whose the others are, were they not as in the beginning.
    let others = members.iter().filter(|it| !names.contains(it.0));
    for (name, value) in others {
        ensure(opened.get(name) == Some(value), || {
            format!("{name} is not by key, and has changed since `open`")
        })?;
    }
    Ok(())
}

fn parted(lab: &Lab) -> Shown<()> {
    let Some(state) = after(lab, &[keep(counted())])? else { return not_shown(SAYS_NOTHING) };
    let members = members(&state)?;
    let names = names(&members)?;
    let mut told = Vec::new();
    for half in 0..2 {
        let mut share = members.clone();
        for name in &names {
            let map = share.get_mut(name).ok_or_else(|| format!("{name} is no member"))?;
            keep_half(map, half);
        }
        let json = Value::Object(share).to_string().into_bytes().into();
        let share = ExportedState { version: state.version, json };
        let mut operator = lab.import(&share)?;
        let keys = COUNTS.iter().map(|it| it.0);
        let staged = lab.call(&mut *operator, 0, &keep(keys))?;
        let rows = one(&staged)?;
        for (row, (key, count)) in COUNTS.iter().enumerate() {
            let expected = if row % 2 == half { count + 1 } else { 1 };
            let found = big_at(rows, row);
            ensure(found == Some(expected), || {
                format!("with half of the keys, {key:?} is counted {found:?}, not {expected}")
            })?;
        }
        told.push(tell(operator)?);
    }
    ensure(told[0] != told[1], || "both halves tell the same state".to_owned())
}

/// Of an object, or a list of pairs.
fn entries(map: &Value) -> Option<Vec<&Value>> {
    match map {
        Value::Object(map) => Some(map.values().collect()),
        Value::Array(pairs) => pairs.iter().map(|it| it.get(1)).collect(),
        _ => None,
    }
}

/// The keys of `COUNTS` at even places, or at odd ones.
fn keep_half(map: &mut Value, half: usize) {
    let stays = |key: Option<&str>| {
        let place = COUNTS.iter().position(|it| Some(it.0) == key);
        place.is_some_and(|it| it % 2 == half)
    };
    match map {
        Value::Object(map) => map.retain(|key, _| stays(Some(key))),
        Value::Array(pairs) => pairs.retain(|it| stays(it.get(0).and_then(Value::as_str))),
        _ => {}
    }
}
