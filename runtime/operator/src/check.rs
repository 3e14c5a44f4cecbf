//! Refuses modules that are not deterministic, or whose state could not be captured whole (A1–A4, A22).

use std::collections::BTreeMap;

use floe_core::image::GlobalValue;
use floe_core::{Error, Result};
use wasmparser::{
    BinaryReaderError, Export, ExternalKind, FuncValidatorAllocations, Name, NameSectionReader,
    Operator, Parser, Payload, TypeRef, ValidPayload, Validator, WasmFeatures,
};

use crate::abi;

/// What the check learned about a module, for the rewriting and for `floe inspect`.
#[derive(Clone, Debug, Default)]
pub struct Anatomy {
    pub imports: Vec<(String, String)>,
    pub exports: Vec<String>,
    /// Indices of mutable globals.
    pub mutable_globals: Vec<u32>,
    /// Globals that never change, for core dumps; 0 for what is no plain number.
    pub constants: Vec<(u32, GlobalValue)>,
    pub has_start: bool,
    pub memory_min_pages: u64,
    pub memory_max_pages: Option<u64>,
    pub functions: u32,
}

const WASI_FUNCTIONS: &[&str] = &[
    "args_get",
    "args_sizes_get",
    "environ_get",
    "environ_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "fd_advise",
    "fd_allocate",
    "fd_close",
    "fd_datasync",
    "fd_fdstat_get",
    "fd_fdstat_set_flags",
    "fd_fdstat_set_rights",
    "fd_filestat_get",
    "fd_filestat_set_size",
    "fd_filestat_set_times",
    "fd_pread",
    "fd_prestat_get",
    "fd_prestat_dir_name",
    "fd_pwrite",
    "fd_read",
    "fd_readdir",
    "fd_renumber",
    "fd_seek",
    "fd_sync",
    "fd_tell",
    "fd_write",
    "path_create_directory",
    "path_filestat_get",
    "path_filestat_set_times",
    "path_link",
    "path_open",
    "path_readlink",
    "path_remove_directory",
    "path_rename",
    "path_symlink",
    "path_unlink_file",
    "poll_oneoff",
    "proc_exit",
    "proc_raise",
    "random_get",
    "sched_yield",
    "sock_accept",
    "sock_recv",
    "sock_send",
    "sock_shutdown",
];

const ABI_IMPORTS: &[&str] = &["emit", "reject", "log", "now", "random", "fail"];

pub(crate) fn features() -> WasmFeatures {
    WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::REFERENCE_TYPES
        | WasmFeatures::CALL_INDIRECT_OVERLONG
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::BULK_MEMORY_OPT
        | WasmFeatures::SIMD
        | WasmFeatures::FLOATS
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::GC_TYPES
}

/// Checks a module; `name` is its file, for messages.
pub(crate) fn check(name: &str, wasm: &[u8]) -> Result<Anatomy> {
    if Parser::is_component(wasm) {
        return Err(refuse(
            name,
            "it is a component; build a core module (for Rust: --target wasm32-unknown-unknown)",
        ));
    }
    if !Parser::is_core_wasm(wasm) {
        return Err(refuse(
            name,
            "it is not a WebAssembly module: the first bytes are not \\0asm and version 1",
        ));
    }
    let names = function_names(wasm);
    let mut checker = Checker {
        name,
        names,
        anatomy: Anatomy::default(),
        imported_functions: 0,
        bodies: 0,
        memories: 0,
    };
    checker.walk(wasm)?;
    checker.conclude()
}

fn refuse(name: &str, why: impl std::fmt::Display) -> Error {
    Error::invalid(format!("module {name} is refused: {why}"))
}

fn constant(value: &wasmparser::ConstExpr<'_>) -> GlobalValue {
    match value.get_operators_reader().read() {
        Ok(Operator::I64Const { value }) => GlobalValue::I64(value),
        Ok(Operator::F32Const { value }) => GlobalValue::F32(value.bits()),
        Ok(Operator::F64Const { value }) => GlobalValue::F64(value.bits()),
        Ok(Operator::I32Const { value }) => GlobalValue::I32(value),
        // A reference, a vector, or a sum of others.
        Ok(_) | Err(_) => GlobalValue::I32(0),
    }
}

