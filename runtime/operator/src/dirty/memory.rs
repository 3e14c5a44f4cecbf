//! Linear memories of floe's own: the whole address space reserved, a guard behind it and before it, and
//! growth made known to the kernel's bookkeeping before the guest can use it.

use std::collections::BTreeMap;
use std::io::{Error, Result};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

use crate::dirty::Method;

/// Makes the memories of an engine, and finds them again by their address.
pub(crate) struct Creator {
    pub(crate) method: Arc<Method>,
    living: Arc<Mutex<BTreeMap<usize, Weak<Mapping>>>>,
}

impl Creator {
    pub(crate) fn new(method: Arc<Method>) -> Creator {
        Creator { method, living: Arc::default() }
    }

    pub(crate) fn find(&self, base: *const u8) -> Option<Arc<Mapping>> {
        self.living.lock().unwrap_or_else(PoisonError::into_inner).get(&base.addr())?.upgrade()
    }
}

/// The reserved addresses of one memory. Only wasmtime reads and writes through them.
pub(crate) struct Mapping {
    whole: *mut libc::c_void,
    whole_len: usize,
    base: *mut u8,
    capacity: usize,
    accessible: AtomicUsize,
    /// Every accessible page is registered, and its writes count.
    tracked: AtomicBool,
    method: Arc<Method>,
}

// SAFETY: the addresses are the mapping's own until it is dropped; what is behind them is wasmtime's to
// synchronise, as with any memory.
unsafe impl Send for Mapping {}
// SAFETY: as above; the fields themselves are atomics or never change.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(
        capacity: usize,
        guard: usize,
        accessible: usize,
        method: Arc<Method>,
    ) -> Result<Mapping> {
        let whole_len = capacity + 2 * guard;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new private mapping somewhere is nobody else's.
        let whole =
            unsafe { libc::mmap(std::ptr::null_mut(), whole_len, libc::PROT_NONE, flags, -1, 0) };
        if whole == libc::MAP_FAILED {
            return Err(Error::last_os_error());
        }
        let mapping = Mapping {
            whole,
            whole_len,
            // SAFETY: the guard is within the mapping.
            base: unsafe { whole.cast::<u8>().add(guard) },
            capacity,
            accessible: AtomicUsize::new(0),
            tracked: AtomicBool::new(false),
            method,
        };
        mapping.make_accessible(accessible)?;
        Ok(mapping)
    }

    fn make_accessible(&self, len: usize) -> Result<()> {
        let before = self.accessible.load(Ordering::Acquire);
        if len <= before {
            return Ok(());
        }
        if len > self.capacity {
            return Err(Error::other("the memory is grown beyond its reservation"));
        }
        // SAFETY: the range lies in the reservation, behind all that was handed out.
        let begin = unsafe { self.base.add(before) };
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the pages are the mapping's own and were inaccessible, so nothing refers to them.
        if unsafe { libc::mprotect(begin.cast(), len - before, protection) } != 0 {
            return Err(Error::last_os_error());
        }
        if self.tracked.load(Ordering::Acquire) {
            self.track_growth(begin, len - before);
        }
        self.accessible.store(len, Ordering::Release);
        Ok(())
    }

    /// Makes all of it inaccessible. Only for a memory that no host code reads.
    pub(crate) fn close(&self) -> Result<()> {
        self.protect(libc::PROT_NONE)
    }

    /// Makes all of it readable again.
    pub(crate) fn open(&self) -> Result<()> {
        self.protect(libc::PROT_READ)
    }

    fn protect(&self, protection: libc::c_int) -> Result<()> {
        let len = self.accessible.load(Ordering::Acquire);
        // SAFETY: the range is what the mapping handed out; a guest that reads there traps, as at any address
        // that is not accessible.
        match unsafe { libc::mprotect(self.base.cast(), len, protection) } {
            0 => Ok(()),
            _ => Err(Error::last_os_error()),
        }
    }

    /// What can't be registered is not known as written, so nothing of this memory is.
    fn track_growth(&self, begin: *const u8, len: usize) {
        match &*self.method {
            #[cfg(target_os = "linux")]
            Method::Userfaultfd(userfaultfd) => {
                if let Err(error) = userfaultfd.protect(begin.addr() as u64, len as u64) {
                    tracing::warn!("memory that grew is not registered with userfaultfd: {error}");
                    self.tracked.store(false, Ordering::Release);
                }
            }
            Method::PageHashes(_) => {}
        }
    }
}

