//! An operator in plain Rust whose state is a static variable and what that points to.

use std::alloc::{Layout, alloc};
use std::ptr::{addr_of_mut, null};

#[repr(C)]
struct Schema {
    format: *const u8,
    name: *const u8,
    metadata: *const u8,
    flags: i64,
    child_count: i64,
    children: *const *const Schema,
    unused: [u32; 3],
}

#[repr(C)]
struct Array {
    length: i64,
    null_count: i64,
    offset: i64,
    buffer_count: i64,
    child_count: i64,
    buffers: *const *const i64,
    children: *const *const Array,
    unused: [u32; 3],
}

#[repr(C)]
struct Output {
    name: *const u8,
    name_bytes: u32,
    schema: *const Schema,
}

#[repr(C)]
struct Description {
    name: *const u8,
    name_bytes: u32,
    version: *const u8,
    version_bytes: u32,
    state_version: u32,
    input: *const Schema,
    output_count: u32,
    outputs: *const Output,
}

#[link(wasm_import_module = "floe_v1")]
unsafe extern "C" {
    #[link_name = "emit"]
    fn emit(output: u32, array: *const Array);
}

struct Totals {
    records: u64,
    marked: Marked,
    history: Vec<i64>,
}

struct Marked {
    weight: i64,
}

static mut TOTALS: Totals =
    Totals { records: 0, marked: Marked { weight: 0 }, history: Vec::new() };
static mut INPUT: (*mut u8, usize) = (std::ptr::null_mut(), 0);

const MARKED: i64 = 777;

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn schema(format: &'static str, name: &'static str, children: Vec<*const Schema>) -> *const Schema {
    let children = children.leak();
    leak(Schema {
        format: format.as_ptr(),
        name: name.as_ptr(),
        metadata: null(),
        flags: 0,
        child_count: children.len() as i64,
        children: children.as_ptr(),
        unused: [0; 3],
    })
}

#[unsafe(no_mangle)]
extern "C" fn floe_v1_describe() -> *const Description {
    let rows = |name| schema("+s\0", "\0", vec![schema("l\0", name, Vec::new())]);
    let output = Output { name: "sum".as_ptr(), name_bytes: 3, schema: rows("sum\0") };
    leak(Description {
        name: "sum".as_ptr(),
        name_bytes: 3,
        version: "1.0.0".as_ptr(),
        version_bytes: 5,
        state_version: 1,
        input: rows("v\0"),
        output_count: 1,
        outputs: leak(output),
    })
}

#[unsafe(no_mangle)]
extern "C" fn floe_v1_open(_: u32, _: u32) -> i32 {
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn floe_v1_input(bytes: usize) -> *mut u8 {
    unsafe {
        if INPUT.1 < bytes {
            INPUT = (alloc(Layout::from_size_align_unchecked(bytes, 64)), bytes);
        }
        INPUT.0
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn floe_v1_process(array: *const Array) -> i32 {
    unsafe {
        let totals = &mut *addr_of_mut!(TOTALS);
        let rows = (*array).length as usize;
        let column = *(*array).children;
        let values = std::slice::from_raw_parts(*(*column).buffers.add(1), rows);
        for value in values {
            totals.records += 1;
            // A test writes other numbers over these two.
            totals.marked.weight += if *value == MARKED { 7_777_777 } else { 1 };
            totals.history.push(if *value == MARKED { 8_888_888 } else { *value });
        }
        let buffers = [null(), values.as_ptr()];
        let none = [null()];
        let (length, unused) = ((*array).length, [0; 3]);
        let (null_count, offset) = (0, 0);
        let column = Array {
            length,
            null_count,
            offset,
            buffer_count: 2,
            child_count: 0,
            buffers: buffers.as_ptr(),
            children: null(),
            unused,
        };
        let children = [&raw const column];
        let rows = Array {
            length,
            null_count,
            offset,
            buffer_count: 1,
            child_count: 1,
            buffers: none.as_ptr(),
            children: children.as_ptr(),
            unused,
        };
        emit(0, &rows);
    }
    0
}
