//! Judges a table's state before a commit: commit, already there, gap, fenced, or refuse.
//!
//! Keeps I4 and I5: the caller judges the same base that its compare-and-swap names.

use std::fmt;

use crate::committable::{CommitRequest, GapRule, ManifestRef};
use crate::epoch::{EntryId, Epoch, Generation, Slot};
use crate::ports::LogAnswer;

/// What a commit writes into the snapshot summary and into the table's properties, in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    pub table_uuid: [u8; 16],
    pub branch: String,
    pub first_epoch: Epoch,
    /// The manifest whose committable the commit carried; its epoch is the last of the commit.
    pub manifest: ManifestRef,
    pub predecessor: Option<ManifestRef>,
}

impl Marker {
    /// The key of the table property and of the summary entry.
    pub fn key(pipeline: &str, sink: &str, branch: &str) -> String {
        format!("floe.{pipeline}.{sink}.{branch}")
    }

    pub fn parse(text: &str) -> Option<Marker> {
        let mut fields = text.split(' ');
        if fields.next()? != "v1" {
            return None;
        }
        let table_uuid = EntryId::parse(fields.next()?.strip_prefix("table=")?)?.0;
        let branch = fields.next()?.strip_prefix("branch=")?.to_owned();
        let first_epoch = Epoch(fields.next()?.strip_prefix("first-epoch=")?.parse().ok()?);
        let manifest = parse_ref(fields.next()?.strip_prefix("manifest=")?)?;
        let predecessor = match fields.next()?.strip_prefix("predecessor=")? {
            "none" => None,
            text => Some(parse_ref(text)?),
        };
        match fields.next() {
            None => Some(Marker { table_uuid, branch, first_epoch, manifest, predecessor }),
            Some(_) => None,
        }
    }
}

/// The key of the summary entry that names the epoch of a commit ahead of its checkpoint.
pub fn appended_key(pipeline: &str, sink: &str) -> String {
    format!("floe.{pipeline}.{sink}.appended")
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "v1 table={} branch={} first-epoch={} manifest={} predecessor=",
            EntryId(self.table_uuid),
            self.branch,
            self.first_epoch,
            RefText(self.manifest)
        )?;
        match self.predecessor {
            None => f.write_str("none"),
            Some(predecessor) => RefText(predecessor).fmt(f),
        }
    }
}

struct RefText(ManifestRef);

impl fmt::Display for RefText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.0.slot, self.0.epoch, self.0.id)
    }
}

fn parse_ref(text: &str) -> Option<ManifestRef> {
    let mut fields = text.split(':');
    let slot = Slot(fields.next()?.parse().ok()?);
    let epoch = Epoch(fields.next()?.parse().ok()?);
    let id = EntryId::parse(fields.next()?)?;
    fields.next().is_none().then_some(ManifestRef { slot, id, epoch })
}

/// The base of a commit: the table as it was loaded, and as the swap will require it to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseFacts {
    pub table_uuid: [u8; 16],
    pub property: Option<Marker>,
    /// The newest of our markers in the summaries of the branch head and its ancestors.
    pub summary: Option<Marker>,
    /// A property or summary of our key that is no marker of a version we know.
    pub unreadable: Option<String>,
}

impl BaseFacts {
    /// The newer of the two counts: the property survives expiry and foreign commits, the summary
    /// a property that was set back by hand.
    pub fn marker(&self) -> Option<&Marker> {
        match (&self.property, &self.summary) {
            (Some(property), Some(summary)) if summary.manifest.slot > property.manifest.slot => {
                Some(summary)
            }
            (Some(property), _) => Some(property),
            (None, summary) => summary.as_ref(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Swap this base for one with the committable.
    Commit,
    /// The table holds it: the marker names it or a later manifest of our log.
    Already,
    /// The table holds it up to this manifest, an earlier one of the commit: commit what is behind
    /// (`CommitRequest::behind`), after judging that.
    Within {
        marker: ManifestRef,
    },
    /// An epoch between the marker and this one was never committed.
    Gap {
        marker: ManifestRef,
    },
    Fenced {
        by: Generation,
    },
    Refuse(Refusal),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The table was dropped and made anew, or another one has its name.
    OtherTable {
        expected: [u8; 16],
        found: [u8; 16],
    },
    /// Earlier epochs were committed, and the table bears no marker of them.
    MarkerLost {
        predecessor: ManifestRef,
    },
    /// Another log wrote the marker: a second checkpoint store, or a copy of this one.
    ForeignMarker {
        marker: ManifestRef,
    },
    UnreadableMarker {
        text: String,
    },
}

/// The manifest whose place in the log decides, where the base alone does not.
pub fn asks_log(base: &BaseFacts, request: &CommitRequest) -> Option<ManifestRef> {
    let marker = base.marker()?.manifest;
    let ours = marker == request.manifest
        || Some(marker) == request.predecessor
        || request.holds_earlier(&marker);
    (!ours).then_some(marker)
}

/// Judges. `answer` is the log's answer about `asks_log`'s manifest, and unused where that is `None`.
pub fn judge(base: &BaseFacts, request: &CommitRequest, answer: LogAnswer) -> Verdict {
    if base.table_uuid != request.table_uuid {
        return Verdict::Refuse(Refusal::OtherTable {
            expected: request.table_uuid,
            found: base.table_uuid,
        });
    }
    if let Some(text) = &base.unreadable {
        return Verdict::Refuse(Refusal::UnreadableMarker { text: text.clone() });
    }
    let Some(marker) = base.marker() else {
        return match request.predecessor {
            None => Verdict::Commit,
            Some(_) if request.gap == GapRule::Pass => Verdict::Commit,
            Some(predecessor) => Verdict::Refuse(Refusal::MarkerLost { predecessor }),
        };
    };
    if marker.table_uuid != base.table_uuid {
        return Verdict::Refuse(Refusal::ForeignMarker { marker: marker.manifest });
    }
    let marker = marker.manifest;
    if Some(marker) == request.predecessor {
        return Verdict::Commit;
    }
    if marker == request.manifest {
        return Verdict::Already;
    }
    if request.holds_earlier(&marker) {
        return Verdict::Within { marker };
    }
    match answer {
        LogAnswer::FencedBy(by) => Verdict::Fenced { by },
        LogAnswer::Absent => Verdict::Refuse(Refusal::ForeignMarker { marker }),
        LogAnswer::Known if marker.slot > request.manifest.slot => Verdict::Already,
        LogAnswer::Known => match request.gap {
            GapRule::Refuse => Verdict::Gap { marker },
            GapRule::Pass => Verdict::Commit,
        },
    }
}

#[cfg(test)]
mod tests;
