//! What a pipeline may promise of its rows, and what follows from it for every step that may fail.
//!
//! State and position are always captured together, so state is exact under each of them; they differ in
//! when rows become visible, and in what becomes of a commit that nobody knows the outcome of.

use crate::epoch::Epoch;
use crate::error::ErrorKind;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guarantee {
    /// The checkpoint completes, then its rows are committed, by a guard that finds them if they are there.
    ExactlyOnce,
    /// Rows are committed, then the checkpoint completes: after a crash between the two they come again.
    AtLeastOnce,
    /// The checkpoint completes, then its rows are committed once: after a crash between the two they are
    /// missing.
    AtMostOnce,
}

/// Which of the two durable steps of an epoch comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    CheckpointFirst,
    TableFirst,
}

/// What to do when a commit fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterFailure {
    TryAgain,
    /// The epoch's rows may be missing; the next epoch goes on.
    GiveUp,
    Stop,
}

impl Guarantee {
    pub const ALL: [Guarantee; 3] =
        [Guarantee::ExactlyOnce, Guarantee::AtLeastOnce, Guarantee::AtMostOnce];

    /// As the pipeline file and the checkpoint's identity have it.
    pub fn name(self) -> &'static str {
        match self {
            Guarantee::ExactlyOnce => "exactly-once",
            Guarantee::AtLeastOnce => "at-least-once",
            Guarantee::AtMostOnce => "at-most-once",
        }
    }

    pub fn order(self) -> Order {
        match self {
            Guarantee::ExactlyOnce | Guarantee::AtMostOnce => Order::CheckpointFirst,
            Guarantee::AtLeastOnce => Order::TableFirst,
        }
    }

    /// Does a start commit what completed checkpoints carry and the table lacks?
    pub fn recommits(self) -> bool {
        match self {
            Guarantee::ExactlyOnce => true,
            // Nothing to do: the table was first. Or nothing to be done: a commit is never repeated.
            Guarantee::AtLeastOnce | Guarantee::AtMostOnce => false,
        }
    }

    pub fn after_failure(self, kind: ErrorKind) -> AfterFailure {
        match (kind, self) {
            // It was not applied, so trying again repeats nothing.
            (ErrorKind::Retry, _) => AfterFailure::TryAgain,
            // Trying again is harmless to the one, and allowed to the other.
            (ErrorKind::Unknown, Guarantee::ExactlyOnce | Guarantee::AtLeastOnce) => {
                AfterFailure::TryAgain
            }
            (ErrorKind::Unknown, Guarantee::AtMostOnce) => AfterFailure::GiveUp,
            (
                ErrorKind::Fenced { .. }
                | ErrorKind::Invalid
                | ErrorKind::Refused
                | ErrorKind::Corrupt
                | ErrorKind::Operator,
                _,
            ) => AfterFailure::Stop,
        }
    }

    /// May a run begin under this guarantee on a table to which `appended` was committed ahead of its
    /// checkpoint, while the newest checkpoint is of epoch `newest`? Records of an epoch that is in the table
    /// without a checkpoint are read again, so their rows come again: only at-least-once may do that.
    pub fn may_begin(self, newest: Option<Epoch>, appended: Option<Epoch>) -> bool {
        self == Guarantee::AtLeastOnce || appended <= newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_of_unknown_outcome_is_repeated_only_where_that_does_no_harm() {
        use AfterFailure::{GiveUp, Stop, TryAgain};
        for (guarantee, unknown) in [
            (Guarantee::ExactlyOnce, TryAgain),
            (Guarantee::AtLeastOnce, TryAgain),
            (Guarantee::AtMostOnce, GiveUp),
        ] {
            assert_eq!(guarantee.after_failure(ErrorKind::Unknown), unknown);
            assert_eq!(guarantee.after_failure(ErrorKind::Retry), TryAgain);
            assert_eq!(guarantee.after_failure(ErrorKind::Fenced { by: None }), Stop);
        }
    }

    #[test]
    fn an_epoch_ahead_of_its_checkpoint_is_for_at_least_once_alone() {
        for guarantee in Guarantee::ALL {
            assert!(guarantee.may_begin(None, None));
            assert!(guarantee.may_begin(Some(Epoch(3)), Some(Epoch(3))));
            let ahead = guarantee.may_begin(Some(Epoch(3)), Some(Epoch(4)));
            assert_eq!(ahead, guarantee == Guarantee::AtLeastOnce);
            assert_eq!(guarantee.may_begin(None, Some(Epoch(1))), ahead);
        }
    }
}
