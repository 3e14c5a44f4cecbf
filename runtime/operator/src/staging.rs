//! Staging: where captured pages wait until they are compressed. Memory that was written before copies
//! at 20 GB/s, fresh memory at 2.4, so what the last barriers took is kept for the next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use floe_core::image::{PAGE_BYTES, PageRun};

use crate::dirty::Pages;

/// Two huge pages: big enough to be copied at full speed, small enough to be given back piece by piece.
const SLAB_BYTES: usize = 4 << 20;
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Of the whole process.
#[derive(Default)]
pub(crate) struct Staging(Arc<Mutex<Pool>>);

#[derive(Default)]
struct Pool {
    free: Vec<Slab>,
    in_use: usize,
    /// The most that were in use at a time since none was, and before that.
    high: usize,
    high_before: usize,
}

impl Staging {
    /// Copies pages of a memory. All are written once, in order.
    pub(crate) fn copy(&self, memory: &[u8], pages: &[Pages]) -> Vec<PageRun> {
        let mut left: usize = pages.iter().map(|it| it.len() * PAGE_BYTES).sum();
        let mut runs = Vec::with_capacity(pages.len());
        // What of the runs is in the buffer that is being filled: first page and length.
        let mut in_buffer: Vec<(usize, usize)> = Vec::new();
        let mut buffer = Buffer::new(self, left);
        for run in pages {
            let mut next = run.start;
            while next < run.end {
                if buffer.room() == 0 {
                    cut(
                        std::mem::replace(&mut buffer, Buffer::new(self, left)),
                        &mut in_buffer,
                        &mut runs,
                    );
                }
                let len = buffer.room().min((run.end - next) * PAGE_BYTES);
                buffer.fill(&memory[next * PAGE_BYTES..next * PAGE_BYTES + len]);
                in_buffer.push((next, len));
                next += len / PAGE_BYTES;
                left -= len;
            }
        }
        cut(buffer, &mut in_buffer, &mut runs);
        runs
    }

    fn slab(&self) -> Option<Lent> {
        let mut pool = lock(&self.0);
        if pool.in_use == 0 {
            pool.high_before = pool.high;
            pool.high = 0;
            let keep = pool.high_before;
            pool.free.truncate(keep);
        }
        let slab = match pool.free.pop() {
            Some(slab) => slab,
            None => Slab::new()?,
        };
        pool.in_use += 1;
        pool.high = pool.high.max(pool.in_use);
        Some(Lent { slab: Some(slab), used: 0, pool: Arc::clone(&self.0) })
    }
}

fn lock(pool: &Mutex<Pool>) -> MutexGuard<'_, Pool> {
    pool.lock().unwrap_or_else(PoisonError::into_inner)
}

fn cut(buffer: Buffer, in_buffer: &mut Vec<(usize, usize)>, runs: &mut Vec<PageRun>) {
    let content = buffer.into_bytes();
    let mut at = 0;
    for (first_page, len) in in_buffer.drain(..) {
        runs.push(PageRun { first_page: first_page as u32, content: content.slice(at..at + len) });
        at += len;
    }
}

/// A slab, or for little an allocation of just the size: a thousand small tasks take no slab each.
enum Buffer {
    Slab(Lent),
    Small(Vec<u8>),
}

impl Buffer {
    fn new(staging: &Staging, bytes: usize) -> Buffer {
        let slab = if bytes >= SLAB_BYTES / 2 { staging.slab() } else { None };
        slab.map_or_else(|| Buffer::Small(Vec::with_capacity(bytes.min(SLAB_BYTES))), Buffer::Slab)
    }

    fn room(&self) -> usize {
        match self {
            Buffer::Slab(slab) => SLAB_BYTES - slab.used,
            Buffer::Small(bytes) => bytes.capacity() / PAGE_BYTES * PAGE_BYTES - bytes.len(),
        }
    }

    fn fill(&mut self, bytes: &[u8]) {
        match self {
            Buffer::Slab(slab) => slab.fill(bytes),
            Buffer::Small(buffer) => buffer.extend_from_slice(bytes),
        }
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Buffer::Slab(slab) => Bytes::from_owner(slab),
            Buffer::Small(bytes) => bytes.into(),
        }
    }
}

/// A slab in use; dropped, it goes back.
struct Lent {
    slab: Option<Slab>,
    used: usize,
    pool: Arc<Mutex<Pool>>,
}

impl Lent {
    fn fill(&mut self, bytes: &[u8]) {
        let slab = self.slab.as_mut().expect("it is there until it is dropped");
        slab.bytes_mut()[self.used..self.used + bytes.len()].copy_from_slice(bytes);
        self.used += bytes.len();
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.slab.as_ref().expect("it is there until it is dropped").bytes()[..self.used]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let slab = self.slab.take();
        let mut pool = lock(&self.pool);
        pool.in_use -= 1;
        if pool.free.len() + pool.in_use < pool.high.max(pool.high_before) {
            pool.free.extend(slab);
        }
    }
}

/// Memory from the system, on huge pages where there are any, touched before its first use.
struct Slab {
    whole: *mut libc::c_void,
    begin: *mut u8,
}

// SAFETY: the mapping is the slab's own, and reached through it alone.
unsafe impl Send for Slab {}
// SAFETY: as above.
unsafe impl Sync for Slab {}

const MAPPED_BYTES: usize = SLAB_BYTES + HUGE_PAGE_BYTES;

impl Slab {
    fn new() -> Option<Slab> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new private mapping somewhere is nobody else's.
        let whole =
            unsafe { libc::mmap(std::ptr::null_mut(), MAPPED_BYTES, protection, flags, -1, 0) };
        if whole == libc::MAP_FAILED {
            return None;
        }
        let begin = whole.cast::<u8>();
        let aligned = begin.align_offset(HUGE_PAGE_BYTES);
        assert!(aligned <= HUGE_PAGE_BYTES);
        // SAFETY: the mapping is a huge page longer than what is used of it.
        let begin = unsafe { begin.add(aligned) };
        #[cfg(target_os = "linux")]
        // SAFETY: the range is within the mapping, and the advice changes no content.
        unsafe {
            libc::madvise(begin.cast(), SLAB_BYTES, libc::MADV_HUGEPAGE);
        }
        let mut slab = Slab { whole, begin };
        slab.bytes_mut().chunks_mut(PAGE_BYTES).for_each(|it| it[0] = 0);
        Some(slab)
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: so many bytes from `begin` on are the slab's own; zeros or written, they are initialised.
        unsafe { std::slice::from_raw_parts(self.begin, SLAB_BYTES) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the slab is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.begin, SLAB_BYTES) }
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new`, and its borrows have ended.
        unsafe { libc::munmap(self.whole, MAPPED_BYTES) };
    }
}
