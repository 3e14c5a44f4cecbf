//! One instance: calls into the guest, capture at quiescent points, restore into a fresh one.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use floe_core::image::{Capture, GlobalValue, OperatorImage};
use floe_core::ports::{ExportedState, Operator, Staged};
use floe_core::rng::OperatorRng;
use floe_core::{Error, EventTime, Result};
use wasmtime::{Global, InstancePre, Memory, Store, Trap, TypedFunc, Val, WasmParams, WasmResults};

use crate::abi;
use crate::arrow_in::Plan;
use crate::check::Anatomy;
use crate::dirty::Written;
use crate::engine::Engine;
use crate::host::{Host, Limiter};
use crate::limits::Limits;
use crate::module::Module;
use crate::poll::Watch;
use crate::schema::lay_out;
use crate::stack::with_stack;
use crate::trap::explain;

mod capture;
mod core_dump;
mod describe;
mod state;

#[cfg(test)]
pub(crate) use describe::{Said, read_description};
pub(crate) use describe::{describe, describe_configured};

pub(crate) struct Instance {
    store: Store<Host>,
    memory: Memory,
    written: Written,
    engine: Arc<Engine>,
    globals: Vec<Global>,
    input: TypedFunc<i32, i32>,
    process: TypedFunc<i32, i32>,
    watermark: Option<TypedFunc<i64, i32>>,
    instance: wasmtime::Instance,
    limits: Limits,
    /// Pointer and capacity of the guest's input region.
    region: (u32, u32),
    /// Bytes at the region's begin that may not be zero. What is behind a batch is zero whatever was there
    /// before, or a guest that reads too far would go on otherwise after a restore.
    region_used: usize,
    /// A23: after a trap nothing is called again.
    trapped: bool,
    /// At the begin of the last call.
    fuel_given: u64,
    /// For a core dump: which globals there are, and the stack of the trap, the youngest frame first.
    anatomy: Arc<Anatomy>,
    stopped_at: Vec<core_dump::Frame>,
    /// Of a module with polls; `None` where fuel is counted.
    watch: Option<Arc<Watch>>,
}

/// What 32-bit addresses reach, whatever the limit says.
const ADDRESSABLE_BYTES: u64 = 4 << 30;

/// An input region grows to twice what is needed, so that it soon grows no more.
const REGION_BYTES_MIN: u64 = 64 << 10;

impl Instance {
    fn new(
        engine: &Arc<Engine>,
        pre: &InstancePre<Host>,
        name: &str,
        outputs: Vec<SchemaRef>,
        limits: &Limits,
        rng: OperatorRng,
        globals: &[u32],
    ) -> Result<Instance> {
        let host = Host {
            name: name.to_owned(),
            memory: None,
            outputs,
            now: EventTime::MIN,
            rng,
            limiter: Limiter {
                memory_bytes: limits.memory_bytes.min(ADDRESSABLE_BYTES) as usize,
                table_elements: limits.table_elements as usize,
                host_refused: false,
            },
            state_version: 0,
            emitted: Vec::new(),
            rejected: Vec::new(),
            input_rows: 0,
            rejected_bits: Vec::new(),
            output_bytes_left: 0,
            log_lines_left: 0,
            log_bytes_left: 0,
            failure: None,
            counts_fuel: pre.module().get_export(abi::POLLS).is_none(),
            may_emit: false,
        };
        let mut store = Store::new(pre.module().engine(), host);
        store.limiter(|host| &mut host.limiter);
        if store.data().counts_fuel {
            store.set_fuel(limits.fuel_per_batch).expect("fuel is on");
        }
        let failed = |error: wasmtime::Error| {
            Error::invalid(format!(
                "operator {name} could not be instantiated (limits.memory is {} bytes, limits.table-elements {}): {error:#}",
                limits.memory_bytes, limits.table_elements
            ))
        };
        let instance = pre.instantiate(&mut store).map_err(failed)?;
        let memory = instance.get_memory(&mut store, abi::MEMORY).expect("checked at load");
        store.data_mut().memory = Some(memory);
        let written = Written::of(&engine.memories, memory.data_ptr(&store))
            .expect("the engine's memories are made by its own creator");
        let globals = globals
            .iter()
            .map(|it| {
                let name = format!("{}{it}", abi::GLOBAL_PREFIX);
                instance.get_global(&mut store, &name).expect("the rewriting exports it")
            })
            .collect();
        let watch = instance.get_memory(&mut store, abi::POLLS).map(|page| {
            let page = engine.memories.find(page.data_ptr(&store));
            Watch::new(page.expect("made by the engine's own creator"), limits.time_per_batch)
        });
        let input = instance.get_typed_func(&mut store, abi::INPUT).expect("checked at load");
        let process = instance.get_typed_func(&mut store, abi::PROCESS).expect("checked at load");
        let watermark = instance.get_typed_func(&mut store, abi::WATERMARK).ok();
        Ok(Instance {
            store,
            memory,
            written,
            engine: Arc::clone(engine),
            globals,
            input,
            process,
            watermark,
            instance,
            limits: limits.clone(),
            region: (0, 0),
            region_used: 0,
            trapped: false,
            fuel_given: 0,
            anatomy: Arc::default(),
            stopped_at: Vec::new(),
            watch,
        })
    }

