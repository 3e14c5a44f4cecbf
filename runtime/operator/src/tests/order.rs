//! The order of code in loops decides nothing: modules of random blocks, loops and branches come to the same
//! with polls, where the sides of branches change places, and with fuel counted, where they stay.

use std::fmt::Write;
use std::time::Duration;

use floe_core::image::Capture;
use floe_core::ports::OperatorFactory;
use floe_core::{EventTime, TopicPartition};

use super::wat_module::{batch, engine, limits, module};
use crate::poll::{Polls, with_polls};
use crate::{Factory, Limits, Metering};

const SEEDS: u64 = 60;

/// Text of a function body; what is random follows from the seed.
struct Body {
    state: u64,
    labels: Vec<Label>,
    text: String,
}

#[derive(Clone)]
struct Label {
    name: String,
    /// It takes a number with it.
    has_result: bool,
}

impl Body {
    fn below(&mut self, bound: u64) -> u64 {
        self.state = self.state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.state >> 33) % bound
    }

    fn put(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn label(&mut self, has_result: bool) -> String {
        let name = format!("$l{}", self.text.len());
        self.labels.push(Label { name: name.clone(), has_result });
        name
    }

    /// A mixture that tells which ways were taken, in which order.
    fn mix(&mut self) {
        let constant = self.below(1 << 20) * 2 + 1;
        let line = format!(
            "(local.set $x (i64.rotl (i64.add (i64.mul (local.get $x) (i64.const {constant})) (i64.const {})) (i64.const 7)))",
            constant / 3
        );
        self.put(&line);
    }

    fn condition(&mut self) -> String {
        let (of, one) = (2 + self.below(5), self.below(2));
        format!("(i64.le_u (i64.rem_u (local.get $x) (i64.const {of})) (i64.const {one}))")
    }

    fn branch(&mut self) {
        let at = self.below(self.labels.len() as u64) as usize;
        let (Label { name, has_result }, condition) = (self.labels[at].clone(), self.condition());
        let line = match has_result {
            true => format!("(drop (br_if {name} (local.get $x) {condition}))"),
            false => format!("(br_if {name} {condition})"),
        };
        self.put(&line);
    }

    fn table(&mut self) {
        let plain: Vec<String> =
            self.labels.iter().filter(|it| !it.has_result).map(|it| it.name.clone()).collect();
        let mut line = "(br_table".to_owned();
        for _ in 0..=self.below(4) {
            let name = &plain[self.below(plain.len() as u64) as usize];
            let _ = write!(line, " {name}");
        }
        self.put(&format!("{line} (i32.wrap_i64 (local.get $x)))"));
    }

    fn statements(&mut self, depth: u32) {
        for _ in 0..=self.below(4) {
            self.statement(depth);
        }
    }

    fn statement(&mut self, depth: u32) {
        match self.below(if depth == 0 { 3 } else { 9 }) {
            0 => self.mix(),
            1 | 2 => self.branch(),
            3 | 4 => {
                let name = self.label(false);
                self.put(&format!("(block {name}"));
                self.statements(depth - 1);
                self.end(")");
            }
            5 | 6 => {
                let name = self.label(false);
                // Each round costs a step, and without steps everything ends.
                self.put(&format!(
                    "(loop {name} (br_if $out (i32.eqz (local.tee $steps (i32.sub (local.get $steps) (i32.const 1)))))"
                ));
                self.statements(depth - 1);
                self.branch();
                self.end(")");
            }
            7 => {
                let condition = self.condition();
                let name = self.label(false);
                self.put(&format!("(if {name} {condition} (then"));
                self.statements(depth - 1);
                self.put(") (else");
                self.statements(depth - 1);
                self.end("))");
            }
            _ => {
                // Something lies on the stack meanwhile.
                let name = self.label(true);
                self.put(&format!(
                    "(local.set $x (i64.add (local.get $x) (block {name} (result i64)"
                ));
                self.statements(depth - 1);
                self.end("(local.get $x))))");
            }
        }
        if depth > 0 && self.below(12) == 0 {
            self.put("(block");
            self.table();
            self.put(")");
        }
    }

    fn end(&mut self, text: &str) {
        self.labels.pop();
        self.put(text);
    }
}

