use floe_core::ports::OperatorFactory;
use floe_core::{ErrorKind, EventTime, TopicPartition};

use super::wat_module::{batch, factory, module};

const TOTAL: &str = "(global $total (mut i64) (i64.const 0))";

/// Emits what stands at 0x600, after `change`.
fn emit_after(change: &str) -> String {
    format!(
        "(i64.store (i32.const 0x600) (i64.const 1)) (i64.store (i32.const 0x640) (i64.const 1)) {change} (call $emit (i32.const 0) (i32.const 0x600))"
    )
}

/// Every module ends its call as an error of its class; none crashes the host or hands out a row.
#[test]
fn each_ends_as_what_it_is() {
    let store32 = |at: u32, value: i64| format!("(i32.store (i32.const {at}) (i32.const {value}))");
    let store64 = |at: u32, value: i64| format!("(i64.store (i32.const {at}) (i64.const {value}))");
    let cases: Vec<(&str, String, &str)> = vec![
        ("loops for ever", "(loop $again (br $again))".into(), "out of fuel"),
        ("traps", "unreachable".into(), "unreachable"),
        ("divides by zero", "(drop (i32.div_u (i32.const 1) (i32.const 0)))".into(), "divide by zero"),
        ("reads out of bounds", "(drop (i32.load (i32.const -8)))".into(), "out of bounds"),
        ("recurses without end", "(call $deep)".into(), "stack overflow"),
        ("fails with a message", "(call $fail (i32.const 0x100) (i32.const 3))".into(), "sum"),
        ("fails with a wild message", "(call $fail (i32.const -1) (i32.const 9))".into(), "outside"),
        ("emits to no output", "(call $emit (i32.const 7) (i32.const 0x600))".into(), "output 7"),
        ("emits at the end of memory", "(call $emit (i32.const 0) (i32.const -4))".into(), "outside"),
        ("emits a negative length", emit_after(&store64(0x600, -1)), "length is -1"),
        ("emits a huge length", emit_after(&store64(0x600, 1 << 40)), "length"),
        ("emits more rows than the column", emit_after(&store64(0x600, 5)), "rows"),
        ("emits a huge offset", emit_after(&store64(0x650, i64::MAX)), "offset"),
        ("emits an offset", emit_after(&store64(0x610, 1)), "offset"),
        ("emits too many buffers", emit_after(&store64(0x658, 9)), "n_buffers"),
        ("emits too few buffers", emit_after(&store64(0x658, 1)), "buffers"),
        ("emits too many columns", emit_after(&store64(0x620, 2)), "columns"),
        ("emits endless columns", emit_after(&store64(0x620, 1 << 50)), "n_children"),
        ("emits a null data buffer", emit_after(&store32(0x68c, 0)), "null"),
        ("emits wild data", emit_after(&store32(0x68c, -8)), "outside"),
        ("emits wild buffers", emit_after(&store32(0x668, -8)), "outside"),
        ("emits a wild column", emit_after(&store32(0x684, -8)), "outside"),
        ("emits a dictionary", emit_after(&store32(0x670, 8)), "dictionary"),
        ("emits nulls without validity", emit_after(&store64(0x648, 1)), "nulls"),
        ("emits a null where none may be", emit_after(&format!("{}{}", store32(0x688, 0x700), store64(0x648, 1))), "null"),
        ("emits a false null count", emit_after(&format!("{}{}", store32(0x688, 0x100), store64(0x648, 3))), "null_count"),
        ("emits for ever", "(loop $again (i64.store (i32.const 0x600) (i64.const 4096)) (i64.store (i32.const 0x640) (i64.const 4096)) (call $emit (i32.const 0) (i32.const 0x600)) (br $again))".into(), "limit"),
        ("rejects no row", "(call $reject (i32.const 99) (i32.const 0x100) (i32.const 3))".into(), "row 99"),
        ("rejects twice", "(call $reject (i32.const 0) (i32.const 0x100) (i32.const 3)) (call $reject (i32.const 0) (i32.const 0x100) (i32.const 3))".into(), "twice"),
        ("rejects with a wild reason", "(call $reject (i32.const 0) (i32.const -1) (i32.const 30))".into(), "outside"),
        ("returns an error", "(return (i32.const 5))".into(), "returned 5"),
        ("fills its memory", "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable".into(), "unreachable"),
    ];
    assert!(cases.len() >= 30);
    for (name, process, expected) in cases {
        let factory = factory(&module(&process, &format!("{TOTAL} (func $deep (call $deep))")));
        let mut operator = factory.open(&TopicPartition::new("t", 0), 1).unwrap();
        let error = match operator.process(&batch(&[1, 2]), EventTime(0)) {
            Ok(_) => panic!("{name}: it was let through"),
            Err(error) => error,
        };
        assert_eq!(error.kind, ErrorKind::Operator, "{name}: {error}");
        assert!(error.message.contains(expected), "{name}: {error}");
        assert!(operator.memory_bytes() <= 4 << 20, "{name}");
    }
}

#[test]
fn an_input_region_that_is_none_is_refused() {
    for region in ["0", "1", "0x20001", "-64", "0x7fffffc0"] {
        let text = module("", TOTAL).replace("i32.const 0x20000)", &format!("i32.const {region})"));
        let factory = factory(&text);
        let error =
            factory.open(&TopicPartition::new("t", 0), 1).err().expect("the region is refused");
        assert!(error.message.contains("region"), "{region}: {error}");
    }
}

#[test]
fn a_trap_says_where() {
    let factory = factory(&module("(call $inner)", &format!("{TOTAL} (func $inner unreachable)")));
    let mut operator = factory.open(&TopicPartition::new("t", 0), 1).unwrap();
    let error = operator.process(&batch(&[1]), EventTime(0)).expect_err("it traps");
    assert!(error.message.contains("at inner"), "{error}");
}
