//! A small operator as text: one long column in, one out, and a place for what a test wants to do.

use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};

use crate::{Engine, Factory, Limits, Module};

pub(super) const OUT_CHILD: u32 = 0x640;
pub(super) const OUT_DATA: u32 = 0x10000;

/// The module around `process`; `more` holds globals, functions and data of the test's own.
///
/// Memory: text at 0x100, schemas at 0x200 and 0x300, the description at 0x400, the output array at
/// 0x600, output rows at 0x10000, the input region at 0x20000 (it grows by `memory.grow`).
pub(super) fn module(process: &str, more: &str) -> String {
    let u32s = |values: &[u32]| -> String {
        values.iter().flat_map(|it| it.to_le_bytes()).map(|it| format!("\\{it:02x}")).collect()
    };
    let schema = |format, name, children, pointer| {
        u32s(&[format, name, 0, 0, 0, 0, children, 0, pointer, 0, 0, 0])
    };
    // "sum" at 0x100, "1" at 0x104, "+s" at 0x108, "l" at 0x110, "v" at 0x114, "" at 0x118.
    format!(
        r#"(module
  (import "floe_v1" "emit" (func $emit (param i32 i32)))
  (import "floe_v1" "reject" (func $reject (param i32 i32 i32)))
  (import "floe_v1" "fail" (func $fail (param i32 i32)))
  (import "floe_v1" "now" (func $now (result i64)))
  (import "floe_v1" "random" (func $random (result i64)))
  (memory (export "memory") 3)
  (data (i32.const 0x100) "sum\00")
  (data (i32.const 0x104) "1\00")
  (data (i32.const 0x108) "+s\00")
  (data (i32.const 0x110) "l\00")
  (data (i32.const 0x114) "v\00")
  (data (i32.const 0x200) "{root}")
  (data (i32.const 0x240) "{children}")
  (data (i32.const 0x300) "{child}")
  (data (i32.const 0x400) "{description}")
  (data (i32.const 0x440) "{output}")
  (data (i32.const 0x600) "{out_array}")
  (data (i32.const 0x640) "{out_child}")
  (data (i32.const 0x680) "{out_pointers}")
  (func (export "floe_v1_describe") (result i32) i32.const 0x400)
  (func (export "floe_v1_input") (param $bytes i32) (result i32)
    (drop (memory.grow (i32.div_u (i32.add (local.get $bytes) (i32.const 65535)) (i32.const 65536))))
    i32.const 0x20000)
  (func (export "floe_v1_open") (param i32 i32) (result i32) i32.const 0)
  (func (export "floe_v1_process") (param $array i32) (result i32)
    (local $row i32) (local $rows i32) (local $data i32)
    (local.set $rows (i32.wrap_i64 (i64.load (local.get $array))))
    (local.set $data (i32.load offset=4 (i32.load offset=40 (i32.load (i32.load offset=44 (local.get $array))))))
    {process}
    i32.const 0)
  {more}
)"#,
        root = schema(0x108, 0x118, 1, 0x240),
        children = u32s(&[0x300]),
        child = schema(0x110, 0x114, 0, 0),
        description = u32s(&[0x100, 3, 0x104, 1, 1, 0x200, 1, 0x440]),
        output = u32s(&[0x100, 3, 0x200]),
        out_array = u32s(&[0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0x680, 0x684, 0, 0, 0, 0]),
        out_child = u32s(&[0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0x688, 0, 0, 0, 0, 0]),
        // buffers of the root, children of the root, buffers of the child.
        out_pointers = u32s(&[0, OUT_CHILD, 0, OUT_DATA]),
    )
}

/// Emits the running sum over all batches, kept in a global that the module does not export.
pub(super) const RUNNING_SUM: &str = r#"
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $row) (local.get $rows)))
      (global.set $total (i64.add (global.get $total)
        (i64.load (i32.add (local.get $data) (i32.shl (local.get $row) (i32.const 3))))))
      (i64.store (i32.add (i32.const 0x10000) (i32.shl (local.get $row) (i32.const 3))) (global.get $total))
      (local.set $row (i32.add (local.get $row) (i32.const 1)))
      (br $next)))
    (i64.store (i32.const 0x600) (i64.extend_i32_u (local.get $rows)))
    (i64.store (i32.const 0x640) (i64.extend_i32_u (local.get $rows)))
    (call $emit (i32.const 0) (i32.const 0x600))"#;

pub(super) fn engine() -> Arc<Engine> {
    Engine::new(None).unwrap()
}

pub(super) fn load(text: &str) -> Arc<Module> {
    engine().load("test.wat", text.as_bytes(), &limits()).unwrap_or_else(|error| panic!("{error}"))
}

/// Small, so that hostile modules end soon.
pub(super) fn limits() -> Limits {
    Limits {
        fuel_per_batch: 10_000_000,
        memory_bytes: 4 << 20,
        output_bytes_per_batch: 1 << 20,
        ..Limits::default()
    }
}

pub(super) fn factory(text: &str) -> Factory {
    Factory::new("sum", load(text), "{}".into(), limits())
}

pub(super) fn batch(values: &[i64]) -> RecordBatch {
    let schema = Schema::new(vec![Field::new("v", DataType::Int64, false)]);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int64Array::from(values.to_vec()))])
        .unwrap()
}
