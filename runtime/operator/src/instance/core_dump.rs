//! A WebAssembly core dump of an instance, as the tool conventions have it (Coredump.md): for other tools.

use floe_core::image::{GlobalValue, PAGE_BYTES, ZERO_PAGE};
use wasm_encoder::{
    ConstExpr, CoreDumpInstancesSection, CoreDumpModulesSection, CoreDumpSection,
    CoreDumpStackSection, CoreDumpValue, DataSection, GlobalSection, GlobalType, MemorySection,
    MemoryType, Module, ValType,
};
use wasmtime::{Val, WasmBacktrace};

use super::{Instance, WASM_PAGE};

/// Where a function stood when the instance stopped.
pub(super) struct Frame {
    function: u32,
    /// From the function's begin, in the module as its author built it.
    offset: u32,
}

pub(super) fn frames(error: &wasmtime::Error) -> Vec<Frame> {
    let frames = error.downcast_ref::<WasmBacktrace>().map_or(&[][..], |it| it.frames());
    let frame = |it: &wasmtime::FrameInfo| Frame {
        function: it.func_index(),
        offset: it.func_offset().unwrap_or(0) as u32,
    };
    frames.iter().map(frame).collect()
}

impl Instance {
    /// Memory and globals as they are, input included, and the stack where it stopped. Locals are not known:
    /// the compiler keeps them in registers.
    pub(super) fn dump(&mut self) -> Vec<u8> {
        let name = self.store.data().name.clone();
        let mut dump = Module::new();
        dump.section(&CoreDumpSection::new(&name));

        let memory = self.memory.data(&self.store);
        let mut memories = MemorySection::new();
        memories.memory(MemoryType {
            minimum: (memory.len() / WASM_PAGE) as u64,
            maximum: None,
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        dump.section(&memories);

        let mut globals = GlobalSection::new();
        let all = self.all_globals();
        for (mutable, value) in &all {
            let (val_type, value) = match *value {
                GlobalValue::I32(value) => (ValType::I32, ConstExpr::i32_const(value)),
                GlobalValue::I64(value) => (ValType::I64, ConstExpr::i64_const(value)),
                GlobalValue::F32(bits) => {
                    (ValType::F32, ConstExpr::f32_const(f32::from_bits(bits).into()))
                }
                GlobalValue::F64(bits) => {
                    (ValType::F64, ConstExpr::f64_const(f64::from_bits(bits).into()))
                }
                GlobalValue::V128(bits) => (ValType::V128, ConstExpr::v128_const(bits as i128)),
            };
            globals.global(GlobalType { val_type, mutable: *mutable, shared: false }, &value);
        }
        dump.section(&globals);

        let memory = self.memory.data(&self.store);
        let mut data = DataSection::new();
        for (start, len) in not_zeros(memory) {
            let bytes = memory[start..start + len].iter().copied();
            data.active(0, &ConstExpr::i32_const(start as u32 as i32), bytes);
        }
        dump.section(&data);

        let mut modules = CoreDumpModulesSection::new();
        modules.module(&name);
        dump.section(&modules);
        let mut instances = CoreDumpInstancesSection::new();
        instances.instance(0, [0], 0..all.len() as u32);
        dump.section(&instances);
        let mut stack = CoreDumpStackSection::new("main");
        for frame in &self.stopped_at {
            let none: [CoreDumpValue; 0] = [];
            stack.frame(0, frame.function, frame.offset, none.clone(), none);
        }
        dump.section(&stack);
        dump.finish()
    }

    /// In the module's order; is it mutable?
    fn all_globals(&mut self) -> Vec<(bool, GlobalValue)> {
        let mut all: Vec<(u32, bool, GlobalValue)> = Vec::new();
        for (index, global) in self.anatomy.mutable_globals.iter().zip(&self.globals) {
            let value = match global.get(&mut self.store) {
                Val::I32(value) => GlobalValue::I32(value),
                Val::I64(value) => GlobalValue::I64(value),
                Val::F32(bits) => GlobalValue::F32(bits),
                Val::F64(bits) => GlobalValue::F64(bits),
                Val::V128(bits) => GlobalValue::V128(bits.as_u128()),
                _ => unreachable!("mutable reference globals are refused at load"),
            };
            all.push((*index, true, value));
        }
        all.extend(self.anatomy.constants.iter().map(|(index, value)| (*index, false, *value)));
        all.sort_by_key(|it| it.0);
        all.into_iter().map(|(_, mutable, value)| (mutable, value)).collect()
    }
}

/// Tools take this many segments (the limit of WebAssembly's own engines is 100,000).
const SEGMENTS_MAX: usize = 50_000;

/// Start and length of what is not zeros; far apart at the least where there would be too many.
fn not_zeros(memory: &[u8]) -> Vec<(usize, usize)> {
    let mut apart = 1;
    loop {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for (number, page) in memory.chunks_exact(PAGE_BYTES).enumerate() {
            if *page == ZERO_PAGE {
                continue;
            }
            let start = number * PAGE_BYTES;
            match runs.last_mut() {
                Some((begin, len)) if start - (*begin + *len) < apart * PAGE_BYTES => {
                    *len = start + PAGE_BYTES - *begin;
                }
                _ => runs.push((start, PAGE_BYTES)),
            }
        }
        if runs.len() <= SEGMENTS_MAX {
            return runs;
        }
        apart *= 2;
    }
}
