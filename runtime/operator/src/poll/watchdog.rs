//! The watchdog: a thread that makes the page of a call inaccessible once the call outran its allowance.
//!
//! It decides nothing that a guest, a row or a checkpoint sees: what it stops is run again where fuel is
//! counted, and what it stops too late has ended by itself.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::dirty::memory::Mapping;

/// How often the watchdog looks. A call may outrun its allowance by so much.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Looks at which no call ran, before it sleeps until the next one begins.
const LOOKS_IDLE_MAX: u32 = 20;

/// The page of one instance, and its calls as the watchdog sees them.
pub(crate) struct Watch {
    page: Arc<Mapping>,
    pub(crate) allowance: Duration,
    /// One more at each begin and each end of a call: odd while one runs. `STOPPED` is set in it once the
    /// call that runs was stopped.
    calls: AtomicU64,
    /// The system's number of the thread that called last.
    thread: AtomicI32,
    /// Held while the page is closed or opened.
    closing: Mutex<()>,
}

const STOPPED: u64 = 1 << 63;

impl Watch {
    pub(crate) fn new(page: Arc<Mapping>, allowance: Duration) -> Arc<Watch> {
        let watch = Arc::new(Watch {
            page,
            allowance,
            calls: AtomicU64::new(0),
            thread: AtomicI32::new(0),
            closing: Mutex::new(()),
        });
        let mut watches = WATCHDOG.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.push(Arc::downgrade(&watch));
        watch
    }

    /// A call begins.
    pub(crate) fn begin(&self) {
        self.thread.store(thread_number(), Ordering::Relaxed);
        let before = self.calls.fetch_add(1, Ordering::SeqCst);
        assert!(before.is_multiple_of(2), "one call at a time, and the last one ended");
        if WATCHDOG.asleep.load(Ordering::SeqCst) {
            WATCHDOG.wake();
        }
    }

    /// The call ended. True if it was stopped: the page is open again.
    pub(crate) fn end(&self) -> bool {
        let call = self.calls.load(Ordering::Relaxed) & !STOPPED;
        let ended = self.calls.compare_exchange(call, call + 1, Ordering::SeqCst, Ordering::SeqCst);
        if ended.is_ok() {
            return false;
        }
        let _closing = self.closing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.page.open() {
            // Then the next call fails at its first poll, and is run again as any that fails.
            tracing::warn!("the page of an instance does not open again: {error}");
        }
        self.calls.store(call + 1, Ordering::SeqCst);
        true
    }

    /// Stops this very call, if it still runs.
    fn stop(&self, call: u64) {
        let _closing = self.closing.lock().unwrap_or_else(PoisonError::into_inner);
        let stopped =
            self.calls.compare_exchange(call, call | STOPPED, Ordering::SeqCst, Ordering::SeqCst);
        if stopped.is_err() {
            return;
        }
        if let Err(error) = self.page.close() {
            tracing::warn!("a call cannot be stopped, it is tried again: {error}");
            self.calls.store(call, Ordering::SeqCst);
        }
    }
}

struct Watchdog {
    watches: Mutex<Vec<Weak<Watch>>>,
    /// It waits to be woken: set before it looks for the last time.
    asleep: AtomicBool,
    thread: Mutex<Option<Thread>>,
}

/// One for the process: it has nothing of any engine's.
static WATCHDOG: LazyLock<Watchdog> = LazyLock::new(|| Watchdog {
    watches: Mutex::default(),
    asleep: AtomicBool::new(true),
    thread: Mutex::default(),
});

impl Watchdog {
    #[cold]
    fn wake(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = &*thread {
            return thread.unpark();
        }
        let watch = || WATCHDOG.watch();
        match std::thread::Builder::new().name("floe-watchdog".to_owned()).spawn(watch) {
            Ok(started) => *thread = Some(started.thread().clone()),
            // The next call tries again.
            Err(error) => tracing::warn!("the watchdog does not start: {error}"),
        }
    }

    fn watch(&self) {
        let mut running = Vec::new();
        let mut looks_idle = 0;
        loop {
            self.asleep.store(looks_idle > LOOKS_IDLE_MAX, Ordering::SeqCst);
            running = self.look(running);
            if !running.is_empty() {
                looks_idle = 0;
            }
            if looks_idle > LOOKS_IDLE_MAX {
                std::thread::park();
                looks_idle = 0;
            } else {
                looks_idle += 1;
                std::thread::sleep(LOOK_EVERY);
            }
        }
    }

    /// The calls that run now; those that ran at the last look are stopped where their time is over.
    fn look(&self, before: Vec<Running>) -> Vec<Running> {
        let mut running = Vec::new();
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.retain(|it| it.strong_count() > 0);
        for watch in watches.iter().filter_map(Weak::upgrade) {
            let call = watch.calls.load(Ordering::SeqCst);
            if call.is_multiple_of(2) || call & STOPPED != 0 {
                continue;
            }
            let thread = watch.thread.load(Ordering::Relaxed);
            let known = before.iter().find(|it| it.call == call && Arc::ptr_eq(&it.watch, &watch));
            let (since, worked) = match known {
                Some(known) => (known.since, known.worked),
                None => (now(), work_of(thread)),
            };
            let took = match (worked, work_of(thread)) {
                (Some(before), Some(now)) => now.saturating_sub(before),
                _ => now() - since,
            };
            if took >= watch.allowance {
                watch.stop(call);
            } else {
                running.push(Running { watch, call, since, worked });
            }
        }
        running
    }
}

/// A call that was seen.
struct Running {
    watch: Arc<Watch>,
    call: u64,
    /// When it was first seen.
    since: Instant,
    /// What its thread had worked by then.
    worked: Option<Duration>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the clock chooses how a call is run again, no result"
)]
fn now() -> Instant {
    Instant::now()
}

/// The time that a thread had a processor, where the system tells it. A machine that is busy with other
/// things, or suspended, stops no call.
#[cfg(target_os = "linux")]
fn work_of(thread: i32) -> Option<Duration> {
    // A thread's clock, as the kernel numbers them (CPUCLOCK_PERTHREAD_MASK | CPUCLOCK_SCHED).
    let clock = (!thread << 3) | 6;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes to the place given and nowhere else; a thread that is gone is an error.
    let done = unsafe { libc::clock_gettime(clock, &mut time) };
    (done == 0).then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

#[cfg(not(target_os = "linux"))]
fn work_of(_thread: i32) -> Option<Duration> {
    None
}

#[cfg(target_os = "linux")]
fn thread_number() -> i32 {
    thread_local! {
        // SAFETY: the call takes nothing and returns a number.
        static NUMBER: i32 = unsafe { libc::gettid() };
    }
    NUMBER.with(|it| *it)
}

#[cfg(not(target_os = "linux"))]
fn thread_number() -> i32 {
    0
}
