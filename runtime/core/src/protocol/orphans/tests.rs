use super::*;
use crate::committable::{Committable, CommittedSnapshot};
use crate::epoch::Slot;

const TABLE: [u8; 16] = [1; 16];

fn manifest(slot: u64) -> ManifestRef {
    ManifestRef { slot: Slot(slot), id: EntryId([slot as u8; 16]), epoch: Epoch(slot * 10) }
}

fn marker(slot: u64, table_uuid: [u8; 16]) -> Marker {
    Marker {
        table_uuid,
        branch: "main".into(),
        first_epoch: Epoch(slot * 10),
        manifest: manifest(slot),
        predecessor: None,
    }
}

fn entry(committed: Option<u64>) -> SinkEntry {
    SinkEntry {
        name: "sink".into(),
        table: "t".into(),
        table_uuid: TABLE,
        committable: Committable::EMPTY,
        predecessor: None,
        committed: committed.map(|slot| CommittedSnapshot {
            manifest: manifest(slot),
            snapshot_id: 1,
            sequence_number: 1,
        }),
    }
}

/// Every file of every log, table and moment: only what nobody names, and nobody can name, is an orphan.
#[test]
fn only_what_nobody_can_commit_is_an_orphan() {
    let mut orphans = 0;
    for settled in [None, Some(3), Some(4), Some(5)] {
        for epoch in 3..=6 {
            for carried in [false, true] {
                for in_table in [false, true] {
                    let file = PreparedFile { epoch: Epoch(epoch), carried, in_table };
                    let fate = decide_prepared(settled.map(Epoch), &file);
                    let all = format!("{settled:?} {file:?} {fate:?}");
                    let is_past = settled.is_some_and(|it| epoch <= it);
                    let deletes = fate == PreparedFate::Orphan;
                    assert_eq!(deletes, is_past && !carried && !in_table, "{all}");
                    assert_eq!(fate == PreparedFate::InTable, in_table, "{all}");
                    orphans += u32::from(deletes);
                }
            }
        }
    }
    assert_eq!(orphans, 1 + 2 + 3);
}

/// A log of up to three manifests from slot 3 on, each knowing of any commit before it; a marker of any slot,
/// of our log or of another, in this table or another. The table counts as settled only where its marker is
/// one that the log knows, and not one from before what the log has seen there.
#[test]
fn a_table_settles_what_our_own_marker_says() {
    let mut settled = 0;
    for count in 0..=3u64 {
        for committed in 0..=4u64 {
            let kept: Vec<(ManifestRef, SinkEntry)> = (3..3 + count)
                .map(|slot| {
                    (manifest(slot), entry((committed > 0).then_some(committed.min(slot - 1))))
                })
                .collect();
            let log = SinkLog { newest: kept.last().map(|it| it.0.epoch), kept };
            assert_eq!(log.settled(TABLE, None), None);
            for slot in 1..=8 {
                assert_eq!(log.settled(TABLE, Some(&marker(slot, [2; 16]))), None, "other table");
                assert_eq!(log.settled([2; 16], Some(&marker(slot, TABLE))), None, "made anew");
                let seen = log.kept.iter().filter_map(|it| it.1.committed);
                let seen: Vec<u64> = seen.map(|it| it.manifest.slot.0).collect();
                let is_known = (3..3 + count).contains(&slot) || seen.contains(&slot);
                let went_back = seen.iter().any(|it| slot < *it);
                let found = log.settled(TABLE, Some(&marker(slot, TABLE)));
                let expected = (is_known && !went_back).then_some(Epoch(slot * 10));
                assert_eq!(found, expected, "{log:?} {slot}");
                settled += u32::from(found.is_some());
            }
        }
    }
    assert!(settled > 20);
    // The number alone proves nothing: another log's entry may stand in the same slot.
    let log = SinkLog { newest: Some(Epoch(30)), kept: vec![(manifest(3), entry(None))] };
    let mut other = marker(3, TABLE);
    other.manifest.id = EntryId([99; 16]);
    assert_eq!(log.settled(TABLE, Some(&other)), None);
}
