//! Calls with polls: they give what calls with fuel counted give, images fit both, and none goes on for ever.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use floe_core::image::{Capture, OperatorImage};
use floe_core::ports::{Operator, OperatorFactory, Staged};
use floe_core::{ErrorKind, EventTime, TopicPartition};
use wasmparser::{KnownCustom, Operator as Instruction, Parser, Payload};

use super::wat_module::{RUNNING_SUM, batch, engine, limits, module};
use crate::poll::{Polls, with_polls};
use crate::{Factory, Limits, Metering};

const TOTAL: &str = "(global $total (mut i64) (i64.const 0))";

/// Grows, keeps random numbers and the clock, and calls by number and by table.
const BUSY: &str = r#"
    (drop (memory.grow (i32.const 1)))
    (global.set $total (i64.add (call $now) (i64.add (call $random) (global.get $total))))
    (i64.store (i32.const 0x18000) (call_indirect (type $mix) (global.get $total) (i32.const 0)))
    (loop $outer
      (local.set $data (i32.add (local.get $data) (i32.const 0)))
      (if (i64.eqz (call $sink (i64.const 3))) (then (br $outer))))"#;

const BUSY_MORE: &str = r#"
    (type $mix (func (param i64) (result i64)))
    (table 1 funcref) (elem (i32.const 0) $mixed)
    (func $mixed (type $mix) (i64.mul (local.get 0) (i64.const 0x9e3779b97f4a7c15)))
    (func $sink (param i64) (result i64)
      (if (result i64) (i64.eqz (local.get 0))
        (then (i64.const 1))
        (else (call $sink (i64.sub (local.get 0) (i64.const 1))))))"#;

fn by_time(allowance: Duration) -> Limits {
    Limits { metering: Metering::Time, time_per_batch: allowance, ..limits() }
}

fn factory(text: &str, limits: Limits) -> Factory {
    let module = engine().load("test.wat", text.as_bytes(), &limits);
    Factory::new("sum", module.unwrap_or_else(|error| panic!("{error}")), "{}".into(), limits)
}

fn task() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn seen(staged: &Staged) -> String {
    format!("{:?}", staged.emitted)
}

fn image_of(operator: &mut Box<dyn Operator>) -> OperatorImage {
    operator.capture(Capture::Whole).unwrap()
}

/// After every batch the two have the same image, and each goes on from the other's.
#[test]
fn both_compiles_give_the_same_and_images_fit_both() {
    let text = module(&format!("{BUSY} {RUNNING_SUM}"), &format!("{TOTAL} {BUSY_MORE}"));
    let polled = factory(&text, by_time(Duration::from_secs(60)));
    let counted = polled.counted().expect("this one has polls");
    assert!(counted.counted().is_none());
    let mut pair = [polled.open(&task(), 1).unwrap(), counted.open(&task(), 1).unwrap()];
    assert_eq!(pair[0].last_fuel(), None);
    for round in 0..8i64 {
        let values: Vec<i64> = (0..=round * 700).collect();
        let staged =
            pair.each_mut().map(|it| it.process(&batch(&values), EventTime(round)).unwrap());
        assert_eq!(seen(&staged[0]), seen(&staged[1]));
        let images = pair.each_mut().map(image_of);
        assert_eq!(images[0], images[1], "round {round}");
        let [from_polled, from_counted] = images;
        pair = [
            polled.restore(&task(), &from_counted).unwrap(),
            counted.restore(&task(), &from_polled).unwrap(),
        ];
    }
    assert!(pair[1].last_fuel().is_some());
}

