//! The engine, with every setting that a guest's results depend on, and its reason.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use floe_core::{Error, Result};
use wasmtime::{Config, Inlining, OperatorCost, OptLevel, Strategy, WasmBacktraceDetails};

use crate::cache::Cache;
use crate::dirty::memory::Creator;
use crate::dirty::{DirtyPages, Method};
use crate::poll::Polls;
use crate::staging::Staging;

/// Compiles and runs modules. One for the process.
pub struct Engine {
    /// What all compilers have in common; the size of the stack comes on top.
    config: Config,
    /// By the bytes of the stack, made at the first need.
    compilers: Mutex<BTreeMap<usize, Compilers>>,
    pub(crate) polls: Polls,
    pub(crate) cache: Option<Cache>,
    pub(crate) memories: Arc<Creator>,
    pub(crate) staging: Staging,
}

/// The two of one stack size, which is a setting of a whole engine of wasmtime.
#[derive(Clone)]
pub(crate) struct Compilers {
    /// Counts fuel.
    pub(crate) counted: wasmtime::Engine,
    /// Runs modules with polls.
    pub(crate) polled: wasmtime::Engine,
    pub(crate) stack_bytes: usize,
}

/// Wasm stack of an instance, unless limits.stack says otherwise. Depth in frames differs between machines,
/// so a stack trap is written down and never derived again (DESIGN §5); the bytes are the same everywhere.
pub const STACK_BYTES: usize = 1 << 20;

/// Frames of code that counts fuel are larger, by a half at the most (16 bytes of 32). What does not
/// overflow here does not overflow there, so a replay, which counts, gets as deep as the run did.
const fn polled_stack_bytes(stack_bytes: usize) -> usize {
    stack_bytes / 8 * 5
}

/// The version of wasmtime that is linked, for the manifest and the cache's key.
const WASMTIME: &str = "48";

impl Engine {
    /// `cache` is the folder for compiled modules; without one, each start compiles.
    pub fn new(cache: Option<PathBuf>) -> Result<Arc<Engine>> {
        Engine::build(cache, DirtyPages::Auto, Optimisation::Speed, Polls::Everywhere)
    }

    /// For measuring what metering costs: where `Metering::Time` is asked for, a call without an end has none.
    pub fn without_metering(cache: Option<PathBuf>) -> Result<Arc<Engine>> {
        Engine::build(cache, DirtyPages::Auto, Optimisation::Speed, Polls::Nowhere)
    }

    /// With the method by which captures find what was written; it decides no result.
    pub fn with_dirty_pages(cache: Option<PathBuf>, wanted: DirtyPages) -> Result<Arc<Engine>> {
        Engine::build(cache, wanted, Optimisation::Speed, Polls::Everywhere)
    }

    pub fn with_optimisation(
        cache: Option<PathBuf>,
        optimisation: Optimisation,
    ) -> Result<Arc<Engine>> {
        Engine::build(cache, DirtyPages::Auto, optimisation, Polls::Everywhere)
    }

    fn build(
        cache: Option<PathBuf>,
        wanted: DirtyPages,
        optimisation: Optimisation,
        polls: Polls,
    ) -> Result<Arc<Engine>> {
        let method = Method::choose(wanted).map_err(|why| {
            Error::invalid(format!(
                "dirty-pages = \"userfaultfd\" does not work here: {why}\n  → dirty-pages = \"auto\" in [checkpoint] compares page hashes instead"
            ))
        })?;
        let memories = Arc::new(Creator::new(Arc::new(method)));
        let mut config = config(Arc::clone(&memories));
        config.cranelift_opt_level(match optimisation {
            Optimisation::Speed => OptLevel::Speed,
            Optimisation::None | Optimisation::Debugger => OptLevel::None,
        });
        // The guest's DWARF as the machine's, told to whatever debugger this process runs in.
        config.debug_info(optimisation == Optimisation::Debugger);
        let cache = match cache {
            None => None,
            // Without its cache the engine compiles each time: slower, and never wrong.
            Some(folder) => Cache::open(folder)
                .inspect_err(|error| tracing::warn!("compiled modules are not cached: {error}"))
                .ok(),
        };
        let engine = Engine {
            config,
            compilers: Mutex::default(),
            polls,
            cache,
            memories,
            staging: Staging::default(),
        };
        // Whether it works on this machine is known at once.
        engine.compilers(STACK_BYTES)?;
        Ok(Arc::new(engine))
    }

