//! What a verdict of the judge means for the caller, in words.

use floe_core::Error;
use floe_core::committable::{CommitRequest, ManifestRef};
use floe_core::epoch::EntryId;
use floe_core::protocol::judge::{Refusal, Verdict};
use iceberg::TableIdent;

pub(super) enum Ending {
    /// The table holds it: an earlier attempt had been applied.
    Already,
    /// It holds a part of it, up to this manifest.
    Within(ManifestRef),
    Error(Error),
}

pub(super) fn refused(verdict: Verdict, table: &TableIdent, request: &CommitRequest) -> Ending {
    let epoch = request.manifest.epoch;
    let text = match verdict {
        Verdict::Already => return Ending::Already,
        Verdict::Within { marker } => return Ending::Within(marker),
        Verdict::Commit => unreachable!("a base that may be committed to is let through"),
        Verdict::Fenced { by } => {
            return Ending::Error(Error::fenced(
                Some(by),
                format!(
                    "fenced: generation {by} has committed to table {table}; this process wanted to commit epoch {epoch}\n  this process has stopped writing; what it had completed, the new owner commits"
                ),
            ));
        }
        Verdict::Gap { marker } => format!(
            "table {table} holds epoch {}, and epoch {} must come before epoch {epoch}: the table was rolled back, or a commit is missing\n  → roll the table forward to epoch {}, or start anew with another [pipeline] id",
            marker.epoch,
            request.predecessor.map_or(epoch, |it| it.epoch),
            request.predecessor.map_or(epoch, |it| it.epoch),
        ),
        Verdict::Refuse(Refusal::OtherTable { expected, found }) => format!(
            "table {table} is not the one that epoch {epoch} was written for: its uuid is {}, and was {}\n  → it was dropped and made anew; restore it, or start anew with another [pipeline] id",
            EntryId(found),
            EntryId(expected)
        ),
        Verdict::Refuse(Refusal::MarkerLost { predecessor }) => format!(
            "table {table} bears no marker of this pipeline, although epoch {} was committed to it\n  → restore its properties, or start anew with another [pipeline] id",
            predecessor.epoch
        ),
        Verdict::Refuse(Refusal::ForeignMarker { marker }) => format!(
            "table {table} was committed to by another run of this pipeline, with a checkpoint store of its own (its epoch {}, entry {})\n  → let one of the two write to another table, or give it another [pipeline] id",
            marker.epoch, marker.slot
        ),
        Verdict::Refuse(Refusal::UnreadableMarker { text }) => format!(
            "table {table} bears a marker that this floe cannot read: {text:?}\n  → use the floe that wrote it"
        ),
    };
    Ending::Error(Error::refused(text))
}
