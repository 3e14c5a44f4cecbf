//! A module: checked, rewritten, compiled (or taken from the cache), and described by itself.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use arrow_schema::SchemaRef;
use floe_core::{Error, Result};
use serde::Serialize;
use sha2::{Digest, Sha256};
use wasmtime::{ExternType, InstancePre, Linker};

use crate::abi;
use crate::check::{Anatomy, check};
use crate::engine::Engine;
use crate::host::{Host, charge_absent, link};
use crate::instance::describe;
use crate::limits::Limits;
use crate::rewrite::rewrite;

pub struct Module {
    pub(crate) engine: Arc<Engine>,
    pub(crate) instance_pre: InstancePre<Host>,
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
        let compiled = self.compile(path, rewrite(&wasm, &anatomy)?, limits)?;
        check_types(path, &compiled)?;

        let mut linker = Linker::new(&self.wasm);
        let failed = |error: wasmtime::Error| Error::invalid(format!("module {path}: {error:#}"));
        link(&mut linker).map_err(failed)?;
        answer_enosys(&mut linker, &compiled).map_err(failed)?;
        let instance_pre = linker.instantiate_pre(&compiled).map_err(failed)?;
        let configurable = compiled.get_export(abi::CONFIGURE).is_some();
        let said = describe(self, &instance_pre, path, limits, configurable)?;
        Ok(Arc::new(Module {
            engine: Arc::clone(self),
            instance_pre,
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

    /// `wasm` is rewritten, and the key is made of it: a floe that rewrites otherwise compiles again.
    fn compile(&self, path: &str, wasm: Vec<u8>, limits: &Limits) -> Result<wasmtime::Module> {
        // The hash that wasmtime gives covers its version, all settings and the instruction set.
        let mut key = blake3::Hasher::new();
        key.update(blake3::hash(&wasm).as_bytes()).update(self.settings().as_bytes());
        let mut settings = SettingsHash(&mut key);
        std::hash::Hash::hash(&self.wasm.precompile_compatibility_hash(), &mut settings);
        let entry = key.finalize().to_hex().to_string();
        if let Some(cache) = &self.cache
            && let Some(compiled) = cache.get(&entry)
        {
            // SAFETY: the bytes were authenticated with a key that only this user can read, so they are what
            // `serialize` below returned, under the same engine settings (they are part of the name).
            match unsafe { wasmtime::Module::deserialize(&self.wasm, compiled) } {
                Ok(module) => return Ok(module),
                Err(error) => tracing::debug!("compiled module of {path} is of no use: {error}"),
            }
        }
        let module = compile_within(self.wasm.clone(), wasm, limits.compile_time)
            .ok_or_else(|| {
                Error::invalid(format!(
                    "module {path} does not compile within limits.compile-time, {:?}",
                    limits.compile_time
                ))
            })?
            .map_err(|error| {
                Error::invalid(format!("module {path} does not compile: {error:#}"))
            })?;
        if let Some(cache) = &self.cache
            && let Ok(bytes) = module.serialize()
        {
            cache.put(&entry, &bytes);
        }
        Ok(module)
    }
}

/// `None` when the time is over. A compilation cannot be called off: its thread goes on until it is done or
/// the process ends, which is what a refused module leads to. No record was read yet, so the clock decides
/// nothing that a guest sees.
fn compile_within(
    engine: wasmtime::Engine,
    wasm: Vec<u8>,
    time: Duration,
) -> Option<wasmtime::Result<wasmtime::Module>> {
    let (done, compiled) = mpsc::sync_channel(1);
    let work = move || {
        // Nobody listens any more once the time is over.
        let _ = done.send(wasmtime::Module::new(&engine, wasm));
    };
    match std::thread::Builder::new().name("compile".to_owned()).spawn(work) {
        Ok(_) => compiled.recv_timeout(time).ok(),
        Err(error) => Some(Err(error.into())),
    }
}

/// Feeds what is hashed into blake3.
struct SettingsHash<'a>(&'a mut blake3::Hasher);

impl std::hash::Hasher for SettingsHash<'_> {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
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

const WASI_ENOSYS: i32 = 52;

/// Every WASI function that is not virtual answers that it does not exist.
fn answer_enosys(linker: &mut Linker<Host>, module: &wasmtime::Module) -> wasmtime::Result<()> {
    let virtual_ones = [
        "clock_time_get",
        "clock_res_get",
        "random_get",
        "fd_write",
        "proc_exit",
        "args_sizes_get",
        "args_get",
        "environ_sizes_get",
        "environ_get",
        "fd_prestat_get",
        "sched_yield",
        "fd_fdstat_get",
    ];
    for import in module.imports() {
        if import.module() != abi::WASI || virtual_ones.contains(&import.name()) {
            continue;
        }
        if let ExternType::Func(signature) = import.ty() {
            linker.func_new(
                import.module(),
                import.name(),
                signature,
                |mut caller, _, results| {
                    charge_absent(&mut caller)?;
                    for result in results.iter_mut() {
                        *result = wasmtime::Val::I32(WASI_ENOSYS);
                    }
                    Ok(())
                },
            )?;
        }
    }
    Ok(())
}
