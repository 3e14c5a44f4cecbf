//! The traps of the kernel's bookkeeping, each on pages of its own: what floe relies on, and why it does what
//! it does.

#![allow(clippy::single_range_in_vec_init, reason = "runs of pages are ranges")]

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::*;
use crate::{DirtyPages, Engine};

/// Pages of nobody else.
struct Pages4(*mut u8);

const LEN: usize = 4 * PAGE_BYTES;

impl Pages4 {
    fn new() -> Pages4 {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new private mapping somewhere is nobody else's.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), LEN, protection, flags, -1, 0) };
        assert_ne!(base, libc::MAP_FAILED);
        Pages4(base.cast())
    }

    fn start(&self) -> u64 {
        self.0.addr() as u64
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping has so many bytes, and is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.0, LEN) }
    }
}

impl Drop for Pages4 {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new`, and its borrows have ended.
        unsafe { libc::munmap(self.0.cast(), LEN) };
    }
}

/// `None` where the kernel has none of it: then the other method runs, and CI would have failed elsewhere.
fn opened() -> Option<Userfaultfd> {
    Userfaultfd::open().inspect_err(|error| eprintln!("skipped: no userfaultfd here: {error}")).ok()
}

#[test]
fn pages_never_touched_count_when_they_are_first_written() {
    let Some(userfaultfd) = opened() else { return };
    let mut pages = Pages4::new();
    userfaultfd.protect(pages.start(), LEN as u64).unwrap();
    pages.bytes()[3 * PAGE_BYTES] = 1;
    // Reading maps the kernel's page of zeros, which is no write.
    assert_eq!(std::hint::black_box(pages.bytes()[PAGE_BYTES]), 0);
    let written = userfaultfd.take_written(pages.start(), LEN as u64).unwrap();
    assert_eq!(written, [3..4]);
    pages.bytes()[PAGE_BYTES] = 1;
    let written = userfaultfd.take_written(pages.start(), LEN as u64).unwrap();
    assert_eq!(written, [1..2]);
}

/// The faults of the kernel's own writes are not user mode's, and count all the same.
#[test]
fn what_the_kernel_writes_for_the_host_counts() {
    let Some(userfaultfd) = opened() else { return };
    let mut pages = Pages4::new();
    pages.bytes().fill(1);
    userfaultfd.protect(pages.start(), LEN as u64).unwrap();
    let mut zeros = File::open("/dev/zero").unwrap();
    zeros.read_exact(&mut pages.bytes()[2 * PAGE_BYTES + 7..][..9]).unwrap();
    let written = userfaultfd.take_written(pages.start(), LEN as u64).unwrap();
    assert_eq!(written, [2..3]);
}

/// So a memory's growth is registered before it is used, and nothing else than what is accessible.
#[test]
fn one_range_that_is_not_registered_fails_the_scan_of_all() {
    let Some(userfaultfd) = opened() else { return };
    let mut pages = Pages4::new();
    pages.bytes().fill(1);
    userfaultfd.protect(pages.start(), LEN as u64 / 2).unwrap();
    assert!(userfaultfd.take_written(pages.start(), LEN as u64).is_err());
    userfaultfd.protect(pages.start() + LEN as u64 / 2, LEN as u64 / 2).unwrap();
    pages.bytes()[0] = 2;
    pages.bytes()[LEN - 1] = 2;
    let written = userfaultfd.take_written(pages.start(), LEN as u64).unwrap();
    assert_eq!(written, [0..1, 3..4]);
}

/// A huge page would be written as a whole: after protection the kernel splits it at its first write.
#[test]
fn a_write_to_a_huge_page_is_one_of_a_small_page() {
    let Some(userfaultfd) = opened() else { return };
    let huge = 2 << 20;
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new private mapping somewhere is nobody else's.
    let whole = unsafe { libc::mmap(std::ptr::null_mut(), 2 * huge, protection, flags, -1, 0) };
    assert_ne!(whole, libc::MAP_FAILED);
    let base = whole.cast::<u8>();
    // SAFETY: an aligned huge page lies within the mapping, which nobody else knows.
    let bytes = unsafe {
        let begin = base.add(base.align_offset(huge));
        libc::madvise(begin.cast(), huge, libc::MADV_HUGEPAGE);
        std::slice::from_raw_parts_mut(begin, huge)
    };
    bytes.fill(1);
    let start = bytes.as_ptr().addr() as u64;
    userfaultfd.protect(start, huge as u64).unwrap();
    bytes[100 * PAGE_BYTES] = 2;
    assert_eq!(userfaultfd.take_written(start, huge as u64).unwrap(), [100..101]);
    // SAFETY: the mapping was made above, and nothing refers to it any more.
    unsafe { libc::munmap(whole, 2 * huge) };
}

/// Told apart by what the engine says of itself, in a process in which the call is forbidden as containers do.
#[test]
fn where_a_container_forbids_it_page_hashes_are_compared() {
    const ASKED: &str = "FLOE_TEST_FORBIDDEN";
    #[expect(clippy::disallowed_methods, reason = "a test that runs itself as another process")]
    if std::env::var_os(ASKED).is_some() {
        let said = Engine::new(None).unwrap().dirty_pages();
        assert!(said.starts_with("page-hashes (the kernel's userfaultfd"), "{said}");
        let asked = Engine::with_dirty_pages(None, DirtyPages::Userfaultfd);
        let error = asked.err().expect("it is forbidden").message;
        assert!(error.contains("dirty-pages = \"auto\""), "{error}");
        return;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        "dirty::userfaultfd::tests::where_a_container_forbids_it_page_hashes_are_compared",
    ]);
    command.env(ASKED, "1");
    // SAFETY: the function calls the system and allocates nothing.
    unsafe { command.pre_exec(forbid) };
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
}

/// A filter as a container's: the call fails as not permitted.
fn forbid() -> Result<()> {
    const LOAD_NUMBER: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let line = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut lines = [
        line(LOAD_NUMBER, 0, 0, 0),
        line(JUMP_EQUAL, 0, 1, libc::SYS_userfaultfd as u32),
        line(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        line(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: lines.len() as u16, filter: lines.as_mut_ptr() };
    // SAFETY: the program and its lines live through the calls.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    };
    if done { Ok(()) } else { Err(Error::last_os_error()) }
}
