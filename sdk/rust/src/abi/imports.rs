//! The host's functions (A4).

use crate::abi::arrow::Exported;
use crate::log::Level;
use crate::outputs::Host;
use crate::row::{Column, Row};

mod raw {
    use crate::abi::arrow::ArrowArray;

    #[link(wasm_import_module = "floe_v1")]
    unsafe extern "C" {
        pub(super) fn emit(output: i32, array: *const ArrowArray);
        pub(super) fn reject(row: i32, reason: *const u8, reason_len: usize);
        pub(super) fn log(level: i32, text: *const u8, text_len: usize);
        pub(super) safe fn now() -> i64;
        pub(super) safe fn random() -> i64;
        pub(super) fn fail(text: *const u8, text_len: usize) -> !;
    }
}

pub(crate) fn now() -> i64 {
    raw::now()
}

pub(crate) fn random() -> u64 {
    raw::random() as u64
}

pub(crate) fn log(level: Level, text: &str) {
    // SAFETY: the host reads `text` before it returns.
    unsafe { raw::log(level as i32, text.as_ptr(), text.len()) }
}

pub(crate) fn fail(text: &str) -> ! {
    // SAFETY: the host reads `text` and ends the call.
    unsafe { raw::fail(text.as_ptr(), text.len()) }
}

/// The host while a batch or a watermark is processed.
pub(crate) struct Imports;

impl Host for Imports {
    fn emit<R: Row>(&mut self, output: usize, columns: &mut R::Column) {
        let mut rows = columns.export();
        // SAFETY: the array borrows columns that live until this returns, and the host copies before
        // it returns (A15). It stores a zero in the root's `release`, which is ours and zero already.
        unsafe { raw::emit(output as i32, rows.seal()) }
        drop(rows);
        columns.clear();
    }

    fn reject(&mut self, row: usize, reason: &str) {
        // SAFETY: the host reads `reason` before it returns.
        unsafe { raw::reject(row as i32, reason.as_ptr(), reason.len()) }
    }
}

impl crate::dynamic::batch::Host for Imports {
    fn emit(&mut self, output: usize, rows: &mut Exported<'_>) {
        // SAFETY: the array borrows columns that live until this returns, and the host copies before
        // it returns (A15). It stores a zero in the root's `release`, which is ours and zero already.
        unsafe { raw::emit(output as i32, rows.seal()) }
    }

    fn reject(&mut self, row: usize, reason: &str) {
        // SAFETY: the host reads `reason` before it returns.
        unsafe { raw::reject(row as i32, reason.as_ptr(), reason.len()) }
    }
}