    /// A fresh instance: start function, `_initialize`, `open`.
    pub(crate) fn open(
        module: &Module,
        pre: &InstancePre<Host>,
        name: &str,
        limits: &Limits,
        setup: &Setup,
        seed: u64,
    ) -> Result<Instance> {
        let rng = OperatorRng::from_seed(seed);
        let mut instance = Instance::of(module, pre, name, limits, setup, rng)?;
        instance.begin(0);
        instance.initialize()?;
        let config = &setup.config;
        if module.configurable {
            instance.configure(config, setup.upstream.as_deref())?;
            instance.begin(0);
        }
        let (pointer, _) = instance.region(config.len() as u64)?;
        instance
            .memory
            .write(&mut instance.store, pointer as usize, config.as_bytes())
            .expect("the region is in bounds");
        let open = instance
            .instance
            .get_typed_func::<(i32, i32), i32>(&mut instance.store, abi::OPEN)
            .expect("checked at load");
        let done = instance.call(&open, (pointer as i32, config.len() as i32));
        instance.finish("open", done)?;
        Ok(instance)
    }

    /// The instance that the image was captured from: no guest code runs.
    pub(crate) fn restore(
        module: &Module,
        pre: &InstancePre<Host>,
        name: &str,
        limits: &Limits,
        setup: &Setup,
        image: &OperatorImage,
    ) -> Result<Instance> {
        let rng = OperatorRng::from_state(image.rng_state);
        let mut instance = Instance::of(module, pre, name, limits, setup, rng)?;
        let (memory, store) = (instance.memory, &mut instance.store);
        let have = memory.data_size(&*store);
        let want = image.memory.bytes as usize;
        let corrupt = |what: String| Error::corrupt(format!("image of operator {name}: {what}"));
        if want < have || !want.is_multiple_of(WASM_PAGE) {
            return Err(corrupt(format!(
                "memory of {want} bytes, and the module begins with {have}"
            )));
        }
        if want as u64 > limits.memory_bytes {
            return Err(Error::invalid(format!(
                "image of operator {name}: its memory of {want} bytes is over limits.memory, {} bytes\n  → set limits.memory to what it was when the checkpoint was written, or more",
                limits.memory_bytes
            )));
        }
        let touched = instance.written.populated(memory.data(&*store));
        if memory.grow(&mut *store, ((want - have) / WASM_PAGE) as u64).is_err() {
            return Err(match store.data().limiter.host_refused {
                true => crate::trap::no_memory(name),
                false => corrupt(format!("memory of {want} bytes is over the module's maximum")),
            });
        }
        capture::write_memory(memory.data_mut(&mut *store), &touched, &image.memory);
        if image.globals.len() != instance.globals.len() {
            return Err(corrupt(format!(
                "{} globals, and the module has {}",
                image.globals.len(),
                instance.globals.len()
            )));
        }
        for (global, value) in instance.globals.iter().zip(&image.globals) {
            let value = match *value {
                GlobalValue::I32(value) => Val::I32(value),
                GlobalValue::I64(value) => Val::I64(value),
                GlobalValue::F32(bits) => Val::F32(bits),
                GlobalValue::F64(bits) => Val::F64(bits),
                GlobalValue::V128(bits) => Val::V128(bits.into()),
            };
            global.set(&mut *store, value).map_err(|error| corrupt(format!("{error:#}")))?;
        }
        instance.region = image.input_region;
        let (pointer, capacity) = instance.region;
        if u64::from(pointer) + u64::from(capacity) > want as u64 {
            return Err(corrupt("the input region is outside of the memory".to_owned()));
        }
        instance.written.begin(instance.memory.data(&instance.store));
        Ok(instance)
    }

