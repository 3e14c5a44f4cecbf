//! Another number of tasks for a keyed stage: what each task told of its keys, parted anew.
//!
//! The operators say which members of their state are by key (A28); which task a key's part is of follows from the
//! same hash that its rows go by. Each key is found in the task where its rows went before, or nothing is done.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema};
use floe_core::exchange::KeyColumns;
use floe_core::graph::{Graph, Keyed};
use floe_core::image::Capture;
use floe_core::in_flight::InFlight;
use floe_core::journal::Journal;
use floe_core::ports::{DecoderFactory, ExportedState, no_state};
use floe_core::task::CapturedTask;
use floe_core::{Error, EventTime, Offset, Records, Result, TopicPartition};
use floe_operator::{Format, InputDecoder};

use crate::json_text::{self, Tree};
use crate::wire::Module;

/// The member of a told state that names those that are by key (A28).
const BY_KEY: &str = "\"floe:by-key\"";

/// One keyed stage and the number of tasks that it is to have.
pub(super) struct Rescale<'a> {
    pub(super) pipeline: &'a str,
    pub(super) graph: &'a Graph,
    pub(super) chain: &'a [Module],
    pub(super) stage: usize,
    pub(super) tasks_before: u32,
    /// Operators that begin anew.
    pub(super) fresh: &'a [String],
}

impl Rescale<'_> {
    /// The tasks of the checkpoint with those of the stage in their new number.
    pub(super) fn convert(&self, tasks: Vec<CapturedTask>) -> Result<Vec<CapturedTask>> {
        let stage = &self.graph.stages[self.stage];
        let first = &self.chain[stage.operators.start];
        let keyed = stage.keyed.as_ref().expect("the stage has keys");
        let (old, mut all): (Vec<_>, Vec<_>) =
            tasks.into_iter().partition(|it| it.task.stage() == Some(first.name.as_str()));
        if old.len() != self.tasks_before as usize {
            return Err(Error::corrupt(format!(
                "the checkpoint has {} tasks of operator {}, and says {}",
                old.len(),
                first.name,
                self.tasks_before
            )));
        }
        let place = Keys::of(first, keyed)?;
        let mut made: Vec<CapturedTask> = (0..keyed.tasks)
            .map(|number| CapturedTask {
                task: TopicPartition::of_stage(&first.name, number),
                operators: Vec::new(),
                journal: Journal::default(),
                next_offset: Offset(0),
                virtual_time: old.iter().map(|it| it.virtual_time).max().unwrap_or(EventTime::MIN),
                watermark: old.iter().map(|it| it.watermark).min().unwrap_or(EventTime::MIN),
                records: 0,
                in_flight: InFlight::default(),
            })
            .collect();
        // Rows that were taken are counted on where they were; those of tasks that are no more, in the first.
        for (number, it) in old.iter().enumerate() {
            let at = if number < made.len() { number } else { 0 };
            made[at].records += it.records;
            made[at].next_offset = Offset(made[at].records as i64);
        }
        for (index, module) in self.chain[stage.operators.clone()].iter().enumerate() {
            let states = match self.fresh.contains(&module.name) {
                true => None,
                false => Some(parted(module, &old, index, &place, keyed.tasks)?),
            };
            for (number, task) in made.iter_mut().enumerate() {
                let seed = seed((self.pipeline, self.stage), &old, index, number);
                let mut operator = match &states {
                    None => module.factory.open(&task.task, seed)?,
                    Some(states) => module.factory.import(&task.task, seed, &states[number])?,
                };
                let image = operator.capture(Capture::Whole)?;
                task.operators.push((module.name.clone(), image));
            }
        }
        all.extend(made);
        all.sort_by(|a, b| a.task.cmp(&b.task));
        Ok(all)
    }
}

