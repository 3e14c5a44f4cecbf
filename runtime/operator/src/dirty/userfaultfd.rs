//! The kernel's bookkeeping of written pages: userfaultfd in its asynchronous write-protect mode, and the
//! ioctl PAGEMAP_SCAN. Linux 6.7; a container's seccomp profile may forbid it.
//!
//! What was tried: without UFFD_USER_MODE_ONLY only root may open it, and with it the host's writes count
//! too, also those of read(2), since in the asynchronous mode no fault is ever handed to us. One range
//! that is not registered fails the scan of all. WP_UNPOPULATED makes pages count that were never touched
//! before they are written. Soft-dirty bits are absent in many kernels, and mprotect with a signal handler
//! dies of the limit of mappings at a GiB.

use std::fs::File;
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use floe_core::image::PAGE_BYTES;

use crate::dirty::Pages;

/// One for the process: memories register their ranges with it.
pub(crate) struct Userfaultfd {
    faults: OwnedFd,
    pagemap: File,
}

// From the kernel's include/uapi/linux/userfaultfd.h.
const USER_MODE_ONLY: libc::c_int = 1;
const API: u64 = 0xAA;
const FEATURE_WP: u64 = 1 << 0;
const FEATURE_WP_UNPOPULATED: u64 = 1 << 13;
const FEATURE_WP_ASYNC: u64 = 1 << 15;
const IOCTL_API: u64 = 0xC018_AA3F;
const IOCTL_REGISTER: u64 = 0xC020_AA00;
const IOCTL_WRITEPROTECT: u64 = 0xC018_AA06;
const REGISTER_WP: u64 = 1 << 1;
const WRITEPROTECT_WP: u64 = 1 << 0;

// From include/uapi/linux/fs.h.
const IOCTL_PAGEMAP_SCAN: u64 = 0xC060_6610;
const SCAN_WP_MATCHING: u64 = 1 << 0;
const SCAN_CHECK_WPASYNC: u64 = 1 << 1;
const PAGE_IS_WRITTEN: u64 = 1 << 1;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;
const PAGE_IS_PFNZERO: u64 = 1 << 5;

#[repr(C)]
struct UffdioApi {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct UffdioRegister {
    start: u64,
    len: u64,
    mode: u64,
    ioctls: u64,
}

#[repr(C)]
struct UffdioWriteprotect {
    start: u64,
    len: u64,
    mode: u64,
}

#[repr(C)]
#[derive(Default)]
struct ScanArgument {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    regions: u64,
    regions_len: u64,
    pages_max: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

/// Regions that one call of the scan returns at the most.
const REGIONS: usize = 1024;

impl Userfaultfd {
    /// Opens it, and tries on a page of its own whether all that is needed works.
    pub(crate) fn open() -> Result<Userfaultfd> {
        let flags = libc::O_CLOEXEC | libc::O_NONBLOCK | USER_MODE_ONLY;
        // SAFETY: the call takes flags and no pointer.
        let descriptor = unsafe { libc::syscall(libc::SYS_userfaultfd, flags) };
        if descriptor < 0 {
            return Err(Error::last_os_error());
        }
        // SAFETY: the descriptor is new, and nobody else's.
        let faults = unsafe { OwnedFd::from_raw_fd(descriptor as libc::c_int) };
        let features = FEATURE_WP | FEATURE_WP_UNPOPULATED | FEATURE_WP_ASYNC;
        let mut api = UffdioApi { api: API, features, ioctls: 0 };
        // SAFETY: the structure is the one that this ioctl takes, and lives through the call.
        unsafe { ioctl(&faults, IOCTL_API, &mut api)? };
        let opened = Userfaultfd { faults, pagemap: File::open("/proc/self/pagemap")? };
        opened.probe()?;
        Ok(opened)
    }