    fn of(
        module: &Module,
        pre: &InstancePre<Host>,
        name: &str,
        limits: &Limits,
        setup: &Setup,
        rng: OperatorRng,
    ) -> Result<Instance> {
        let outputs = setup.outputs.iter().map(Arc::clone).collect();
        let globals = &module.anatomy.mutable_globals;
        let mut instance = Instance::new(&module.engine, pre, name, outputs, limits, rng, globals)?;
        instance.store.data_mut().state_version = module.state_version;
        instance.anatomy = Arc::clone(&module.anatomy);
        Ok(instance)
    }

    fn initialize(&mut self) -> Result<()> {
        for name in [abi::START, abi::INITIALIZE] {
            if let Ok(function) = self.instance.get_typed_func::<(), ()>(&mut self.store, name) {
                let done = self.call(&function, ()).map(|()| 0);
                self.finish(name, done)?;
            }
        }
        Ok(())
    }

    /// Tells the instance its configuration, and the columns of what comes before it (A27).
    fn configure(&mut self, config: &str, upstream: Option<&Schema>) -> Result<()> {
        let schema_at = config.len().next_multiple_of(64);
        let schema_bytes = upstream.map_or(0, |it| lay_out(it, 0).len());
        let (pointer, _) = self.region((schema_at + schema_bytes) as u64)?;
        let schema_pointer = pointer + schema_at as u32;
        let schema = upstream.map(|it| lay_out(it, schema_pointer)).unwrap_or_default();
        for (at, bytes) in [(pointer, config.as_bytes()), (schema_pointer, &schema)] {
            self.memory
                .write(&mut self.store, at as usize, bytes)
                .expect("the region is in bounds");
        }
        let configure = self
            .instance
            .get_typed_func::<(i32, i32, i32), i32>(&mut self.store, abi::CONFIGURE)
            .expect("checked at load");
        let upstream = if upstream.is_some() { schema_pointer as i32 } else { 0 };
        let done = self.call(&configure, (pointer as i32, config.len() as i32, upstream));
        self.finish("configure", done)
    }

    /// A pointer to the instance's description.
    fn description(&mut self) -> Result<u64> {
        let function = self
            .instance
            .get_typed_func::<(), i32>(&mut self.store, abi::DESCRIBE)
            .expect("checked at load");
        match self.call(&function, ()) {
            Ok(pointer) => Ok(u64::from(pointer as u32)),
            Err(error) => Err(explain(abi::DESCRIBE, &error, self.store.data())),
        }
    }

    /// Prepares a call that takes `rows` rows.
    fn begin(&mut self, rows: usize) {
        assert!(!self.trapped, "A23: the instance trapped before");
        let fuel = self
            .limits
            .fuel_per_record
            .saturating_mul(rows as u64)
            .saturating_add(self.limits.fuel_per_batch);
        self.give_fuel(fuel);
        let output_bytes = self.limits.output_bytes_per_batch;
        self.store.data_mut().begin(rows, output_bytes);
    }

    fn give_fuel(&mut self, fuel: u64) {
        self.fuel_given = fuel;
        if self.watch.is_none() {
            self.store.set_fuel(fuel).expect("fuel is on");
        }
    }

    /// Every call into the guest goes through here.
    fn call<P: WasmParams, R: WasmResults>(
        &mut self,
        function: &TypedFunc<P, R>,
        parameters: P,
    ) -> wasmtime::Result<R> {
        let stack_bytes = self.limits.stack_bytes as usize;
        match with_stack(stack_bytes, || self.call_here(function, parameters)) {
            Ok(done) => done,
            Err(error) => {
                // The machine's fault, as when a memory does not grow.
                self.store.data_mut().limiter.host_refused = true;
                Err(error.into())
            }
        }
    }

    fn call_here<P: WasmParams, R: WasmResults>(
        &mut self,
        function: &TypedFunc<P, R>,
        parameters: P,
    ) -> wasmtime::Result<R> {
        let Some(watch) = &self.watch else { return function.call(&mut self.store, parameters) };
        watch.begin();
        let done = function.call(&mut self.store, parameters);
        let was_stopped = watch.end();
        // A call that came to its end just then stands.
        done.map_err(|error| match error.downcast_ref::<Trap>() {
            Some(Trap::MemoryOutOfBounds) if was_stopped => wasmtime::Error::msg(format!(
                "it worked longer than limits.time-per-batch, {:?}",
                watch.allowance
            )),
            _ => error,
        })
    }

    /// Turns the end of a call into what it means.
    fn finish(&mut self, call: &str, done: wasmtime::Result<i32>) -> Result<()> {
        self.store.data_mut().may_emit = false;
        let error = match done {
            Ok(0) => return Ok(()),
            Ok(code) => explain(
                call,
                &wasmtime::Error::msg(format!("it returned {code}")),
                self.store.data(),
            ),
            Err(error) => {
                self.stopped_at = core_dump::frames(&error);
                explain(call, &error, self.store.data())
            }
        };
        self.trapped = true;
        Err(error)
    }

