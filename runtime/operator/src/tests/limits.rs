//! What a guest can make the host do is bounded too: time by fuel, bytes by the output limit.

use std::time::Duration;

use floe_core::ports::OperatorFactory;
use floe_core::{ErrorKind, EventTime, Result, TopicPartition};

use super::wat_module::{RUNNING_SUM, batch, engine, factory, limits, load, module};
use crate::{BATCH_ROWS_MAX, Factory, Limits, Metering};

const TOTAL: &str = "(global $total (mut i64) (i64.const 0))";

fn run(text: &str, limits: Limits, rows: usize) -> Result<floe_core::ports::Staged> {
    let module = engine().load("test.wat", text.as_bytes(), &limits)?;
    let factory = Factory::new("sum", module, "{}".into(), limits);
    let mut operator = factory.open(&TopicPartition::new("t", 0), 1)?;
    operator.process(&batch(&vec![1; rows]), EventTime(0))
}

fn repeated(import: &str) -> String {
    format!("(loop $again {import} (br $again))")
}

/// Each import in a loop without end stops within the fuel of a call, in bounded time and memory.
#[test]
fn work_of_the_host_costs_fuel() {
    let random = r#"(import "wasi_snapshot_preview1" "random_get" (func $get (param i32 i32) (result i32)))"#;
    let write = r#"(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))"#;
    let log = r#"(import "floe_v1" "log" (func $log (param i32 i32 i32)))"#;
    let cases = [
        (random, repeated("(drop (call $get (i32.const 0x10000) (i32.const 0x10000)))")),
        (
            write,
            repeated(
                "(drop (call $write (i32.const 1) (i32.const 0x700) (i32.const 64) (i32.const 0x6f0)))",
            ),
        ),
        (log, repeated("(call $log (i32.const 3) (i32.const 0) (i32.const 0))")),
        ("", repeated("(drop (call $now))")),
        ("", repeated("(drop (call $random))")),
        ("", repeated("(call $emit (i32.const 0) (i32.const 0x600))")),
    ];
    let limits = Limits { fuel_per_batch: 500_000_000, ..limits() };
    for (import, body) in cases {
        let text = module(&body, TOTAL).replacen("(module", &format!("(module {import}"), 1);
        let error = run(&text, limits.clone(), 1).expect_err("it does not end");
        assert_eq!(error.kind, ErrorKind::Operator, "{body}: {error}");
        // Emitting without rows costs output too, for what the host keeps of an array.
        let bounded = ["out of fuel", "output-per-batch"];
        assert!(bounded.iter().any(|it| error.message.contains(it)), "{body}: {error}");
    }
}

/// 8,192 batches of 8 bytes are 64 KiB, and cost the host some megabytes.
#[test]
fn a_small_batch_costs_the_host_more_than_its_bytes() {
    let body =
        "(i64.store (i32.const 0x600) (i64.const 1)) (i64.store (i32.const 0x640) (i64.const 1))
      (loop $again (call $emit (i32.const 0) (i32.const 0x600))
        (local.set $row (i32.add (local.get $row) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $row) (i32.const 8192))))";
    let limits = Limits { fuel_per_batch: u64::MAX / 2, ..limits() };
    let error = run(&module(body, TOTAL), limits, 1).expect_err("it is over 1 MiB");
    assert!(error.message.contains("output-per-batch"), "{error}");
}

#[test]
fn reasons_count_as_output_and_rejecting_all_rows_is_quick() {
    let all = |reason: u32| {
        format!(
            "(loop $next (call $reject (local.get $row) (i32.const 0x11000) (i32.const {reason}))
               (local.set $row (i32.add (local.get $row) (i32.const 1)))
               (br_if $next (i32.lt_u (local.get $row) (local.get $rows))))"
        )
    };
    let limits = Limits { output_bytes_per_batch: 16 << 20, ..limits() };
    let staged = run(&module(&all(0), TOTAL), limits.clone(), BATCH_ROWS_MAX).unwrap();
    assert_eq!(staged.rejected.len(), BATCH_ROWS_MAX);
    // Zero bytes are UTF-8.
    let error = run(&module(&all(4096), TOTAL), limits, BATCH_ROWS_MAX).expect_err("256 MiB");
    assert!(error.message.contains("output-per-batch"), "{error}");
}

/// Growth beyond what 32 bits can address is the guest's mistake, not the machine's.
#[test]
fn growth_fails_by_the_limit_alone() {
    for (pages, limit) in
        [("-1", 4u64 << 20), ("0x10000", 4 << 20), ("0x10000", 16 << 30), ("0xfffd", 4 << 20)]
    {
        let body = format!(
            "(if (i32.ne (memory.grow (i32.const {pages})) (i32.const -1)) (then unreachable)) {RUNNING_SUM}"
        );
        let staged = run(&module(&body, TOTAL), Limits { memory_bytes: limit, ..limits() }, 1);
        assert!(staged.is_ok(), "{pages} pages under {limit}: {}", staged.unwrap_err());
    }
}

