use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::{Fields, State, to_json};
use crate::prelude::*;
use crate::testing::Tester;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Plain,
    Wrapped(i64),
    Pair(u8, String),
    Named { rate: f32 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    texts: BTreeMap<String, i64>,
    numbers: BTreeMap<i32, Option<bool>>,
    pairs: BTreeMap<(u8, String), Vec<Kind>>,
    by_flag: BTreeMap<bool, char>,
    kinds: BTreeMap<BTreeSet<u8>, ()>,
    large: (i128, u128, u64, i64),
    floats: Vec<f64>,
    small: Vec<f32>,
    text: String,
}

fn everything() -> Everything {
    let texts = ["b", "a", "\"\\\u{1}é😀"].map(|it| (it.to_owned(), it.len() as i64));
    Everything {
        texts: texts.into(),
        numbers: [(-7, None), (3, Some(true))].into(),
        pairs: [
            ((1, "x".into()), vec![Kind::Plain, Kind::Wrapped(-1)]),
            ((0, "y".into()), vec![Kind::Pair(9, "z".into()), Kind::Named { rate: 0.1 }]),
        ]
        .into(),
        by_flag: [(true, 'ß')].into(),
        kinds: [([1, 2].into(), ())].into(),
        large: (i128::MIN, u128::MAX, u64::MAX, i64::MIN),
        floats: vec![0.1 + 0.2, -0.0, 1e300, 5e-324, f64::MAX, f64::INFINITY, f64::NEG_INFINITY],
        small: vec![0.1, f32::MIN_POSITIVE, 16_777_216.0, f32::MAX],
        text: "line\nline".into(),
    }
}

fn read(text: &str) -> State {
    let crate::json::Json::Object(fields) = crate::json::parse(text).unwrap() else {
        panic!("no object")
    };
    State { version: 1, own_version: 1, fields }
}

#[test]
fn each_value_comes_back_to_the_bit() {
    let value = everything();
    let mut fields = Fields::default();
    fields.put("all", &value).unwrap();
    fields.put("nan", &f64::NAN).unwrap();
    let text = fields.finish();
    let state = read(&text);
    let back: Everything = state.get("all").unwrap();
    assert_eq!(back, value);
    let bits = |it: &Everything| it.floats.iter().map(|it| it.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&back), bits(&value));
    assert!(state.get::<f64>("nan").unwrap().is_nan());
    assert_eq!(to_json(&back).unwrap(), to_json(&value).unwrap());
}

#[test]
fn equal_maps_give_equal_bytes_whatever_their_history() {
    let mut one: HashMap<String, i64> = (0..1000).map(|n| (format!("m-{n}"), n)).collect();
    let other: HashMap<String, i64> = (0..1000).rev().map(|n| (format!("m-{n}"), n)).collect();
    one.insert("gone".into(), 1);
    one.remove("gone");
    assert_eq!(to_json(&one).unwrap(), to_json(&other).unwrap());
    assert_eq!(to_json(&BTreeMap::from([(2, "b"), (1, "a")])).unwrap(), r#"{"1":"a","2":"b"}"#);
    assert_eq!(to_json(&BTreeMap::from([((2, 1), "b")])).unwrap(), r#"[[[2,1],"b"]]"#);
}

#[derive(Serialize)]
struct Seen(#[serde(serialize_with = "super::sorted")] std::collections::HashSet<u32>);

#[test]
fn a_set_is_sorted_where_it_asks_for_it() {
    assert_eq!(to_json(&Seen([3, 1, 2].into())).unwrap(), "[1,2,3]");
}

#[derive(Row)]
struct Number {
    n: i64,
}

/// Version 1 had the sum alone.
#[derive(Default)]
struct Mean {
    sum: i64,
    count: u64,
    unit: String,
}

#[operator(state_version = 2, state(sum, count))]
impl Operator for Mean {
    type Input = Number;
    type Output = Number;

    fn open(config: Config) -> Result<Self> {
        Ok(Mean { unit: config.get("unit")?.unwrap_or_default(), ..Mean::default() })
    }

    fn process(&mut self, row: Number, out: &mut Emit<Number>) -> Result<()> {
        self.sum += row.n;
        self.count += 1;
        out.emit(Number { n: self.sum / self.count as i64 })
    }

    fn migrate_state(&mut self, state: &State) -> Result<()> {
        match state.version() {
            1 => {
                self.sum = state.get("sum")?;
                self.count = 1;
                Ok(())
            }
            _ => state.refuse(),
        }
    }
}

#[test]
fn an_operator_goes_on_with_the_state_of_its_own_and_of_older_versions() {
    let mut old = Tester::<Mean>::open(r#"{"unit":"kg"}"#).unwrap();
    old.process(Number { n: 4 }).unwrap();
    old.process(Number { n: 8 }).unwrap();
    let told = old.export_state().unwrap();
    assert_eq!(told, r#"{"count":2,"sum":12}"#);

    let mut new = Tester::<Mean>::open(r#"{"unit":"g"}"#).unwrap();
    new.import_state(2, 2, &told).unwrap();
    assert_eq!(new.operator().unit, "g", "what open made stays");
    assert_eq!(new.process(Number { n: 3 }).unwrap()[0].n, 5);

    let mut migrated = Tester::<Mean>::open("{}").unwrap();
    migrated.import_state(2, 1, r#"{"sum":10}"#).unwrap();
    assert_eq!(migrated.process(Number { n: 2 }).unwrap()[0].n, 6);

    for (version, text, expected) in [
        (3, "{}", "version 3 is not read by this operator, whose state_version is 2"),
        (2, r#"{"sum":"x","count":1}"#, "field sum of the state: invalid type"),
        (2, r#"{"count":1}"#, "field sum"),
        (2, "{", "no JSON"),
    ] {
        let error = migrated.import_state(2, version, text).unwrap_err();
        assert!(error.text().contains(expected), "{error}");
    }
}

/// Without state(…) it says so.
#[derive(Default)]
struct Silent;

#[operator]
impl Operator for Silent {
    type Input = Number;
    type Output = Number;

    fn process(&mut self, row: Number, out: &mut Emit<Number>) -> Result<()> {
        out.emit(row)
    }
}

#[test]
fn an_operator_without_state_says_so() {
    let error = Tester::new(Silent).export_state().unwrap_err();
    assert!(error.text().contains("#[operator(state(…))]"), "{error}");
}

#[derive(Row)]
struct Counted {
    key: String,
}

#[derive(Default)]
struct Counts {
    by_name: BTreeMap<String, i64>,
    limit: i64,
}

#[operator(state(limit, by_key(by_name)))]
impl Operator for Counts {
    type Input = Counted;
    type Output = Counted;

    fn process(&mut self, row: Counted, _: &mut Emit<Counted>) -> Result<()> {
        *self.by_name.entry(row.key).or_default() += 1;
        Ok(())
    }
}

#[test]
fn what_is_by_key_is_named_beside_the_fields() {
    let mut counts = Tester::new(Counts { limit: 7, ..Counts::default() });
    counts.process(Counted { key: "a".into() }).unwrap();
    let told = counts.export_state().unwrap();
    assert_eq!(told, r#"{"by_name":{"a":1},"floe:by-key":["by_name"],"limit":7}"#);
    let mut other = Tester::new(Counts::default());
    other.import_state(1, 1, &told).unwrap();
    assert_eq!(other.export_state().unwrap(), told);
}