struct Checker<'a> {
    name: &'a str,
    names: BTreeMap<u32, String>,
    anatomy: Anatomy,
    imported_functions: u32,
    bodies: u32,
    memories: u32,
}

impl Checker<'_> {
    fn refuse(&self, why: impl std::fmt::Display) -> Error {
        refuse(self.name, why)
    }

    fn invalid(&self, error: &BinaryReaderError) -> Error {
        self.refuse(format!("{} (at byte {:#x})", error.message(), error.offset()))
    }

    fn function(&self, index: u32) -> String {
        match self.names.get(&index) {
            Some(name) => format!("function {index} ({name})"),
            None => format!("function {index}"),
        }
    }

    fn walk(&mut self, wasm: &[u8]) -> Result<()> {
        let mut validator = Validator::new_with_features(features());
        let mut allocations = FuncValidatorAllocations::default();
        for payload in Parser::new(0).parse_all(wasm) {
            let payload = payload.map_err(|it| self.invalid(&it))?;
            self.look(&payload)?;
            match validator.payload(&payload).map_err(|it| self.invalid(&it))? {
                ValidPayload::Func(function, body) => {
                    let index = self.imported_functions + self.bodies;
                    self.bodies += 1;
                    self.refuse_operators(index, &body)?;
                    let mut function = function.into_validator(std::mem::take(&mut allocations));
                    function.validate(&body).map_err(|it| {
                        self.refuse(format!(
                            "{}: {} (at byte {:#x})",
                            self.function(index),
                            it.message(),
                            it.offset()
                        ))
                    })?;
                    allocations = function.into_allocations();
                }
                ValidPayload::Ok | ValidPayload::Parser(_) | ValidPayload::End(_) => {}
            }
        }
        Ok(())
    }

    fn look(&mut self, payload: &Payload<'_>) -> Result<()> {
        match payload {
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports() {
                    let import = import.map_err(|it| self.invalid(&it))?;
                    self.import(import.module, import.name, import.ty)?;
                }
            }
            Payload::MemorySection(section) => {
                for memory in section.clone() {
                    let memory = memory.map_err(|it| self.invalid(&it))?;
                    if memory.shared {
                        return Err(self.refuse(
                            "its memory is shared (threads): operators run on one thread",
                        ));
                    }
                    if memory.memory64 {
                        return Err(self.refuse(
                            "its memory has 64-bit addresses (memory64): build for wasm32",
                        ));
                    }
                    self.memories += 1;
                    self.anatomy.memory_min_pages = memory.initial;
                    self.anatomy.memory_max_pages = memory.maximum;
                }
                if self.memories > 1 {
                    return Err(self.refuse(format!(
                        "it has {} memories (multi-memory): one is captured",
                        self.memories
                    )));
                }
            }
            Payload::GlobalSection(section) => {
                for (index, global) in section.clone().into_iter().enumerate() {
                    let global = global.map_err(|it| self.invalid(&it))?;
                    if global.ty.mutable {
                        if matches!(global.ty.content_type, wasmparser::ValType::Ref(_)) {
                            return Err(self.refuse(format!(
                                "global {index} is a mutable reference: it cannot be captured"
                            )));
                        }
                        self.anatomy.mutable_globals.push(index as u32);
                    } else {
                        let value = constant(&global.init_expr);
                        self.anatomy.constants.push((index as u32, value));
                    }
                }
            }
            Payload::ExportSection(section) => {
                for export in section.clone() {
                    let export: Export<'_> = export.map_err(|it| self.invalid(&it))?;
                    if export.name.starts_with(abi::OWN_PREFIX) {
                        return Err(self.refuse(format!(
                            "it exports {:?}: names that begin with {} are floe's own",
                            export.name,
                            abi::OWN_PREFIX
                        )));
                    }
                    if export.kind == ExternalKind::Table {
                        continue;
                    }
                    self.anatomy.exports.push(export.name.to_owned());
                }
            }
            Payload::StartSection { .. } => self.anatomy.has_start = true,
            Payload::TagSection(_) => return Err(self.refuse("it uses exceptions (a tag section)")),
            Payload::CodeSectionStart { count, .. } => self.anatomy.functions = *count,
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, module: &str, field: &str, kind: TypeRef) -> Result<()> {
        let place = format!("{module}.{field}");
        match kind {
            TypeRef::Func(_) | TypeRef::FuncExact(_) => self.imported_functions += 1,
            TypeRef::Memory(it) if it.shared => {
                return Err(self.refuse(format!(
                    "it imports a shared memory ({place}): threads are not supported"
                )));
            }
            TypeRef::Memory(_) => {
                return Err(self.refuse(format!(
                    "it imports its memory ({place}): it must define and export it"
                )));
            }
            TypeRef::Table(_) => return Err(self.refuse(format!("it imports a table ({place})"))),
            TypeRef::Global(_) => return Err(self.refuse(format!("it imports a global ({place})"))),
            TypeRef::Tag(_) => {
                return Err(self.refuse(format!("it imports an exception tag ({place})")));
            }
        }
        let known = match module {
            abi::IMPORTS => ABI_IMPORTS.contains(&field),
            abi::WASI => WASI_FUNCTIONS.contains(&field),
            other if other.starts_with("floe_v") => {
                return Err(self.refuse(format!(
                    "it was built for another version of the ABI (it imports {place}; this floe has floe_v1): build it with an SDK of version 1"
                )));
            }
            _ => false,
        };
        if !known {
            return Err(self.refuse(format!(
                "it imports {place}, which floe does not provide: an operator reaches nothing outside of its sandbox; bring outside data in as a source, and outside effects out as rows"
            )));
        }
        self.anatomy.imports.push((module.to_owned(), field.to_owned()));
        Ok(())
    }

    fn refuse_operators(&self, index: u32, body: &wasmparser::FunctionBody<'_>) -> Result<()> {
        let mut reader = body.get_operators_reader().map_err(|it| self.invalid(&it))?;
        while !reader.eof() {
            let operator = match reader.read() {
                Ok(operator) => operator,
                Err(error) => {
                    return Err(self.refuse(format!(
                        "{}: {}",
                        self.function(index),
                        error.message()
                    )));
                }
            };
            let construct = match operator {
                Operator::TableSet { .. } => "table.set",
                Operator::TableGrow { .. } => "table.grow",
                Operator::TableFill { .. } => "table.fill",
                Operator::TableCopy { .. } => "table.copy",
                Operator::TableInit { .. } => "table.init",
                Operator::ElemDrop { .. } => "elem.drop",
                Operator::DataDrop { .. } => "data.drop",
                Operator::MemoryInit { .. } => "memory.init",
                _ => continue,
            };
            return Err(self.refuse(format!(
                "{} uses {construct}: tables and passive segments are not captured",
                self.function(index)
            )));
        }
        Ok(())
    }

    fn conclude(self) -> Result<Anatomy> {
        if self.memories == 0 {
            return Err(self.refuse("it has no memory"));
        }
        let has = |name: &str| self.anatomy.exports.iter().any(|it| it == name);
        let needed = [abi::MEMORY, abi::DESCRIBE, abi::INPUT, abi::OPEN, abi::PROCESS];
        let missing: Vec<&str> = needed.into_iter().filter(|it| !has(it)).collect();
        if !missing.is_empty() {
            let other = self
                .anatomy
                .exports
                .iter()
                .find(|it| it.starts_with("floe_v") && !it.starts_with("floe_v1_"));
            return Err(match other {
                Some(other) => self.refuse(format!(
                    "it was built for another version of the ABI (it exports {other}; this floe needs floe_v1_…): build it with an SDK of version 1"
                )),
                None => self.refuse(format!("it does not export {}: is it a floe operator?", missing.join(", "))),
            });
        }
        Ok(self.anatomy)
    }
}

fn function_names(wasm: &[u8]) -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    for payload in Parser::new(0).parse_all(wasm).flatten() {
        let Payload::CustomSection(section) = payload else { continue };
        let wasmparser::KnownCustom::Name(reader) = section.as_known() else { continue };
        let reader: NameSectionReader<'_> = reader;
        // Names inform; a section that cannot be read leaves functions without one.
        for subsection in reader.into_iter().flatten() {
            if let Name::Function(functions) = subsection {
                names.extend(
                    functions.into_iter().flatten().map(|it| (it.index, it.name.to_owned())),
                );
            }
        }
    }
    names
}
