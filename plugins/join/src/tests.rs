//! The pairs are those of a nested loop, whichever source is faster, and memory follows the span.

use super::*;
use floe_sdk::dynamic::{Column, DynamicTester, Type, Value};

const WITHIN: i64 = 20;

fn schema() -> Schema {
    let columns = vec![
        Column::new("_source", Type::Text),
        Column::new("key", Type::I64).nullable(),
        Column::new("ts", Type::I64),
        Column::new("order", Type::I64).nullable(),
        Column::new("payment", Type::I64).nullable(),
    ];
    Schema { columns }
}

/// Side, key (0 is null), time, number.
type Said = (usize, i64, i64, i64);

fn row(it: Said) -> [Value<'static>; 5] {
    use Value::{Int, Null, Text};
    let key = if it.1 == 0 { Null } else { Int(it.1) };
    match it.0 {
        0 => [Text("orders"), key, Int(it.2), Int(it.3), Null],
        _ => [Text("payments"), key, Int(it.2), Null, Int(it.3)],
    }
}

fn random(seed: &mut u64, below: i64) -> i64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    ((*seed >> 33) % below as u64) as i64
}

fn nested_loop(rows: &[Said], keeps_left: bool) -> Vec<Vec<OwnedValue>> {
    let mut joined = Vec::new();
    let kept = |it: i64| if it == 0 { OwnedValue::Null } else { OwnedValue::Int(it) };
    for left in rows.iter().filter(|it| it.0 == 0) {
        let is_partner = |it: &&Said| {
            it.0 == 1 && it.1 == left.1 && left.1 != 0 && (it.2 - left.2).abs() <= WITHIN
        };
        let pair =
            |payment| vec![kept(left.1), OwnedValue::Int(left.2), OwnedValue::Int(left.3), payment];
        let partners: Vec<_> = rows.iter().filter(is_partner).collect();
        joined.extend(partners.iter().map(|it| pair(OwnedValue::Int(it.3))));
        if partners.is_empty() && keeps_left {
            joined.push(pair(OwnedValue::Null));
        }
    }
    joined.sort();
    joined
}

#[test]
fn the_pairs_are_those_of_a_nested_loop_whichever_source_is_faster() {
    for seed in 1..100 {
        for (kind, keeps_left) in [("inner", false), ("left", true)] {
            let mut next = u64::from(seed as u32);
            // Few numbers, so that whole rows come twice.
            let mut said = || {
                let mut any = |below| random(&mut next, below);
                (any(2) as usize, any(4), any(120), 1 + any(3))
            };
            let rows: Vec<Said> = (0..60).map(|_| said()).collect();
            let expected = nested_loop(&rows, keeps_left);
            for ahead in [-100, -15, 0, 15, 100] {
                let config = format!(
                    r#"{{"left": "orders", "right": "payments", "key": ["key"], "time": "ts", "add": ["payment"], "within": "20ms", "type": "{kind}"}}"#
                );
                let mut tester = DynamicTester::<Join>::open(&config, Some(&schema())).unwrap();
                let mut joined = Vec::new();
                for step in (-100..=270).step_by(10) {
                    let of = |side: usize, until: i64| {
                        let within =
                            move |it: &&Said| it.0 == side && until - 10 <= it.2 && it.2 < until;
                        rows.iter().filter(within).map(|it| row(*it))
                    };
                    let batch: Vec<_> = of(0, step + ahead).chain(of(1, step)).collect();
                    let batch: Vec<&[Value<'_>]> = batch.iter().map(|it| &it[..]).collect();
                    let done = tester.process(&batch).unwrap();
                    assert_eq!(done.rejected, []);
                    joined.extend(done.rows);
                    let watermark = Timestamp(step.min(step + ahead));
                    joined.extend(tester.watermark(watermark).unwrap().rows);
                }
                let mut joined: Vec<_> = joined.into_iter().map(|it| it.1).collect();
                joined.sort();
                assert_eq!(joined, expected, "seed {seed}, {kind}, ahead by {ahead}");
                let operator = tester.operator();
                assert_eq!(operator.kept, 0);
                assert!(operator.rows.iter().all(BTreeMap::is_empty));
                assert!(operator.expiry.iter().all(BTreeMap::is_empty));
            }
        }
    }
}