/// (name, in place of the work, functions beside it).
fn endless() -> Vec<(&'static str, String, String)> {
    let case = |name, body: &str, more: &str| (name, body.to_owned(), more.to_owned());
    // Sixty functions, each of which calls the next one twice: no loop, no recursion.
    let mut doubling = String::from("(func $f0 (nop))");
    for n in 1..60 {
        let _ = write!(doubling, "(func $f{n} (call $f{0}) (call $f{0}))", n - 1);
    }
    // The same where a poll stands on the one path only that is never taken.
    let mut skipping = String::from("(func $f0 (nop))");
    for n in 1..60 {
        let _ = write!(
            skipping,
            "(func $f{n} (call $f{0}) (if (i32.load (i32.const 0x18100)) (then (loop))) (call $f{0}))",
            n - 1
        );
    }
    // Down once, and work on the way back only.
    let leaf = "(global.set $total (i64.mul (global.get $total) (global.get $total)))".repeat(90);
    let back = format!(
        "(func $leaf {leaf}) (func $down (param i32)
           (if (local.get 0) (then (call $down (i32.sub (local.get 0) (i32.const 1)))))
           {})",
        "(call $leaf)".repeat(2000)
    );
    vec![
        case("a loop", "(loop $on (br $on))", ""),
        // Nothing is written between the polls of the outer and the inner loop.
        case("an inner loop", "(loop $on (loop $in (br $in)) (br $on))", ""),
        case("a loop behind another", "(loop $once) (loop $on (br $on))", ""),
        case("a loop by br_table", "(loop $on (br_table $on $on (local.get $row)))", ""),
        case(
            "a tree of recursion",
            "(call $tree (i32.const 80))",
            "(func $tree (param i32) (if (local.get 0) (then
               (call $tree (i32.sub (local.get 0) (i32.const 1)))
               (call $tree (i32.sub (local.get 0) (i32.const 1))))))",
        ),
        case(
            "a tree by table",
            "(call $tree (i32.const 80))",
            "(table 1 funcref) (elem (i32.const 0) $tree)
             (func $tree (param i32) (if (local.get 0) (then
               (call_indirect (param i32) (i32.sub (local.get 0) (i32.const 1)) (i32.const 0))
               (call_indirect (param i32) (i32.sub (local.get 0) (i32.const 1)) (i32.const 0)))))",
        ),
        case(
            "tail calls",
            "(call $ping)",
            "(func $ping (return_call $pong)) (func $pong (return_call $ping))",
        ),
        case(
            "tail calls by table",
            "(call $self)",
            "(table 1 funcref) (elem (i32.const 0) $self)
             (func $self (return_call_indirect (i32.const 0)))",
        ),
        case("doubling", "(call $f59)", &doubling),
        case("doubling beside a loop", "(call $f59)", &skipping),
        case("the way back", "(call $down (i32.const 4000))", &back),
        case("an import", "(loop $on (drop (call $random)) (br $on))", ""),
        case(
            "fills",
            "(drop (memory.grow (i32.const 50)))
             (loop $on (memory.fill (i32.const 0x20000) (i32.const 1) (i32.const 3000000)) (br $on))",
            "",
        ),
        case("fills in a row", &fills(), ""),
        case("growth", "(loop $on (drop (memory.grow (i32.const 1))) (br $on))", ""),
    ]
}

/// 64 GB, so that none is fast enough to end before the watchdog has looked.
fn fills() -> String {
    let fill = "(memory.fill (i32.const 0x20000) (i32.const 1) (i32.const 16000000))";
    format!("(drop (memory.grow (i32.const 250))) {}", fill.repeat(4_000))
}

#[test]
fn nothing_goes_on_for_ever() {
    let allowance = Duration::from_millis(60);
    for (name, body, more) in endless() {
        let text = module(&body, &format!("{TOTAL} {more}"));
        let limits = Limits { memory_bytes: 32 << 20, ..by_time(allowance) };
        let polled = factory(&text, limits);
        let mut operator = polled.open(&task(), 1).unwrap();
        let error = operator.process(&batch(&[1]), EventTime(0)).expect_err(name);
        assert_eq!(error.kind, ErrorKind::Operator, "{name}: {error}");
        assert!(error.message.contains("limits.time-per-batch, 60ms"), "{name}: {error}");
        // The compile that counts decides.
        let mut operator = polled.counted().unwrap().open(&task(), 1).unwrap();
        let error = operator.process(&batch(&[1]), EventTime(0)).expect_err(name);
        assert!(error.message.contains("out of fuel"), "{name}: {error}");
    }
}

