//! Decides where a pipeline starts, from what its log and its tables say, after the claim.
//!
//! Invariants that the decision relies on: I1 (a visible manifest's objects are durable) and I5 (the
//! table's marker is written by the commit itself, never beside it).
//!
//! Invariant that the decision keeps: I4, the table never holds an epoch twice, and never loses one.

use std::fmt;

use crate::committable::ManifestRef;
use crate::ports::MarkerSnapshot;

/// What was read about one sink before deciding. Reading it twice gives the same decision or a fencing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkFacts {
    pub name: String,
    pub table: String,
    pub table_uuid: [u8; 16],
    /// The newest manifest's entry for this sink; `None` where there is no checkpoint, or no such sink in it.
    pub checkpoint: Option<SinkCheckpoint>,
    pub marker: Option<ManifestRef>,
    pub relation: MarkerRelation,
    pub snapshot: MarkerSnapshot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkCheckpoint {
    pub table_uuid: [u8; 16],
    /// The newest manifest of the log with a non-empty committable for this sink.
    pub newest_committing: Option<ManifestRef>,
    /// The newest commit that a manifest of the log says was verified.
    pub committed: Option<ManifestRef>,
}

/// Where the manifest that the table's marker names stands in our log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkerRelation {
    NoMarker,
    /// In our log, or at a slot below all that is kept.
    InLog,
    NotInLog,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkDecision {
    /// The table holds all that the checkpoints carry for it.
    Settled,
    /// Commit what the checkpoints carry past `after`, before a record is read.
    Recommit {
        after: Option<ManifestRef>,
    },
    Refuse(Refusal),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The checkpoint store is empty, and the table was written by a pipeline of this name.
    FreshStoreOnMarkedTable { table: String, marker: ManifestRef },
    /// The table was dropped and made anew since the checkpoint.
    TableRecreated { table: String },
    /// Commits were verified, and the table bears no marker of them.
    MarkerLost { table: String, committed: ManifestRef },
    /// The marker is of another log: the table is ahead of these checkpoints.
    TableAhead { table: String, marker: ManifestRef },
    /// Somebody set the branch back behind what was committed.
    RolledBack { table: String, committed: ManifestRef },
}

