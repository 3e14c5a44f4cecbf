use super::*;
use crate::committable::{Carried, Committable, GapRule};

const TABLE: [u8; 16] = [1; 16];
const OTHER_TABLE: [u8; 16] = [2; 16];

/// The manifests of a small log, by slot; slot 9 is one of another log.
fn manifest(slot: u64) -> ManifestRef {
    ManifestRef { slot: Slot(slot), id: EntryId([slot as u8; 16]), epoch: Epoch(slot) }
}

fn marker(slot: u64) -> Marker {
    Marker {
        table_uuid: TABLE,
        branch: "main".into(),
        first_epoch: Epoch(slot),
        manifest: manifest(slot),
        predecessor: None,
    }
}

fn request(slot: u64, predecessor: Option<u64>) -> CommitRequest {
    CommitRequest {
        pipeline: "p".into(),
        sink: "sink".into(),
        table_uuid: TABLE,
        manifest: manifest(slot),
        predecessor: predecessor.map(manifest),
        gap: GapRule::Refuse,
        earlier: Vec::new(),
        committable: Committable::EMPTY,
        information: Vec::new(),
    }
}

fn base(property: Option<u64>, summary: Option<u64>) -> BaseFacts {
    BaseFacts {
        table_uuid: TABLE,
        property: property.map(marker),
        summary: summary.map(marker),
        unreadable: None,
    }
}

#[test]
fn each_row_of_the_table() {
    use LogAnswer::{Absent, Known};
    let fenced = LogAnswer::FencedBy(Generation(5));
    // (marker, manifest, predecessor, the log's answer) → verdict
    let rows = [
        (None, 2, None, Known, Verdict::Commit),
        (
            None,
            3,
            Some(2),
            Known,
            Verdict::Refuse(Refusal::MarkerLost { predecessor: manifest(2) }),
        ),
        (Some(2), 3, Some(2), Known, Verdict::Commit),
        (Some(3), 3, Some(2), Known, Verdict::Already),
        (Some(3), 3, None, Known, Verdict::Already),
        (Some(4), 3, Some(2), Known, Verdict::Already),
        (Some(1), 3, Some(2), Known, Verdict::Gap { marker: manifest(1) }),
        (Some(1), 3, None, Known, Verdict::Gap { marker: manifest(1) }),
        (
            Some(9),
            3,
            Some(2),
            Absent,
            Verdict::Refuse(Refusal::ForeignMarker { marker: manifest(9) }),
        ),
        (Some(9), 3, None, Absent, Verdict::Refuse(Refusal::ForeignMarker { marker: manifest(9) })),
        (Some(9), 3, Some(2), fenced, Verdict::Fenced { by: Generation(5) }),
    ];
    for (property, slot, predecessor, answer, expected) in rows {
        let request = request(slot, predecessor);
        for facts in [base(property, None), base(None, property), base(property, property)] {
            assert_eq!(judge(&facts, &request, answer), expected, "{facts:?} {request:?}");
        }
    }
}

/// Of a commit of epochs 2 to 4, whatever part is in the table: what is left is exactly the rest.
#[test]
fn a_range_is_committed_from_where_the_table_stands() {
    let carried = |slot| Carried { manifest: manifest(slot), committable: Committable::EMPTY };
    let range = CommitRequest { earlier: vec![carried(2), carried(3)], ..request(4, Some(1)) };
    assert_eq!(range.first_epoch(), Epoch(2));
    let judged = |slot| judge(&base(Some(slot), None), &range, LogAnswer::Known);
    assert_eq!(judged(1), Verdict::Commit);
    for (slot, left) in [(2, vec![3, 4]), (3, vec![4])] {
        assert_eq!(judged(slot), Verdict::Within { marker: manifest(slot) });
        assert_eq!(asks_log(&base(Some(slot), None), &range), None);
        let rest = range.behind(manifest(slot));
        let found: Vec<ManifestRef> = rest.one_by_one().iter().map(|it| it.manifest).collect();
        assert_eq!(found, left.into_iter().map(manifest).collect::<Vec<_>>());
        assert_eq!(judge(&base(Some(slot), None), &rest, LogAnswer::Known), Verdict::Commit);
    }
    assert_eq!(judged(4), Verdict::Already);
    assert_eq!(judged(5), Verdict::Already);
    for (before, one) in [1, 2, 3].into_iter().zip(range.one_by_one()) {
        assert_eq!((one.predecessor, one.earlier.len()), (Some(manifest(before)), 0));
    }
}

