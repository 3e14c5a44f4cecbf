use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use floe_core::ports::{Operator, OperatorFactory, Staged};
use floe_core::{EventTime, TopicPartition};

use super::wat_module::{RUNNING_SUM, batch, engine, factory, limits, module};
use crate::Engine;

const TOTAL: &str =
    "(global $total (mut i64) (i64.const 0)) (global $hidden (mut f64) (f64.const 1.5))";

fn task() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn values(staged: &Staged) -> Vec<i64> {
    staged
        .emitted
        .iter()
        .flat_map(|(_, it)| it.column(0).as_primitive::<Int64Type>().values().to_vec())
        .collect()
}

fn process(operator: &mut Box<dyn Operator>, rows: &[i64]) -> Vec<i64> {
    values(&operator.process(&batch(rows), EventTime(7)).unwrap())
}

#[test]
fn it_computes_over_batches() {
    let factory = factory(&module(RUNNING_SUM, TOTAL));
    let mut operator = factory.open(&task(), 1).unwrap();
    assert_eq!(process(&mut operator, &[1, 2, 3]), [1, 3, 6]);
    assert_eq!(process(&mut operator, &[10]), [16]);
    let description = factory.describe();
    assert_eq!((description.name.as_str(), description.state_version), ("sum", 1));
}

#[test]
fn restored_between_any_two_batches_it_ends_in_the_same_bytes() {
    let factory = factory(&module(RUNNING_SUM, TOTAL));
    let rows: Vec<Vec<i64>> = (0..12).map(|n| (0..=n * 37).collect()).collect();
    let mut straight = factory.open(&task(), 1).unwrap();
    let expected: Vec<Vec<i64>> = rows.iter().map(|it| process(&mut straight, it)).collect();
    let last = straight.capture().unwrap();
    for cut in 0..rows.len() {
        let mut first = factory.open(&task(), 1).unwrap();
        let before: Vec<_> = rows[..cut].iter().map(|it| process(&mut first, it)).collect();
        let image = first.capture().unwrap();
        let mut second = factory.restore(&task(), &image).unwrap();
        let after: Vec<_> = rows[cut..].iter().map(|it| process(&mut second, it)).collect();
        assert_eq!([before, after].concat(), expected);
        // A region that grew in other steps lies elsewhere only in its capacity; here it is the same.
        assert_eq!(second.capture().unwrap(), last, "restored after {cut} batches");
    }
}

#[test]
fn a_restore_runs_no_code_of_the_guest() {
    let start = r#"(global $total (mut i64) (i64.const 0))
      (func $begin (global.set $total (i64.add (global.get $total) (i64.const 100))))
      (start $begin)"#;
    let factory = factory(&module(RUNNING_SUM, start));
    let mut operator = factory.open(&task(), 1).unwrap();
    assert_eq!(
        process(&mut operator, &[1]),
        [101],
        "the start function runs once, for a fresh instance"
    );
    let image = operator.capture().unwrap();
    let mut restored = factory.restore(&task(), &image).unwrap();
    assert_eq!(process(&mut restored, &[1]), [102]);
}

#[test]
fn time_and_randomness_come_from_the_checkpoint() {
    let body = r#"
      (i64.store (i32.const 0x10000) (call $now))
      (i64.store (i32.const 0x10008) (call $random))
      (i64.store (i32.const 0x600) (i64.const 2))
      (i64.store (i32.const 0x640) (i64.const 2))
      (call $emit (i32.const 0) (i32.const 0x600))"#;
    let factory = factory(&module(body, ""));
    let mut operator = factory.open(&task(), 42).unwrap();
    let first = process(&mut operator, &[0]);
    assert_eq!(first[0], 7, "the clock is the virtual time");
    let image = operator.capture().unwrap();
    let second = process(&mut operator, &[0]);
    assert_ne!(first[1], second[1]);
    let mut restored = factory.restore(&task(), &image).unwrap();
    assert_eq!(process(&mut restored, &[0]), second);
    let mut again = factory.open(&task(), 42).unwrap();
    assert_eq!(process(&mut again, &[0]), first);
}

#[test]
fn a_compiled_module_is_kept_and_an_altered_one_is_not_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let text = module(RUNNING_SUM, TOTAL);
    let load = || {
        let engine = Engine::new(Some(folder.path().join("cache"))).unwrap();
        engine.load("test.wat", text.as_bytes(), &limits()).unwrap()
    };
    let entries = || -> Vec<_> {
        let all = std::fs::read_dir(folder.path().join("cache")).unwrap();
        all.map(|it| it.unwrap().path()).filter(|it| !it.ends_with("key")).collect()
    };
    load();
    assert_eq!(entries().len(), 1);
    let entry = &entries()[0];
    let good = std::fs::read(entry).unwrap();
    for at in [0, 31, 32, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(entry, &bad).unwrap();
        load();
        assert!(std::fs::read(entry).unwrap() == good, "byte {at} was trusted");
    }
}

#[test]
fn an_engine_without_a_cache_works_too() {
    engine();
}
