//! Named places between two durable effects, where tests stop the process.
//!
//! Nothing happens at a point unless it was armed: then the process ends there as SIGKILL would end it,
//! without a destructor or a flush. The cli arms one from `FLOE_CRASH_AT=name[:nth]`.

use std::sync::atomic::{AtomicU32, Ordering};

macro_rules! crash_points {
    ($($name:ident = $text:literal,)*) => {
        /// A place just before or just after a durable effect.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum CrashPoint { $($name,)* }

        impl CrashPoint {
            /// All of them, for the tests that visit each.
            pub const ALL: &[CrashPoint] = &[$(CrashPoint::$name,)*];

            pub fn name(self) -> &'static str {
                match self { $(CrashPoint::$name => $text,)* }
            }
        }
    };
}

crash_points! {
    BeforeClaim = "before-claim",
    AfterClaim = "after-claim",
    AfterRestore = "after-restore",
    BeforeFirstRead = "before-first-read",
    AfterFirstRead = "after-first-read",
    BeforeGuestCall = "before-guest-call",
    AfterGuestCall = "after-guest-call",
    BeforeDataFileClose = "before-data-file-close",
    AfterDataFileClose = "after-data-file-close",
    BeforeCapture = "before-capture",
    AfterCapture = "after-capture",
    BeforePart = "before-part",
    AfterPart = "after-part",
    BeforeManifest = "before-manifest",
    AfterManifest = "after-manifest",
    BeforeCommit = "before-commit",
    AfterCommitSent = "after-commit-sent",
    AfterCommit = "after-commit",
    AfterVerify = "after-verify",
    BeforeReport = "before-report",
    AfterReport = "after-report",
    BeforeRecommit = "before-recommit",
    AfterRecommit = "after-recommit",
    BeforeTableChange = "before-table-change",
    AfterTableChange = "after-table-change",
    BeforeHint = "before-hint",
    AfterHint = "after-hint",
    BeforeSavepointKept = "before-savepoint-kept",
    AfterSavepointKept = "after-savepoint-kept",
    BeforeSweepObject = "before-sweep-object",
    AfterSweepObject = "after-sweep-object",
    BeforeSweepEntry = "before-sweep-entry",
    AfterSweepEntry = "after-sweep-entry",
    BeforeMaintain = "before-maintain",
    AfterMaintain = "after-maintain",
    BeforeRewriteSwap = "before-rewrite-swap",
    AfterRewriteSwap = "after-rewrite-swap",
    BeforeReplacedDelete = "before-replaced-delete",
    AfterReplacedDelete = "after-replaced-delete",
    BeforeOrphanDelete = "before-orphan-delete",
    AfterOrphanDelete = "after-orphan-delete",
}

const UNARMED: u32 = u32::MAX;

static ARMED: AtomicU32 = AtomicU32::new(UNARMED);
static PASSES_LEFT: AtomicU32 = AtomicU32::new(0);

impl CrashPoint {
    pub fn parse(name: &str) -> Option<CrashPoint> {
        CrashPoint::ALL.iter().copied().find(|it| it.name() == name)
    }
}

/// Arms a point: the process ends when it is passed for the `nth` time, counted from 1.
pub fn arm(point: CrashPoint, nth: u32) {
    PASSES_LEFT.store(nth.saturating_sub(1), Ordering::SeqCst);
    ARMED.store(point as u32, Ordering::SeqCst);
}

/// Passes a point.
#[inline]
pub fn hit(point: CrashPoint) {
    if ARMED.load(Ordering::Relaxed) == point as u32 {
        stop_here(point);
    }
}

#[cold]
fn stop_here(point: CrashPoint) {
    let passed =
        PASSES_LEFT.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |it| it.checked_sub(1));
    if passed.is_err() {
        eprintln!("crash point {}", point.name());
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own_name() {
        for point in CrashPoint::ALL {
            assert_eq!(CrashPoint::parse(point.name()), Some(*point));
        }
        assert!(CrashPoint::ALL.len() >= 25);
    }
}