/// What is wrong at another place than a poll is no matter of time, and what is slow is decided by fuel.
#[test]
fn other_traps_are_what_they_are() {
    let cases = [
        ("(drop (i32.load (i32.const 0x7fffffff)))", "out of bounds"),
        ("unreachable", "unreachable"),
        ("(call $deeper)", "stack overflow"),
        ("(call $fail (i32.const 0x100) (i32.const 3))", "sum"),
    ];
    for (body, says) in cases {
        let text = module(body, &format!("{TOTAL} (func $deeper (call $deeper))"));
        let polled = factory(&text, by_time(Duration::from_secs(60)));
        for factory in [polled.counted().unwrap(), Arc::new(polled)] {
            let mut operator = factory.open(&task(), 1).unwrap();
            let error = operator.process(&batch(&[1]), EventTime(0)).expect_err(body);
            assert!(error.message.contains(says), "{body}: {error}");
        }
    }
}

/// `open` has no record that could be found: the compile that counts decides at once.
#[test]
fn what_is_slow_before_the_first_record_is_decided_by_fuel() {
    let slow = |rounds: u64| {
        module(RUNNING_SUM, TOTAL).replace(
            r#"(func (export "floe_v1_open") (param i32 i32) (result i32) i32.const 0)"#,
            &format!(
                r#"(func (export "floe_v1_open") (param i32 i32) (result i32) (local $n i64)
                  (loop $on (local.set $n (i64.add (local.get $n) (i64.const 1)))
                    (br_if $on (i64.lt_u (local.get $n) (i64.const {rounds}))))
                  (global.set $total (local.get $n)) i32.const 0)"#
            ),
        )
    };
    let limits = Limits { fuel_per_batch: 4_000_000_000, ..by_time(Duration::ZERO) };
    let rounds = 300_000_000;
    let mut operator = factory(&slow(rounds), limits.clone()).open(&task(), 1).unwrap();
    assert_eq!(operator.last_fuel(), None, "it goes on with polls");
    let image = operator.capture(Capture::Changes).unwrap();
    assert!(image.memory.whole, "no checkpoint holds what it goes on from");
    let counting = factory(&slow(rounds), Limits { metering: Metering::Fuel, ..limits.clone() });
    assert_eq!(image.globals, image_of(&mut counting.open(&task(), 1).unwrap()).globals);
    let error = factory(&slow(u64::MAX), limits).open(&task(), 1).err().expect("it never ends");
    assert!(error.message.contains("out of fuel"), "{error}");
}

/// What comes to its end with polls does so with fuel counted: frames are larger there, and the stack is too.
#[test]
fn what_fits_the_stack_with_polls_fits_it_with_fuel() {
    let small = "(func $down (param i64) (if (i64.ne (local.get 0) (i64.const 0))
        (then (call $down (i64.sub (local.get 0) (i64.const 1))) (global.set $total (i64.const 1)))))";
    // With values that live over the call.
    let large = "(func $down (param i64) (local i64 i64 i64)
        (local.set 1 (i64.load (i32.const 0x100))) (local.set 2 (i64.load (i32.const 0x108)))
        (local.set 3 (i64.load (i32.const 0x110)))
        (if (i64.ne (local.get 0) (i64.const 0))
          (then (call $down (i64.sub (local.get 0) (i64.const 1)))))
        (i64.store (i32.const 0x18000)
          (i64.mul (local.get 1) (i64.mul (local.get 2) (i64.mul (local.get 3) (local.get 0))))))";
    for (name, function) in [("small frames", small), ("large frames", large)] {
        let text =
            module("(call $down (i64.load (local.get $data)))", &format!("{TOTAL} {function}"));
        let polled = factory(&text, by_time(Duration::from_secs(60)));
        let (with_polls, with_fuel) = (deepest(&polled), deepest(&*polled.counted().unwrap()));
        println!("{name}: {with_polls} deep with polls, {with_fuel} with fuel");
        assert!(1000 < with_polls, "{name}: {with_polls}");
        assert!(with_polls < with_fuel, "{name}: {with_polls} with polls, {with_fuel} with fuel");
    }
}

