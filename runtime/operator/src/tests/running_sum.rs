use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use floe_core::image::{Capture, GlobalValue, OperatorImage};
use floe_core::ports::{Operator, OperatorFactory, Staged};
use floe_core::{ErrorKind, EventTime, TopicPartition};

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
    let last = straight.capture(Capture::Whole).unwrap();
    for cut in 0..rows.len() {
        let mut first = factory.open(&task(), 1).unwrap();
        let before: Vec<_> = rows[..cut].iter().map(|it| process(&mut first, it)).collect();
        let image = first.capture(Capture::Whole).unwrap();
        let mut second = factory.restore(&task(), &image).unwrap();
        let after: Vec<_> = rows[cut..].iter().map(|it| process(&mut second, it)).collect();
        assert_eq!([before, after].concat(), expected);
        // A region that grew in other steps lies elsewhere only in its capacity; here it is the same.
        assert_eq!(second.capture(Capture::Whole).unwrap(), last, "restored after {cut} batches");
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
    let image = operator.capture(Capture::Whole).unwrap();
    let mut restored = factory.restore(&task(), &image).unwrap();
    assert_eq!(process(&mut restored, &[1]), [102]);
}

/// Globals of all types, with bits that arithmetic would change, and memory that grew.
#[test]
fn every_bit_of_an_instance_is_in_its_image() {
    let globals = r#"(global $total (mut i64) (i64.const 0))
      (global $a (mut i32) (i32.const 0)) (global $b (mut f32) (f32.const 0)) (global $c (mut f64) (f64.const 0))
      (global $d (mut v128) (v128.const i64x2 0 0)) (global $fixed i32 (i32.const 5))
      (global $shown (export "shown") (mut i32) (i32.const 0))"#;
    let body = format!(
        "(if (i32.eqz (global.get $a)) (then
           (global.set $a (i32.const -7))
           (global.set $b (f32.reinterpret_i32 (i32.const 0x7fa00001)))
           (global.set $c (f64.reinterpret_i64 (i64.const 0xfff4000000000001)))
           (global.set $d (v128.const i64x2 0x0123456789abcdef -2))
           (global.set $shown (global.get $fixed))
           (drop (memory.grow (i32.const 3)))
           (i32.store (i32.const 0x4fffc) (i32.const 99))
           (i64.store (i32.const 0x400) (i64.const 0)) (i64.store (i32.const 0x100) (i64.const 0))))
         {RUNNING_SUM}"
    );
    let factory = factory(&module(&body, globals));
    let mut operator = factory.open(&task(), 1).unwrap();
    process(&mut operator, &[5]);
    let image = operator.capture(Capture::Whole).unwrap();
    let expected = [
        GlobalValue::I64(5),
        GlobalValue::I32(-7),
        GlobalValue::F32(0x7fa0_0001),
        GlobalValue::F64(0xfff4_0000_0000_0001),
        GlobalValue::V128(0xffff_ffff_ffff_fffe_0123_4567_89ab_cdef),
        GlobalValue::I32(5),
    ];
    assert_eq!(image.globals, expected);
    let memory = image.memory.to_vec();
    assert_eq!(memory[0x4fffc], 99);
    assert_eq!(&memory[0x400..0x408], [0; 8], "a data segment's bytes, set to zero since");
    let (pointer, capacity) = image.input_region;
    let region = &memory[pointer as usize..(pointer + capacity) as usize];
    assert!(capacity > 0 && region.iter().all(|it| *it == 0), "A13");
    let mut restored = factory.restore(&task(), &image).unwrap();
    assert_eq!(restored.capture(Capture::Whole).unwrap(), image);
    assert_eq!(process(&mut restored, &[1]), [6]);
}

/// An image that is not this module's is refused, and never half restored.
#[test]
fn an_image_that_does_not_fit_is_refused() {
    let factory = factory(&module(RUNNING_SUM, TOTAL));
    let good = factory.open(&task(), 1).unwrap().capture(Capture::Whole).unwrap();
    let with = |change: fn(&mut OperatorImage)| {
        let mut image = good.clone();
        change(&mut image);
        let error = factory.restore(&task(), &image).err().expect("it does not fit");
        assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
        error.message
    };
    assert!(with(|it| it.memory.bytes = 65_536).contains("memory of 65536 bytes"));
    assert!(with(|it| it.memory.bytes -= 1).contains("memory of"));
    assert!(with(|it| it.globals.truncate(1)).contains("1 globals"));
    assert!(with(|it| it.globals[0] = GlobalValue::I32(1)).contains("sum"));
    assert!(with(|it| it.input_region = (u32::MAX, u32::MAX)).contains("input region"));
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
    let image = operator.capture(Capture::Whole).unwrap();
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

/// A guest that reads behind its batch sees zeros, so it goes on alike with a restore and without.
#[test]
fn nothing_of_an_earlier_batch_shines_through() {
    let body = r#"
      (i64.store (i32.const 0x10000) (i64.load offset=8
        (i32.add (local.get $data) (i32.shl (local.get $rows) (i32.const 3)))))
      (i64.store (i32.const 0x10008) (i64.load (i32.const 0x2fff8)))
      (i64.store (i32.const 0x600) (i64.const 2)) (i64.store (i32.const 0x640) (i64.const 2))
      (call $emit (i32.const 0) (i32.const 0x600))"#;
    let begin = r#"(func $begin (memory.fill (i32.const 0x20000) (i32.const 0x77) (i32.const 0x10000))) (start $begin)"#;
    let factory = factory(&module(body, begin));
    let mut operator = factory.open(&task(), 1).unwrap();
    assert_eq!(process(&mut operator, &[-1; 1000]), [0, 0]);
    assert_eq!(process(&mut operator, &[-1; 3]), [0, 0]);
}