    /// Those for a stack of so many bytes.
    pub(crate) fn compilers(&self, stack_bytes: usize) -> Result<Compilers> {
        let mut made = self.compilers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(compilers) = made.get(&stack_bytes) {
            return Ok(compilers.clone());
        }
        let started = |config: &Config| {
            wasmtime::Engine::new(config).map_err(|error| {
                Error::invalid(format!("the WebAssembly engine does not start here: {error:#}"))
            })
        };
        let mut config = self.config.clone();
        // Nothing is async here, and the engine wants those stacks not to be smaller.
        config.async_stack_size(2 * stack_bytes);
        let counted = started(config.max_wasm_stack(stack_bytes))?;
        for_polls(&mut config).max_wasm_stack(polled_stack_bytes(stack_bytes));
        let compilers = Compilers { counted, polled: started(&config)?, stack_bytes };
        Ok(made.entry(stack_bytes).or_insert(compilers).clone())
    }

    /// The method by which captures find written pages here, and why if it is not the kernel's.
    pub fn dirty_pages(&self) -> String {
        self.memories.method.describe()
    }

    /// What decides results: it is in every checkpoint's identity.
    pub fn settings(&self) -> String {
        settings(STACK_BYTES)
    }
}

pub(crate) fn settings(stack_bytes: usize) -> String {
    format!("wasmtime-{WASMTIME} nan-canonical fuel stack-{stack_bytes} abi-1")
}

/// How well guests are compiled. It decides no result: that is what `None` is there to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Optimisation {
    Speed,
    None,
    /// Not at all, and with what gdb and lldb need to see lines and variables of a guest.
    Debugger,
}

fn config(memories: Arc<Creator>) -> Config {
    let mut config = Config::new();
    config
        // Winch had an escape from the sandbox in 2026.
        .strategy(Strategy::Cranelift)
        // A NaN's bits must not depend on the machine's instructions; free on integer work.
        .cranelift_nan_canonicalization(true)
        // Its results are the machine's choice.
        .wasm_relaxed_simd(false)
        // Captures know one memory with 32-bit addresses. Threads, exceptions and garbage collection are not
        // even compiled into this engine (features of the dependency), and `check.rs` refuses them by name.
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_custom_page_sizes(false)
        .wasm_stack_switching(false)
        // Deterministic metering; epoch interruption depends on the clock.
        .consume_fuel(true)
        .operator_cost(operator_cost())
        // The whole address space up front: growth depends on the limit alone, and no bounds are checked
        // by code (198–219 ns a record with, 150–172 without).
        .memory_reservation(4 << 30)
        .memory_guard_size(32 << 20)
        .memory_may_move(false)
        // Memories of our own know which of their pages were written.
        .with_host_memory(memories)
        // Memory is written whole at a restore; pages shared with a file would only be copied first.
        .memory_init_cow(false)
        // Which branches are hardly ever taken, so that the others lie side by side: layout, and nothing else.
        .wasm_branch_hinting(true)
        // File and line in backtraces. DWARF addresses count from the code section's start, and the
        // rewriting leaves that section as it is. The default would ask an environment variable.
        .generate_address_map(true)
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(32));
    config
}

/// The same for modules with polls. What fails there is run again where fuel is counted, so it needs no
/// fuel and no lines.
fn for_polls(config: &mut Config) -> &mut Config {
    config
        .consume_fuel(false)
        // The page that polls read is a memory of its own; a guest has no instruction for it.
        .wasm_multi_memory(true)
        // A poll's byte is one of its function: with two copies in one function the second would be left out.
        .compiler_inlining(Inlining::No)
        .generate_address_map(false)
        .wasm_backtrace_max_frames(None)
}

/// Instructions that are calls into the engine cost what a call costs, beside what each byte does: a loop
/// over `memory.fill` of no bytes spent its fuel of a batch in 20 s, and a plain loop does in 0.2 s.
fn operator_cost() -> OperatorCost {
    OperatorCost { MemoryFill: 100, MemoryCopy: 100, MemoryGrow: 250, ..OperatorCost::new() }
}