fn deepest(factory: &dyn OperatorFactory) -> i64 {
    let (mut fits, mut overflows) = (0, 1 << 20);
    while fits + 1 < overflows {
        let middle = (fits + overflows) / 2;
        let mut operator = factory.open(&task(), 1).unwrap();
        match operator.process(&batch(&[middle]), EventTime(0)) {
            Ok(_) => fits = middle,
            Err(error) => {
                assert!(error.message.contains("stack overflow"), "{error}");
                overflows = middle;
            }
        }
    }
    fits
}

/// Each poll of a function reads a byte of its own: with one byte the compiler leaves out the second.
#[test]
fn no_two_polls_of_a_function_read_the_same_byte() {
    let text = module("(loop $on (loop $in (br $in)) (br $on))", TOTAL);
    let wasm = with_polls(&wat::parse_str(text).unwrap(), Polls::Everywhere).unwrap();
    let bytes: Vec<u8> = wasm
        .windows(7)
        .filter(|it| it[..5] == [0x41, 0, 0x2d, 0x40, 1] && it[6] == 0x1a)
        .map(|it| it[5])
        .collect();
    assert_eq!(bytes, [0, 0, 1], "growth of the region, and two loops");
}

/// Three loops in one another; the branches that leave two or three of them at once are the unlikely ones.
#[test]
fn branches_that_leave_several_loops_are_said_to_be_unlikely() {
    let text = r#"(module (memory (export "memory") 1) (func $other) (func (param i32)
      (block $out
        (loop $a
          (block $after
            (loop $b
              (br_if $b (local.get 0))
              (br_if $after (local.get 0))
              (loop $c (memory.fill (local.get 0) (local.get 0) (local.get 0))
                (br_if $after (local.get 0))
                (br_if $out (local.get 0))
                (br_if $a (local.get 0))
                (br_if 5 (local.get 0)) (br_if $c (local.get 0)))))
          (br_if $out (local.get 0))
          (br_if $a (local.get 0))))))"#;
    let plain = wat::parse_str(text).unwrap();
    let both = [with_polls(&plain, Polls::Everywhere), crate::poll::without_polls(&plain)];
    for wasm in both.map(Result::unwrap) {
        let (mut hints, mut found) = (Vec::new(), Vec::new());
        let mut function = 0;
        for payload in Parser::new(0).parse_all(&wasm) {
            match payload.unwrap() {
                Payload::CustomSection(section) => {
                    let KnownCustom::BranchHints(section) = section.as_known() else { continue };
                    for function in section {
                        let function = function.unwrap();
                        let all = function.hints.into_iter().map(Result::unwrap);
                        hints.extend(all.map(|it| (function.func, it.func_offset, it.taken)));
                    }
                }
                Payload::CodeSectionEntry(body) => {
                    let mut reader = body.get_operators_reader().unwrap();
                    while !reader.eof() {
                        let (operator, at) = reader.read_with_offset().unwrap();
                        if let Instruction::BrIf { relative_depth } = operator {
                            let offset = (at - body.range().start) as u32;
                            found.push((relative_depth, (function, offset, false)));
                        }
                    }
                    function += 1;
                }
                _ => {}
            }
        }
        let depth = |hint| found.iter().find(|it| it.1 == hint).map(|it| it.0);
        let depths: Vec<_> = hints.into_iter().map(depth).collect();
        assert_eq!(depths, [Some(2), Some(4), Some(3), Some(5)], "of {found:?}");
    }
}
