//! The simulated operator once more, as WebAssembly under the production engine: count, sum and draw per key.

use std::fmt::Write;
use std::sync::{Arc, OnceLock};

use floe_core::image::OperatorImage;
use floe_core::ports::{Operator, OperatorDescription, OperatorFactory};
use floe_core::{Result, TopicPartition};
use floe_operator::{Engine, Factory, Limits, Module};

use crate::simulation::source::{POISON, REJECTED};
use crate::simulation::world::World;

/// (name, format of Arrow's C data interface).
const INPUT: &[(&str, &str)] =
    &[("partition", "i"), ("offset", "l"), ("key", "l"), ("value", "l"), ("time", "l")];
const OUTPUT: &[(&str, &str)] = &[
    ("partition", "i"),
    ("offset", "l"),
    ("key", "l"),
    ("count", "l"),
    ("sum", "l"),
    ("draw", "l"),
];

// Places in the guest's memory. A column has room for 256 rows of eight bytes.
const OUT_ARRAY: u32 = 0x3000;
const RECORDS: u32 = 0x7000;
const TOTALS: u32 = 0x8000;
const OUT_ROWS: u32 = 0x10000;
const OUT_COLUMN_BYTES: u32 = 0x800;
const INPUT_REGION: u32 = 0x20000;

/// Data segments, each behind the other.
struct Data {
    next: u32,
    text: String,
}

impl Data {
    fn bytes(&mut self, bytes: &[u8]) -> u32 {
        let at = self.next;
        self.put(at, bytes);
        self.next = (at + bytes.len() as u32).next_multiple_of(8);
        at
    }

    fn words(&mut self, words: &[u32]) -> u32 {
        let bytes: Vec<u8> = words.iter().flat_map(|it| it.to_le_bytes()).collect();
        self.bytes(&bytes)
    }

    fn put(&mut self, at: u32, bytes: &[u8]) {
        let escaped: String = bytes.iter().map(|it| format!("\\{it:02x}")).collect();
        writeln!(self.text, "  (data (i32.const {at}) \"{escaped}\")").expect("a String grows");
    }

    fn c_text(&mut self, text: &str) -> u32 {
        self.bytes(&[text.as_bytes(), &[0]].concat())
    }

    /// An ArrowSchema of wasm32: format, name, metadata, flags, children, dictionary, release.
    fn schema(&mut self, format: &str, name: &str, children: &[u32]) -> u32 {
        let (format, name) = (self.c_text(format), self.c_text(name));
        let pointers = self.words(children);
        let count = children.len() as u32;
        self.words(&[format, name, 0, 0, 0, 0, count, 0, pointers, 0, 0, 0])
    }

    fn columns(&mut self, columns: &[(&str, &str)]) -> u32 {
        let children: Vec<u32> =
            columns.iter().map(|(name, format)| self.schema(format, name, &[])).collect();
        self.schema("+s", "", &children)
    }
}

