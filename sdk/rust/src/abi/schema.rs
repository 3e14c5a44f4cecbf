//! Schemas of the Arrow C Data Interface, and the description of the module (A5, A6).

use std::ptr;

use crate::row::Field;

/// `ArrowSchema`, with its fields in the order of the specification.
#[repr(C)]
pub(crate) struct ArrowSchema {
    format: *const u8,
    name: *const u8,
    metadata: *const u8,
    flags: i64,
    n_children: i64,
    children: *const *const ArrowSchema,
    dictionary: *const ArrowSchema,
    release: usize,
    private_data: *const u8,
}

// A6.
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<ArrowSchema>() == 48);
    assert!(offset_of!(ArrowSchema, flags) == 16);
    assert!(offset_of!(ArrowSchema, n_children) == 24);
    assert!(offset_of!(ArrowSchema, children) == 32);
    assert!(offset_of!(ArrowSchema, release) == 40);
};

const FLAG_NULLABLE: i64 = 2;

/// What `floe_v1_describe` points to.
#[repr(C)]
pub(crate) struct Description {
    name: *const u8,
    name_len: usize,
    version: *const u8,
    version_len: usize,
    state_version: u32,
    input: *const ArrowSchema,
    output_count: u32,
    outputs: *const Output,
}

#[repr(C)]
struct Output {
    name: *const u8,
    name_len: usize,
    schema: *const ArrowSchema,
}

// A5.
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<Description>() == 32);
    assert!(offset_of!(Description, state_version) == 16);
    assert!(offset_of!(Description, input) == 20);
    assert!(offset_of!(Description, output_count) == 24);
    assert!(offset_of!(Description, outputs) == 28);
    assert!(size_of::<Output>() == 12);
    assert!(offset_of!(Output, schema) == 8);
};

/// Writes the description of an operator with one output, for the life of the module.
pub(crate) fn describe(
    name: &'static str,
    version: &'static str,
    state_version: u32,
    input: &Field,
    output: (&'static str, &Field),
) -> *const Description {
    let (output_name, output) = output;
    let outputs = Box::leak(Box::new(Output {
        name: output_name.as_ptr(),
        name_len: output_name.len(),
        schema: schema(output),
    }));
    Box::leak(Box::new(Description {
        name: name.as_ptr(),
        name_len: name.len(),
        version: version.as_ptr(),
        version_len: version.len(),
        state_version,
        input: schema(input),
        output_count: 1,
        outputs,
    }))
}

fn schema(field: &Field) -> *const ArrowSchema {
    let children: Vec<_> = field.children.iter().map(schema).collect();
    Box::leak(Box::new(ArrowSchema {
        format: c_text(&field.format),
        name: c_text(&field.name),
        metadata: ptr::null(),
        flags: if field.nullable { FLAG_NULLABLE } else { 0 },
        n_children: children.len() as i64,
        children: children.leak().as_ptr(),
        dictionary: ptr::null(),
        release: 0,
        private_data: ptr::null(),
    }))
}

/// Text with a zero behind it.
fn c_text(text: &str) -> *const u8 {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes.leak().as_ptr()
}
