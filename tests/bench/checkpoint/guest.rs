//! A guest whose memory is as large, and changes as much, as it is told.

use std::sync::Arc;

use anyhow::Result;
use arrow_array::{Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use floe_core::EventTime;
use floe_core::ports::Operator;
use floe_operator::{Engine, Factory, Limits};

const PAGE_BYTES: u64 = 4096;
/// Texts, schemas and the input region stand below.
const STATE_AT: u64 = 1 << 20;

/// An operator with so many bytes of state.
pub(crate) fn factory(engine: &Arc<Engine>, state_bytes: u64) -> Result<Factory> {
    let limits = Limits {
        memory_bytes: STATE_AT + state_bytes,
        fuel_per_batch: u64::MAX / 2,
        ..Limits::default()
    };
    let text = module(state_bytes);
    let module = engine.load("bench.wat", text.as_bytes(), &limits)?;
    Ok(Factory::new("bench", module, "{}".to_owned(), limits))
}

/// Writes so many words into each of `pages` pages, scattered from `first` on.
pub(crate) fn touch(
    operator: &mut Box<dyn Operator>,
    first: u64,
    pages: u64,
    words: u64,
) -> Result<()> {
    let order = (first | pages << 24 | words << 48) as i64;
    let schema = Schema::new(vec![Field::new("v", DataType::Int64, false)]);
    let column = Arc::new(Int64Array::from(vec![order]));
    operator.process(&RecordBatch::try_new(Arc::new(schema), vec![column])?, EventTime(7))?;
    Ok(())
}

/// Fills every page: half of the bytes are random, which zstd-1 makes 0.6 of.
pub(crate) fn fill(operator: &mut Box<dyn Operator>, state_bytes: u64) -> Result<()> {
    touch(operator, 0, state_bytes / PAGE_BYTES, PAGE_BYTES / 8)
}

fn module(state_bytes: u64) -> String {
    let u32s = |values: &[u32]| -> String {
        values.iter().flat_map(|it| it.to_le_bytes()).map(|it| format!("\\{it:02x}")).collect()
    };
    let schema = |format, name, children, pointer| {
        u32s(&[format, name, 0, 0, 0, 0, children, 0, pointer, 0, 0, 0])
    };
    format!(
        r#"(module
  (memory (export "memory") {wasm_pages})
  (data (i32.const 0x100) "sum\001\00\00\00+s\00")
  (data (i32.const 0x110) "l\00\00\00v\00")
  (data (i32.const 0x200) "{root}")
  (data (i32.const 0x240) "{children}")
  (data (i32.const 0x300) "{child}")
  (data (i32.const 0x400) "{description}")
  (data (i32.const 0x440) "{output}")
  (global $seed (mut i64) (i64.const 1))
  (func (export "floe_v1_describe") (result i32) i32.const 0x400)
  (func (export "floe_v1_input") (param i32) (result i32) i32.const 0x20000)
  (func (export "floe_v1_open") (param i32 i32) (result i32) i32.const 0)
  (func (export "floe_v1_process") (param $array i32) (result i32)
    (local $order i64) (local $page i32) (local $left i32) (local $at i32) (local $end i32)
    (local.set $order (i64.load (i32.load offset=4 (i32.load offset=40
      (i32.load (i32.load offset=44 (local.get $array)))))))
    (local.set $page (i32.and (i32.wrap_i64 (local.get $order)) (i32.const 0xffffff)))
    (local.set $left (i32.and (i32.wrap_i64 (i64.shr_u (local.get $order) (i64.const 24))) (i32.const 0xffffff)))
    (block $done (loop $pages
      (br_if $done (i32.eqz (local.get $left)))
      (local.set $at (i32.add (i32.const {state_at}) (i32.shl (local.get $page) (i32.const 12))))
      (local.set $end (i32.add (local.get $at)
        (i32.shl (i32.wrap_i64 (i64.shr_u (local.get $order) (i64.const 48))) (i32.const 3))))
      (loop $words
        (global.set $seed (i64.add (i64.mul (global.get $seed) (i64.const 6364136223846793005)) (i64.const 1442695040888963407)))
        (i64.store (local.get $at) (i64.shr_u (global.get $seed) (i64.const 32)))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (br_if $words (i32.ne (local.get $at) (local.get $end))))
      (local.set $page (i32.add (local.get $page) (i32.const 7919)))
      (if (i32.ge_u (local.get $page) (i32.const {pages}))
        (then (local.set $page (i32.sub (local.get $page) (i32.const {pages})))))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br $pages)))
    i32.const 0)
)"#,
        wasm_pages = (STATE_AT + state_bytes) / 65_536,
        state_at = STATE_AT,
        pages = state_bytes / PAGE_BYTES,
        root = schema(0x108, 0x118, 1, 0x240),
        children = u32s(&[0x300]),
        child = schema(0x110, 0x114, 0, 0),
        description = u32s(&[0x100, 3, 0x104, 1, 1, 0x200, 1, 0x440]),
        output = u32s(&[0x100, 3, 0x200]),
    )
}