#[test]
fn the_newer_of_property_and_summary_counts() {
    let request = request(3, Some(2));
    assert_eq!(judge(&base(Some(3), Some(2)), &request, LogAnswer::Known), Verdict::Already);
    assert_eq!(judge(&base(Some(2), Some(3)), &request, LogAnswer::Known), Verdict::Already);
}

#[test]
fn another_table_and_an_unreadable_marker_are_refused_whatever_else_holds() {
    for property in [None, Some(2), Some(3)] {
        let other = BaseFacts { table_uuid: OTHER_TABLE, ..base(property, None) };
        let verdict = judge(&other, &request(3, Some(2)), LogAnswer::Known);
        assert!(matches!(verdict, Verdict::Refuse(Refusal::OtherTable { .. })), "{verdict:?}");
        let unreadable = BaseFacts { unreadable: Some("v9".into()), ..base(property, None) };
        let verdict = judge(&unreadable, &request(3, Some(2)), LogAnswer::Known);
        assert!(matches!(verdict, Verdict::Refuse(Refusal::UnreadableMarker { .. })));
    }
}

/// Over every small combination: a commit happens only on the predecessor's marker, or first of all.
#[test]
fn it_commits_only_behind_its_predecessor() {
    let slots = [None, Some(1), Some(2), Some(3), Some(4), Some(9)];
    for property in slots {
        for summary in slots {
            for predecessor in [None, Some(1), Some(2)] {
                for answer in
                    [LogAnswer::Known, LogAnswer::Absent, LogAnswer::FencedBy(Generation(2))]
                {
                    let facts = base(property, summary);
                    let verdict = judge(&facts, &request(3, predecessor), answer);
                    let newest = property.max(summary);
                    let may = newest == predecessor;
                    assert_eq!(verdict == Verdict::Commit, may, "{facts:?} after {predecessor:?}");
                    if newest == Some(3) {
                        assert_eq!(verdict, Verdict::Already);
                    }
                }
            }
        }
    }
}

#[test]
fn a_marker_comes_back_from_its_text() {
    for predecessor in [None, Some(manifest(2))] {
        let marker = Marker { predecessor, ..marker(3) };
        assert_eq!(Marker::parse(&marker.to_string()), Some(marker));
    }
    for text in ["", "v2 x", "v1", "v1 table=00 branch=main", &format!("{} more", marker(3))] {
        assert_eq!(Marker::parse(text), None, "{text}");
    }
}

/// At-most-once: what was never committed is passed over, and nothing is committed twice or to a stranger.
#[test]
fn a_gap_is_passed_where_rows_may_be_missing() {
    let may_miss =
        |slot, predecessor| CommitRequest { gap: GapRule::Pass, ..request(slot, predecessor) };
    let known = LogAnswer::Known;
    assert_eq!(judge(&base(Some(1), None), &may_miss(3, Some(2)), known), Verdict::Commit);
    assert_eq!(judge(&base(None, None), &may_miss(3, Some(2)), known), Verdict::Commit);
    assert_eq!(judge(&base(Some(3), None), &may_miss(3, Some(2)), known), Verdict::Already);
    assert_eq!(judge(&base(Some(4), None), &may_miss(3, Some(2)), known), Verdict::Already);
    let foreign = judge(&base(Some(9), None), &may_miss(3, Some(2)), LogAnswer::Absent);
    assert!(matches!(foreign, Verdict::Refuse(Refusal::ForeignMarker { .. })), "{foreign:?}");
    let refused = judge(&base(Some(1), None), &request(3, Some(2)), known);
    assert!(matches!(refused, Verdict::Gap { .. }), "{refused:?}");
}
