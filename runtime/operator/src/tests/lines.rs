//! Backtraces name file and line, though the module was rewritten.

use floe_core::ports::OperatorFactory;
use floe_core::{EventTime, TopicPartition};
use wasm_encoder::{CustomSection, Encode, Section};
use wasmparser::{Parser, Payload};

use super::wat_module::{batch, engine, limits, module};
use crate::Factory;

/// DWARF 4 in which each function of the module is one line of `sum.wat`: 100, 101, and so on.
fn with_lines(mut wasm: Vec<u8>) -> Vec<u8> {
    let (mut code_begin, mut bodies) = (0, Vec::new());
    for payload in Parser::new(0).parse_all(&wasm) {
        match payload.unwrap() {
            Payload::CodeSectionStart { range, .. } => code_begin = range.start,
            // By the convention for WebAssembly, addresses count from the code section's content.
            Payload::CodeSectionEntry(body) => {
                bodies.push((body.range().start - code_begin, body.range().end - code_begin));
            }
            _ => {}
        }
    }
    let end = bodies.last().unwrap().1 as u32;
    // A compile unit with DW_AT_stmt_list, low_pc, high_pc, name and comp_dir.
    let abbrev = b"\x01\x11\x00\x10\x17\x11\x01\x12\x06\x03\x08\x1b\x08\x00\x00\x00";
    let mut unit = b"\x04\x00\x00\x00\x00\x00\x04\x01\x00\x00\x00\x00\x01\x00\x00\x00".to_vec();
    unit.extend(end.to_le_bytes());
    unit.extend(b"sum.wat\0/src\0");
    // Line base -5, line range 14, ten opcodes, no folder, one file.
    let header = b"\x01\x01\xfb\x0e\x0a\x00\x01\x01\x01\x01\x00\x00\x00\x01\x00sum.wat\0\0\0\0\0";
    let mut lines = b"\x02\x00".to_vec();
    lines.extend((header.len() as u32).to_le_bytes());
    lines.extend(header);
    for (index, (begin, end)) in bodies.into_iter().enumerate() {
        lines.extend(b"\x00\x05\x02");
        lines.extend((begin as u32).to_le_bytes());
        lines.push(0x03);
        (99 + index as i64).encode(&mut lines);
        lines.extend(b"\x05\x07\x01\x02");
        ((end - begin) as u32).encode(&mut lines);
        lines.extend(b"\x00\x01\x01");
    }
    let sections = [
        (".debug_abbrev", abbrev.to_vec()),
        (".debug_info", sized(unit)),
        (".debug_line", sized(lines)),
    ];
    for (name, bytes) in sections {
        CustomSection { name: name.into(), data: bytes.into() }.append_to(&mut wasm);
    }
    wasm
}

fn sized(bytes: Vec<u8>) -> Vec<u8> {
    [&(bytes.len() as u32).to_le_bytes()[..], &bytes].concat()
}

#[test]
fn a_trap_says_file_and_line() {
    // Exports are added and the start function is taken away, all before the code.
    let more = "(global $total (mut i64) (i64.const 0)) (global (mut f64) (f64.const 0))
      (func $begin) (start $begin) (func $inner unreachable)";
    let wasm = wat::parse_str(module("(call $inner)", more)).unwrap();
    let module = engine().load("test.wasm", &with_lines(wasm), &limits()).unwrap();
    let factory = Factory::new("sum", module, "{}".into(), limits());
    let mut operator = factory.open(&TopicPartition::new("t", 0), 1).unwrap();
    let error = operator.process(&batch(&[1]), EventTime(0)).expect_err("it traps");
    // describe, input, open, process, $begin, $inner.
    let expected = "trap in process: unreachable executed (a panic or an abort)
    at inner   /src/sum.wat:105:7
    at function 8   /src/sum.wat:103:7";
    assert_eq!(error.message, expected);
}
