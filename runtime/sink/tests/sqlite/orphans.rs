//! Prepared files: what is deleted of two pipelines' files in one table, and what stays.

use std::collections::BTreeSet;
use std::path::Path;

use floe_core::Epoch;
use floe_core::committable::Committable;
use floe_core::manifest::SinkEntry;
use floe_core::protocol::orphans::SinkLog;
use floe_sink::iceberg::{IcebergSink, connect, sweep_table};
use iceberg::TableIdent;
use iceberg::transaction::{ApplyTransactionAction, Transaction};

use super::{Log, catalog, ids, manifest, prepare, request, schema, table};

/// A log that keeps these epochs' manifests.
fn log(sink: &IcebergSink, kept: Vec<(u64, Committable)>) -> SinkLog {
    let newest = kept.last().map(|it| Epoch(it.0));
    let entry = |committable| SinkEntry {
        name: "sink".into(),
        table: "lake.rows".into(),
        table_uuid: sink.table_uuid(),
        committable,
        predecessor: None,
        committed: None,
    };
    let kept = kept.into_iter().map(|(n, it)| (manifest(n), entry(it))).collect();
    SinkLog { kept, newest }
}

fn files(folder: &Path) -> BTreeSet<String> {
    let data = std::fs::read_dir(folder.join("lake/lake/rows/data")).unwrap();
    data.map(|it| it.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

async fn sink_of(folder: &Path, pipeline: &str) -> IcebergSink {
    IcebergSink::open(pipeline, "sink", &catalog(folder), &table(&[]), schema()).await.unwrap()
}

/// The files that come while something is done.
async fn new_files<T>(folder: &Path, done: impl Future<Output = T>) -> (T, BTreeSet<String>) {
    let before = files(folder);
    let done = done.await;
    (done, files(folder).difference(&before).cloned().collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_past_and_named_by_nobody_goes() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let sink = sink_of(folder, "p").await;
    let committer = sink.committer();
    let first = prepare(&sink, 1, 0..2).await;
    committer.commit(&request(&sink, 1, None, first.clone()), &Log).await.unwrap();
    // Attempts that died: at an epoch that is in the table, at one that waits, and at the open one.
    let (_, in_vain) = new_files(folder, prepare(&sink, 1, 0..2)).await;
    let (second, waits) = new_files(folder, prepare(&sink, 2, 2..4)).await;
    let (_, in_vain_too) = new_files(folder, prepare(&sink, 2, 2..4)).await;
    let (_, open) = new_files(folder, prepare(&sink, 3, 4..6)).await;
    // Nobody knows these but their own: another pipeline, and this one when it appends without a guard.
    let other = sink_of(folder, "q").await;
    let (_, others) = new_files(folder, prepare(&other, 1, 0..2)).await;
    let unguarded = sink_of(folder, "p").await.unguarded();
    let (_, appended) = new_files(folder, prepare(&unguarded, 1, 0..2)).await;

    let config = table(&[]);
    let at = catalog(folder);
    let kept = log(&sink, vec![(1, first.clone()), (2, second.clone())]);
    let all = files(folder);
    let dry = sweep_table(&at, &config, ("p", "sink"), &kept, true).await.unwrap().unwrap();
    assert_eq!(files(folder), all);
    assert_eq!(dry.settled, Some(Epoch(1)));
    assert_eq!((dry.orphans.len(), dry.kept, dry.not_ours), (1, 4, 2));
    // A log that does not know the marker, and one of another table, decide nothing.
    let unknown = log(&sink, vec![(7, second.clone())]);
    for (pipeline, log) in [("p", &unknown), ("q", &kept)] {
        let found = sweep_table(&at, &config, (pipeline, "sink"), log, false).await.unwrap();
        assert_eq!((found.unwrap().settled, files(folder)), (None, all.clone()));
    }
    assert_eq!(committer.sweep(&kept).await.unwrap(), dry);
    assert_eq!(files(folder), &all - &in_vain);

    committer.commit(&request(&sink, 2, Some(1), second.clone()), &Log).await.unwrap();
    assert_eq!(committer.sweep(&kept).await.unwrap().orphans.len(), 1);
    let left = files(folder);
    assert!(left.is_disjoint(&in_vain_too) && left.is_superset(&waits));
    assert!(left.is_superset(&open) && left.is_superset(&others) && left.is_superset(&appended));
    assert_eq!(ids(folder).await, [0, 1, 2, 3]);
}

/// What only an older snapshot has, or a checkpoint that is kept, stays; it goes when both are gone.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_snapshot_or_a_checkpoint_names_stays() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let mut config = table(&[]);
    config.properties = [
        ("floe.compaction.min-input-files", "2"),
        ("commit.manifest.min-count-to-merge", "2"),
        ("history.expire.min-snapshots-to-keep", "100"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    let at = catalog(folder);
    let sink = IcebergSink::open("p", "sink", &at, &config, schema()).await.unwrap();
    let committer = sink.committer();
    let mut kept = Vec::new();
    for n in 1..=3u64 {
        let committable = prepare(&sink, n, n as i64..n as i64 + 1).await;
        let before = (n > 1).then(|| n - 1);
        committer.commit(&request(&sink, n, before, committable.clone()), &Log).await.unwrap();
        kept.push((n, committable));
    }
    let written = files(folder);
    committer.maintain().await.unwrap();
    let rewritten: BTreeSet<String> = files(folder).difference(&written).cloned().collect();
    assert_eq!(rewritten.len(), 1, "three small files became one");
    let (all, newest) = (log(&sink, kept.clone()), log(&sink, kept.split_off(2)));
    // The snapshots before the rewrite name the small ones.
    for log in [&all, &newest] {
        assert_eq!(committer.sweep(log).await.unwrap().orphans, []);
    }
    let connected = connect(&at).await.unwrap();
    let ident = TableIdent::from_strs(["lake", "rows"]).unwrap();
    let loaded = connected.load_table(&ident).await.unwrap();
    let transaction = Transaction::new(&loaded);
    let expire = transaction.expire_snapshots().expire_older_than_ms(i64::MAX).retain_last(1);
    expire.apply(transaction).unwrap().commit(connected.as_ref()).await.unwrap();
    assert_eq!(committer.sweep(&all).await.unwrap().orphans, []);
    assert_eq!(committer.sweep(&newest).await.unwrap().orphans.len(), 2);
    assert_eq!(ids(folder).await, [1, 2, 3]);
}
