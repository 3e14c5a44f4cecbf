//! A core dump as another program's parser reads it.

use floe_core::ports::OperatorFactory;
use floe_core::{EventTime, TopicPartition};
use wasmparser::{DataKind, KnownCustom, Operator, Parser, Payload, Validator};

use super::wat_module::{batch, factory, module};

/// What a reader finds in a dump.
#[derive(Default)]
struct Read {
    name: String,
    modules: Vec<String>,
    memory_pages: u64,
    memory: Vec<u8>,
    globals: Vec<(bool, i64)>,
    instance_globals: Vec<u32>,
    /// (function, offset in it).
    frames: Vec<(u32, u32)>,
}

fn read(dump: &[u8]) -> Read {
    Validator::new().validate_all(dump).expect("a core dump is a module");
    let number = |value: &wasmparser::ConstExpr<'_>| match value.get_operators_reader().read() {
        Ok(Operator::I32Const { value }) => i64::from(value),
        Ok(Operator::I64Const { value }) => value,
        other => panic!("{other:?}"),
    };
    let mut read = Read::default();
    for payload in Parser::new(0).parse_all(dump) {
        match payload.unwrap() {
            Payload::MemorySection(memories) => {
                read.memory_pages = memories.into_iter().next().unwrap().unwrap().initial;
                read.memory = vec![0; read.memory_pages as usize * 65_536];
            }
            Payload::GlobalSection(globals) => {
                let globals = globals.into_iter().map(Result::unwrap);
                read.globals = globals.map(|it| (it.ty.mutable, number(&it.init_expr))).collect();
            }
            Payload::DataSection(segments) => {
                for segment in segments.into_iter().map(Result::unwrap) {
                    let DataKind::Active { offset_expr, .. } = segment.kind else { panic!() };
                    let at = number(&offset_expr) as usize;
                    read.memory[at..at + segment.data.len()].copy_from_slice(segment.data);
                }
            }
            Payload::CustomSection(section) => match section.as_known() {
                KnownCustom::CoreDump(core) => read.name = core.name.to_owned(),
                KnownCustom::CoreDumpModules(it) => {
                    read.modules = it.modules.iter().map(ToString::to_string).collect();
                }
                KnownCustom::CoreDumpInstances(it) => {
                    assert_eq!(it.instances.len(), 1);
                    assert_eq!(it.instances[0].memories, [0]);
                    read.instance_globals.clone_from(&it.instances[0].globals);
                }
                KnownCustom::CoreDumpStack(it) => {
                    read.frames = it.frames.iter().map(|it| (it.funcidx, it.codeoffset)).collect();
                }
                _ => {}
            },
            _ => {}
        }
    }
    read
}

/// Imports are functions 0 to 4; describe, input, open, process and $inner follow.
const PROCESS: u32 = 8;
const INNER: u32 = 9;

#[test]
fn a_trap_is_dumped_with_memory_globals_and_stack() {
    let text = module(
        "(global.set $seen (i64.const -5))
         (i32.store (i32.const 0x2f000) (i32.const 0x01020304))
         (if (i32.gt_u (local.get $rows) (i32.const 1)) (then (call $inner)))",
        "(global $first i64 (i64.const 77)) (global $seen (mut i64) (i64.const 0))
         (func $inner unreachable)",
    );
    let factory = factory(&text);
    let mut operator = factory.open(&TopicPartition::new("t", 0), 1).unwrap();
    // Before it stops there is a state, and no stack.
    operator.process(&batch(&[9]), EventTime(0)).unwrap();
    let quiet = read(&operator.core_dump().unwrap());
    assert_eq!((quiet.frames.as_slice(), quiet.modules.len()), (&[][..], 1));
    assert_eq!(quiet.memory[0x2f000..0x2f004], [4, 3, 2, 1]);

    operator.process(&batch(&[1, 2]), EventTime(0)).expect_err("it traps");
    let dump = read(&operator.core_dump().unwrap());
    assert_eq!(dump.name, dump.modules[0]);
    assert_eq!(dump.globals, [(false, 77), (true, -5)]);
    assert_eq!(dump.instance_globals, [0, 1]);
    assert_eq!(dump.memory_pages * 65_536, operator.memory_bytes());
    assert_eq!(dump.memory[0x100..0x104], *b"sum\0");
    // The input stands there as the operator had it.
    assert_eq!(dump.memory[0x20000..].windows(16).filter(|it| **it == PAIR).count(), 1);
    let functions: Vec<u32> = dump.frames.iter().map(|it| it.0).collect();
    assert_eq!(functions, [INNER, PROCESS]);
    assert!(dump.frames[1].1 > 0);
}

/// The longs 1 and 2.
const PAIR: [u8; 16] = [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];