fn random_module(seed: u64) -> String {
    let out = Label { name: "$out".into(), has_result: false };
    let mut body = Body { state: seed, labels: vec![out], text: String::new() };
    body.put("(block $out");
    for _ in 0..6 {
        body.statement(5);
    }
    body.put(")");
    let more = format!(
        "(global $total (mut i64) (i64.const 0))
         (func $work (param $x i64) (result i64) (local $steps i32)
           (local.set $steps (i32.const 300)) {} (local.get $x))",
        body.text
    );
    let process = "(global.set $total (i64.add (i64.mul (global.get $total) (i64.const 31))
                     (call $work (i64.add (global.get $total) (i64.load (local.get $data))))))";
    module(process, &more)
}

#[test]
fn loops_in_another_order_come_to_the_same() {
    let limits =
        Limits { metering: Metering::Time, time_per_batch: Duration::from_secs(60), ..limits() };
    let (engine, task) = (engine(), TopicPartition::new("t", 0));
    let mut changed = 0;
    for seed in 0..SEEDS {
        let text = random_module(seed);
        let loaded = engine.load("random.wat", text.as_bytes(), &limits);
        let loaded = loaded.unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
        let polled = Factory::new("sum", loaded, "{}".into(), limits.clone());
        let counted = polled.counted().unwrap();
        let mut pair = [polled.open(&task, 1).unwrap(), counted.open(&task, 1).unwrap()];
        for value in 0..20 {
            let images = pair.each_mut().map(|it| {
                it.process(&batch(&[value]), EventTime(0)).unwrap();
                it.capture(Capture::Whole).unwrap()
            });
            assert_eq!(images[0], images[1], "seed {seed}, value {value}:\n{text}");
        }
        let wasm = wat::parse_str(&text).unwrap();
        let turned = with_polls(&wasm, Polls::Nowhere).unwrap();
        changed += usize::from(code_bytes(&turned) > code_bytes(&wasm));
    }
    assert!(changed > SEEDS as usize / 2, "{changed} of {SEEDS} modules have another order");
}

fn code_bytes(wasm: &[u8]) -> usize {
    let payloads = wasmparser::Parser::new(0).parse_all(wasm).map(Result::unwrap);
    let bodies = payloads.filter_map(|it| match it {
        wasmparser::Payload::CodeSectionEntry(body) => Some(body.range().len()),
        _ => None,
    });
    bodies.sum()
}

/// The search of a byte as compilers write it: what follows the loop stands in it, before the next round.
#[test]
fn what_follows_a_loop_is_laid_behind_it() {
    let text = |recursion: &str| {
        format!(
            r#"(module (memory (export "memory") 1)
          (func $f (param $at i32) (result i32) {recursion}
            (loop $next (result i32)
              (block $on
                (br_if $on (i32.ne (i32.load8_u (local.get $at)) (i32.const 34)))
                (return (i32.mul (local.get $at) (i32.const 3))))
              (local.set $at (i32.add (local.get $at) (i32.const 1)))
              (br $next))))"#
        )
    };
    let longer = |text: &str| {
        let wasm = wat::parse_str(text).unwrap();
        let turned = with_polls(&wasm, Polls::Nowhere).unwrap();
        code_bytes(&turned) - code_bytes(&wasm)
    };
    // `i32.eqz`, `if` with its type, `end` and `br` in place of `br_if`.
    assert_eq!(longer(&text("")), 4);
    let by_number = "(drop (call $f (local.get $at)))";
    let by_table = "(drop (call_indirect (param i32) (result i32) (local.get $at) (i32.const 0)))";
    assert_eq!(longer(&text(by_number)), 0, "a recursion keeps its frames");
    let table = "(table 1 funcref) (elem (i32.const 0) $f) (func $f";
    let by_table = text(by_table).replace("(func $f", table);
    assert_eq!(longer(&by_table), 0, "a recursion by table keeps its frames");
}
