//! The sink against a real catalog (sqlite, local files): every commit once, in order, whatever repeats it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod changes;
mod opens;
mod orphans;
mod upsert;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use floe_core::committable::{CommitRequest, Committable, GapRule, ManifestRef};
use floe_core::epoch::{EntryId, Generation, Slot};
use floe_core::ports::{LogAnswer, LogView, MarkerSnapshot};
use floe_core::{Epoch, ErrorKind, Result};
use floe_sink::iceberg::{
    CatalogConfig, CatalogKind, IcebergSink, SchemaEvolution, TableConfig, WriteMode, connect,
    read_rows,
};
use iceberg::spec::{Operation, SnapshotRef};

mod day;

fn catalog(folder: &Path) -> CatalogConfig {
    CatalogConfig {
        kind: CatalogKind::Sql,
        name: "floe".into(),
        uri: format!("sqlite://{}/catalog.db", folder.display()),
        warehouse: Some(format!("file://{}/lake", folder.display())),
        properties: BTreeMap::new(),
    }
}

fn table(partition_by: &[&str]) -> TableConfig {
    TableConfig {
        table: "lake.rows".into(),
        create: true,
        partition_by: partition_by.iter().map(ToString::to_string).collect(),
        branch: "main".into(),
        mode: WriteMode::Append,
        schema_evolution: SchemaEvolution::None,
        properties: BTreeMap::new(),
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false),
    ]))
}

fn rows(ids: std::ops::Range<i64>) -> RecordBatch {
    let all: Vec<i64> = ids.collect();
    let names = all.iter().map(|it| (it % 5 != 0).then(|| format!("name-{}", it % 7)));
    let times = TimestampMillisecondArray::from_iter_values(all.iter().map(|it| it * 3_600_000));
    RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(Int64Array::from(all.clone())),
            Arc::new(StringArray::from_iter(names)),
            Arc::new(times.with_timezone("UTC")),
        ],
    )
    .unwrap()
}

fn manifest(n: u64) -> ManifestRef {
    ManifestRef { slot: Slot(n), id: EntryId([n as u8; 16]), epoch: Epoch(n) }
}

/// A log that holds the manifests below 100.
struct Log;

#[async_trait]
impl LogView for Log {
    async fn find(&self, manifest: &ManifestRef) -> Result<LogAnswer> {
        Ok(match manifest.slot.0 {
            0..100 => LogAnswer::Known,
            100..200 => LogAnswer::FencedBy(Generation(9)),
            _ => LogAnswer::Absent,
        })
    }
}

fn request(
    sink: &IcebergSink,
    n: u64,
    predecessor: Option<u64>,
    committable: Committable,
) -> CommitRequest {
    CommitRequest {
        pipeline: "p".into(),
        sink: "sink".into(),
        table_uuid: sink.table_uuid(),
        manifest: manifest(n),
        predecessor: predecessor.map(manifest),
        gap: GapRule::Refuse,
        earlier: Vec::new(),
        committable,
        information: vec![("floe.epoch".into(), n.to_string())],
    }
}

async fn prepare(sink: &IcebergSink, epoch: u64, ids: std::ops::Range<i64>) -> Committable {
    let mut writer = sink.writer().unwrap();
    writer.write(Epoch(epoch), rows(ids)).await.unwrap();
    writer.prepare(Epoch(epoch)).await.unwrap()
}

async fn ids(folder: &Path) -> Vec<i64> {
    let batches = read_rows(&catalog(folder), "lake.rows", None).await.unwrap();
    let mut all: Vec<i64> = batches
        .iter()
        .flat_map(|it| {
            it.column_by_name("id").unwrap().as_primitive::<Int64Type>().values().to_vec()
        })
        .collect();
    all.sort_unstable();
    all
}

async fn snapshots(folder: &Path) -> usize {
    snapshot_ids(folder).await.len()
}

async fn snapshot_ids(folder: &Path) -> Vec<i64> {
    snapshots_of(folder).await.iter().map(|it| it.snapshot_id()).collect()
}

async fn snapshots_of(folder: &Path) -> Vec<SnapshotRef> {
    let catalog = connect(&catalog(folder)).await.unwrap();
    let ident = iceberg::TableIdent::from_strs(["lake", "rows"]).unwrap();
    let table = catalog.load_table(&ident).await.unwrap();
    table.metadata().snapshots().cloned().collect()
}

