use bytes::Bytes;

use super::*;
use crate::committable::Committable;
use crate::epoch::{Generation, Slot};
use crate::manifest::PipelineIdentity;

fn place(epoch: u64) -> ManifestRef {
    ManifestRef { slot: Slot(epoch + 1), id: EntryId([epoch as u8; 16]), epoch: Epoch(epoch) }
}

/// A checkpoint of one sink: its own rows, and the newest before it that had some.
fn manifest(
    epoch: u64,
    rows: u64,
    predecessor: Option<u64>,
) -> (ManifestRef, Arc<CheckpointManifest>) {
    let content = Bytes::from_static(b"files");
    let sink = SinkEntry {
        name: "sink".into(),
        table: "lake.rows".into(),
        table_uuid: [1; 16],
        committable: Committable { rows, file_count: 1, file_bytes: 1, content },
        predecessor: predecessor.map(place),
        committed: None,
    };
    let identity = PipelineIdentity {
        pipeline: "p".into(),
        guarantee: "exactly-once".into(),
        topics: Vec::new(),
        operators: Vec::new(),
        decoder: "json-1".into(),
        engine: "e".into(),
        isa: "x86_64".into(),
    };
    let manifest = CheckpointManifest {
        id: place(epoch).id,
        epoch: Epoch(epoch),
        generation: Generation(1),
        predecessor: None,
        identity,
        objects: Vec::new(),
        tasks: Vec::new(),
        sinks: vec![sink],
        created_ms: 0,
        savepoint: false,
    };
    (place(epoch), Arc::new(manifest))
}

fn table(commits: &[(u64, i64)], before: Option<i64>) -> TableHistory {
    TableHistory {
        sink: "sink".into(),
        table: "lake.rows".into(),
        commits: commits.iter().map(|it| (place(it.0).id, it.1)).collect(),
        before,
        ..TableHistory::default()
    }
}

/// 1 has no rows; 2, 3 and 5 have some, 4 has none.
fn kept() -> Vec<(ManifestRef, Arc<CheckpointManifest>)> {
    vec![
        manifest(1, 0, None),
        manifest(2, 9, None),
        manifest(3, 9, Some(2)),
        manifest(4, 0, Some(3)),
        manifest(5, 9, Some(3)),
    ]
}

#[test]
fn it_begins_where_the_table_holds_the_checkpoint_and_nothing_behind_it() {
    // (snapshots by the manifest that ends them, before the first, asked for, the epoch and its snapshot)
    type Case<'a> = (&'a [(u64, i64)], Option<i64>, Option<u64>, Option<(u64, Option<i64>)>);
    let cases: [Case<'_>; 10] = [
        (&[(2, 20), (3, 30), (5, 50)], None, None, Some((5, Some(50)))),
        // The newest is not committed yet: the one before has no rows of its own.
        (&[(2, 20), (3, 30)], None, None, Some((4, Some(30)))),
        (&[(2, 20), (3, 30)], None, Some(5), None),
        (&[(2, 20), (3, 30), (5, 50)], None, Some(2), Some((2, Some(20)))),
        (&[(2, 20), (3, 30), (5, 50)], None, Some(4), Some((4, Some(30)))),
        // 2 and 3 are one snapshot.
        (&[(3, 30), (5, 50)], None, Some(2), None),
        (&[(3, 30), (5, 50)], None, Some(3), Some((3, Some(30)))),
        // Before the first row: what somebody else wrote is there.
        (&[(2, 20)], Some(7), Some(1), Some((1, Some(7)))),
        (&[], None, None, Some((1, None))),
        (&[(2, 20)], None, Some(9), None),
    ];
    for (number, (commits, before, wanted, expected)) in cases.into_iter().enumerate() {
        let found = branch_point(&kept(), &[table(commits, before)], wanted.map(Epoch));
        let found = found.ok().map(|it| (it.place.epoch.0, it.snapshots[0]));
        assert_eq!(found, expected, "case {number}");
    }
}

#[test]
fn each_table_must_hold_it() {
    let other = TableHistory { sink: "other".into(), ..table(&[], Some(4)) };
    let tables = [table(&[(2, 20)], None), other];
    let found = branch_point(&kept(), &tables, None).expect("2 is in the table");
    assert_eq!((found.place.epoch, found.snapshots), (Epoch(2), vec![Some(20), Some(4)]));
    let error = branch_point(&kept(), &[table(&[], None)], Some(Epoch(3))).expect_err("not there");
    assert!(error.message.contains("these have one: 1"), "{error}");
    let error = branch_point(&kept(), &tables, Some(Epoch(8))).expect_err("not kept");
    assert!(error.message.contains("there are 1 to 5"), "{error}");
}

#[test]
fn positions_go_back_and_never_forward() {
    let task = |partition| TopicPartition::new("t", partition);
    let position = Position([(task(0), Offset(10)), (task(1), Offset(20))].into());
    let back = |to: &[(i32, i64)]| {
        let to = to.iter().map(|it| (task(it.0), Offset(it.1))).collect();
        set_back(&position, &to, Epoch(3))
    };
    let expected = Position([(task(0), Offset(0)), (task(1), Offset(20))].into());
    assert_eq!(back(&[(0, 0)]).expect("it is behind"), expected);
    assert_eq!(back(&[(0, 10)]).expect("it is the same"), position);
    let error = back(&[(1, 21)]).expect_err("it is ahead");
    assert!(error.message.contains("t/1: offset 21 lies ahead of checkpoint 3"), "{error}");
    assert!(back(&[(2, 0)]).is_err());
}
