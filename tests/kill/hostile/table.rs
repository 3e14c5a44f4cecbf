//! The table of hostile modules: each the demo's counter with something changed, or text of its own.

use std::fmt::Write;

use Outcome::{Fails, Refused, Works};

/// How `floe run` must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Strange and harmless: the rows are the counter's.
    Works,
    /// Exit code 1, with the place of the record where there is one.
    Fails,
    /// Exit code 2, before anything starts.
    Refused,
}

pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) module: String,
    /// More of `limits`.
    pub(super) limits: &'static str,
    pub(super) outcome: Outcome,
    pub(super) says: &'static [&'static str],
}

const COUNTER: &str = include_str!("../../../runtime/cli/src/demo/counter.wat");
const EMIT: &str = "(call $emit (i32.const 0) (i32.const 4160))";

/// What `floe_v1_process` does in place of its work.
const BODIES: &[(&str, &str, &[&str])] = &[
    ("loops", "(loop $for_ever (br $for_ever)) (i32.const 0)", &["fuel"]),
    ("traps", "unreachable", &["unreachable"]),
    ("divides", "(i32.div_s (i32.const 1) (i32.const 0))", &["divi"]),
    ("converts-nan", "(i32.trunc_f32_s (f32.const nan))", &["conver"]),
    ("overflows", "(call $deeper (i32.const 0))", &["stack"]),
    ("reads-outside", "(drop (i32.load (i32.const 0x7fffffff))) (i32.const 0)", &["out of bounds"]),
    (
        "writes-outside",
        "(i64.store (i32.const -8) (i64.const -1)) (i32.const 0)",
        &["out of bounds"],
    ),
    (
        "fills-outside",
        "(memory.fill (i32.const 0) (i32.const 1) (i32.const -1)) (i32.const 0)",
        &["fuel"],
    ),
    (
        "fills-for-ever",
        "(loop $more (memory.fill (i32.const 0x100000) (i32.const 1) (i32.const 0)) (br $more)) (i32.const 0)",
        &["fuel"],
    ),
    ("calls-nothing", "(call_indirect (result i32) (i32.const 3))", &["uninitialized"]),
    ("calls-outside", "(call_indirect (result i32) (i32.const 99))", &["undefined"]),
    ("calls-another-type", "(call_indirect (result i32) (i32.const 0))", &["mismatch"]),
    (
        "grows",
        "(block $full (loop $more (br_if $full (i32.eq (memory.grow (i32.const 64)) (i32.const -1))) (br $more))) unreachable",
        &["unreachable"],
    ),
    (
        "grows-and-writes",
        "(local $at i32) (drop (memory.grow (i32.const 900))) (loop $more (i32.store (local.get $at) (i32.const 1)) (local.set $at (i32.add (local.get $at) (i32.const 4096))) (br $more)) (i32.const 0)",
        &["out of bounds"],
    ),
    (
        "grows-at-once",
        "(if (i32.eq (memory.grow (i32.const 0xffff)) (i32.const -1)) (then unreachable)) (i32.const 0)",
        &["unreachable"],
    ),
    ("emits-nowhere", "(call $emit (i32.const 0) (i32.const 0x7ffffff0)) (i32.const 0)", &["emit"]),
    ("emits-to-output-9", "(call $emit (i32.const 9) (i32.const 4160)) (i32.const 0)", &["output"]),
    ("emits-zeros", "(call $emit (i32.const 0) (i32.const 0x2000)) (i32.const 0)", &["emit"]),
    ("says-no", "(i32.const 17)", &["17"]),
    ("says-minus-one", "(i32.const -1)", &["-1"]),
    (
        "fails-at-length",
        "(call $fail (i32.const 0) (i32.const 0x7fffffff)) (i32.const 0)",
        &["error"],
    ),
    (
        "fails-with-no-text",
        "(call $fail (i32.const 65536) (i32.const 65536)) (i32.const 0)",
        &["error"],
    ),
    (
        "logs-for-ever",
        "(loop $more (call $log (i32.const 0) (i32.const 65536) (i32.const 65536)) (br $more)) (i32.const 0)",
        &["fuel"],
    ),
    (
        "logs-wild",
        "(call $log (i32.const 0) (i32.const -1) (i32.const 65536)) (i32.const 0)",
        &["outside"],
    ),
    (
        "asks-for-ever",
        "(loop $more (drop (call $random)) (drop (call $now)) (br $more)) (i32.const 0)",
        &["fuel"],
    ),
    (
        "writes-for-ever",
        "(loop $more (drop (call $fd_write (i32.const 2) (i32.const 4096) (i32.const 1000) (i32.const 0))) (br $more)) (i32.const 0)",
        &["fuel"],
    ),
    (
        "sends-for-ever",
        "(loop $more (drop (call $sock_send (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))) (br $more)) (i32.const 0)",
        &["fuel"],
    ),
    (
        "yields-for-ever",
        "(loop $more (drop (call $sched_yield)) (br $more)) (i32.const 0)",
        &["fuel"],
    ),
    ("exits", "(call $proc_exit (i32.const 0)) (i32.const 0)", &["exit"]),
    (
        "rejects-row-99",
        "(call $reject (i32.const 99) (i32.const 1024) (i32.const 3)) (i32.const 0)",
        &["99"],
    ),
    (
        "rejects-twice",
        "(call $reject (i32.const 0) (i32.const 1024) (i32.const 3)) (call $reject (i32.const 0) (i32.const 1024) (i32.const 3)) (i32.const 0)",
        &["twice"],
    ),
    (
        "rejects-wild",
        "(call $reject (i32.const 0) (i32.const -1) (i32.const 30)) (i32.const 0)",
        &["outside"],
    ),
    (
        "rejects-for-ever",
        "(loop $more (call $reject (i32.const 0) (i32.const 1024) (i32.const 3)) (br $more)) (i32.const 0)",
        &["twice"],
    ),
];