/// For each new task the state of one operator.
pub(super) fn parted(
    module: &Module,
    old: &[CapturedTask],
    index: usize,
    keys: &dyn Places,
    tasks: u32,
) -> Result<Vec<ExportedState>> {
    let (name, factory) = (&module.name, &module.factory);
    let description = factory.describe();
    for (has, function) in
        [(description.exports_state, "export_state"), (description.imports_state, "import_state")]
    {
        if !has {
            let error = no_state(name, function).message;
            return Err(Error::refused(format!(
                "{error}\n  → an operator that keeps nothing that counts: --fresh {name}"
            )));
        }
    }
    let mut told = Vec::new();
    for task in old {
        let operator = factory.restore(&task.task, &task.operators[index].1)?;
        let state = operator.export().map_err(|error| {
            error.context(format!("export the state of {name} for {}", task.task))
        })?;
        told.push(members(&state)?);
    }
    // What is not by key must be as it is in the beginning: nobody could say whose it is.
    let opened = factory.open(&old[0].task, 0)?.export()?;
    let version = opened.version;
    let shares = shares(name, &told, &members(&opened)?, keys, tasks)?;
    let state = |json: String| ExportedState { version, json: json.into_bytes().into() };
    Ok(shares.into_iter().map(state).collect())
}

/// Numbers that were drawn before are not drawn again, and no two tasks draw the same. `of` is the pipeline and
/// the stage.
pub(super) fn seed(of: (&str, usize), old: &[CapturedTask], operator: usize, number: usize) -> u64 {
    let mut text = format!("{}\0{}\0{operator}\0{number}", of.0, of.1);
    for task in old {
        text += &format!("\0{:?}", task.operators[operator].1.rng_state);
    }
    let hash = floe_checkpoint::module_hash(text.as_bytes());
    u64::from_le_bytes(hash[..8].try_into().expect("8 of 32 bytes"))
}

/// Which of so many tasks a key's rows go to.
pub(super) trait Places {
    fn tasks_of(&self, keys: &[&Tree], tasks: u32) -> Result<Vec<usize>>;

    /// What the keys are, for people.
    fn text(&self) -> &'static str;
}

/// The members of a state. The text is an object: an operator that tells anything else cannot be parted.
fn members(state: &ExportedState) -> Result<Vec<(String, Tree)>> {
    match json_text::parse(&state.json)? {
        Tree::Object(members) => Ok(members),
        Tree::List(_) | Tree::Leaf(_) => Err(Error::refused(
            "the operator's state is no JSON object: what of it is of which key is not known",
        )),
    }
}

/// For each new task the JSON of its state. `opened` is that of an operator which has seen nothing.
fn shares(
    operator: &str,
    told: &[Vec<(String, Tree)>],
    opened: &[(String, Tree)],
    keys: &dyn Places,
    tasks: u32,
) -> Result<Vec<String>> {
    let by_key = by_key(opened);
    let mut shares: Vec<Vec<(String, Tree)>> = vec![Vec::new(); tasks as usize];
    for (member, at_first) in opened {
        if !by_key.contains(member) {
            for state in told {
                let is_same = state.iter().any(|it| it.0 == *member && it.1 == *at_first);
                if !is_same {
                    return Err(Error::refused(format!(
                        "operator {operator} keeps {member}, which is not by key: whose it is among {tasks} tasks is not known\n  → Rust: #[operator(state(by_key(field, …)))] for a map by {}; other languages: sdk/abi/ABI.md, A28",
                        keys.text()
                    )));
                }
            }
            shares.iter_mut().for_each(|it| it.push((member.clone(), at_first.clone())));
            continue;
        }
        let mut parted: Vec<Vec<(Tree, Tree)>> = vec![Vec::new(); tasks as usize];
        let mut as_pairs = false;
        for (number, state) in told.iter().enumerate() {
            let found = state.iter().find(|it| it.0 == *member).map(|it| &it.1);
            let Some((entries, pairs)) = found.and_then(entries) else {
                return Err(Error::refused(format!(
                    "operator {operator}: {member} is said to be by key, and is no map"
                )));
            };
            as_pairs |= pairs;
            let texts: Vec<&Tree> = entries.iter().map(|it| &it.0).collect();
            let of = |tasks| {
                keys.tasks_of(&texts, tasks)
                    .map_err(|it| it.context(format!("operator {operator}: {member}")))
            };
            let (before, after) = (of(told.len() as u32)?, of(tasks)?);
            for ((entry, before), after) in entries.into_iter().zip(before).zip(after) {
                if before != number {
                    return Err(Error::refused(format!(
                        "operator {operator}: key {} of {member} is in task {number}, and its rows go to task {before}: it is not by {}",
                        entry.0.line(),
                        keys.text()
                    )));
                }
                parted[after].push(entry);
            }
        }
        for (share, mut entries) in shares.iter_mut().zip(parted) {
            entries.sort_by_cached_key(|it| it.0.line());
            let tree = match as_pairs {
                true => Tree::List(
                    entries.into_iter().map(|(key, value)| Tree::List(vec![key, value])).collect(),
                ),
                false => Tree::Object(
                    entries.into_iter().map(|(key, value)| (key.line(), value)).collect(),
                ),
            };
            share.push((member.clone(), tree));
        }
    }
    Ok(shares.into_iter().map(|it| Tree::Object(it).line()).collect())
}

