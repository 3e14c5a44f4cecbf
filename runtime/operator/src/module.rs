//! A module: checked, rewritten, compiled (or taken from the cache), and described by itself.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use floe_core::{Error, Result};
use serde::Serialize;
use sha2::{Digest, Sha256};
use wasmtime::ExternType;

use crate::abi;
use crate::check::{Anatomy, check};
use crate::code::Code;
use crate::engine::Engine;
use crate::instance::describe;
use crate::limits::Limits;
use crate::rewrite::rewrite;

pub struct Module {
    pub(crate) engine: Arc<Engine>,
    pub(crate) code: Code,
    pub(crate) anatomy: Arc<Anatomy>,
    pub(crate) hash: [u8; 32],
    sha256: [u8; 32],
    pub(crate) bytes: u64,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) state_version: u32,
    pub(crate) input: SchemaRef,
    pub(crate) outputs: Vec<(String, SchemaRef)>,
    /// Its columns depend on its configuration (A27): until then it has none.
    pub(crate) configurable: bool,
}

/// What `floe inspect` shows.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    pub name: String,
    pub version: String,
    pub abi_version: u32,
    pub state_version: u32,
    /// The columns are those of its configuration.
    pub configurable: bool,
    pub bytes: u64,
    /// blake3 of the module's bytes: checkpoints name it.
    pub hash: String,
    /// What `sha256sum` prints of the file.
    pub sha256: String,
    pub input: Vec<ColumnInspection>,
    pub outputs: Vec<OutputInspection>,
    pub imports: Vec<String>,
    pub exports: Vec<String>,
    pub functions: u32,
    /// Mutable globals, exported or hidden: all are captured.
    pub mutable_globals: usize,
    pub start_function: bool,
    pub memory_min_bytes: u64,
    pub memory_max_bytes: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
pub struct OutputInspection {
    pub name: String,
    pub columns: Vec<ColumnInspection>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ColumnInspection {
    pub name: String,
    pub r#type: String,
    pub nullable: bool,
}

impl Engine {
    /// Loads a module; `.wat` text is taken too. `path` is for messages.
    pub fn load(
        self: &Arc<Self>,
        path: &str,
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<Arc<Module>> {
        if bytes.len() as u64 > limits.module_bytes {
            return Err(Error::invalid(format!(
                "module {path} has {} bytes, and limits.module-size is {}",
                bytes.len(),
                limits.module_bytes
            )));
        }
        let wasm = wat::parse_bytes(bytes).map_err(|error| {
            Error::invalid(format!("module {path} is not WebAssembly: {error}"))
        })?;
        let anatomy = check(path, &wasm)?;
        let hash = *blake3::hash(bytes).as_bytes();
        let code = Code::of(self, path, rewrite(&wasm, &anatomy)?, limits)?;
        let configurable = anatomy.exports.iter().any(|it| it == abi::CONFIGURE);
        let said = code.decided(|pre| {
            check_types(path, pre.module())?;
            describe(self, pre, path, limits, configurable)
        })?;
        Ok(Arc::new(Module {
            engine: Arc::clone(self),
            code,
            anatomy: Arc::new(anatomy),
            hash,
            sha256: Sha256::digest(bytes).into(),
            bytes: bytes.len() as u64,
            name: said.name,
            version: said.version,
            state_version: said.state_version,
            input: said.input,
            outputs: said.outputs,
            configurable,
        }))
    }
}

impl Module {
    pub fn inspection(&self) -> Inspection {
        const WASM_PAGE: u64 = 65_536;
        Inspection {
            name: self.name.clone(),
            version: self.version.clone(),
            abi_version: 1,
            state_version: self.state_version,
            configurable: self.configurable,
            bytes: self.bytes,
            hash: blake3::Hash::from_bytes(self.hash).to_hex().to_string(),
            sha256: self.sha256.iter().map(|it| format!("{it:02x}")).collect(),
            input: columns(&self.input),
            outputs: self
                .outputs
                .iter()
                .map(|(name, schema)| OutputInspection {
                    name: name.clone(),
                    columns: columns(schema),
                })
                .collect(),
            imports: self
                .anatomy
                .imports
                .iter()
                .map(|(module, name)| format!("{module}.{name}"))
                .collect(),
            exports: self.anatomy.exports.clone(),
            functions: self.anatomy.functions,
            mutable_globals: self.anatomy.mutable_globals.len(),
            start_function: self.anatomy.has_start,
            memory_min_bytes: self.anatomy.memory_min_pages * WASM_PAGE,
            memory_max_bytes: self.anatomy.memory_max_pages.map(|it| it * WASM_PAGE),
        }
    }

    /// Do its columns depend on its configuration, and on what comes before it in the chain (A27)?
    pub fn is_configurable(&self) -> bool {
        self.configurable
    }

    pub fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn exports_state(&self) -> bool {
        self.exports(abi::EXPORT_STATE)
    }

    pub(crate) fn imports_state(&self) -> bool {
        self.exports(abi::IMPORT_STATE)
    }

    fn exports(&self, name: &str) -> bool {
        self.anatomy.exports.iter().any(|it| it == name)
    }

    pub fn input(&self) -> &SchemaRef {
        &self.input
    }

    pub fn outputs(&self) -> &[(String, SchemaRef)] {
        &self.outputs
    }
}

fn columns(schema: &SchemaRef) -> Vec<ColumnInspection> {
    schema
        .fields()
        .iter()
        .map(|it| ColumnInspection {
            name: it.name().clone(),
            r#type: it.data_type().to_string(),
            nullable: it.is_nullable(),
        })
        .collect()
}

fn check_types(path: &str, module: &wasmtime::Module) -> Result<()> {
    let wanted: [(&str, &str, bool); 9] = [
        (abi::DESCRIBE, "() -> i32", true),
        (abi::INPUT, "(i32) -> i32", true),
        (abi::CONFIGURE, "(i32, i32, i32) -> i32", false),
        (abi::OPEN, "(i32, i32) -> i32", true),
        (abi::PROCESS, "(i32) -> i32", true),
        (abi::WATERMARK, "(i64) -> i32", false),
        (abi::EXPORT_STATE, "() -> i32", false),
        (abi::IMPORT_STATE, "(i32, i32) -> i32", false),
        (abi::INITIALIZE, "() -> ()", false),
    ];
    for (name, signature, required) in wanted {
        let found = match module.get_export(name) {
            None if !required => continue,
            Some(ExternType::Func(function)) => {
                let list = |types: Vec<String>| format!("({})", types.join(", "));
                let parameters = list(function.params().map(|it| it.to_string()).collect());
                let results: Vec<String> = function.results().map(|it| it.to_string()).collect();
                let results = if results.len() == 1 { results[0].clone() } else { list(results) };
                format!("{parameters} -> {results}")
            }
            Some(_) => "no function".to_owned(),
            None => "nothing".to_owned(),
        };
        if found != signature {
            return Err(Error::invalid(format!(
                "module {path} is refused: its export {name} is {found}, and must be {signature}"
            )));
        }
    }
    match module.get_export(abi::MEMORY) {
        Some(ExternType::Memory(_)) => Ok(()),
        _ => Err(Error::invalid(format!(
            "module {path} is refused: its export \"memory\" is no memory"
        ))),
    }
}
