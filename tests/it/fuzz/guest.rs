//! What a guest can lay out in its memory: arrays that it emits, and descriptions. The guest of these tests
//! writes what its input says, so that one module serves for all inputs.

use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use floe_core::ports::OperatorFactory;
use floe_core::{ErrorKind, EventTime, TopicPartition};
use floe_operator::{Engine, Factory, Limits};

use super::fuzz;

/// From here on stand the arrays, their pointers and their buffers.
const ARRAYS: u32 = 0x600;
const ARRAYS_BYTES: usize = 0x200;

/// A column of every shape: fixed width with nulls, text, list of text. Two rows.
fn arrays() -> Vec<u8> {
    let mut memory = vec![0u8; ARRAYS_BYTES];
    let mut word = |at: u32, value: u32| {
        let at = (at - ARRAYS) as usize;
        memory[at..at + 4].copy_from_slice(&value.to_le_bytes());
    };
    // length, null_count, n_buffers, n_children, buffers, children: the rest is 0.
    let mut array = |at: u32, rest: [u32; 6]| {
        for (field, value) in [0, 8, 24, 32, 40, 44].into_iter().zip(rest) {
            word(at + field, value);
        }
    };
    array(0x600, [2, 0, 1, 3, 0x780, 0x784]);
    array(0x640, [2, 1, 2, 0, 0x790, 0]);
    array(0x680, [2, 0, 3, 0, 0x798, 0]);
    array(0x6c0, [2, 0, 2, 1, 0x7a4, 0x7ac]);
    array(0x700, [3, 0, 3, 0, 0x7b0, 0]);
    for (at, value) in [
        // Children of the root.
        (0x784, 0x640),
        (0x788, 0x680),
        (0x78c, 0x6c0),
        // Validity and data; offsets and text; offsets of the list; its child; offsets and text of that.
        (0x790, 0x740),
        (0x794, 0x748),
        (0x79c, 0x758),
        (0x7a0, 0x764),
        (0x7a8, 0x76c),
        (0x7ac, 0x700),
        (0x7b4, 0x7c0),
        (0x7b8, 0x7d0),
        (0x740, 0b01),
        (0x748, 42),
        (0x75c, 2),
        (0x760, 5),
        (0x764, u32::from_le_bytes(*b"abcd")),
        (0x768, u32::from_le_bytes(*b"e   ")),
        (0x770, 1),
        (0x774, 3),
        (0x7c4, 1),
        (0x7c8, 3),
        (0x7cc, 4),
        (0x7d0, u32::from_le_bytes("xé!".as_bytes().try_into().expect("four bytes"))),
    ] {
        word(at, value);
    }
    memory
}

/// It copies its rows, eight bytes each, to 0x600 and emits what stands there.
fn module(description: &str) -> String {
    let words = |values: &[u32]| -> String {
        values.iter().flat_map(|it| it.to_le_bytes()).map(|it| format!("\\{it:02x}")).collect()
    };
    let schema = |format: u32, name: u32, flags: u32, children: u32, pointer: u32| {
        words(&[format, name, 0, 0, flags, 0, children, 0, pointer, 0, 0, 0])
    };
    let data = |at: u32, bytes: String| format!("(data (i32.const {at}) \"{bytes}\")");
    let plain = [
        data(0x100, "poke\\00".into()),
        data(0x108, "+s\\00".into()),
        data(0x110, "l\\00".into()),
        data(0x114, "u\\00".into()),
        data(0x118, "+l\\00".into()),
        data(0x120, "v\\00".into()),
        data(0x124, "t\\00".into()),
        data(0x128, "n\\00".into()),
        data(0x200, schema(0x108, 0x104, 0, 1, 0x3f0)),
        data(0x230, schema(0x110, 0x120, 0, 0, 0)),
        data(0x260, schema(0x108, 0x104, 0, 3, 0x3f4)),
        data(0x290, schema(0x110, 0x120, 2, 0, 0)),
        data(0x2c0, schema(0x114, 0x124, 0, 0, 0)),
        data(0x2f0, schema(0x118, 0x128, 0, 1, 0x3ec)),
        data(0x320, schema(0x114, 0x124, 2, 0, 0)),
        data(0x3ec, words(&[0x320, 0x230, 0x290, 0x2c0, 0x2f0])),
        data(0x440, words(&[0x100, 4, 0x260])),
        data(0x400, words(&[0x100, 4, 0x100, 1, 1, 0x200, 1, 0x440])),
    ];
    format!(
        r#"(module
  (import "floe_v1" "emit" (func $emit (param i32 i32)))
  (memory (export "memory") 3)
  {}
  {description}
  (func (export "floe_v1_describe") (result i32) i32.const 0x400)
  (func (export "floe_v1_input") (param $bytes i32) (result i32)
    (drop (memory.grow (i32.shr_u (local.get $bytes) (i32.const 16))))
    i32.const 0x10000)
  (func (export "floe_v1_open") (param i32 i32) (result i32) i32.const 0)
  (func (export "floe_v1_process") (param $array i32) (result i32)
    (memory.copy (i32.const 0x600)
      (i32.load offset=4 (i32.load offset=40 (i32.load (i32.load offset=44 (local.get $array)))))
      (i32.shl (i32.wrap_i64 (i64.load (local.get $array))) (i32.const 3)))
    (call $emit (i32.const 0) (i32.const 0x600))
    i32.const 0)
)"#,
        plain.join("\n  ")
    )
}