/// The names of the members that are by key, as they are quoted.
fn by_key(members: &[(String, Tree)]) -> BTreeSet<String> {
    let named = members.iter().find(|it| it.0 == BY_KEY).map(|it| &it.1);
    let Some(Tree::List(names)) = named else { return BTreeSet::new() };
    names.iter().map(Tree::line).collect()
}

/// Of a map, or a list of pairs; which of them it is. An empty one may be either.
fn entries(tree: &Tree) -> Option<(Vec<(Tree, Tree)>, bool)> {
    match tree {
        Tree::Object(members) => {
            let entry = |(key, value): &(String, Tree)| (Tree::Leaf(key.clone()), value.clone());
            Some((members.iter().map(entry).collect(), false))
        }
        Tree::List(items) => {
            let entry = |it: &Tree| match it {
                Tree::List(pair) => match pair.as_slice() {
                    [key, value] => Some((key.clone(), value.clone())),
                    _ => None,
                },
                Tree::Object(_) | Tree::Leaf(_) => None,
            };
            items.iter().map(entry).collect::<Option<Vec<_>>>().map(|it| (it, true))
        }
        Tree::Leaf(_) => None,
    }
}

/// The columns of a `key-by`, and how keys in JSON are hashed as they are.
struct Keys {
    schema: Arc<Schema>,
    names: Vec<String>,
}

impl Keys {
    fn of(first: &Module, keyed: &Keyed) -> Result<Keys> {
        let input = &first.factory.describe().input;
        let field = |(number, name): (usize, &String)| -> Result<Field> {
            let (_, found) = input.column_with_name(name).ok_or_else(|| {
                Error::invalid(format!("operator {} takes no column {name:?}", first.name))
            })?;
            // A name of its own: those with `_` are fields of records.
            Ok(Field::new(format!("key{number}"), found.data_type().clone(), true))
        };
        let fields = keyed.columns.iter().enumerate().map(field).collect::<Result<Vec<_>>>()?;
        Ok(Keys::new(fields))
    }

    fn new(fields: Vec<Field>) -> Keys {
        let names = fields.iter().map(|it| it.name().clone()).collect();
        Keys { schema: Arc::new(Schema::new(fields)), names }
    }

    /// The key as a record's value: `{"key0":"m-1"}`.
    fn record(&self, key: &Tree) -> Result<String> {
        let values: Vec<String> = match (key, self.names.len()) {
            (key, 1) => vec![self.leaf(key)],
            (Tree::List(items), count) if items.len() == count => {
                items.iter().map(Tree::line).collect()
            }
            (key, count) => {
                return Err(Error::refused(format!("{} is no key of {count} columns", key.line())));
            }
        };
        let members = self.names.iter().zip(values).map(|(name, it)| format!("\"{name}\":{it}"));
        Ok(format!("{{{}}}", members.collect::<Vec<_>>().join(",")))
    }

    /// A map's key is a text, also where the column is none.
    fn leaf(&self, key: &Tree) -> String {
        let text = key.line();
        let is_text = matches!(self.schema.field(0).data_type(), DataType::Utf8 | DataType::Binary);
        let unquoted = text.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
        match unquoted.filter(|_| !is_text) {
            Some(number) => number.to_owned(),
            None => text,
        }
    }
}

impl Places for Keys {
    fn tasks_of(&self, keys: &[&Tree], tasks: u32) -> Result<Vec<usize>> {
        let decoder = InputDecoder::new(Format::Json, Arc::clone(&self.schema))?;
        let mut records = Records::new(TopicPartition::new("keys", 0), Offset(0));
        for (number, key) in keys.iter().enumerate() {
            let text = self.record(key)?;
            let (offset, time) = (Offset(number as i64), EventTime(0));
            records.push(offset, time, None, Some(text.as_bytes()));
        }
        let decoded = decoder.decoder().decode(&records)?;
        if let Some(wrong) = decoded.rejected.first() {
            return Err(Error::refused(format!(
                "{} is no key: {}",
                keys[wrong.row].line(),
                wrong.reason
            )));
        }
        let mut places = vec![0; keys.len()];
        let columns = KeyColumns::find(&self.schema, &self.names)?;
        for (task, rows) in columns.part(&decoded.batch, tasks).into_iter().enumerate() {
            rows.into_iter().for_each(|row| places[row as usize] = task);
        }
        Ok(places)
    }

