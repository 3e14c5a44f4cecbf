//! A module's code: compiled with polls for speed, and, where it is needed, with fuel counted to decide.
//!
//! What a call with polls comes to is what it comes to with fuel counted, unless it fails. Then the compile
//! that counts runs it again, and what that one does is what happened.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use floe_core::{Error, Result};
use wasmtime::{ExternType, InstancePre, Linker};

use crate::abi;
use crate::engine::{Compilers, Engine, settings};
use crate::host::{Host, charge_absent, link};
use crate::limits::{Limits, Metering};
use crate::poll;

pub(crate) struct Code {
    polled: Option<InstancePre<Host>>,
    counted: Mutex<Option<InstancePre<Host>>>,
    engine: Arc<Engine>,
    compilers: Compilers,
    path: String,
    /// Rewritten, without polls.
    wasm: Vec<u8>,
    compile_time: Duration,
}

impl Code {
    /// `wasm` is rewritten.
    pub(crate) fn of(
        engine: &Arc<Engine>,
        path: &str,
        wasm: Vec<u8>,
        limits: &Limits,
    ) -> Result<Code> {
        let mut code = Code {
            polled: None,
            counted: Mutex::new(None),
            engine: Arc::clone(engine),
            compilers: engine.compilers(limits.stack_bytes as usize)?,
            path: path.to_owned(),
            wasm,
            compile_time: limits.compile_time,
        };
        match limits.metering {
            Metering::Fuel => drop(code.counted()?),
            Metering::Time => {
                let make = || poll::with_polls(&code.wasm, engine.polls);
                let pre = code.prepared(&code.compilers.polled, engine.polls.version(), make)?;
                code.polled = Some(pre);
            }
        }
        Ok(code)
    }

    /// What calls run in as long as they come to an end. `None`: fuel is always counted.
    pub(crate) fn polled(&self) -> Option<&InstancePre<Host>> {
        self.polled.as_ref()
    }

    /// Of each of its instances.
    pub(crate) fn stack_bytes(&self) -> usize {
        self.compilers.stack_bytes
    }

    /// Compiled at the first need.
    pub(crate) fn counted(&self) -> Result<InstancePre<Host>> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counted) = &*counted {
            return Ok(counted.clone());
        }
        let pre =
            self.prepared(&self.compilers.counted, "hints-1", || poll::without_polls(&self.wasm))?;
        Ok(counted.insert(pre).clone())
    }

    /// Does what runs guest code without a record: whatever fails in it is decided where fuel is counted.
    pub(crate) fn decided<T>(&self, work: impl Fn(&InstancePre<Host>) -> Result<T>) -> Result<T> {
        if let Some(polled) = &self.polled
            && let Ok(done) = work(polled)
        {
            return Ok(done);
        }
        work(&self.counted()?)
    }

    /// Compiled, or taken from the cache, and linked. `variant` says what `make` makes of the module.
    fn prepared(
        &self,
        engine: &wasmtime::Engine,
        variant: &str,
        make: impl FnOnce() -> Result<Vec<u8>>,
    ) -> Result<InstancePre<Host>> {
        let path = &self.path;
        let compiled = self.compiled(engine, variant, make)?;
        let mut linker = Linker::new(engine);
        let failed = |error: wasmtime::Error| Error::invalid(format!("module {path}: {error:#}"));
        link(&mut linker).map_err(failed)?;
        answer_enosys(&mut linker, &compiled).map_err(failed)?;
        linker.instantiate_pre(&compiled).map_err(failed)
    }

    /// The cache's key is made of the rewritten module: a floe that rewrites otherwise compiles again.
    fn compiled(
        &self,
        engine: &wasmtime::Engine,
        variant: &str,
        make: impl FnOnce() -> Result<Vec<u8>>,
    ) -> Result<wasmtime::Module> {
        let path = &self.path;
        // The hash that wasmtime gives covers its version, all settings and the instruction set.
        let mut key = blake3::Hasher::new();
        key.update(blake3::hash(&self.wasm).as_bytes());
        key.update(variant.as_bytes()).update(settings(self.stack_bytes()).as_bytes());
        let mut settings = SettingsHash(&mut key);
        std::hash::Hash::hash(&engine.precompile_compatibility_hash(), &mut settings);
        let entry = key.finalize().to_hex().to_string();
        if let Some(cache) = &self.engine.cache
            && let Some(compiled) = cache.get(&entry)
        {
            // SAFETY: the bytes were authenticated with a key that only this user can read, so they are what
            // `serialize` below returned, under the same engine settings (they are part of the name).
            match unsafe { wasmtime::Module::deserialize(engine, compiled) } {
                Ok(module) => return Ok(module),
                Err(error) => tracing::debug!("compiled module of {path} is of no use: {error}"),
            }
        }
        let module = compile_within(engine.clone(), make()?, self.compile_time)
            .ok_or_else(|| {
                Error::invalid(format!(
                    "module {path} does not compile within limits.compile-time, {:?}",
                    self.compile_time
                ))
            })?
            .map_err(|error| {
                Error::invalid(format!("module {path} does not compile: {error:#}"))
            })?;
        if let Some(cache) = &self.engine.cache
            && let Ok(bytes) = module.serialize()
        {
            cache.put(&entry, &bytes);
        }
        Ok(module)
    }
}

/// `None` when the time is over. A compilation cannot be called off: its thread goes on until it is done or
/// the process ends, which is what a refused module leads to. The clock decides nothing that a guest sees.
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