fn text() -> String {
    let mut data = Data { next: 0x100, text: String::new() };
    let (input, output) = (data.columns(INPUT), data.columns(OUTPUT));
    let (name, version) = (data.c_text("totals"), data.c_text("1"));
    let outputs = data.words(&[name, 6, output]);
    let description = data.words(&[name, 6, version, 1, 1, input, 1, outputs]);
    let reason = data.c_text("not taken");

    // An ArrowArray of wasm32: length, null count, offset, buffers, children (two words each), pointers.
    let mut children = Vec::new();
    for column in 0..OUTPUT.len() as u32 {
        let buffers = data.words(&[0, OUT_ROWS + column * OUT_COLUMN_BYTES]);
        children.push(data.words(&[0, 0, 0, 0, 0, 0, 2, 0, 0, 0, buffers, 0, 0, 0, 0, 0]));
    }
    let (buffers, pointers) = (data.words(&[0]), data.words(&children));
    let count = OUTPUT.len() as u32;
    let array = [0, 0, 0, 0, 0, 0, 1, 0, count, 0, buffers, pointers, 0, 0, 0, 0];
    let array: Vec<u8> = array.iter().flat_map(|it: &u32| it.to_le_bytes()).collect();
    data.put(OUT_ARRAY, &array);
    assert!(data.next < OUT_ARRAY);

    let column = |index: u32| {
        format!(
            "(i32.load offset=4 (i32.load offset=40 (i32.load offset={} (i32.load offset=44 (local.get $array)))))",
            4 * index
        )
    };
    let long = |index: u32| {
        format!("(i64.load (i32.add {} (i32.shl (local.get $row) (i32.const 3))))", column(index))
    };
    let out = |index: u32, bits: u32| {
        let base = OUT_ROWS + index * OUT_COLUMN_BYTES;
        format!("(i32.add (i32.const {base}) (i32.shl (local.get $out) (i32.const {bits})))")
    };
    let lengths: String = children
        .iter()
        .chain([&OUT_ARRAY])
        .map(|at| format!("(i64.store (i32.const {at}) (i64.extend_i32_u (local.get $out)))\n"))
        .collect();
    format!(
        r#"(module
  (import "floe_v1" "emit" (func $emit (param i32 i32)))
  (import "floe_v1" "reject" (func $reject (param i32 i32 i32)))
  (import "floe_v1" "random" (func $random (result i64)))
  (memory (export "memory") 4)
{segments}
  ;; Counts the records as a global, and once more in memory: restored otherwise, they differ, and it traps.
  (global $records (mut i64) (i64.const 0))
  (func (export "floe_v1_describe") (result i32) i32.const {description})
  (func (export "floe_v1_input") (param $bytes i32) (result i32) i32.const {INPUT_REGION})
  (func (export "floe_v1_open") (param i32 i32) (result i32) i32.const 0)
  (func (export "floe_v1_process") (param $array i32) (result i32)
    (local $row i32) (local $rows i32) (local $out i32) (local $total i32) (local $value i64)
    (if (i64.ne (global.get $records) (i64.load (i32.const {RECORDS}))) (then unreachable))
    (local.set $rows (i32.wrap_i64 (i64.load (local.get $array))))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $row) (local.get $rows)))
      (local.set $value {value})
      (if (i64.eq (local.get $value) (i64.const {POISON})) (then unreachable))
      (if (i64.eq (local.get $value) (i64.const {REJECTED}))
        (then (call $reject (local.get $row) (i32.const {reason}) (i32.const 9)))
        (else
          (global.set $records (i64.add (global.get $records) (i64.const 1)))
          (local.set $total (i32.add (i32.const {TOTALS}) (i32.shl (i32.wrap_i64 {key}) (i32.const 4))))
          (i64.store (local.get $total) (i64.add (i64.load (local.get $total)) (i64.const 1)))
          (i64.store offset=8 (local.get $total)
            (i64.add (i64.load offset=8 (local.get $total)) (local.get $value)))
          (i32.store {out_partition} (i32.load (i32.add {partition} (i32.shl (local.get $row) (i32.const 2)))))
          (i64.store {out_offset} {offset})
          (i64.store {out_key} {key})
          (i64.store {out_count} (i64.load (local.get $total)))
          (i64.store {out_sum} (i64.load offset=8 (local.get $total)))
          (i64.store {out_draw} (call $random))
          (local.set $out (i32.add (local.get $out) (i32.const 1)))))
      (local.set $row (i32.add (local.get $row) (i32.const 1)))
      (br $next)))
    (i64.store (i32.const {RECORDS}) (global.get $records))
    {lengths}
    (call $emit (i32.const 0) (i32.const {OUT_ARRAY}))
    i32.const 0)
)"#,
        segments = data.text,
        partition = column(0),
        offset = long(1),
        key = long(2),
        value = long(3),
        out_partition = out(0, 2),
        out_offset = out(1, 3),
        out_key = out(2, 3),
        out_count = out(3, 3),
        out_sum = out(4, 3),
        out_draw = out(5, 3),
    )
}

/// Compiled once for all worlds.
fn module() -> Arc<Module> {
    static MODULE: OnceLock<Arc<Module>> = OnceLock::new();
    let compile = || {
        let engine = Engine::new(None).expect("an engine");
        let loaded = engine.load("totals.wat", text().as_bytes(), &limits());
        loaded.unwrap_or_else(|error| panic!("{error}"))
    };
    Arc::clone(MODULE.get_or_init(compile))
}

fn limits() -> Limits {
    Limits { fuel_per_batch: 10_000_000, memory_bytes: 4 << 20, ..Limits::default() }
}

pub struct GuestFactory {
    world: Arc<World>,
    inner: Factory,
}

impl GuestFactory {
    pub fn new(world: &Arc<World>) -> GuestFactory {
        let inner = Factory::new("totals", module(), "{}".to_owned(), limits());
        GuestFactory { world: Arc::clone(world), inner }
    }
}

impl OperatorFactory for GuestFactory {
    fn describe(&self) -> &OperatorDescription {
        self.inner.describe()
    }

    fn open(&self, task: &TopicPartition, seed: u64) -> Result<Box<dyn Operator>> {
        self.world.with(|it| it.history.seeds.insert(task.partition, seed));
        self.inner.open(task, seed)
    }

    fn restore(&self, task: &TopicPartition, image: &OperatorImage) -> Result<Box<dyn Operator>> {
        self.inner.restore(task, image)
    }
}