/// Decides for one sink. Total: every combination of facts has one answer, and the tests visit them all.
pub fn decide_sink(facts: &SinkFacts) -> SinkDecision {
    let table = || facts.table.clone();
    let Some(checkpoint) = facts.checkpoint else {
        return match facts.marker {
            None => SinkDecision::Settled,
            Some(marker) => {
                SinkDecision::Refuse(Refusal::FreshStoreOnMarkedTable { table: table(), marker })
            }
        };
    };
    if checkpoint.table_uuid != facts.table_uuid {
        return SinkDecision::Refuse(Refusal::TableRecreated { table: table() });
    }
    let Some(marker) = facts.marker else {
        return match (checkpoint.committed, checkpoint.newest_committing) {
            (Some(committed), _) => {
                SinkDecision::Refuse(Refusal::MarkerLost { table: table(), committed })
            }
            (None, None) => SinkDecision::Settled,
            (None, Some(_)) => SinkDecision::Recommit { after: None },
        };
    };
    if facts.relation != MarkerRelation::InLog {
        return SinkDecision::Refuse(Refusal::TableAhead { table: table(), marker });
    }
    if facts.snapshot == MarkerSnapshot::RolledBack {
        return SinkDecision::Refuse(Refusal::RolledBack { table: table(), committed: marker });
    }
    if let Some(committed) = checkpoint.committed
        && marker.slot < committed.slot
    {
        return SinkDecision::Refuse(Refusal::RolledBack { table: table(), committed });
    }
    match checkpoint.newest_committing {
        Some(newest) if marker.slot < newest.slot => SinkDecision::Recommit { after: Some(marker) },
        Some(newest) if marker == newest => SinkDecision::Settled,
        // A marker that no manifest of ours carried rows for: written by a log that went on without us.
        Some(_) | None => SinkDecision::Refuse(Refusal::TableAhead { table: table(), marker }),
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::FreshStoreOnMarkedTable { table, marker } => write!(
                f,
                "table {table} holds epochs up to {} of this pipeline, and the checkpoint store is empty: starting would repeat their rows\n  → point [checkpoint] store at the checkpoints that belong to the table, or write to a new table, or use another [pipeline] id",
                marker.epoch
            ),
            Refusal::TableRecreated { table } => write!(
                f,
                "table {table} was dropped and made anew since the last checkpoint: rows of earlier epochs are not in it\n  → restore the table, or start anew with another [pipeline] id"
            ),
            Refusal::MarkerLost { table, committed } => write!(
                f,
                "table {table} bears no marker of this pipeline, although epoch {} was committed to it\n  → restore the table property floe.<pipeline>.<sink>.<branch>, or the table",
                committed.epoch
            ),
            Refusal::TableAhead { table, marker } => write!(
                f,
                "table {table} is ahead of the checkpoints: it holds epoch {} (entry {} of a log that is not this one)\n  → point [checkpoint] store at the newer checkpoints, or write to a new table",
                marker.epoch, marker.slot
            ),
            Refusal::RolledBack { table, committed } => write!(
                f,
                "table {table} was rolled back behind epoch {}, which was committed to it: going on would leave a hole\n  → roll the table forward again, or start anew with another [pipeline] id",
                committed.epoch
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epoch::{EntryId, Epoch, Slot};

    fn manifest(slot: u64) -> ManifestRef {
        ManifestRef { slot: Slot(slot), id: EntryId([slot as u8; 16]), epoch: Epoch(slot) }
    }

    /// Every combination of facts over manifests 1, 2 and 3, of which 4 is none of ours.
    fn every_observation() -> Vec<SinkFacts> {
        let some = [None, Some(1), Some(2), Some(3)];
        let mut checkpoints = vec![None];
        for newest_committing in some {
            for committed in some.into_iter().filter(|it| *it <= newest_committing) {
                for table_uuid in [[1; 16], [2; 16]] {
                    checkpoints.push(Some(SinkCheckpoint {
                        table_uuid,
                        newest_committing: newest_committing.map(manifest),
                        committed: committed.map(manifest),
                    }));
                }
            }
        }
        let markers = [
            (None, MarkerRelation::NoMarker),
            (Some(1), MarkerRelation::InLog),
            (Some(2), MarkerRelation::InLog),
            (Some(3), MarkerRelation::InLog),
            (Some(4), MarkerRelation::NotInLog),
        ];
        let mut all = Vec::new();
        for checkpoint in checkpoints {
            for (marker, relation) in markers {
                for snapshot in [
                    MarkerSnapshot::NoMarker,
                    MarkerSnapshot::Found,
                    MarkerSnapshot::Expired,
                    MarkerSnapshot::RolledBack,
                ] {
                    if marker.is_none() != (snapshot == MarkerSnapshot::NoMarker) {
                        continue;
                    }
                    all.push(SinkFacts {
                        name: "sink".into(),
                        table: "t".into(),
                        table_uuid: [1; 16],
                        checkpoint,
                        marker: marker.map(manifest),
                        relation,
                        snapshot,
                    });
                }
            }
        }
        all
    }

    #[test]
    fn it_recommits_exactly_what_the_table_lacks() {
        for facts in every_observation() {
            let newest = facts.checkpoint.and_then(|it| it.newest_committing);
            match decide_sink(&facts) {
                SinkDecision::Recommit { after } => {
                    assert_eq!(after, facts.marker, "{facts:?}");
                    assert!(after < newest, "{facts:?}");
                }
                SinkDecision::Settled => assert_eq!(facts.marker, newest, "{facts:?}"),
                SinkDecision::Refuse(_) => {}
            }
        }
    }

    #[test]
    fn it_never_goes_on_over_lost_or_foreign_commits() {
        for facts in every_observation() {
            let goes_on = !matches!(decide_sink(&facts), SinkDecision::Refuse(_));
            let Some(checkpoint) = facts.checkpoint else {
                assert_eq!(goes_on, facts.marker.is_none(), "{facts:?}");
                continue;
            };
            if goes_on {
                assert_eq!(checkpoint.table_uuid, facts.table_uuid);
                assert!(facts.relation != MarkerRelation::NotInLog);
                assert!(facts.snapshot != MarkerSnapshot::RolledBack);
                assert!(checkpoint.committed <= facts.marker, "{facts:?}");
            }
        }
    }

    #[test]
    fn it_refuses_only_what_it_must() {
        for facts in every_observation() {
            let Some(checkpoint) = facts.checkpoint else { continue };
            let sound = checkpoint.table_uuid == facts.table_uuid
                && facts.relation != MarkerRelation::NotInLog
                && facts.snapshot != MarkerSnapshot::RolledBack
                && checkpoint.committed <= facts.marker
                && facts.marker <= checkpoint.newest_committing;
            let refused = matches!(decide_sink(&facts), SinkDecision::Refuse(_));
            assert_eq!(refused, !sound, "{facts:?}");
        }
    }
}