/// Done after the output was laid out well, and before it is emitted.
const BEFORE_EMIT: &[(&str, &str, &[&str])] = &[
    ("length-negative", "(i64.store (i32.const 4160) (i64.const -1))", &["length"]),
    ("length-huge", "(i64.store (i32.const 4160) (i64.const 0x10000000000))", &["length"]),
    (
        "offset-huge",
        "(i64.store offset=16 (i32.const 4096) (i64.const 0x7fffffffffffffff))",
        &["offset"],
    ),
    (
        "buffers-many",
        "(i64.store offset=24 (i32.const 4096) (i64.const 0x100000000))",
        &["buffers"],
    ),
    (
        "columns-many",
        "(i64.store offset=32 (i32.const 4160) (i64.const 0x100000000))",
        &["children"],
    ),
    ("columns-few", "(i64.store offset=32 (i32.const 4160) (i64.const 2))", &["columns"]),
    ("columns-wild", "(i32.store offset=44 (i32.const 4160) (i32.const -4))", &["outside"]),
    ("buffers-wild", "(i32.store offset=40 (i32.const 4096) (i32.const -4))", &["outside"]),
    ("data-wild", "(i32.store (i32.const 4244) (i32.const -64))", &["outside"]),
    ("data-null", "(i32.store (i32.const 4244) (i32.const 0))", &["null"]),
    ("dictionary", "(i32.store offset=48 (i32.const 4096) (i32.const 4160))", &["dictionary"]),
    ("nulls-unsaid", "(i64.store offset=8 (i32.const 4096) (i64.const 2))", &["null"]),
    ("column-in-itself", "(i32.store (i32.const 4256) (i32.const 4160))", &["column"]),
    (
        "text-offsets-wild",
        "(i32.store (i32.load offset=4 (i32.load offset=40 (i32.load offset=4 (local.get $children)))) (i32.const 0x7fffffff))",
        &["order_id"],
    ),
    (
        "text-not-utf8",
        "(i32.store8 (i32.load offset=8 (i32.load offset=40 (i32.load offset=4 (local.get $children)))) (i32.const 0xff))",
        &["order_id"],
    ),
    (
        "emits-for-ever",
        "(loop $more (call $emit (i32.const 0) (i32.const 4160)) (br $more))",
        &["limit"],
    ),
    // The rows it emitted before count as little as those after.
    (
        "emits-then-traps",
        "(call $emit (i32.const 0) (i32.const 4160)) unreachable",
        &["unreachable"],
    ),
];

