//! The limit of each language: the same operator with the same SDK, compiled natively by the same LLVM.
//!
//! It is given the same batches where they are, and what it emits is not copied: what an instance costs more
//! is compiled otherwise, checked or copied.

mod array;

use std::ffi::{CString, c_void};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use floe_sdk::abi::Native;

use crate::feed::{Feed, Kind};
use array::{Array, ArrowArray};

#[path = "../rust/examples/raw.rs"]
mod raw;
#[path = "../rust/examples/typed.rs"]
mod typed;

/// An operator, and batches as it takes them.
pub(crate) struct Same {
    operator: Box<dyn Operator>,
    batches: Vec<Array>,
}

trait Operator {
    /// # Safety
    ///
    /// `batch` is of the columns that the operator takes.
    unsafe fn process(&mut self, batch: *const ArrowArray) -> Result<()>;
}

impl Same {
    /// `None`: it is not built.
    pub(crate) fn find(
        feed: &Feed,
        folder: &Path,
        language: &str,
        kind: Kind,
    ) -> Result<Option<Same>> {
        let library = folder.join(format!("{language}_{}.so", kind.name()));
        let operator: Box<dyn Operator> = match (language, kind) {
            ("rust", Kind::Raw) => Box::new(Native::<raw::Raw>::new(raw::Raw::default(), seen)),
            ("rust", Kind::Typed) => {
                Box::new(Native::<typed::Typed>::new(typed::Typed::default(), seen))
            }
            _ if library.is_file() => Box::new(Library::open(&library)?),
            _ => return Ok(None),
        };
        let batches = feed.batches(&columns(kind))?;
        let batches = batches.iter().map(Array::of).collect();
        Ok(Some(Same { operator, batches }))
    }

    pub(crate) fn process(&mut self, batch: usize) -> Result<()> {
        let batch = self.batches[batch].root();
        // SAFETY: the batch is of `columns`, which are those that the operators of this kind take.
        unsafe { self.operator.process(batch) }
    }
}

/// What the operators of a kind take.
pub(crate) fn columns(kind: Kind) -> SchemaRef {
    let number = |name| Field::new(name, DataType::Int64, false);
    Schema::new(match kind {
        Kind::Raw => vec![Field::new("_value", DataType::Binary, true)],
        Kind::Typed => vec![number("merchant"), number("amount_minor")],
    })
    .into()
}

extern "C" fn seen(_output: u32, rows: *const c_void) {
    std::hint::black_box(rows);
}

impl<T: floe_sdk::Operator> Operator for Native<T> {
    unsafe fn process(&mut self, batch: *const ArrowArray) -> Result<()> {
        // SAFETY: the caller's.
        let rejected = unsafe { Native::process(self, batch.cast()) };
        ensure!(rejected == 0, "it rejects payments");
        Ok(())
    }
}

/// Of C, C++ or Zig, as native/native.c and native/native.zig make it.
struct Library {
    process: unsafe extern "C" fn(*const ArrowArray) -> i32,
}

impl Library {
    fn open(path: &Path) -> Result<Library> {
        let said = || format!("open {}", path.display());
        let name = CString::new(path.as_os_str().as_encoded_bytes()).with_context(said)?;
        // SAFETY: it is a library of this bench, whose loading runs nothing of its own; never closed.
        let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        ensure!(!library.is_null(), "open {}: it does not load", path.display());
        // SAFETY: the library is open, and the names end with a zero.
        let [open, process] = [c"bench_open", c"bench_process"]
            .map(|it| unsafe { libc::dlsym(library, it.as_ptr()) });
        ensure!(!open.is_null() && !process.is_null(), "{} is none of ours", path.display());
        // SAFETY: native.c and native.zig define both with these types.
        let (open, process) = unsafe {
            (
                std::mem::transmute::<*mut c_void, unsafe extern "C" fn(Emitted)>(open),
                std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*const ArrowArray) -> i32>(
                    process,
                ),
            )
        };
        // SAFETY: once, before anything else, as the ABI has it.
        unsafe { open(seen) };
        Ok(Library { process })
    }
}

type Emitted = extern "C" fn(u32, *const c_void);

impl Operator for Library {
    unsafe fn process(&mut self, batch: *const ArrowArray) -> Result<()> {
        // SAFETY: the caller's.
        let done = unsafe { (self.process)(batch) };
        ensure!(done == 0, "it returned {done}");
        Ok(())
    }
}