#[test]
fn many_rows_at_once_are_handed_on_as_batches() {
    let rows = 2 * BATCH_ROWS_MAX + 1;
    let body = format!(
        "(drop (memory.grow (i32.const 40)))
         (i32.store (i32.const 0x68c) (i32.const 0x30000))
         (i64.store (i32.const 0x600) (i64.const {rows})) (i64.store (i32.const 0x640) (i64.const {rows}))
         (call $emit (i32.const 0) (i32.const 0x600))"
    );
    let limits = Limits { output_bytes_per_batch: 16 << 20, memory_bytes: 16 << 20, ..limits() };
    let staged = run(&module(&body, TOTAL), limits, 1).unwrap();
    let sizes: Vec<usize> = staged.emitted.iter().map(|(_, it)| it.num_rows()).collect();
    assert_eq!(sizes, [BATCH_ROWS_MAX, BATCH_ROWS_MAX, 1]);
}

/// What lies under a limit that was lowered is not damaged.
#[test]
fn an_image_over_a_lowered_limit_says_so() {
    let text = module(RUNNING_SUM, TOTAL);
    let mut operator = factory(&text).open(&TopicPartition::new("t", 0), 1).unwrap();
    let image = operator.capture(floe_core::image::Capture::Whole).unwrap();
    let limits = Limits { memory_bytes: 3 << 16, ..limits() };
    let lowered = Factory::new("sum", load(&text), "{}".into(), limits);
    let error =
        lowered.restore(&TopicPartition::new("t", 0), &image).err().expect("it does not fit");
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(error.message.contains("limits.memory"), "{error}");
}

#[test]
fn compiling_has_a_limit() {
    let limits = Limits { compile_time: std::time::Duration::ZERO, ..limits() };
    let text = module(RUNNING_SUM, TOTAL);
    let error = engine().load("slow.wat", text.as_bytes(), &limits).err().expect("no time");
    assert!(error.message.contains("limits.compile-time"), "{error}");
}

/// A few structs that name each other thousands of times would be 4096^7 columns.
#[test]
fn a_schema_that_names_a_child_again_and_again_is_refused() {
    let node = |at: u32, format: u32, count: u32, children: u32| {
        let words = [format, 0x118, 0, 0, 0, 0, count, 0, children, 0, 0, 0];
        let bytes: String = words
            .iter()
            .flat_map(|it: &u32| it.to_le_bytes())
            .map(|it| format!("\\{it:02x}"))
            .collect();
        format!("(data (i32.const {at:#x}) \"{bytes}\")")
    };
    // Level n at 0x8000 + 64 n; its 1000 children are all level n + 1, from the table at 0x9000 + 4096 n.
    let mut data = String::new();
    for level in 0..6u32 {
        data += &node(0x8000 + 64 * level, 0x108, 1000, 0x9000 + 4096 * level);
        let pointer: String = (0x8000 + 64 * (level + 1))
            .to_le_bytes()
            .iter()
            .map(|it| format!("\\{it:02x}"))
            .collect();
        data += &format!(
            "(data (i32.const {:#x}) \"{}\")",
            0x9000 + 4096 * level,
            pointer.repeat(1000)
        );
    }
    data += &node(0x8000 + 64 * 6, 0x110, 0, 0);
    let input = "(data (i32.const 0x414) \"\\00\\80\\00\\00\")";
    let text = module(RUNNING_SUM, &format!("{TOTAL} {data} {input}"));
    let error = engine().load("wide.wat", text.as_bytes(), &limits()).err().expect("too wide");
    assert!(error.message.contains("4096"), "{error}");
}

/// A call that nests as deep as its row says, with a few locals in each frame.
fn nests(metering: Metering, stack_bytes: u64, depth: i64) -> Result<()> {
    let deeper = "(func $deeper (param $left i64) (result i64)
      (if (result i64) (i64.eqz (local.get $left))
        (then (i64.const 0))
        (else (i64.add (local.get $left) (call $deeper (i64.sub (local.get $left) (i64.const 1)))))))";
    let text = module(
        "(i64.store (i32.const 0x100) (call $deeper (i64.load (local.get $data))))",
        &format!("{TOTAL} {deeper}"),
    );
    let (fuel_per_batch, time_per_batch) = (1 << 40, Duration::from_secs(60));
    let limits = Limits { stack_bytes, metering, fuel_per_batch, time_per_batch, ..limits() };
    let module = engine().load("test.wat", text.as_bytes(), &limits)?;
    let factory = Factory::new("sum", module, "{}".into(), limits);
    let mut operator = factory.open(&TopicPartition::new("t", 0), 1)?;
    operator.process(&batch(&[depth]), EventTime(0)).map(drop)
}

/// The thread here has 2 MiB, and a call of 64 MiB gets its own; each overflows at its limit and at no other.
#[test]
fn calls_nest_as_deep_as_the_stack_of_the_operator_allows() {
    const MIB: u64 = 1 << 20;
    for metering in [Metering::Fuel, Metering::Time] {
        let fits = |mib: u64, depth: i64| match nests(metering, mib * MIB, depth) {
            Ok(()) => true,
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Operator, "{error}");
                assert!(error.message.contains("stack overflow"), "{error}");
                assert!(error.message.contains("limits.stack"), "{error}");
                false
            }
        };
        // A frame takes 16 to 64 bytes on every machine that wasmtime compiles for.
        assert!(fits(1, 8_000));
        assert!(!fits(1, 200_000));
        assert!(fits(64, 200_000));
        assert!(!fits(64, 5_000_000));
    }
}
