//! Planted bugs. Each stands in a wrapper around a port or in the simulated sink, never in production code.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// The committer appends without judging the base.
    NoGuard,
    /// The committer judges one base and swaps whatever base there is.
    GuardWithoutSwap,
    /// The committer asks the log nothing, and takes every manifest for its own.
    JudgeIgnoresLog,
    /// The committer compares the epoch's number instead of the manifest.
    MarkerByNumber,
    /// A commit without an answer is taken for done.
    UnknownTakenForDone,
    /// Of several epochs in a commit, the committer commits all although the table holds the first of them.
    PartOfRangeIgnored,
    /// Of several epochs in a commit, the committer commits the last alone.
    EarlierForgotten,
    /// A manifest is said to be visible before it is: commits come first.
    CommitBeforeManifest,
    /// Parts are said to be durable before they are.
    ManifestBeforeParts,
    /// Recovery does not look at the commits of the newest checkpoint.
    CommitForgotten,
    /// The position of a restored checkpoint is one too far.
    PositionAhead,
    /// The position of a restored checkpoint is one short.
    PositionBehind,
    /// The sweep deletes an object of the newest checkpoint.
    SweepReachable,
    /// Slots of the log are overwritten.
    SlotOverwritten,
    /// The claim is not written.
    ClaimDropped,
    /// The random numbers of an operator start anew at restore.
    SeedNotRestored,
    /// The operator starts empty at restore.
    StateNotRestored,
    /// The virtual time of a task starts anew at restore.
    VirtualTimeNotRestored,
    /// The watermark of a task starts anew at restore.
    WatermarkNotRestored,
    /// Names of data files start at 0 in each process, and a file of that name is overwritten.
    FileNameReused,
    /// Rows that were not prepared when the run went back to its checkpoint are written all the same.
    RowsNotAbandoned,
    /// The committer judges, but not when a recovery commits again.
    NoGuardAtRestart,
    /// A manifest that a later generation's claim keeps out of the log is taken for written.
    FenceIgnored,
    /// A capture of changes leaves a page out.
    DirtyPageMissed,
    /// What changed since the last checkpoint is forgotten when the run goes back and does it again.
    DirtySetDropped,
    /// A keyed task is captured as it was before the last rows of its epoch, as if a barrier had overtaken them.
    KeyedCaptureBehindRows,
    /// Two keyed tasks are restored with each other's state, as if keys had gone to other tasks than before.
    KeyedStateExchanged,
    /// The sweep of prepared files takes what the log is at for settled, not what the table is at.
    SweepOfOpenEpochs,
    /// The sweep of prepared files does not look at the table's snapshots.
    SweepOfTheTables,
    /// The journal of a keyed task has two merged batches in another order than they came in.
    MergeOrderLost,
    /// What a checkpoint has in flight is not restored.
    InFlightDropped,
    /// What a checkpoint has in flight is restored twice.
    InFlightTwice,
    /// Pages that two tasks wrote at the same place are taken for alike: both get what one of them has there.
    UnlikePagesShared,
}

impl Mutant {
    pub const ALL: &[Mutant] = &[
        Mutant::NoGuard,
        Mutant::GuardWithoutSwap,
        Mutant::JudgeIgnoresLog,
        Mutant::MarkerByNumber,
        Mutant::UnknownTakenForDone,
        Mutant::PartOfRangeIgnored,
        Mutant::EarlierForgotten,
        Mutant::CommitBeforeManifest,
        Mutant::ManifestBeforeParts,
        Mutant::CommitForgotten,
        Mutant::PositionAhead,
        Mutant::PositionBehind,
        Mutant::SweepReachable,
        Mutant::SlotOverwritten,
        Mutant::ClaimDropped,
        Mutant::SeedNotRestored,
        Mutant::StateNotRestored,
        Mutant::VirtualTimeNotRestored,
        Mutant::WatermarkNotRestored,
        Mutant::FileNameReused,
        Mutant::RowsNotAbandoned,
        Mutant::NoGuardAtRestart,
        Mutant::FenceIgnored,
        Mutant::DirtyPageMissed,
        Mutant::DirtySetDropped,
        Mutant::KeyedCaptureBehindRows,
        Mutant::KeyedStateExchanged,
        Mutant::SweepOfOpenEpochs,
        Mutant::SweepOfTheTables,
        Mutant::MergeOrderLost,
        Mutant::InFlightDropped,
        Mutant::InFlightTwice,
        Mutant::UnlikePagesShared,
    ];
}