/// Replaced in the counter: from, to.
const CHANGES: &[(&str, &str, &str, Outcome, &[&str])] = &[
    (
        "describe-loops",
        "(result i32) (i32.const 2048))",
        "(result i32) (loop $for_ever (br $for_ever)) (i32.const 2048))",
        Refused,
        &["fuel"],
    ),
    (
        "describe-traps",
        "(result i32) (i32.const 2048))",
        "(result i32) unreachable)",
        Refused,
        &["unreachable"],
    ),
    (
        "describe-wild",
        "(result i32) (i32.const 2048))",
        "(result i32) (i32.const -8))",
        Refused,
        &["outside"],
    ),
    (
        "describe-emits",
        "(result i32) (i32.const 2048))",
        "(result i32) (call $emit (i32.const 0) (i32.const 4160)) (i32.const 2048))",
        Refused,
        &["emit"],
    ),
    (
        "open-loops",
        "(param i32 i32) (result i32) (i32.const 0))",
        "(param i32 i32) (result i32) (loop $for_ever (br $for_ever)) (i32.const 0))",
        Fails,
        &["fuel"],
    ),
    (
        "open-traps",
        "(param i32 i32) (result i32) (i32.const 0))",
        "(param i32 i32) (result i32) unreachable)",
        Fails,
        &["unreachable"],
    ),
    (
        "open-says-no",
        "(param i32 i32) (result i32) (i32.const 0))",
        "(param i32 i32) (result i32) (i32.const 3))",
        Fails,
        &["3"],
    ),
    ("input-nowhere", "    (i32.const 589824))", "    (i32.const -64))", Fails, &["region"]),
    ("input-askew", "    (i32.const 589824))", "    (i32.const 589825))", Fails, &["region"]),
    ("input-traps", "    (i32.const 589824))", "    unreachable)", Fails, &["unreachable"]),
    (
        "input-loops",
        "    (i32.const 589824))",
        "    (loop $for_ever (br $for_ever)) (i32.const 589824))",
        Fails,
        &["fuel"],
    ),
    (
        "input-emits",
        "    (i32.const 589824))",
        "    (call $emit (i32.const 0) (i32.const 4160)) (i32.const 589824))",
        Fails,
        &["emit"],
    ),
    (
        "initialize-loops",
        "(func (export \"_initialize\")",
        "(func (export \"_initialize\") (loop $for_ever (br $for_ever))",
        Refused,
        &["fuel"],
    ),
    (
        "start-loops",
        "(func (export \"floe_v1_describe\")",
        "(func $start (loop $for_ever (br $for_ever))) (start $start) (func (export \"floe_v1_describe\")",
        Refused,
        &["fuel"],
    ),
    (
        "start-traps",
        "(func (export \"floe_v1_describe\")",
        "(func $start unreachable) (start $start) (func (export \"floe_v1_describe\")",
        Refused,
        &["unreachable"],
    ),
    (
        "start-emits",
        "(func (export \"floe_v1_describe\")",
        "(func $start (call $emit (i32.const 0) (i32.const 4160))) (start $start) (func (export \"floe_v1_describe\")",
        Refused,
        &["emit"],
    ),
    (
        "outputs-none",
        "(i32.store (i32.const 2072) (i32.const 1))",
        "(i32.store (i32.const 2072) (i32.const 0))",
        Refused,
        &["output"],
    ),
    (
        "outputs-many",
        "(i32.store (i32.const 2072) (i32.const 1))",
        "(i32.store (i32.const 2072) (i32.const -1))",
        Refused,
        &["output"],
    ),
    (
        "name-endless",
        "(i32.store (i32.const 2052) (i32.const 13))",
        "(i32.store (i32.const 2052) (i32.const -1))",
        Refused,
        &["bytes"],
    ),
    (
        "schema-in-itself",
        "(i32.store (i32.const 2108) (i32.const 2344))",
        "(i32.store (i32.const 2108) (i32.const 2440))",
        Refused,
        &["deep"],
    ),
    (
        "schema-wild",
        "(i32.store (i32.const 2108) (i32.const 2344))",
        "(i32.store (i32.const 2108) (i32.const -8))",
        Refused,
        &["outside"],
    ),
    (
        "schema-endless",
        "(i32.const 2108) (i64.const 3))",
        "(i32.const 2108) (i64.const 0x7fffffffffffffff))",
        Refused,
        &["children"],
    ),
    (
        "schema-of-nothing",
        "(data (i32.const 1052) \"l\\00\")",
        "(data (i32.const 1052) \"?\\00\")",
        Refused,
        &["?"],
    ),
    (
        "names-not-utf8",
        "(data (i32.const 1088) \"count\\00\")",
        "(data (i32.const 1088) \"co\\ffnt\\00\")",
        Refused,
        &["UTF-8"],
    ),
    (
        "names-twice",
        "(data (i32.const 1088) \"count\\00\")",
        "(data (i32.const 1088) \"offset\\00\")",
        Refused,
        &["offset"],
    ),
    (
        "data-outside",
        "(data (i32.const 1104) \"\\00\")",
        "(data (i32.const 0x7fffff00) \"\\00\")",
        Refused,
        &["out of bounds"],
    ),
    (
        "elements-outside",
        "(global $count",
        "(table 1 funcref) (elem (i32.const 9) $schema) (global $count",
        Refused,
        &["out of bounds"],
    ),
    (
        "memory-too-large",
        "(memory (export \"memory\") 16)",
        "(memory (export \"memory\") 65536)",
        Refused,
        &["memory"],
    ),
    (
        "table-too-large",
        "(global $count",
        "(table 100000000 funcref) (global $count",
        Refused,
        &["table"],
    ),
    (
        "many-tables",
        "(global $count",
        "(table 1000 funcref) (table 1000 funcref) (table 100000 funcref) (global $count",
        Works,
        &[],
    ),
];

