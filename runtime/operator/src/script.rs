//! An interpreter with an author's script in it: a module of its own, made without a compiler.
//!
//! The interpreter's module exports the address of a room that is zero (`floe_script`: a length, then as many
//! bytes of text). The script is put there by one more data segment, so it is in the memory before the first
//! instruction runs; code and all other bytes stay as they are.

use std::ops::Range;

use floe_core::{Error, Result};
use wasm_encoder::{Module, RawSection, SectionId};
use wasmparser::{ExternalKind, Operator, Parser, Payload};

const ROOM: &str = "floe_script";

/// Of the text. `SCRIPT_BYTES_MAX` in sdk/javascript/engine/engine.c is the same.
pub const SCRIPT_BYTES_MAX: usize = (1 << 20) - 8;

/// The interpreter's module with this script in its room.
pub fn with_script(interpreter: &[u8], script: &str) -> Result<Vec<u8>> {
    if script.len() > SCRIPT_BYTES_MAX {
        return Err(Error::invalid(format!(
            "the script has {} bytes, and {SCRIPT_BYTES_MAX} are the most",
            script.len()
        )));
    }
    let anatomy = look(interpreter).map_err(broken)?;
    let Some(address) = anatomy.room else {
        return Err(Error::invalid(format!(
            "the module has no room for a script: it exports no constant {ROOM}"
        )));
    };
    let length = u32::try_from(script.len()).expect("it is below the limit");
    let mut segment = vec![0, I32_CONST];
    leb_signed(&mut segment, i64::from(address));
    segment.push(END);
    leb(&mut segment, length + 4);
    segment.extend(length.to_le_bytes());
    segment.extend(script.as_bytes());

    let mut module = Module::new();
    let mut segments = Vec::new();
    leb(&mut segments, anatomy.segment_count + 1);
    segments.extend(&interpreter[anatomy.segments.clone()]);
    segments.extend(segment);
    let mut segments = Some(segments);
    for payload in Parser::new(0).parse_all(interpreter) {
        let Some((id, range)) = payload.map_err(broken)?.as_section() else { continue };
        if id == SectionId::DataCount as u8 {
            let mut count = Vec::new();
            leb(&mut count, anatomy.segment_count + 1);
            module.section(&RawSection { id, data: &count });
        } else if id == SectionId::Data as u8 {
            let data = segments.take().unwrap_or_default();
            module.section(&RawSection { id, data: &data });
        } else {
            module.section(&RawSection { id, data: &interpreter[range] });
        }
    }
    // Only names and the like come behind the data; without data they may stand before it too.
    if let Some(data) = segments {
        module.section(&RawSection { id: SectionId::Data as u8, data: &data });
    }
    Ok(module.finish())
}

const I32_CONST: u8 = 0x41;
const END: u8 = 0x0b;

#[derive(Default)]
struct Anatomy {
    room: Option<i32>,
    segment_count: u32,
    /// The segments themselves, behind their count.
    segments: Range<usize>,
}

fn look(wasm: &[u8]) -> wasmparser::Result<Anatomy> {
    let mut anatomy = Anatomy::default();
    let mut constants = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::GlobalSection(section) => {
                for global in section {
                    let mut first = global?.init_expr.get_operators_reader();
                    constants.push(match first.read()? {
                        Operator::I32Const { value } => Some(value),
                        _ => None,
                    });
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    if export.name == ROOM && export.kind == ExternalKind::Global {
                        anatomy.room = constants.get(export.index as usize).copied().flatten();
                    }
                }
            }
            Payload::DataSection(section) => {
                anatomy.segment_count = section.count();
                let range = section.range();
                // A count may be written with more bytes than it needs.
                let count = wasm[range.clone()].iter().take_while(|it| **it & 0x80 != 0);
                let written = count.count() + 1;
                anatomy.segments = range.start + written..range.end;
            }
            _ => {}
        }
    }
    Ok(anatomy)
}

fn leb(bytes: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn leb_signed(bytes: &mut Vec<u8>, mut value: i64) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        let is_last = (value == 0 && byte & 0x40 == 0) || (value == -1 && byte & 0x40 != 0);
        bytes.push(if is_last { byte } else { byte | 0x80 });
        if is_last {
            return;
        }
    }
}

fn broken(error: wasmparser::BinaryReaderError) -> Error {
    Error::invalid(format!("the interpreter's module cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The script is at the room's address, behind what the module itself has in its memory.
    #[test]
    fn the_script_is_in_the_memory_from_the_start() {
        let check = |data: &str, script: &str| {
            let text = format!(
                r#"(module (memory (export "memory") 40) (global (export "floe_script") i32 (i32.const 70000)) {data})"#
            );
            let module = with_script(&wat::parse_str(text).unwrap(), script).unwrap();
            let engine = wasmtime::Engine::default();
            let compiled = wasmtime::Module::new(&engine, &module).unwrap();
            let mut store = wasmtime::Store::new(&engine, ());
            let instance = wasmtime::Instance::new(&mut store, &compiled, &[]).unwrap();
            let memory = instance.get_memory(&mut store, "memory").unwrap();
            let room = &memory.data(&store)[70000..70000 + 4 + script.len()];
            assert_eq!(room[..4], (script.len() as u32).to_le_bytes());
            assert_eq!(&room[4..], script.as_bytes());
            if !data.is_empty() {
                assert_eq!(&memory.data(&store)[8..11], b"abc");
            }
        };
        check("", "export default {}");
        check(r#"(data (i32.const 8) "abc")"#, "");
        check(r#"(data (i32.const 8) "abc")"#, &"// a comment\n".repeat(50_000));
        let room = wat::parse_str(r#"(module (memory (export "memory") 1))"#).unwrap();
        assert!(with_script(&room, "").unwrap_err().message.contains("no room for a script"));
    }
}