async fn open(folder: &Path, partition_by: &[&str]) -> IcebergSink {
    IcebergSink::open("p", "sink", &catalog(folder), &table(partition_by), schema()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_epoch_is_in_the_table_once_however_often_it_is_committed() {
    let folder = tempfile::tempdir().unwrap();
    let sink = open(folder.path(), &[]).await;
    let committer = sink.committer();
    let first = request(&sink, 1, None, prepare(&sink, 1, 0..10).await);
    let second = request(&sink, 2, Some(1), prepare(&sink, 2, 10..20).await);

    let outcome = committer.commit(&first, &Log).await.unwrap();
    assert!(!outcome.already);
    assert!(committer.commit(&first, &Log).await.unwrap().already);
    assert!(!committer.commit(&second, &Log).await.unwrap().already);
    // An earlier epoch, from a process that was asleep, changes nothing.
    assert!(committer.commit(&first, &Log).await.unwrap().already);
    assert_eq!(ids(folder.path()).await, (0..20).collect::<Vec<i64>>());
    assert_eq!(snapshots(folder.path()).await, 2);

    let facts = committer.observe(Some(&outcome.snapshot)).await.unwrap();
    assert_eq!(facts.marker.unwrap().manifest, manifest(2));
    assert_eq!(facts.marker_snapshot, MarkerSnapshot::Found);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_committers_at_once_make_one_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let sink = open(folder.path(), &[]).await;
    for epoch in 1..=8u64 {
        let range = epoch as i64 * 10..epoch as i64 * 10 + 10;
        let request = Arc::new(request(
            &sink,
            epoch,
            (epoch > 1).then(|| epoch - 1),
            prepare(&sink, epoch, range).await,
        ));
        let racing: Vec<_> = (0..3)
            .map(|_| {
                let (config, request) = (catalog(folder.path()), Arc::clone(&request));
                tokio::spawn(async move {
                    let sink =
                        IcebergSink::open("p", "sink", &config, &table(&[]), schema()).await?;
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
    assert_eq!(snapshots(folder.path()).await, 8);
    assert_eq!(ids(folder.path()).await, (10..90).collect::<Vec<i64>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_committed_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let sink = open(folder.path(), &[]).await;
    let committer = sink.committer();
    let first = request(&sink, 1, None, prepare(&sink, 1, 0..10).await);
    committer.commit(&first, &Log).await.unwrap();

    let gap = request(&sink, 3, Some(2), prepare(&sink, 3, 20..30).await);
    let error = committer.commit(&gap, &Log).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused);
    assert!(error.message.contains("epoch 2 must come before epoch 3"), "{error}");

    let other = CommitRequest {
        table_uuid: [7; 16],
        ..request(&sink, 2, Some(1), prepare(&sink, 2, 10..20).await)
    };
    let error = committer.commit(&other, &Log).await.unwrap_err();
    assert!(error.message.contains("uuid"), "{error}");

    let by_file = request(&sink, 2, Some(1), prepare(&sink, 2, 10..20).await);
    let lost =
        CommitRequest { information: vec![("recommit".into(), "true".into())], ..by_file.clone() };
    let data = folder.path().join("lake/lake/rows/data");
    let newest = std::fs::read_dir(&data)
        .unwrap()
        .map(|it| it.unwrap().path())
        .filter(|it| it.to_string_lossy().contains("00000002-"))
        .max_by_key(|it| it.metadata().unwrap().modified().unwrap())
        .unwrap();
    let aside = folder.path().join("aside");
    std::fs::rename(&newest, &aside).unwrap();
    let error = committer.commit(&lost, &Log).await.unwrap_err();
    assert!(error.message.contains(newest.file_name().unwrap().to_str().unwrap()), "{error}");
    assert_eq!(ids(folder.path()).await, (0..10).collect::<Vec<i64>>());
    std::fs::rename(&aside, &newest).unwrap();
    committer.commit(&lost, &Log).await.unwrap();
    assert_eq!(ids(folder.path()).await, (0..20).collect::<Vec<i64>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_and_many_epochs_at_once_keep_their_rows_apart() {
    for by in [
        &["bucket(4, id)"][..],
        &["day(ts)", "name"],
        &["truncate(3, name)"],
        &["hour(ts)"],
        &["month(ts)"],
        &["year(ts)"],
        &["id"],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let sink = open(folder.path(), by).await;
        let mut writer = sink.writer().unwrap();
        // Rows of the next epoch arrive while one is open.
        writer.write(Epoch(1), rows(0..150)).await.unwrap();
        writer.write(Epoch(2), rows(300..310)).await.unwrap();
        writer.write(Epoch(1), rows(150..300)).await.unwrap();
        let first = writer.prepare(Epoch(1)).await.unwrap();
        assert_eq!((first.rows, first.file_count > 0), (300, true), "{by:?}");
        sink.committer().commit(&request(&sink, 1, None, first), &Log).await.unwrap();
        assert_eq!(ids(folder.path()).await, (0..300).collect::<Vec<i64>>(), "{by:?}");
        let second = writer.prepare(Epoch(2)).await.unwrap();
        sink.committer().commit(&request(&sink, 2, Some(1), second), &Log).await.unwrap();
        assert_eq!(ids(folder.path()).await, (0..310).collect::<Vec<i64>>(), "{by:?}");
        assert!(writer.prepare(Epoch(3)).await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_does_not_fit_is_described_column_by_column() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path(), &[]).await;
    let other: SchemaRef = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), true),
        Field::new("more", DataType::Int32, false),
    ]));
    let error = IcebergSink::open("p", "sink", &catalog(folder.path()), &table(&[]), other)
        .await
        .err()
        .unwrap();
    for part in [
        "the table and the operator disagree",
        "id ",
        "table: long, required",
        "operator: string",
        "more",
        "table: absent",
        "ts ",
        "optional",
    ] {
        assert!(error.message.contains(part), "{part}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_stays_bounded_over_many_commits() {
    let folder = tempfile::tempdir().unwrap();
    let properties = BTreeMap::from([
        ("history.expire.max-snapshot-age-ms".to_owned(), "1".to_owned()),
        ("history.expire.min-snapshots-to-keep".to_owned(), "5".to_owned()),
        ("write.metadata.previous-versions-max".to_owned(), "4".to_owned()),
    ]);
    let config = TableConfig { properties, ..table(&[]) };
    let sink =
        IcebergSink::open("p", "sink", &catalog(folder.path()), &config, schema()).await.unwrap();
    let committer = sink.committer();
    for epoch in 1..=60u64 {
        let range = epoch as i64..epoch as i64 + 1;
        let request = request(
            &sink,
            epoch,
            (epoch > 1).then(|| epoch - 1),
            prepare(&sink, epoch, range).await,
        );
        committer.commit(&request, &Log).await.unwrap();
        if epoch.is_multiple_of(10) {
            committer.maintain().await.unwrap();
        }
    }
    let metadata = std::fs::read_dir(folder.path().join("lake/lake/rows/metadata")).unwrap();
    let names: Vec<String> =
        metadata.map(|it| it.unwrap().file_name().to_string_lossy().into_owned()).collect();
    let count = |ending: &str| names.iter().filter(|it| it.ends_with(ending)).count();
    assert!(count(".json") <= 7, "{} metadata files: {names:?}", count(".json"));
    assert!(names.iter().filter(|it| it.starts_with("snap-")).count() <= 16, "{names:?}");
    assert_eq!(ids(folder.path()).await, (1..61).collect::<Vec<i64>>());
    // The commit before last is expired with its snapshot, and is known all the same.
    let facts = committer.observe(None).await.unwrap();
    assert_eq!(facts.marker.unwrap().manifest, manifest(60));
}

async fn open_with(folder: &Path, partition_by: &[&str], more: &[(&str, &str)]) -> IcebergSink {
    let mut config = table(partition_by);
    config.properties = more.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    IcebergSink::open("p", "sink", &catalog(folder), &config, schema()).await.unwrap()
}

fn files(folder: &Path, ending: &str) -> usize {
    all_files(folder).iter().filter(|it| it.ends_with(ending)).count()
}

fn lists_of_snapshots(folder: &Path) -> BTreeSet<String> {
    all_files(folder).into_iter().filter(|it| it.starts_with("snap-")).collect()
}

fn all_files(folder: &Path) -> Vec<String> {
    let mut open = vec![folder.join("lake")];
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false => found.push(name(&path.to_string_lossy())),
            }
        }
    }
    found
}

fn name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

const EAGER: &[(&str, &str)] = &[
    ("history.expire.max-snapshot-age-ms", "1"),
    ("history.expire.min-snapshots-to-keep", "2"),
    ("commit.manifest.min-count-to-merge", "8"),
    ("floe.compaction.min-input-files", "4"),
];

/// Commits of a few rows each, with a round of upkeep after every tenth, as the pipeline does it.
#[tokio::test(flavor = "multi_thread")]
async fn many_small_commits_leave_few_files_and_every_row() {
    let mut replaced = 0;
    for partition_by in [&[][..], &["bucket(2, id)"][..]] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let sink = open_with(folder, partition_by, EAGER).await;
        let committer = sink.committer();
        let mut predecessor = None;
        for n in 1..=90u64 {
            let first = n as i64 * 10;
            let committable = prepare(&sink, n, first..first + 10).await;
            let request = request(&sink, n, predecessor, committable);
            committer.commit(&request, &Log).await.unwrap();
            predecessor = Some(n);
            if n % 10 == 0 {
                committer.maintain().await.unwrap();
                assert_eq!(ids(folder).await, (10..first + 10).collect::<Vec<_>>(), "{n}");
                let facts = committer.observe(None).await.unwrap();
                assert_eq!(facts.marker.unwrap().manifest, manifest(n));
                assert_ne!(facts.marker_snapshot, MarkerSnapshot::RolledBack);
                let again = committer.commit(&request, &Log).await.unwrap();
                assert!(again.already);
            }
        }
        let (data, metadata) = (files(folder, ".parquet"), files(folder, ".avro"));
        // Two kept snapshots, one from before the last rewrite; without upkeep 90 files, or 180.
        assert!(data <= 30, "{data} data files, partitioned by {partition_by:?}");
        assert!(metadata <= 40, "{metadata} manifests and lists");
        let (lists, kept) = (lists_of_snapshots(folder), snapshots_of(folder).await);
        let named: BTreeSet<String> = kept.iter().map(|it| name(it.manifest_list())).collect();
        assert_eq!(lists, named, "a list that no kept snapshot names");
        let rewrites = kept.iter().filter(|it| it.summary().operation == Operation::Replace);
        for rewrite in rewrites.inspect(|_| replaced += 1) {
            let total = |key: &str| rewrite.summary().additional_properties[key].parse::<usize>();
            assert_eq!(total("total-records"), Ok(900), "partitioned by {partition_by:?}");
            assert!(total("total-data-files").unwrap() <= data);
        }
    }
    assert!(replaced > 0, "no kept snapshot is one that rewrote");
}

/// The writer goes on while small files are rewritten, and neither loses to the other for ever.
#[tokio::test(flavor = "multi_thread")]
async fn rewriting_beside_the_writer_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let sink = open_with(folder, &[], EAGER).await;
    let committer = sink.committer();
    let upkeep = sink.committer();
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let rounds = tokio::spawn(async move {
        let mut rounds = 0;
        while !*stopped.borrow_and_update() {
            // A commit in between makes a round fail, and the next one tries again.
            rounds += u32::from(upkeep.maintain().await.is_ok());
        }
        rounds
    });
    let mut predecessor = None;
    for n in 1..=60u64 {
        let committable = prepare(&sink, n, n as i64 * 10..n as i64 * 10 + 10).await;
        let request = request(&sink, n, predecessor, committable);
        committer.commit(&request, &Log).await.unwrap();
        predecessor = Some(n);
    }
    stop.send_replace(true);
    assert!(rounds.await.unwrap() > 0);
    committer.maintain().await.unwrap();
    assert_eq!(ids(folder).await, (10..610).collect::<Vec<_>>());
    assert!(files(folder, "rewritten.avro") > 0, "nothing was rewritten");
}

/// What a rewrite replaced stays while a snapshot from before it is kept.
#[tokio::test(flavor = "multi_thread")]
async fn older_snapshots_can_be_read_after_a_rewrite() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut properties = EAGER.to_vec();
    properties[0].1 = "3600000";
    let sink = open_with(folder, &[], &properties).await;
    let committer = sink.committer();
    let mut first = None;
    for n in 1..=20u64 {
        let committable = prepare(&sink, n, n as i64 * 10..n as i64 * 10 + 10).await;
        let request = request(&sink, n, (n > 1).then(|| n - 1), committable);
        let done = committer.commit(&request, &Log).await.unwrap();
        first = first.or((n == 9).then_some(done.snapshot.snapshot_id));
    }
    committer.maintain().await.unwrap();
    assert_eq!(snapshots(folder).await, 21, "twenty epochs and a rewrite");
    assert_eq!(files(folder, ".parquet"), 21);
    let then = read_rows(&catalog(folder), "lake.rows", first).await.unwrap();
    assert_eq!(then.iter().map(RecordBatch::num_rows).sum::<usize>(), 90);
    assert_eq!(ids(folder).await, (10..210).collect::<Vec<_>>());
}

/// Names stand for field ids in files that a stranger added; what is written again has ids of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_a_name_mapping_is_kept_up_too() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mapping = r#"[{"field-id": 1, "names": ["id"]}, {"field-id": 2, "names": ["name"]}, {"field-id": 3, "names": ["ts"]}]"#;
    let mut properties = EAGER.to_vec();
    properties.push(("schema.name-mapping.default", mapping));
    let sink = open_with(folder, &[], &properties).await;
    let committer = sink.committer();
    for n in 1..=20u64 {
        let committable = prepare(&sink, n, n as i64 * 10..n as i64 * 10 + 10).await;
        let request = request(&sink, n, (n > 1).then(|| n - 1), committable);
        committer.commit(&request, &Log).await.unwrap();
    }
    committer.maintain().await.unwrap();
    assert!(files(folder, "rewritten.avro") > 0, "nothing was rewritten");
    assert_eq!(ids(folder).await, (10..210).collect::<Vec<_>>());
}