/// Modules of their own, refused before anything starts.
const MODULES: &[(&str, &str, &[&str])] = &[
    ("no-module", "this is no module", &["module"]),
    ("empty", "(module)", &["memory"]),
    ("no-exports", "(module (memory (export \"memory\") 1))", &["floe_v1_"]),
    (
        "unknown-import",
        "(module (import \"env\" \"system\" (func (param i32))) (memory (export \"memory\") 1))",
        &["system"],
    ),
    (
        "imports-files",
        "(module (import \"wasi_unstable\" \"path_open\" (func (param i32))) (memory (export \"memory\") 1))",
        &["path_open"],
    ),
    (
        "another-version",
        "(module (import \"floe_v2\" \"emit\" (func (param i32 i32))) (memory (export \"memory\") 1))",
        &["floe_v2"],
    ),
    ("shared-memory", "(module (memory (export \"memory\") 1 1 shared))", &["shared"]),
    ("memory64", "(module (memory (export \"memory\") i64 1))", &["64"]),
];

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    let mut add = |name, module, outcome, says| {
        all.push(Case { name, module, limits: "", outcome, says });
    };
    for (name, body, says) in BODIES {
        add(name, counter_with(body), Fails, says);
    }
    for (name, change, says) in BEFORE_EMIT {
        add(name, changed(EMIT, &format!("{change} {EMIT}")), Fails, says);
    }
    for (name, from, to, outcome, says) in CHANGES {
        add(name, changed(from, to), *outcome, says);
    }
    for (name, text, says) in MODULES {
        add(name, (*text).to_owned(), Refused, says);
    }
    add("logs-much", changed(EMIT, &logs_much()), Works, &[]);
    add("branches-deep", changed(EMIT, &format!("{} {EMIT}", branches(2_000))), Works, &[]);
    add("blocks-deep", changed(EMIT, &format!("{} {EMIT}", blocks(20_000))), Works, &[]);
    add("functions-many", with_functions(20_000), Works, &[]);
    // Longer than its time, and within its fuel: what it gives stands.
    let slow = "(local.set $n (i64.const 60000000))
      (loop $on (local.set $n (i64.sub (local.get $n) (i64.div_u (local.get $n) (local.get $n))))
        (br_if $on (i64.gt_u (local.get $n) (i64.const 1))))";
    let slow = changed(EMIT, &format!("{slow} {EMIT}"));
    let slow = slow.replace("(local $rows i32)", "(local $n i64) (local $rows i32)");
    all.push(Case {
        limits: ", fuel-per-batch = 5000000000",
        ..case("works-long", slow, Works, &["time-per-batch", "going back to the checkpoint"])
    });
    all.push(Case {
        limits: ", module-size = \"1KiB\"",
        ..case("module-too-large", COUNTER.to_owned(), Refused, &["module-size"])
    });
    all.push(Case {
        limits: ", compile-time = \"1s\"",
        ..case(
            "compiles-long",
            changed(EMIT, &format!("{} {EMIT}", ifs(60_000))),
            Refused,
            &["compile-time"],
        )
    });
    all
}