    fn text(&self) -> &'static str {
        "the columns of key-by"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(data_type: DataType) -> Keys {
        Keys::new(vec![Field::new("key0", data_type, true)])
    }

    fn state(text: &str) -> Vec<(String, Tree)> {
        members(&ExportedState { version: 1, json: text.as_bytes().to_vec().into() }).unwrap()
    }

    /// One task's state of these keys, parted among `tasks` and told again.
    fn parted(told: &[&str], opened: &str, keys: &Keys, tasks: u32) -> Result<Vec<String>> {
        let told: Vec<_> = told.iter().map(|it| state(it)).collect();
        shares("op", &told, &state(opened), keys, tasks)
    }

    const OPENED: &str = r#"{"floe:by-key":["sums"],"limit":7,"sums":{}}"#;

    #[test]
    fn keys_go_where_their_rows_go_and_come_back() {
        let texts: Vec<String> =
            (0..100).map(|it| format!(r#""m-{it}":{{"n":{it}.10}}"#)).collect();
        let mut texts = texts;
        texts.sort();
        let whole =
            format!(r#"{{"floe:by-key":["sums"],"limit":7,"sums":{{{}}}}}"#, texts.join(","));
        let keys = keys(DataType::Utf8);
        let three = parted(&[&whole], OPENED, &keys, 3).unwrap();
        assert!(three.iter().all(|it| it.len() > 100), "{three:?}");
        let of_three: Vec<&str> = three.iter().map(String::as_str).collect();
        let five = parted(&of_three, OPENED, &keys, 5).unwrap();
        let of_five: Vec<&str> = five.iter().map(String::as_str).collect();
        let mut back = parted(&of_five, OPENED, &keys, 1).unwrap();
        // A number stays as it is written.
        assert_eq!(back.pop().unwrap(), whole);
        // Told by the wrong task, a key is found not to be where its rows went.
        let swapped = [of_three[1], of_three[0], of_three[2]];
        let error = parted(&swapped, OPENED, &keys, 5).unwrap_err().message;
        assert!(error.contains("and its rows go to task"), "{error}");
    }

    #[test]
    fn numbers_and_keys_of_two_columns_are_hashed_as_their_rows_are() {
        let numbers = r#"{"floe:by-key":["sums"],"limit":7,"sums":{"-5":1,"12":2}}"#;
        let two = parted(&[numbers], OPENED, &keys(DataType::Int64), 4).unwrap();
        let narrow = parted(&[numbers], OPENED, &keys(DataType::Int32), 4).unwrap();
        assert_eq!(two, narrow);
        let fields = [("key0", DataType::Utf8), ("key1", DataType::Int64)];
        let both = Keys::new(fields.map(|(name, it)| Field::new(name, it, true)).to_vec());
        let pairs =
            r#"{"floe:by-key":["sums"],"limit":7,"sums":[[["a",1],true],[["b",null],false]]}"#;
        let two = parted(&[pairs], OPENED, &both, 2).unwrap();
        let all = two.join(" ");
        assert!(
            all.contains(r#"[["a",1],true]"#) && all.contains(r#"[["b",null],false]"#),
            "{all}"
        );
    }

    #[test]
    fn what_nobody_can_part_is_refused_by_name() {
        let keys = keys(DataType::Utf8);
        let wrong = |told: &str| parted(&[told], OPENED, &keys, 2).unwrap_err().message;
        let counted = wrong(r#"{"floe:by-key":["sums"],"limit":8,"sums":{}}"#);
        assert!(counted.contains("keeps \"limit\", which is not by key"), "{counted}");
        assert!(wrong(r#"{"floe:by-key":["sums"],"limit":7,"sums":9}"#).contains("is no map"));
        let numbers = Keys::new(vec![Field::new("key0", DataType::Int64, true)]);
        let texts = r#"{"floe:by-key":["sums"],"limit":7,"sums":{"m-1":1}}"#;
        let error = parted(&[texts], OPENED, &numbers, 2).unwrap_err().message;
        assert!(error.contains("\"m-1\" is no key"), "{error}");
    }
}
