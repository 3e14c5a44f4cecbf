//! The allocator of the process, for Rust and for the C libraries in it.
//!
//! Batches are large and live for milliseconds. The system's allocator, and this one with a short delay, give
//! their pages back at once and have new ones cleared for the next batch: with 2 M payments 399,000 page
//! faults and 2.4 of 5.8 CPU-seconds in the kernel. With pages kept for a while: 21,000 faults and 0.5 s.
//!
//! What is kept stays bounded by three settings, measured together in decision 005.

use std::ffi::{c_int, c_long};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Settings of mimalloc 3, by their places in its mimalloc.h. A variable `MIMALLOC_…` goes before each.
const SETTINGS: [(c_int, c_long); 2] = [
    // `mi_option_purge_delay`, in ms: long against a batch, which needs again what the one before gave back.
    (15, 300),
    // `mi_option_page_full_retain`: each of some fifty threads would keep two empty pages of every size.
    (36, 0),
];

/// Keeps freed pages for a while, and no more of them than that.
pub(crate) fn keep_pages() {
    for (option, value) in SETTINGS {
        // SAFETY: the function takes any option and value; it is not thread-safe, and main calls this
        // before any other thread exists.
        unsafe { libmimalloc_sys::mi_option_set_default(option, value) }
    }
    in_small_pages();
}

/// mimalloc asks for huge pages, in which freed memory stays resident as long as anything near it is used.
/// It did so before main; the system stops giving them from here on. The memories of operators have none
/// either way: what of them was written is known by small pages.
#[cfg(target_os = "linux")]
fn in_small_pages() {
    // SAFETY: the call changes a flag of this process and takes no pointers. Where the system refuses it,
    // more memory is used.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

#[cfg(not(target_os = "linux"))]
fn in_small_pages() {}