fn case(
    name: &'static str,
    module: String,
    outcome: Outcome,
    says: &'static [&'static str],
) -> Case {
    Case { name, module, limits: "", outcome, says }
}

fn changed(from: &str, to: &str) -> String {
    assert!(COUNTER.contains(from), "{from:?} is not in the counter");
    with_imports(&COUNTER.replacen(from, to, 1))
}

/// The demo's counter with another body of `floe_v1_process`.
fn counter_with(body: &str) -> String {
    let begin = COUNTER.find("(func (export \"floe_v1_process\")").expect("the counter processes");
    with_imports(&format!(
        "{}(table 4 funcref) (elem (i32.const 0) $schema)
         (func $deeper (param i32) (result i32) (i32.add (i32.const 1) (call $deeper (local.get 0))))
         (func (export \"floe_v1_process\") (param $batch i32) (result i32) {body}))",
        &COUNTER[..begin]
    ))
}

/// All that a module may import: having it is no harm.
fn with_imports(module: &str) -> String {
    let emit = "(import \"floe_v1\" \"emit\" (func $emit (param i32 i32)))";
    let more = "
      (import \"floe_v1\" \"reject\" (func $reject (param i32 i32 i32)))
      (import \"floe_v1\" \"log\" (func $log (param i32 i32 i32)))
      (import \"floe_v1\" \"now\" (func $now (result i64)))
      (import \"floe_v1\" \"random\" (func $random (result i64)))
      (import \"floe_v1\" \"fail\" (func $fail (param i32 i32)))
      (import \"wasi_snapshot_preview1\" \"fd_write\" (func $fd_write (param i32 i32 i32 i32) (result i32)))
      (import \"wasi_snapshot_preview1\" \"proc_exit\" (func $proc_exit (param i32)))
      (import \"wasi_snapshot_preview1\" \"sock_send\" (func $sock_send (param i32 i32 i32 i32 i32) (result i32)))
      (import \"wasi_snapshot_preview1\" \"sched_yield\" (func $sched_yield (result i32)))
      (import \"wasi_snapshot_preview1\" \"path_unlink_file\" (func (param i32 i32 i32) (result i32)))";
    assert!(module.contains(emit), "the counter emits");
    module.replacen(emit, &format!("{emit}{more}"), 1)
}

/// A thousand lines are shown of a call, and no more; the work is done all the same.
fn logs_much() -> String {
    format!(
        "(local.set $row (i32.const 3000))
         (loop $more (call $log (i32.const 3) (i32.const 1024) (i32.const 13))
           (local.set $row (i32.sub (local.get $row) (i32.const 1)))
           (br_if $more (local.get $row))) {EMIT}"
    )
}

fn branches(count: usize) -> String {
    let labels = "0 ".repeat(count);
    format!("(block (br_table {labels} 0 (i32.const {}))) ", count / 2)
}

fn blocks(depth: usize) -> String {
    "block ".repeat(depth) + &"end ".repeat(depth)
}

fn with_functions(count: usize) -> String {
    let mut functions = String::new();
    for number in 0..count {
        write!(functions, "(func (result i32) i32.const {number})").expect("a String grows");
    }
    changed(
        "(func (export \"_initialize\")",
        &format!("{functions} (func (export \"_initialize\")"),
    )
}

/// One function of so many branches.
fn ifs(count: usize) -> String {
    let mut text = String::new();
    for number in 0..count {
        write!(
            text,
            "(if (i32.eq (local.get $row) (i32.const {number})) (then (local.set $rows (i32.add (local.get $rows) (local.get $children)))))"
        )
        .expect("a String grows");
    }
    text
}