    /// Prepares a call whose fuel follows a size and not rows.
    fn begin_sized(&mut self, fuel_per_byte: u64, bytes: u64) {
        self.begin(0);
        let fuel = fuel_per_byte.saturating_mul(bytes).saturating_add(self.limits.fuel_per_batch);
        self.give_fuel(fuel);
    }

    /// The region, grown to `bytes` if it is smaller.
    fn region(&mut self, bytes: u64) -> Result<(u32, u32)> {
        if bytes <= u64::from(self.region.1) && self.region.1 > 0 {
            return Ok(self.region);
        }
        self.grow_region(2 * bytes)
    }

    fn grow_region(&mut self, bytes: u64) -> Result<(u32, u32)> {
        let capacity = bytes.max(REGION_BYTES_MIN).next_multiple_of(64);
        let Some(asked) = i32::try_from(capacity).ok() else {
            self.trapped = true;
            return Err(Error::operator(format!(
                "input of {bytes} bytes does not fit into an operator's memory; make batches smaller"
            )));
        };
        let input = self.input.clone();
        let pointer = match self.call(&input, asked) {
            Ok(pointer) => pointer as u32,
            Err(error) => return self.finish(abi::INPUT, Err(error)).map(|()| (0, 0)),
        };
        let end = u64::from(pointer) + capacity;
        if pointer == 0 || pointer % 64 != 0 || end > self.memory.data_size(&self.store) as u64 {
            let wrong = wasmtime::Error::msg(format!(
                "it returned {pointer:#x} for {capacity} bytes: the region must be aligned to 64 bytes and lie in the memory"
            ));
            return self.finish(abi::INPUT, Err(wrong)).map(|()| (0, 0));
        }
        self.region = (pointer, capacity as u32);
        self.region_used = capacity as usize;
        Ok(self.region)
    }

    fn staged(&mut self) -> Staged {
        let host = self.store.data_mut();
        Staged {
            emitted: std::mem::take(&mut host.emitted),
            rejected: std::mem::take(&mut host.rejected),
        }
    }
}

const WASM_PAGE: usize = 65_536;

impl Operator for Instance {
    fn process(&mut self, batch: &RecordBatch, virtual_time: EventTime) -> Result<Staged> {
        let rows = batch.num_rows();
        assert!(0 < rows, "A14");
        assert!(rows <= abi::BATCH_ROWS_MAX, "A14");
        self.begin(rows);
        self.store.data_mut().now = virtual_time;
        let plan = Plan::of(batch);
        let (pointer, capacity) = self.region(plan.bytes)?;
        let region = &mut self.memory.data_mut(&mut self.store)
            [pointer as usize..(pointer + capacity) as usize];
        let array = plan.write(region, pointer);
        let bytes = plan.bytes as usize;
        region[bytes..self.region_used.max(bytes)].fill(0);
        self.region_used = bytes;
        self.store.data_mut().may_emit = true;
        let process = self.process.clone();
        let done = self.call(&process, array as i32);
        self.finish("process", done)?;
        Ok(self.staged())
    }

    fn watermark(&mut self, watermark: EventTime, virtual_time: EventTime) -> Result<Staged> {
        let Some(function) = self.watermark.clone() else { return Ok(Staged::default()) };
        self.begin(0);
        self.store.data_mut().now = virtual_time;
        self.store.data_mut().may_emit = true;
        let done = self.call(&function, watermark.0);
        self.finish("watermark", done)?;
        Ok(self.staged())
    }

    fn capture(&mut self, what: Capture) -> Result<OperatorImage> {
        self.capture_image(what)
    }

    fn forget_captures(&mut self) {
        self.written.forget();
    }

    fn memory_bytes(&self) -> u64 {
        self.memory.data_size(&self.store) as u64
    }

    fn export(self: Box<Self>) -> Result<ExportedState> {
        self.export_state()
    }

    fn core_dump(&mut self) -> Option<Vec<u8>> {
        Some(self.dump())
    }

    fn last_fuel(&self) -> Option<u64> {
        // Not where fuel is not counted.
        Some(self.fuel_given.saturating_sub(self.store.get_fuel().ok()?))
    }
}

/// What an instance is opened with besides its module.
pub(crate) struct Setup {
    /// JSON text.
    pub(crate) config: String,
    /// The columns that come in, as far as they are known before the operator says which it takes.
    pub(crate) upstream: Option<SchemaRef>,
    pub(crate) outputs: Vec<SchemaRef>,
}
