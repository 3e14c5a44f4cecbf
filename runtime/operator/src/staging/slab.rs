//! Slab: memory that is written before its first use, in huge pages where the system has them.
//!
//! Pages of a guest lie anywhere, and each is one more place to translate; half of these are saved if what
//! they are copied to is few places. What a pause takes with it is measured by `cargo xtask bench checkpoint`
//! and stands in tests/RESULTS.md.

use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

/// Big enough to be copied at full speed, small enough to be given back piece by piece.
pub(super) const SLAB_BYTES: usize = 4 << 20;

/// Of x86-64, and of aarch64 with small pages of 4 KiB. Where it is another, pages are small.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// A mapping of its own: the huge pages of the allocator's would keep what lies near them.
pub(super) struct Slab(NonNull<u8>);

// SAFETY: the memory is the slab's own, and reached through it alone.
unsafe impl Send for Slab {}
// SAFETY: as above.
unsafe impl Sync for Slab {}

impl Slab {
    /// `None`: the system has no more memory.
    pub(super) fn new() -> Option<Slab> {
        let slab = Slab(map_aligned()?);
        in_huge_pages(|| {
            advise(slab.0);
            for at in (0..SLAB_BYTES).step_by(floe_core::image::PAGE_BYTES) {
                // SAFETY: the byte lies in the slab, which is nobody else's.
                unsafe { slab.0.add(at).write_volatile(0) };
            }
        });
        Some(slab)
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= SLAB_BYTES);
        let (from, len) = (NonNull::from_ref(bytes).cast::<u8>(), bytes.len());
        // SAFETY: the range lies in the slab, which is borrowed alone, so `bytes` are elsewhere.
        unsafe {
            let to = self.0.add(at);
            match len >= STREAMED_BYTES_MIN {
                true => copy_streaming(from, to, len),
                false => to.copy_from_nonoverlapping(from, len),
            }
        }
    }

    /// # Safety
    /// The first `len` bytes were written.
    pub(super) unsafe fn written(&self, len: usize) -> &[u8] {
        assert!(len <= SLAB_BYTES);
        // SAFETY: they lie in the slab; the caller says that they are initialised.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr(), len) }
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new`, and its borrows have ended.
        unsafe { libc::munmap(self.0.as_ptr().cast(), SLAB_BYTES) };
    }
}

/// New pages of zeros that begin where a huge page may.
fn map_aligned() -> Option<NonNull<u8>> {
    let whole_len = SLAB_BYTES + HUGE_PAGE_BYTES;
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new private mapping somewhere is nobody else's.
    let whole = unsafe { libc::mmap(std::ptr::null_mut(), whole_len, protection, flags, -1, 0) };
    if whole == libc::MAP_FAILED {
        return None;
    }
    let whole = NonNull::new(whole.cast::<u8>())?;
    let before = whole.align_offset(HUGE_PAGE_BYTES);
    let behind = HUGE_PAGE_BYTES - before;
    // SAFETY: both ends lie in the mapping, and nothing refers to them.
    unsafe {
        let begin = whole.add(before);
        if before > 0 {
            libc::munmap(whole.as_ptr().cast(), before);
        }
        if behind > 0 {
            libc::munmap(begin.add(SLAB_BYTES).as_ptr().cast(), behind);
        }
        Some(begin)
    }
}

#[cfg(target_os = "linux")]
fn advise(begin: NonNull<u8>) {
    // SAFETY: the advice is about pages of a new mapping and changes nothing of what they hold. Where the
    // system does not take it, pages are small.
    unsafe { libc::madvise(begin.as_ptr().cast(), SLAB_BYTES, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn advise(_: NonNull<u8>) {}

/// The process may have turned huge pages off for all of it (decision 005). They are on while this is done,
/// seldom and for a millisecond; what other threads touch first meanwhile may be in huge pages too.
#[cfg(target_os = "linux")]
fn in_huge_pages(touch: impl FnOnce()) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the calls read and change a flag of this process and take no pointers.
    let off = unsafe { libc::prctl(libc::PR_GET_THP_DISABLE, 0, 0, 0, 0) } == 1;
    let set = |value: libc::c_ulong| {
        // SAFETY: as above.
        off.then(|| unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, value, 0, 0, 0) })
    };
    set(0);
    touch();
    set(1);
}

#[cfg(not(target_os = "linux"))]
fn in_huge_pages(touch: impl FnOnce()) {
    touch();
}

/// Has the processor fetch the begin of a page that is copied next: it sees by itself where a run goes on,
/// and not where the next one begins. 1 GiB of which 1 % changed, in turns: pauses of 2.3 and 2.4 ms with it,
/// 2.3, 2.7 and 2.8 without.
#[cfg(target_arch = "x86_64")]
pub(super) fn fetch(page: &[u8]) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    const LINE: usize = 64;
    for line in page.chunks(LINE).take(8) {
        // SAFETY: a hint, which reads nothing; the address is one of the page.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn fetch(_: &[u8]) {}

/// A copy of so much is not in any cache when it is compressed. Stored past the caches, it needs not be read
/// from memory first: a quarter faster in pieces of 4 MiB, and slower for single pages.
const STREAMED_BYTES_MIN: usize = 1 << 20;

/// # Safety
/// As of `ptr::copy_nonoverlapping`.
#[cfg(target_arch = "x86_64")]
unsafe fn copy_streaming(from: NonNull<u8>, to: NonNull<u8>, len: usize) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_sfence, _mm_stream_si128};
    const STEP: usize = 64;
    let (from, to) = (from.cast::<__m128i>(), to.cast::<__m128i>());
    assert!(to.is_aligned());
    assert!(len.is_multiple_of(STEP));
    for line in (0..len / size_of::<__m128i>()).step_by(STEP / size_of::<__m128i>()) {
        // SAFETY: the line lies in both ranges, by the caller's promise; `to` is aligned, as was asserted.
        unsafe {
            let words = [0, 1, 2, 3].map(|word| _mm_loadu_si128(from.add(line + word).as_ptr()));
            for (word, value) in words.into_iter().enumerate() {
                _mm_stream_si128(to.add(line + word).as_ptr(), value);
            }
        }
    }
    // Such stores are seen by other threads in any order but for this.
    // SAFETY: every x86_64 has it.
    unsafe { _mm_sfence() }
}

/// # Safety
/// As of `ptr::copy_nonoverlapping`.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn copy_streaming(from: NonNull<u8>, to: NonNull<u8>, len: usize) {
    // SAFETY: the caller's promise.
    unsafe { to.copy_from_nonoverlapping(from, len) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where huge pages may be, and the process's own wish about them is as it was.
    #[test]
    fn a_slab_lies_where_huge_pages_can_be() {
        // SAFETY: the call reads a flag of this process and takes no pointers.
        #[cfg(target_os = "linux")]
        let wish = || unsafe { libc::prctl(libc::PR_GET_THP_DISABLE, 0, 0, 0, 0) };
        #[cfg(target_os = "linux")]
        let before = wish();
        let mut slab = Slab::new().unwrap();
        #[cfg(target_os = "linux")]
        assert_eq!(wish(), before);
        assert_eq!(slab.0.align_offset(HUGE_PAGE_BYTES), 0);
        slab.write(SLAB_BYTES - 3, b"end");
        // SAFETY: `new` wrote every page, and the system gave the rest as zeros.
        assert_eq!(unsafe { slab.written(SLAB_BYTES) }[SLAB_BYTES - 4..], *b"\0end");
    }
}