fn limits() -> Limits {
    let memory_bytes = 4 << 20;
    Limits { memory_bytes, output_bytes_per_batch: 1 << 20, ..Limits::default() }
}

#[test]
fn emitted() {
    let engine = Engine::new(None).unwrap();
    let module = engine.load("poke.wat", module("").as_bytes(), &limits()).unwrap();
    let factory = Factory::new("poke", module, "{}".into(), limits());
    let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, false)]));
    let task = TopicPartition::new("in", 0);
    let mut operator = factory.open(&task, 1).unwrap();
    fuzz("guest::emitted", &[arrays()], |bytes| {
        let mut bytes = bytes.to_vec();
        // What is not said is zeros.
        bytes.resize(ARRAYS_BYTES, 0);
        let words = bytes.chunks_exact(8).map(|it| i64::from_le_bytes(it.try_into().unwrap()));
        let column = Arc::new(Int64Array::from_iter_values(words));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column]).unwrap();
        match operator.process(&batch, EventTime(0)) {
            Ok(staged) => {
                for (_, rows) in &staged.emitted {
                    // What the host took is good Arrow, whatever the guest laid out.
                    for column in rows.columns() {
                        column.to_data().validate_full().unwrap();
                    }
                }
                true
            }
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Operator, "{error}");
                operator = factory.open(&task, 1).unwrap();
                false
            }
        }
    });
}

/// Each word of the description and of its schemas, with each value at which a reader may break.
#[test]
fn described() {
    let engine = Engine::new(None).unwrap();
    let load = |text: &str| engine.load("poke.wat", text.as_bytes(), &limits()).map(|_| ());
    load(&module("")).unwrap();
    let schemas = (0x200..0x350).step_by(4);
    let pointers = (0x3ec..0x460).step_by(4);
    let (mut inputs, mut taken) = (0, 0);
    for at in schemas.chain(pointers) {
        for value in [0u32, 1, 0x7fff_ffff, 0xffff_fff8, 0x2fffc, 0x400] {
            let bytes: String =
                value.to_le_bytes().iter().map(|it| format!("\\{it:02x}")).collect();
            let text = module(&format!("(data (i32.const {at}) \"{bytes}\")"));
            inputs += 1;
            match load(&text) {
                Ok(()) => taken += 1,
                Err(error) => {
                    assert_eq!(error.kind, ErrorKind::Invalid, "{value:#x} at {at:#x}: {error}");
                    assert!(error.message.contains("poke.wat"), "{value:#x} at {at:#x}: {error}");
                }
            }
        }
    }
    println!("guest::described: {inputs} inputs, {taken} of them taken");
    // Many a word is of no meaning, as names and what belongs to another reader.
    assert!(inputs - taken >= 200, "{taken} of {inputs}");
}
