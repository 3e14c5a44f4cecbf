//! Polls: a module rewritten so that it can be stopped from outside at small cost, in place of counting fuel.
//!
//! A poll is a load from a page that only the host knows, in a second memory of the module. Where the page
//! is made inaccessible, the next poll traps. Polls stand so that no more than a bounded number of
//! instructions lies between two of them, whatever the guest does (`place.rs`).
//!
//! Functions, globals and the first memory stay what they are, so an image of one compile fits the other.

mod order;
mod place;
mod watchdog;

use floe_core::{Error, Result};
use wasm_encoder::{
    BranchHint, BranchHints, CodeSection, ExportKind, ExportSection, MemorySection, MemoryType,
};
use wasm_encoder::{Encode, Module, RawSection, SectionId};
use wasmparser::{BinaryReaderError, FunctionBody, Parser, Payload};

use crate::abi;
use crate::rewrite::export_kind;

use place::Places;

pub(crate) use watchdog::Watch;

/// Where polls are put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Polls {
    Everywhere,
    /// The page is there, and nothing looks at it: beside it, what polls cost can be seen.
    Nowhere,
}

impl Polls {
    /// Part of the compile cache's key: other polls are another module.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Polls::Everywhere => "polls-3",
            Polls::Nowhere => "no-polls-3",
        }
    }
}

/// Bytes of the page, which is a memory of one WebAssembly page.
pub(crate) const PAGE_BYTES: usize = 65_536;

/// The module with its polls. It is one that was checked, and rewritten as any is.
pub(crate) fn with_polls(wasm: &[u8], polls: Polls) -> Result<Vec<u8>> {
    let wasm = &order::in_order(wasm).map_err(broken)?[..];
    let bodies = bodies(wasm).map_err(broken)?;
    let imported = place::imported_functions(wasm).map_err(broken)?;
    let mut places = place::places(&bodies, imported).map_err(broken)?;
    if polls == Polls::Nowhere {
        places.iter_mut().for_each(|it| it.polls.clear());
    }
    let mut hints = BranchHints::new();
    let mut code = CodeSection::new();
    for (function, (body, places)) in bodies.iter().zip(&places).enumerate() {
        let (bytes, unlikely) = rewritten(wasm, body, places)?;
        code.raw(&bytes);
        hint(&mut hints, imported + function as u32, unlikely.into_iter());
    }
    let mut module = Module::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(broken)?;
        match &payload {
            Payload::MemorySection(section) => {
                let mut memories = MemorySection::new();
                for memory in section.clone() {
                    let memory = memory.map_err(broken)?;
                    memories.memory(pages(memory.initial, memory.maximum));
                }
                memories.memory(pages(1, Some(1)));
                module.section(&memories);
            }
            Payload::ExportSection(section) => {
                let mut exports = ExportSection::new();
                for export in section.clone() {
                    let export = export.map_err(broken)?;
                    let Some(kind) = export_kind(export.kind) else { continue };
                    exports.export(export.name, kind, export.index);
                }
                exports.export(abi::POLLS, ExportKind::Memory, 1);
                module.section(&exports);
            }
            Payload::CodeSectionStart { .. } => {
                module.section(&hints);
                module.section(&code);
            }
            // Names and lines are of the code before; what fails here is run again by the compile that counts.
            Payload::CustomSection(_) => {}
            other => {
                if let Some((id, range)) = other.as_section() {
                    debug_assert_ne!(id, SectionId::Start as u8, "the rewriting made it an export");
                    module.section(&RawSection { id, data: &wasm[range] });
                }
            }
        }
    }
    Ok(module.finish())
}

/// The module without polls, with the same branches said to be unlikely: frames of both compiles stay alike.
pub(crate) fn without_polls(wasm: &[u8]) -> Result<Vec<u8>> {
    let bodies = bodies(wasm).map_err(broken)?;
    let imported = place::imported_functions(wasm).map_err(broken)?;
    let places = place::places(&bodies, imported).map_err(broken)?;
    let mut hints = BranchHints::new();
    for (function, (body, places)) in bodies.iter().zip(&places).enumerate() {
        let unlikely = places.unlikely.iter().map(|it| (it - body.range().start) as u32);
        hint(&mut hints, imported + function as u32, unlikely);
    }
    let mut module = Module::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(broken)?;
        if matches!(payload, Payload::CodeSectionStart { .. }) {
            module.section(&hints);
        }
        if let Some((id, range)) = payload.as_section() {
            module.section(&RawSection { id, data: &wasm[range] });
        }
    }
    Ok(module.finish())
}

fn hint(hints: &mut BranchHints, function: u32, unlikely: impl ExactSizeIterator<Item = u32>) {
    let not_taken = |it| BranchHint { branch_func_offset: it, branch_hint_value: 0 };
    if unlikely.len() > 0 {
        hints.function_hints(function, unlikely.map(not_taken));
    }
}

fn bodies(wasm: &[u8]) -> std::result::Result<Vec<FunctionBody<'_>>, BinaryReaderError> {
    let mut bodies = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::CodeSectionEntry(body) = payload? {
            bodies.push(body);
        }
    }
    Ok(bodies)
}

fn pages(minimum: u64, maximum: Option<u64>) -> MemoryType {
    MemoryType { minimum, maximum, memory64: false, shared: false, page_size_log2: None }
}

/// The body with a poll before each of the places, and where in it the unlikely branches are.
///
/// Each poll of a function reads another byte. The compiler replaces a load by an earlier one of the same
/// byte where nothing was written to that memory between them, and nothing ever is: the poll of an inner
/// loop would be gone.
fn rewritten(wasm: &[u8], body: &FunctionBody<'_>, places: &Places) -> Result<(Vec<u8>, Vec<u32>)> {
    let polls = &places.polls;
    if polls.len() > PAGE_BYTES {
        return Err(Error::invalid(format!(
            "a function needs {} polls, and the page has {PAGE_BYTES} bytes",
            polls.len()
        )));
    }
    let range = body.range();
    let mut bytes = Vec::with_capacity(range.len() + 9 * polls.len());
    let mut done = range.start;
    let mut unlikely = Vec::with_capacity(places.unlikely.len());
    let mut branches = places.unlikely.iter().peekable();
    for (byte, place) in polls.iter().enumerate() {
        while let Some(branch) = branches.next_if(|it| *it < place) {
            unlikely.push((bytes.len() + branch - done) as u32);
        }
        bytes.extend_from_slice(&wasm[done..*place]);
        poll(&mut bytes, byte as u32);
        done = *place;
    }
    unlikely.extend(branches.map(|branch| (bytes.len() + branch - done) as u32));
    bytes.extend_from_slice(&wasm[done..range.end]);
    Ok((bytes, unlikely))
}

/// `(drop (i32.load8_u $polls offset=byte (i32.const 0)))`
fn poll(bytes: &mut Vec<u8>, byte: u32) {
    const I32_CONST: u8 = 0x41;
    const I32_LOAD8_U: u8 = 0x2d;
    /// No alignment, and the number of a memory follows.
    const OF_MEMORY: u8 = 0x40;
    const DROP: u8 = 0x1a;
    bytes.extend_from_slice(&[I32_CONST, 0, I32_LOAD8_U, OF_MEMORY, 1]);
    byte.encode(bytes);
    bytes.push(DROP);
}

/// The module was checked before, so this is a defect of ours if it is anything.
fn broken(error: BinaryReaderError) -> Error {
    Error::invalid(format!("polls could not be put into the module: {error}"))
}