#[cfg(target_os = "linux")]
impl Mapping {
    /// From here on what is written counts.
    pub(crate) fn track(&self, userfaultfd: &super::userfaultfd::Userfaultfd) -> Result<()> {
        let (start, len) = self.range();
        self.tracked.store(false, Ordering::Release);
        if len > 0 {
            userfaultfd.protect(start, len).inspect_err(|error| {
                tracing::warn!("a memory is not registered with userfaultfd: {error}");
            })?;
        }
        self.tracked.store(true, Ordering::Release);
        Ok(())
    }

    pub(crate) fn take_written(
        &self,
        userfaultfd: &super::userfaultfd::Userfaultfd,
    ) -> Result<Vec<super::Pages>> {
        if !self.tracked.load(Ordering::Acquire) {
            return Err(Error::other("growth of the memory could not be registered"));
        }
        let (start, len) = self.range();
        userfaultfd.take_written(start, len)
    }

    pub(crate) fn populated(
        &self,
        userfaultfd: &super::userfaultfd::Userfaultfd,
    ) -> Result<Vec<super::Pages>> {
        let (start, len) = self.range();
        userfaultfd.populated(start, len)
    }

    fn range(&self) -> (u64, u64) {
        (self.base.addr() as u64, self.accessible.load(Ordering::Acquire) as u64)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: wasmtime has dropped its memory, so nothing refers to the addresses any more.
        unsafe { libc::munmap(self.whole, self.whole_len) };
    }
}

struct Memory {
    mapping: Arc<Mapping>,
    living: Arc<Mutex<BTreeMap<usize, Weak<Mapping>>>>,
}

impl Drop for Memory {
    fn drop(&mut self) {
        let mut living = self.living.lock().unwrap_or_else(PoisonError::into_inner);
        living.remove(&self.mapping.base.addr());
    }
}

// SAFETY: `accessible` bytes from `base` on are readable and writable, `capacity` are reserved, they never
// move, and the guards around them are never accessible.
unsafe impl LinearMemory for Memory {
    fn byte_size(&self) -> usize {
        self.mapping.accessible.load(Ordering::Acquire)
    }

    fn byte_capacity(&self) -> usize {
        self.mapping.capacity
    }

    fn grow_to(&mut self, new_size: usize) -> wasmtime::Result<()> {
        Ok(self.mapping.make_accessible(new_size)?)
    }

    fn as_ptr(&self) -> *mut u8 {
        self.mapping.base
    }
}

// SAFETY: each memory has a reservation and guards of the sizes asked for, filled with zeros by the kernel.
unsafe impl MemoryCreator for Creator {
    fn new_memory(
        &self,
        _ty: MemoryType,
        minimum: usize,
        maximum: Option<usize>,
        reserved: Option<usize>,
        guard: usize,
    ) -> std::result::Result<Box<dyn LinearMemory>, String> {
        let capacity = reserved.or(maximum).unwrap_or(minimum).max(minimum);
        let mapping = Mapping::new(capacity, guard, minimum, Arc::clone(&self.method))
            .map_err(|error| format!("reserve {capacity} bytes of addresses: {error}"))?;
        let mapping = Arc::new(mapping);
        let mut living = self.living.lock().unwrap_or_else(PoisonError::into_inner);
        living.insert(mapping.base.addr(), Arc::downgrade(&mapping));
        Ok(Box::new(Memory { mapping, living: Arc::clone(&self.living) }))
    }
}
