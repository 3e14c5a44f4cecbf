//! Upserts against a real catalog: one row a key, whatever repeats an epoch.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use floe_core::committable::{AppendRequest, Carried, CommitRequest, Committable};
use floe_core::{Epoch, ErrorKind, Result};
use floe_sink::iceberg::{IcebergSink, TableConfig, UpsertConfig, WriteMode, read_rows};
use iceberg::spec::Operation;

use crate::{Log, catalog, connect, files, manifest, request, table};

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("region", DataType::Utf8, false),
        Field::new("n", DataType::Int64, true),
        Field::new("_op", DataType::Utf8, true),
    ]))
}

fn config(key: &[&str], partition_by: &[&str]) -> TableConfig {
    let key = key.iter().map(ToString::to_string).collect();
    let mode = WriteMode::Upsert(UpsertConfig { key, op_column: None });
    TableConfig { mode, ..table(partition_by) }
}

async fn open(folder: &Path, config: &TableConfig) -> Result<IcebergSink> {
    IcebergSink::open("p", "sink", &catalog(folder), config, schema()).await
}

/// (id, region, n); a row without n deletes its key.
type Row = (i64, &'static str, Option<i64>);

fn rows(all: &[Row]) -> RecordBatch {
    RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(Int64Array::from_iter_values(all.iter().map(|it| it.0))),
            Arc::new(StringArray::from_iter_values(all.iter().map(|it| it.1))),
            Arc::new(Int64Array::from_iter(all.iter().map(|it| it.2))),
            Arc::new(StringArray::from_iter(
                all.iter().map(|it| if it.2.is_some() { None } else { Some("d") }),
            )),
        ],
    )
    .unwrap()
}

async fn prepare(sink: &IcebergSink, epoch: u64, batches: &[&[Row]]) -> Committable {
    let mut writer = sink.writer().unwrap();
    for batch in batches {
        writer.write(Epoch(epoch), rows(batch)).await.unwrap();
    }
    writer.prepare(Epoch(epoch)).await.unwrap()
}

async fn found(folder: &Path) -> BTreeMap<(i64, String), i64> {
    let batches = read_rows(&catalog(folder), "lake.rows", None).await.unwrap();
    let mut found = BTreeMap::new();
    for batch in batches {
        assert!(batch.column_by_name("_op").is_none(), "the operation is stored");
        let ids = batch.column_by_name("id").unwrap().as_primitive::<Int64Type>().clone();
        let regions = batch.column_by_name("region").unwrap().as_string::<i32>().clone();
        let n = batch.column_by_name("n").unwrap().as_primitive::<Int64Type>().clone();
        for row in 0..batch.num_rows() {
            let key = (ids.value(row), regions.value(row).to_owned());
            assert!(found.insert(key.clone(), n.value(row)).is_none(), "{key:?} is there twice");
        }
    }
    found
}

