//! Overdue: whether the barrier of the open epoch has been out for so long that it may overtake what waits
//! before it. One answer for all workers, by one clock.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use floe_core::Epoch;
use tokio::time::Instant;

/// How long a worker that waits does so before it asks again.
pub(crate) const ASK_INTERVAL: Duration = Duration::from_millis(5);

/// When barriers overtake, and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overtaking {
    /// From the moment at which the barrier goes out.
    pub after: Duration,
    /// What one worker may have waiting; with more of it the barrier is aligned.
    pub in_flight_bytes_max: u64,
}

pub(crate) struct Overdue {
    overtaking: Option<Overtaking>,
    /// The barrier that may overtake, and since when it is out. None while none does: a savepoint's and the last
    /// one never do.
    out: Mutex<Option<(Epoch, Instant)>>,
}

impl Overdue {
    pub(crate) fn new(overtaking: Option<Overtaking>) -> Overdue {
        Overdue { overtaking, out: Mutex::new(None) }
    }

    /// Barriers of this run may overtake at all.
    pub(crate) fn may_be(&self) -> bool {
        self.overtaking.is_some()
    }

    pub(crate) fn in_flight_bytes_max(&self) -> u64 {
        self.overtaking.map_or(0, |it| it.in_flight_bytes_max)
    }

    /// This barrier goes out now, behind all that the tasks have captured for the one before.
    pub(crate) fn goes_out(&self, epoch: Epoch, aligned: bool) {
        if self.may_be() {
            let out = (!aligned).then(|| (epoch, Instant::now()));
            *self.out.lock().unwrap_or_else(PoisonError::into_inner) = out;
        }
    }

    /// The epoch whose barrier is overdue.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        let after = self.overtaking?.after;
        let out = *self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.filter(|(_, since)| since.elapsed() >= after).map(|it| it.0)
    }
}
