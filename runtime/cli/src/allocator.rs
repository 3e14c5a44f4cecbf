//! The allocator of the process, jemalloc, for Rust and for the C libraries in it.
//!
//! Batches are large and live for milliseconds. The system's allocator gives their pages back at once and has new
//! ones cleared for the next batch: with 2 M payments 399,000 page faults and 2.4 of 5.8 CPU-seconds in the kernel.
//! Pages are kept for a while here, long against a batch, and no longer: decision 005.

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Read by jemalloc before main. The variable `MALLOC_CONF` goes before it.
#[unsafe(export_name = "malloc_conf")]
pub(crate) static SETTINGS: &[u8] = b"dirty_decay_ms:100,muzzy_decay_ms:0\0";

/// In huge pages freed memory stays resident as long as anything near it is used: the system gives none from here
/// on, where it gives them unasked. The memories of operators have none either way: what of them was written is
/// known by small pages.
#[cfg(target_os = "linux")]
pub(crate) fn in_small_pages() {
    // SAFETY: the call changes a flag of this process and takes no pointers. Where the system refuses it,
    // more memory is used.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn in_small_pages() {}
