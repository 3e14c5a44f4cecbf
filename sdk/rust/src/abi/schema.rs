//! Schemas of the Arrow C Data Interface, and the description of the module (A5, A6).

use std::ffi::CStr;
use std::ptr;

use crate::dynamic::{Column, Schema, Type};
use crate::error::Result;
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

/// Writes the description of an operator, for the life of the module. Without columns it is one that is to
/// be configured first (A27).
pub(crate) fn describe(
    name: &'static str,
    version: &'static str,
    state_version: u32,
    input: Option<&Field>,
    outputs: &[(&str, &Field)],
) -> *const Description {
    let output = |(name, field): &(&str, &Field)| {
        let name: &'static str = name.to_string().leak();
        Output { name: name.as_ptr(), name_len: name.len(), schema: schema(field) }
    };
    let outputs: &'static [Output] = outputs.iter().map(output).collect::<Vec<_>>().leak();
    Box::leak(Box::new(Description {
        name: name.as_ptr(),
        name_len: name.len(),
        version: version.as_ptr(),
        version_len: version.len(),
        state_version,
        input: input.map_or(ptr::null(), schema),
        output_count: outputs.len() as u32,
        outputs: outputs.as_ptr(),
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

/// The columns of a schema that the host wrote.
///
/// # Safety
///
/// `schema` points to an `ArrowSchema` as A6 has it, and all that it points to is as it says.
pub(crate) unsafe fn columns(schema: *const ArrowSchema) -> Result<Schema> {
    // SAFETY: the caller promises that the pointer is good.
    let root = unsafe { &*schema };
    let children = (0..root.n_children as usize).map(|index| {
        // SAFETY: `children` points to `n_children` schemas.
        unsafe { column(*root.children.add(index)) }
    });
    Ok(Schema { columns: children.collect::<Result<_>>()? })
}

/// # Safety
///
/// As for `columns`.
unsafe fn column(schema: *const ArrowSchema) -> Result<Column> {
    // SAFETY: the caller promises that the pointer is good, and so are the two texts.
    let (name, format, nullable) = unsafe {
        let schema = &*schema;
        let text = |it: *const u8| CStr::from_ptr(it.cast()).to_string_lossy().into_owned();
        (text(schema.name), text(schema.format), schema.flags & FLAG_NULLABLE != 0)
    };
    // SAFETY: as for this function.
    let children = unsafe { columns(schema)? };
    Ok(Column { name, ty: Type::of_format(&format, children.columns)?, nullable })
}
