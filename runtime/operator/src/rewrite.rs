//! The rewriting at load: every mutable global is exported, the start function becomes an export.
//!
//! The code section stays as it is, byte for byte. Only the export section grows and the start section
//! goes, so instance state can be read and written, and a restore runs no guest code.

use floe_core::{Error, Result};
use wasm_encoder::{ExportKind, ExportSection, Module, RawSection, SectionId};
use wasmparser::{ExternalKind, Parser, Payload};

use crate::abi;
use crate::check::Anatomy;

pub(crate) fn rewrite(wasm: &[u8], anatomy: &Anatomy) -> Result<Vec<u8>> {
    let mut module = Module::new();
    let mut exports = ExportSection::new();
    let mut start = None;
    // First all exports and the start, wherever they stand.
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(broken)? {
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.map_err(broken)?;
                    let Some(kind) = export_kind(export.kind) else { continue };
                    exports.export(export.name, kind, export.index);
                }
            }
            Payload::StartSection { func, .. } => start = Some(func),
            _ => {}
        }
    }
    for global in &anatomy.mutable_globals {
        exports.export(&format!("{}{global}", abi::GLOBAL_PREFIX), ExportKind::Global, *global);
    }
    if let Some(start) = start {
        exports.export(abi::START, ExportKind::Func, start);
    }

    let mut exports = Some(exports);
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(broken)?;
        let Some((id, range)) = payload.as_section() else { continue };
        // Sections after the globals come behind the exports.
        if id > SectionId::Export as u8
            && id != SectionId::Tag as u8
            && let Some(exports) = exports.take()
        {
            module.section(&exports);
        }
        if id == SectionId::Export as u8 {
            if let Some(exports) = exports.take() {
                module.section(&exports);
            }
        } else if id != SectionId::Start as u8 {
            module.section(&RawSection { id, data: &wasm[range] });
        }
    }
    if let Some(exports) = exports.take() {
        module.section(&exports);
    }
    Ok(module.finish())
}

pub(crate) fn export_kind(kind: ExternalKind) -> Option<ExportKind> {
    match kind {
        ExternalKind::Func | ExternalKind::FuncExact => Some(ExportKind::Func),
        ExternalKind::Table => Some(ExportKind::Table),
        ExternalKind::Memory => Some(ExportKind::Memory),
        ExternalKind::Global => Some(ExportKind::Global),
        ExternalKind::Tag => None,
    }
}

/// The module was checked before, so this is a defect of ours if it is anything.
fn broken(error: wasmparser::BinaryReaderError) -> Error {
    Error::invalid(format!("the module could not be rewritten: {error}"))
}