    fn probe(&self) -> Result<()> {
        let len = 4 * PAGE_BYTES;
        // SAFETY: a new private mapping somewhere is nobody else's.
        let base = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0)
        };
        if base == libc::MAP_FAILED {
            return Err(Error::last_os_error());
        }
        let start = base as u64;
        let tried = self.protect(start, len as u64).and_then(|()| {
            // SAFETY: the byte is in the mapping above.
            unsafe { base.cast::<u8>().add(2 * PAGE_BYTES).write_volatile(1) };
            let first = self.take_written(start, len as u64)?;
            let second = self.take_written(start, len as u64)?;
            Ok((first, second))
        });
        // SAFETY: the mapping was made above, and nothing refers to it any more.
        unsafe { libc::munmap(base, len) };
        match tried? {
            (first, second) if first.iter().eq([&(2..3)]) && second.is_empty() => Ok(()),
            other => Err(Error::other(format!("a trial found the pages {other:?}"))),
        }
    }

    /// Registers a range, and from here on what is written in it counts. It must be accessible; its
    /// registration ends with its mapping. To repeat it is harmless.
    pub(crate) fn protect(&self, start: u64, len: u64) -> Result<()> {
        let mut register = UffdioRegister { start, len, mode: REGISTER_WP, ioctls: 0 };
        let mut protect = UffdioWriteprotect { start, len, mode: WRITEPROTECT_WP };
        // SAFETY: the structures are those that these ioctls take, and live through the calls; neither
        // changes what the range holds.
        unsafe {
            ioctl(&self.faults, IOCTL_REGISTER, &mut register)?;
            ioctl(&self.faults, IOCTL_WRITEPROTECT, &mut protect)
        }
    }

    /// The pages written since they were protected; they are protected again. Numbers count from `start`.
    pub(crate) fn take_written(&self, start: u64, len: u64) -> Result<Vec<Pages>> {
        self.scan(
            start,
            len,
            &ScanArgument {
                flags: SCAN_WP_MATCHING | SCAN_CHECK_WPASYNC,
                category_mask: PAGE_IS_WRITTEN,
                return_mask: PAGE_IS_WRITTEN,
                ..ScanArgument::default()
            },
        )
    }

    /// The pages that are not zeros for sure.
    pub(crate) fn populated(&self, start: u64, len: u64) -> Result<Vec<Pages>> {
        self.scan(
            start,
            len,
            &ScanArgument {
                category_inverted: PAGE_IS_PFNZERO,
                category_mask: PAGE_IS_PFNZERO,
                category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
                return_mask: PAGE_IS_PFNZERO,
                ..ScanArgument::default()
            },
        )
    }

    fn scan(&self, start: u64, len: u64, wanted: &ScanArgument) -> Result<Vec<Pages>> {
        let mut found: Vec<Pages> = Vec::new();
        let mut regions = [Region::default(); REGIONS];
        let end = start + len;
        let mut from = start;
        while from < end {
            let mut argument = ScanArgument {
                size: size_of::<ScanArgument>() as u64,
                start: from,
                end,
                walk_end: 0,
                regions: regions.as_mut_ptr() as u64,
                regions_len: REGIONS as u64,
                ..*wanted
            };
            // SAFETY: the structure is the one that this ioctl takes; it and the regions it points to live
            // through the call, and the kernel writes `regions_len` of them at the most.
            let count = unsafe {
                libc::ioctl(self.pagemap.as_raw_fd(), IOCTL_PAGEMAP_SCAN as _, &mut argument)
            };
            let Ok(count) = usize::try_from(count) else { return Err(Error::last_os_error()) };
            for region in &regions[..count] {
                let page = |address: u64| ((address - start) as usize) / PAGE_BYTES;
                let pages = page(region.start)..page(region.end);
                match found.last_mut() {
                    Some(last) if last.end == pages.start => last.end = pages.end,
                    _ => found.push(pages),
                }
            }
            if argument.walk_end <= from {
                return Err(Error::other("PAGEMAP_SCAN does not get ahead"));
            }
            from = argument.walk_end;
        }
        Ok(found)
    }
}

/// # Safety
/// `argument` is the structure that the request takes.
unsafe fn ioctl<T>(file: &impl AsRawFd, request: u64, argument: &mut T) -> Result<()> {
    let argument = std::ptr::from_mut(argument);
    // SAFETY: the caller's promise; the reference lives through the call.
    match unsafe { libc::ioctl(file.as_raw_fd(), request as _, argument) } {
        0 => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests;
