//! Whichever source is faster, the rows are the same, and memory follows the table's keys.

use super::*;
use floe_sdk::dynamic::{Column, DynamicTester, Type};

const CONFIG: &str =
    r#"{"table": "rates", "key": ["currency"], "time": "ts", "add": ["rate"], "late": "drop"}"#;

fn schema() -> Schema {
    let columns = vec![
        Column::new("currency", Type::I64).nullable(),
        Column::new("ts", Type::I64),
        Column::new("order", Type::I64).nullable(),
        Column::new("rate", Type::I64).nullable(),
        Column::new("_source", Type::Text),
    ];
    Schema { columns }
}

/// Currency, time, number.
fn order(it: (i64, i64, i64)) -> [Value<'static>; 5] {
    use Value::{Int, Null, Text};
    [Int(it.0), Int(it.1), Int(it.2), Null, Text("orders")]
}

fn rate(it: (i64, i64, i64)) -> [Value<'static>; 5] {
    use Value::{Int, Null, Text};
    // A rate of 0 is a deletion.
    let rate = if it.2 == 0 { Null } else { Int(it.2) };
    [Int(it.0), Int(it.1), Null, rate, Text("rates")]
}

fn random(seed: &mut u64, below: i64) -> i64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    ((*seed >> 33) % below as u64) as i64
}

#[test]
fn a_row_has_what_held_at_its_time_whichever_source_is_faster() {
    for seed in 1..200 {
        let seed = &mut u64::from(seed as u32);
        let mut three = || (random(seed, 4), random(seed, 100), random(seed, 5));
        let rates: BTreeMap<(i64, i64), i64> =
            (0..30).map(|_| three()).map(|it| ((it.0, it.1), it.2)).collect();
        let orders: Vec<_> = (0..40).map(|number| (three(), number)).collect();
        let orders: Vec<_> = orders.iter().map(|(it, number)| (it.0, it.1, *number)).collect();
        let mut expected: Vec<Vec<OwnedValue>> = Vec::new();
        for (currency, ts, number) in &orders {
            let rate = rates.range((*currency, i64::MIN)..=(*currency, *ts)).next_back();
            let rate = rate.map_or(0, |it| *it.1);
            let rate = if rate == 0 { OwnedValue::Null } else { OwnedValue::Int(rate) };
            let row = [*currency, *ts, *number].map(OwnedValue::Int);
            expected.push(row.into_iter().chain([rate]).collect());
        }
        expected.sort();
        let rates: Vec<_> = rates.iter().map(|(it, rate)| rate_row(it, *rate)).collect();
        let orders: Vec<_> = orders.iter().map(|it| order(*it)).collect();
        // Both in the order of their times, in steps; the one as far ahead of the other as `ahead`.
        for ahead in [-100, -30, 0, 30, 100] {
            let mut tester = DynamicTester::<Enrich>::open(CONFIG, Some(&schema())).unwrap();
            let mut rows = Vec::new();
            for step in (-100..=210).step_by(10) {
                let within = |it: &&[Value<'_>; 5], until: i64| {
                    let Value::Int(time) = it[1] else { panic!("a time") };
                    until - 10 <= time && time < until
                };
                let first = rates.iter().filter(|it| within(it, step + ahead));
                let second = orders.iter().filter(|it| within(it, step));
                let batch: Vec<&[Value<'_>]> = first.chain(second).map(|it| &it[..]).collect();
                assert_eq!(tester.process(&batch).unwrap().rejected, []);
                let watermark = Timestamp(step.min(step + ahead));
                rows.extend(tester.watermark(watermark).unwrap().rows);
            }
            let mut rows: Vec<_> = rows.into_iter().map(|it| it.1).collect();
            rows.sort();
            assert_eq!(rows, expected, "ahead by {ahead}");
            let operator = tester.operator();
            assert!(operator.versions <= 4 && operator.waiting_rows == 0);
            assert!(operator.waiting.is_empty() && operator.changes.is_empty());
        }
    }
}

fn rate_row(key: &(i64, i64), value: i64) -> [Value<'static>; 5] {
    rate((key.0, key.1, value))
}