fn wanted(all: &[(i64, &str, i64)]) -> BTreeMap<(i64, String), i64> {
    all.iter().map(|(id, region, n)| ((*id, (*region).to_owned()), *n)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_version_of_a_key_is_the_one_row_of_it() {
    for partition_by in [&[][..], &["bucket(3, id)"], &["region", "bucket(2, id)"]] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let sink = open(folder, &config(&["id", "region"], partition_by)).await.unwrap();
        let committer = sink.committer();
        let first = prepare(
            &sink,
            1,
            &[
                &[(1, "a", Some(10)), (2, "a", Some(20)), (1, "a", Some(11))],
                &[(3, "b", Some(30)), (2, "a", Some(21)), (4, "b", Some(40))],
            ],
        );
        let first = request(&sink, 1, None, first.await);
        assert!(!committer.commit(&first, &Log).await.unwrap().already);
        let held = wanted(&[(1, "a", 11), (2, "a", 21), (3, "b", 30), (4, "b", 40)]);
        assert_eq!(found(folder).await, held, "{partition_by:?}");

        let second = prepare(
            &sink,
            2,
            &[
                &[(1, "a", Some(12)), (2, "a", None), (4, "b", None), (5, "c", None)],
                &[(4, "b", Some(41)), (6, "c", Some(60)), (6, "c", None)],
            ],
        );
        let second = request(&sink, 2, Some(1), second.await);
        assert!(!committer.commit(&second, &Log).await.unwrap().already);
        let held = wanted(&[(1, "a", 12), (3, "b", 30), (4, "b", 41)]);
        assert_eq!(found(folder).await, held, "{partition_by:?}");

        // Whoever commits an epoch again, early or late, changes nothing.
        assert!(committer.commit(&second, &Log).await.unwrap().already);
        assert!(committer.commit(&first, &Log).await.unwrap().already);
        assert_eq!(found(folder).await, held);
        let facts = committer.observe(None).await.unwrap();
        assert_eq!(facts.marker.unwrap().manifest, manifest(2));

        // Only deletes.
        let third = prepare(&sink, 3, &[&[(1, "a", None), (3, "b", None)]]).await;
        committer.commit(&request(&sink, 3, Some(2), third), &Log).await.unwrap();
        assert_eq!(found(folder).await, wanted(&[(4, "b", 41)]));
        let kinds = operations(folder).await;
        assert_eq!(kinds, [Operation::Overwrite, Operation::Overwrite, Operation::Delete]);
    }
}

async fn operations(folder: &Path) -> Vec<Operation> {
    let catalog = connect(&catalog(folder)).await.unwrap();
    let ident = iceberg::TableIdent::from_strs(["lake", "rows"]).unwrap();
    let table = catalog.load_table(&ident).await.unwrap();
    let mut snapshots: Vec<_> = table.metadata().snapshots().collect();
    snapshots.sort_by_key(|it| it.sequence_number());
    snapshots.iter().map(|it| it.summary().operation.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_committers_of_an_upsert_make_one_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&["id"], &[]);
    let sink = open(folder.path(), &config).await.unwrap();
    for epoch in 1..=6u64 {
        let rows: &[Row] = &[(1, "a", Some(epoch as i64)), (epoch as i64 + 1, "b", Some(0))];
        let committable = prepare(&sink, epoch, &[rows]).await;
        let request = Arc::new(request(&sink, epoch, (epoch > 1).then(|| epoch - 1), committable));
        let racing: Vec<_> = (0..3)
            .map(|_| {
                let (folder, config) = (folder.path().to_owned(), config.clone());
                let request = Arc::clone(&request);
                tokio::spawn(async move {
                    let sink = open(&folder, &config).await?;
                    loop {
                        match sink.committer().commit(&request, &Log).await {
                            Err(error) if error.kind == ErrorKind::Retry => continue,
                            done => return done,
                        }
                    }
                })
            })
            .collect();
        let mut made = 0;
        for task in racing {
            made += u32::from(!task.await.unwrap().unwrap().already);
        }
        assert_eq!(made, 1, "epoch {epoch}");
    }
    assert_eq!(crate::snapshots(folder.path()).await, 6);
    let found = found(folder.path()).await;
    assert_eq!((found.len(), found[&(1, "a".to_owned())]), (7, 6));
}

/// Under at-least-once an epoch may come again: it replaces itself.
#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_that_comes_twice_without_a_guard_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let sink = open(folder.path(), &config(&["id"], &[])).await.unwrap();
    let committable = prepare(&sink, 1, &[&[(1, "a", Some(1)), (2, "a", Some(2))]]).await;
    for _ in 0..2 {
        let request = AppendRequest {
            pipeline: "p".into(),
            sink: "sink".into(),
            table_uuid: sink.table_uuid(),
            epoch: Epoch(1),
            committable: committable.clone(),
            information: Vec::new(),
        };
        sink.committer().append(&request).await.unwrap();
        assert_eq!(found(folder.path()).await, wanted(&[(1, "a", 1), (2, "a", 2)]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_file_and_a_gap_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let sink = open(folder.path(), &config(&["id"], &[])).await.unwrap();
    let committer = sink.committer();
    let first = request(&sink, 1, None, prepare(&sink, 1, &[&[(1, "a", Some(1))]]).await);
    committer.commit(&first, &Log).await.unwrap();
    let committable = prepare(&sink, 3, &[&[(1, "a", Some(3))]]).await;
    let gap = request(&sink, 3, Some(2), committable.clone());
    let error = committer.commit(&gap, &Log).await.unwrap_err();
    assert!(error.message.contains("epoch 2 must come before epoch 3"), "{error}");
    let lost = CommitRequest {
        information: vec![("recommit".into(), "true".into())],
        ..request(&sink, 3, Some(1), committable)
    };
    let data = folder.path().join("lake/lake/rows/data");
    let deletes = std::fs::read_dir(data)
        .unwrap()
        .map(|it| it.unwrap().path())
        .find(|it| {
            let name = it.file_name().unwrap().to_string_lossy().into_owned();
            name.contains("-00000003-") && name.contains("deletes")
        })
        .unwrap();
    std::fs::remove_file(&deletes).unwrap();
    let error = committer.commit(&lost, &Log).await.unwrap_err();
    assert!(error.message.contains(deletes.file_name().unwrap().to_str().unwrap()), "{error}");
    assert_eq!(found(folder.path()).await, wanted(&[(1, "a", 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_upserted_is_refused_before_there_is_a_table() {
    for (key, partition_by, why) in [
        (&["id"][..], &["region"][..], "\"region\" is not part of the key"),
        (&["id"], &["bucket(2, n)"], "\"n\" is not part of the key"),
        (&["nobody"], &[], "no column \"nobody\""),
        (&["n"], &[], "\"n\" is optional"),
        (&["_op"], &[], "no column \"_op\""),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let error = open(folder.path(), &config(key, partition_by)).await.err().unwrap();
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(error.message.contains(why), "{why}: {error}");
        assert!(!folder.path().join("lake").exists(), "a table was made");
    }
    // A table that is there already, partitioned by what is no key.
    let folder = tempfile::tempdir().unwrap();
    let appended = TableConfig { mode: WriteMode::Append, ..config(&[], &["region"]) };
    open(folder.path(), &appended).await.unwrap();
    let stored = TableConfig { partition_by: Vec::new(), ..config(&["id"], &[]) };
    let error = open(folder.path(), &stored).await.err().unwrap();
    assert!(error.message.contains("region"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn upkeep_leaves_an_upserted_table_as_it_reads() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut config = config(&["id"], &[]);
    config.properties =
        crate::EAGER.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    let sink = open(folder, &config).await.unwrap();
    let committer = sink.committer();
    let mut held = BTreeMap::new();
    for n in 1..=60u64 {
        let at = n as i64;
        let batch: &[Row] = &[(at % 7, "a", Some(at)), (at, "b", Some(-at)), (at / 2, "b", None)];
        for row in batch {
            match row.2 {
                Some(n) => held.insert(row.0, (row.1.to_owned(), n)),
                None => held.remove(&row.0),
            };
        }
        let committable = prepare(&sink, n, &[batch]).await;
        committer
            .commit(&request(&sink, n, (n > 1).then(|| n - 1), committable), &Log)
            .await
            .unwrap();
        if n % 10 == 0 {
            committer.maintain().await.unwrap();
            let wanted: BTreeMap<(i64, String), i64> =
                held.iter().map(|(id, (region, n))| ((*id, region.clone()), *n)).collect();
            assert_eq!(found(folder).await, wanted, "epoch {n}");
        }
    }
    assert!(files(folder, "rewritten.avro") > 0, "nothing was merged");
}

/// `commit-every`: several epochs at once are a snapshot each, for a delete takes nothing out beside itself.
#[tokio::test(flavor = "multi_thread")]
async fn epochs_that_are_committed_together_replace_one_another() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let sink = open(folder, &config(&["id"], &[])).await.unwrap();
    let earlier = Carried {
        manifest: manifest(1),
        committable: prepare(&sink, 1, &[&[(1, "a", Some(1)), (2, "a", Some(1))]]).await,
    };
    let last = prepare(&sink, 2, &[&[(1, "a", Some(2))]]).await;
    let both = CommitRequest { earlier: vec![earlier], ..request(&sink, 2, None, last) };
    for already in [false, true] {
        assert_eq!(sink.committer().commit(&both, &Log).await.unwrap().already, already);
        assert_eq!(found(folder).await, wanted(&[(1, "a", 2), (2, "a", 1)]));
        assert_eq!(crate::snapshots(folder).await, 2);
    }
}
