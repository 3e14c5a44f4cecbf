//! Which pages of a guest's memory were written: by the kernel's bookkeeping where it has it, else by
//! comparing page hashes. Both give the same images.

mod hashes;
pub(crate) mod memory;
#[cfg(target_os = "linux")]
mod userfaultfd;

use std::ops::Range;
use std::sync::Arc;

use crate::dirty::hashes::PageHashes;
use crate::dirty::memory::{Creator, Mapping};
#[cfg(target_os = "linux")]
use crate::dirty::userfaultfd::Userfaultfd;

/// How written pages are found, as the user may choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DirtyPages {
    /// userfaultfd where it works here, else page hashes.
    #[default]
    Auto,
    Userfaultfd,
    PageHashes,
}

impl DirtyPages {
    pub const NAMES: [(&'static str, DirtyPages); 3] = [
        ("auto", DirtyPages::Auto),
        ("userfaultfd", DirtyPages::Userfaultfd),
        ("page-hashes", DirtyPages::PageHashes),
    ];
}

/// Numbers of pages.
pub(crate) type Pages = Range<usize>;

/// The method that runs in this process.
pub(crate) enum Method {
    #[cfg(target_os = "linux")]
    Userfaultfd(Userfaultfd),
    /// With the reason why the kernel's bookkeeping is not used, if it was wanted.
    PageHashes(Option<String>),
}

impl Method {
    /// An error if the method that was asked for by name does not work here: it says why.
    pub(crate) fn choose(wanted: DirtyPages) -> Result<Method, String> {
        match wanted {
            DirtyPages::PageHashes => Ok(Method::PageHashes(None)),
            DirtyPages::Userfaultfd => Method::userfaultfd(),
            DirtyPages::Auto => {
                Ok(Method::userfaultfd().unwrap_or_else(|why| Method::PageHashes(Some(why))))
            }
        }
    }

    #[cfg(target_os = "linux")]
    fn userfaultfd() -> Result<Method, String> {
        let opened = Userfaultfd::open().map_err(|error| {
            format!(
                "the kernel's userfaultfd with WP_ASYNC and PAGEMAP_SCAN is not usable: {error}"
            )
        })?;
        Ok(Method::Userfaultfd(opened))
    }

    #[cfg(not(target_os = "linux"))]
    fn userfaultfd() -> Result<Method, String> {
        Err("userfaultfd is Linux's".to_owned())
    }

    /// For people.
    pub(crate) fn describe(&self) -> String {
        match self {
            #[cfg(target_os = "linux")]
            Method::Userfaultfd(_) => "userfaultfd".to_owned(),
            Method::PageHashes(None) => "page-hashes".to_owned(),
            Method::PageHashes(Some(why)) => format!("page-hashes ({why})"),
        }
    }
}

/// What one instance knows of its memory since the last capture of changes.
pub(crate) struct Written {
    method: Arc<Method>,
    mapping: Arc<Mapping>,
    hashes: PageHashes,
    /// Changes are known. Not so before the first capture, and after a capture was forgotten.
    known: bool,
}

impl Written {
    pub(crate) fn of(creator: &Creator, base: *const u8) -> Option<Written> {
        let mapping = creator.find(base)?;
        let hashes = PageHashes::default();
        Some(Written { method: Arc::clone(&creator.method), mapping, hashes, known: false })
    }

    /// From here on what is written counts. `memory` is all of the instance's.
    pub(crate) fn begin(&mut self, memory: &[u8]) {
        self.known = match &*self.method {
            #[cfg(target_os = "linux")]
            Method::Userfaultfd(userfaultfd) => self.mapping.track(userfaultfd).is_ok(),
            Method::PageHashes(_) => {
                self.hashes.changed(memory);
                true
            }
        };
    }

    pub(crate) fn forget(&mut self) {
        self.known = false;
    }

    /// The pages written since the last call, and from here on the next ones count. `None` where that is
    /// not known: then any page may be another than before.
    pub(crate) fn take(&mut self, memory: &[u8]) -> Option<Vec<Pages>> {
        if !std::mem::replace(&mut self.known, true) {
            self.begin(memory);
            return None;
        }
        match &*self.method {
            #[cfg(target_os = "linux")]
            Method::Userfaultfd(userfaultfd) => {
                let taken = self.mapping.take_written(userfaultfd);
                if let Err(error) = &taken {
                    tracing::warn!(
                        "written pages are not known, the whole memory is taken: {error}"
                    );
                    self.begin(memory);
                }
                taken.ok()
            }
            Method::PageHashes(_) => Some(self.hashes.changed(memory)),
        }
    }

    /// The pages that may hold anything but zeros.
    pub(crate) fn populated(&self, memory: &[u8]) -> Vec<Pages> {
        let all = std::iter::once(0..memory.len() / floe_core::image::PAGE_BYTES).collect();
        match &*self.method {
            #[cfg(target_os = "linux")]
            Method::Userfaultfd(userfaultfd) => self.mapping.populated(userfaultfd).unwrap_or(all),
            Method::PageHashes(_) => all,
        }
    }
}
