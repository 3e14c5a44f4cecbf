//! Tables that change: other columns, another partition spec meanwhile, and branches that are published.

use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use floe_core::committable::{CommitRequest, Committable};
use floe_core::ports::MarkerSnapshot;
use floe_core::{Epoch, ErrorKind};
use floe_sink::iceberg::{
    IcebergSink, SchemaEvolution, TableConfig, WriteMode, fix_table, publish, read_rows,
};
use iceberg::spec::{MAIN_BRANCH, Transform};

use crate::{
    Log, catalog, connect, ids, manifest, open, prepare, request, schema, snapshots, table,
};

fn narrow() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int32, false),
        Field::new("price", DataType::Float32, true),
        Field::new("sum", DataType::Decimal128(9, 2), true),
    ]))
}

fn wide() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("price", DataType::Float64, true),
        Field::new("sum", DataType::Decimal128(18, 2), true),
        Field::new("note", DataType::Utf8, false),
    ]))
}

fn batch(rows: &SchemaRef, id: i64) -> RecordBatch {
    let is_wide = rows.fields().len() == 4;
    let id: arrow_array::ArrayRef = match is_wide {
        true => Arc::new(Int64Array::from(vec![id])),
        false => Arc::new(Int32Array::from(vec![id as i32])),
    };
    let price: arrow_array::ArrayRef = match is_wide {
        true => Arc::new(Float64Array::from(vec![1.5])),
        false => Arc::new(arrow_array::Float32Array::from(vec![1.5])),
    };
    let DataType::Decimal128(precision, scale) = rows.field(2).data_type() else { unreachable!() };
    let sum = arrow_array::Decimal128Array::from(vec![150]);
    let sum = sum.with_precision_and_scale(*precision, *scale).unwrap();
    let mut columns = vec![id, price, Arc::new(sum)];
    if is_wide {
        columns.push(Arc::new(StringArray::from(vec!["new"])));
    }
    RecordBatch::try_new(Arc::clone(rows), columns).unwrap()
}

async fn prepare_as(sink: &IcebergSink, epoch: u64, rows: &SchemaRef, id: i64) -> Committable {
    let mut writer = sink.writer().unwrap();
    writer.write(Epoch(epoch), batch(rows, id)).await.unwrap();
    writer.prepare(Epoch(epoch)).await.unwrap()
}

/// What was prepared before the columns changed is committed after, beside what comes behind it.
#[tokio::test(flavor = "multi_thread")]
async fn columns_are_added_and_widened_and_no_row_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, config) = (catalog(folder.path()), table(&[]));
    let sink = IcebergSink::open("p", "sink", &catalog, &config, narrow()).await.unwrap();
    let first = request(&sink, 1, None, prepare_as(&sink, 1, &narrow(), 1).await);
    sink.committer().commit(&first, &Log).await.unwrap();
    let second = request(&sink, 2, Some(1), prepare_as(&sink, 2, &narrow(), 2).await);

    let error = IcebergSink::open("p", "sink", &catalog, &config, wide()).await.err().unwrap();
    assert_eq!(error.message.matches("floe check --fix-table").count(), 4, "{error}");
    let changes = fix_table(&catalog, &config, &wide()).await.unwrap();
    assert_eq!(
        changes,
        [
            "id: int became long",
            "price: float became double",
            "sum: decimal(9, 2) became decimal(18, 2)",
            "note: added as string, optional"
        ]
    );
    assert!(fix_table(&catalog, &config, &wide()).await.unwrap().is_empty());
    let sink = IcebergSink::open("p", "sink", &catalog, &config, wide()).await.unwrap();
    let big = i64::from(i32::MAX) + 1;
    let third = request(&sink, 3, Some(2), prepare_as(&sink, 3, &wide(), big).await);
    sink.committer().commit(&second, &Log).await.unwrap();
    sink.committer().commit(&third, &Log).await.unwrap();

    let rows = read_rows(&catalog, "lake.rows", None).await.unwrap();
    let mut found: Vec<(i64, Option<String>)> = rows
        .iter()
        .flat_map(|it| {
            let ids = it.column_by_name("id").unwrap().as_primitive::<Int64Type>().clone();
            let notes = it.column_by_name("note").unwrap().as_string::<i32>().clone();
            (0..it.num_rows())
                .map(|row| {
                    let note = notes.iter().nth(row).unwrap();
                    (ids.value(row), note.map(str::to_owned))
                })
                .collect::<Vec<_>>()
        })
        .collect();
    found.sort();
    assert_eq!(found, [(1, None), (2, None), (big, Some("new".to_owned()))]);
}

/// Narrower, another kind, a required column that nobody emits: named, and left as it is.
#[tokio::test(flavor = "multi_thread")]
async fn what_would_touch_rows_is_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, config) = (catalog(folder.path()), table(&[]));
    IcebergSink::open("p", "sink", &catalog, &config, wide()).await.unwrap();
    let other: SchemaRef = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("price", DataType::Float64, true),
        Field::new("sum", DataType::Decimal128(18, 4), true),
    ]));
    assert!(fix_table(&catalog, &config, &other).await.unwrap().is_empty());
    let error = IcebergSink::open("p", "sink", &catalog, &config, other).await.err().unwrap();
    for part in ["id ", "sum ", "note ", "must emit it"] {
        assert!(error.message.contains(part), "{part}: {error}");
    }
    assert!(!error.message.contains("--fix-table"), "{error}");
}

/// The files of a committable carry their partition spec: a table whose spec is another now takes them.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_partition_spec_between_prepare_and_commit_loses_no_row() {
    let folder = tempfile::tempdir().unwrap();
    let sink = open(folder.path(), &["bucket(2, id)"]).await;
    let committer = sink.committer();
    let first = request(&sink, 1, None, prepare(&sink, 1, 0..10).await);
    committer.commit(&first, &Log).await.unwrap();
    let second = request(&sink, 2, Some(1), prepare(&sink, 2, 10..20).await);
    set_spec(folder.path(), Transform::Bucket(5)).await;
    assert!(!committer.commit(&second, &Log).await.unwrap().already);
    assert!(committer.commit(&second, &Log).await.unwrap().already);
    // A restart writes with the table's new spec.
    let sink = open(folder.path(), &[]).await;
    let third = request(&sink, 3, Some(2), prepare(&sink, 3, 20..30).await);
    sink.committer().commit(&third, &Log).await.unwrap();
    assert_eq!(ids(folder.path()).await, (0..30).collect::<Vec<i64>>());
    assert_eq!(snapshots(folder.path()).await, 3);
}

/// Another partition spec, set by whoever owns the table: its metadata is written anew and registered.
async fn set_spec(folder: &Path, transform: Transform) {
    let catalog = connect(&catalog(folder)).await.unwrap();
    let ident = iceberg::TableIdent::from_strs(["lake", "rows"]).unwrap();
    let table = catalog.load_table(&ident).await.unwrap();
    let location = table.metadata_location().unwrap().to_owned();
    let id = table.metadata().current_schema().field_id_by_name("id").unwrap();
    let spec = iceberg::spec::UnboundPartitionSpec::builder()
        .add_partition_field(id, "id_bucket_other", transform)
        .unwrap()
        .build();
    let builder = table.metadata().clone().into_builder(Some(location));
    let built = builder.add_default_partition_spec(spec).unwrap().build().unwrap();
    let after = format!(
        "{}/metadata/99999-{}.metadata.json",
        table.metadata().location(),
        "00000000-0000-4000-8000-000000000000"
    );
    let bytes = serde_json::to_vec(&built.metadata).unwrap();
    table.file_io().new_output(&after).unwrap().write(bytes.into()).await.unwrap();
    let uri = format!("sqlite://{}/catalog.db", folder.display());
    let pool = sqlx::SqlitePool::connect(&uri).await.unwrap();
    let done =
        sqlx::query("UPDATE iceberg_tables SET metadata_location = ? WHERE table_name = 'rows'")
            .bind(after)
            .execute(&pool)
            .await
            .unwrap();
    assert_eq!(done.rows_affected(), 1);
}

async fn refs(folder: &Path) -> (Option<i64>, Option<i64>) {
    let catalog = connect(&catalog(folder)).await.unwrap();
    let ident = iceberg::TableIdent::from_strs(["lake", "rows"]).unwrap();
    let table = catalog.load_table(&ident).await.unwrap();
    let head = |name| table.metadata().snapshot_for_ref(name).map(|it| it.snapshot_id());
    (head(MAIN_BRANCH), head("audit"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_is_written_looked_at_and_published() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let config = TableConfig { branch: "audit".into(), ..table(&[]) };
    let at = catalog(folder);
    let audit = || IcebergSink::open("p", "sink", &at, &config, crate::schema());
    let sink = audit().await.unwrap();
    let error = publish(&catalog(folder), &config).await.unwrap_err();
    assert!(error.message.contains("nothing was committed"), "{error}");
    for n in 1..=3u64 {
        let range = n as i64 * 10..n as i64 * 10 + 10;
        let request = request(&sink, n, (n > 1).then(|| n - 1), prepare(&sink, n, range).await);
        assert!(!sink.committer().commit(&request, &Log).await.unwrap().already);
        assert!(sink.committer().commit(&request, &Log).await.unwrap().already);
        assert!(ids(folder).await.is_empty(), "main shows what was not published");
    }
    let (main, head) = refs(folder).await;
    assert_eq!(main, None);
    let facts = sink.committer().observe(None).await.unwrap();
    assert_eq!(
        (facts.marker.unwrap().manifest, facts.marker_snapshot),
        (manifest(3), MarkerSnapshot::Found)
    );

    let done = publish(&catalog(folder), &config).await.unwrap();
    assert_eq!((Some(done.snapshot_id), done.before, done.snapshots), (head, None, 3));
    assert_eq!(ids(folder).await, (10..40).collect::<Vec<i64>>());
    assert_eq!(publish(&catalog(folder), &config).await.unwrap().snapshots, 0);

    // The writer goes on behind it, and main waits for the next time.
    let sink = audit().await.unwrap();
    let fourth = request(&sink, 4, Some(3), prepare(&sink, 4, 40..50).await);
    sink.committer().commit(&fourth, &Log).await.unwrap();
    assert_eq!(ids(folder).await, (10..40).collect::<Vec<i64>>());
    assert_eq!(publish(&catalog(folder), &config).await.unwrap().snapshots, 1);
    assert_eq!(ids(folder).await, (10..50).collect::<Vec<i64>>());

    // Somebody writes to main: the branch does not come from there, and main stays as it is.
    let main = table(&[]);
    let other = IcebergSink::open("q", "sink", &at, &main, crate::schema()).await.unwrap();
    let foreign = request(&other, 1, None, prepare(&other, 1, 90..95).await);
    let foreign = floe_core::committable::CommitRequest { pipeline: "q".into(), ..foreign };
    other.committer().commit(&foreign, &Log).await.unwrap();
    let fifth = request(&sink, 5, Some(4), prepare(&sink, 5, 50..60).await);
    sink.committer().commit(&fifth, &Log).await.unwrap();
    let error = publish(&catalog(folder), &config).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused);
    assert!(error.message.contains("somebody wrote to main"), "{error}");
    let all = (10..50).chain(90..95).collect::<Vec<i64>>();
    assert_eq!(ids(folder).await, all);
}

fn additive(partition_by: &[&str]) -> TableConfig {
    TableConfig { schema_evolution: SchemaEvolution::Additive, ..table(partition_by) }
}

/// What becomes of a table of this one column when these are written to it; beside it stands an `id`.
enum Becomes {
    Same,
    Changed(&'static str),
    Refused(&'static str),
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_change_is_made_or_refused() {
    use Becomes::{Changed, Refused, Same};
    use DataType::{Date32, Float32, Float64, Int32, Int64, Utf8};
    let decimal = |precision, scale| DataType::Decimal128(precision, scale);
    let point = |names: &[&str]| {
        DataType::Struct(names.iter().map(|it| Field::new(*it, Int64, true)).collect())
    };
    let list = DataType::List(Arc::new(Field::new("item", Utf8, true)));
    let field = |data_type: &DataType| Some(Field::new("x", data_type.clone(), true));
    let required = |data_type: &DataType| Some(Field::new("x", data_type.clone(), false));
    let cases = [
        (None, field(&Int64), Changed("x: added as long, optional")),
        (None, required(&Int64), Changed("x: added as long, optional")),
        (None, field(&list), Changed("x: added as list")),
        (None, field(&point(&["a"])), Changed("x: added as struct")),
        (field(&Int32), field(&Int64), Changed("x: int became long")),
        (required(&Int32), required(&Int64), Changed("x: int became long")),
        (field(&Float32), field(&Float64), Changed("x: float became double")),
        (
            field(&decimal(9, 2)),
            field(&decimal(18, 2)),
            Changed("x: decimal(9, 2) became decimal(18, 2)"),
        ),
        (field(&Int64), field(&Int32), Same),
        (field(&Float64), field(&Float32), Same),
        (field(&decimal(18, 2)), field(&decimal(9, 2)), Same),
        (field(&Int64), required(&Int64), Same),
        (field(&Int64), None, Same),
        (required(&Int64), None, Refused("the operator must emit it")),
        (required(&Int64), field(&Int64), Refused("make the column optional")),
        (required(&Int32), field(&Int64), Refused("widen the column")),
        (field(&Int64), field(&Utf8), Refused("change the column's type")),
        (field(&Int64), field(&Float64), Refused("change the column's type")),
        (field(&Date32), field(&Int64), Refused("change the column's type")),
        (field(&decimal(9, 2)), field(&decimal(18, 4)), Refused("change the column's type")),
        (field(&point(&["a"])), field(&point(&["a", "b"])), Refused("change the column's type")),
        (field(&list), field(&Utf8), Refused("change the column's type")),
    ];
    let rows = |x: Option<Field>| -> SchemaRef {
        let id = Field::new("id", Int64, false);
        Arc::new(Schema::new([Some(id), x].into_iter().flatten().collect::<Vec<_>>()))
    };
    for (number, (before, after, becomes)) in cases.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = catalog(folder.path());
        let (before, after) = (rows(before), rows(after));
        IcebergSink::open("p", "sink", &catalog, &table(&[]), before).await.unwrap();
        let opened =
            IcebergSink::open("p", "sink", &catalog, &additive(&[]), Arc::clone(&after)).await;
        let name = format!("case {number}");
        match becomes {
            Same => assert!(opened.unwrap().lacks().changes.is_empty(), "{name}"),
            Refused(why) => {
                let error = opened.err().expect(&name);
                assert!(error.message.contains(why) && error.message.contains("x "), "{error}");
            }
            Changed(change) => {
                let sink = opened.unwrap();
                assert_eq!(sink.lacks().changes.len(), 1, "{name}");
                assert!(sink.lacks().changes[0].starts_with(change), "{name}: {:?}", sink.lacks());
                // Two owners at once, and one of them again: one change.
                let (mut writer, mut other) = (sink.writer().unwrap(), sink.writer().unwrap());
                writer.begin().await.unwrap();
                other.begin().await.unwrap();
                writer.begin().await.unwrap();
                let metadata = connect(&catalog).await.unwrap();
                let ident = iceberg::TableIdent::from_strs(["lake", "rows"]).unwrap();
                let loaded = metadata.load_table(&ident).await.unwrap();
                assert_eq!(loaded.metadata().schemas_iter().count(), 2, "{name}");
                let again = IcebergSink::open("p", "sink", &catalog, &table(&[]), after).await;
                assert!(again.unwrap().lacks().mismatches.is_empty(), "{name}");
            }
        }
    }
}

/// One column that may be added and one that may not be widened: nothing is changed.
#[tokio::test(flavor = "multi_thread")]
async fn columns_that_name_partitions_keep_their_type() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = catalog(folder.path());
    IcebergSink::open("p", "sink", &catalog, &table(&["id"]), narrow()).await.unwrap();
    let error =
        IcebergSink::open("p", "sink", &catalog, &additive(&["id"]), wide()).await.err().unwrap();
    assert!(error.message.contains("partitions or keys are named by it"), "{error}");
    let again = IcebergSink::open("p", "sink", &catalog, &table(&["id"]), narrow()).await.unwrap();
    assert!(again.lacks().mismatches.is_empty());
}

fn replacing(partition_by: &[&str]) -> TableConfig {
    TableConfig { mode: WriteMode::OverwritePartition, ..table(partition_by) }
}

/// Ids of one day each: rows of a day that comes again replace it, and the other days stay.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_replaced_and_the_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let at = catalog(folder);
    let config = replacing(&["day(ts)"]);
    let sink = IcebergSink::open("p", "sink", &at, &config, schema()).await.unwrap();
    let committer = sink.committer();
    // An hour an id: two days.
    let first = request(&sink, 1, None, prepare(&sink, 1, 0..48).await);
    assert!(!committer.commit(&first, &Log).await.unwrap().already);
    assert!(committer.commit(&first, &Log).await.unwrap().already);
    assert_eq!(ids(folder).await, (0..48).collect::<Vec<i64>>());
    // Some hours of the second day, and a third.
    let second = request(&sink, 2, Some(1), prepare(&sink, 2, 40..72).await);
    committer.commit(&second, &Log).await.unwrap();
    assert!(committer.commit(&second, &Log).await.unwrap().already);
    assert_eq!(ids(folder).await, (0..24).chain(40..72).collect::<Vec<i64>>());
    // The same once more, by somebody else: the same table.
    let other = IcebergSink::open("q", "sink", &at, &config, schema()).await.unwrap();
    let again = request(&other, 1, None, prepare(&other, 1, 40..72).await);
    let again = CommitRequest { pipeline: "q".into(), ..again };
    other.committer().commit(&again, &Log).await.unwrap();
    assert_eq!(ids(folder).await, (0..24).chain(40..72).collect::<Vec<i64>>());

    let connected = connect(&at).await.unwrap();
    let ident = iceberg::TableIdent::from_strs(["lake", "rows"]).unwrap();
    let loaded = connected.load_table(&ident).await.unwrap();
    let summary = loaded.metadata().current_snapshot().unwrap().summary();
    assert_eq!(summary.operation, iceberg::spec::Operation::Overwrite);
    let number = |key: &str| summary.additional_properties[key].clone();
    assert_eq!((number("deleted-records"), number("added-records")), ("32".into(), "32".into()));
    assert_eq!(number("total-records"), "56");
    assert_eq!(number("replace-partitions"), "true");
}

/// Two such epochs that are recommitted together are two snapshots: the later replaces the earlier one's.
#[tokio::test(flavor = "multi_thread")]
async fn epochs_that_replace_are_committed_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let config = replacing(&["day(ts)"]);
    let at = catalog(folder);
    let sink = IcebergSink::open("p", "sink", &at, &config, schema()).await.unwrap();
    let first = floe_core::committable::Carried {
        manifest: manifest(1),
        committable: prepare(&sink, 1, 0..30).await,
    };
    let both = CommitRequest {
        earlier: vec![first],
        ..request(&sink, 2, None, prepare(&sink, 2, 24..26).await)
    };
    sink.committer().commit(&both, &Log).await.unwrap();
    assert_eq!(ids(folder).await, (0..26).collect::<Vec<i64>>());
    assert_eq!(snapshots(folder).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_partitions_has_none_to_replace() {
    let folder = tempfile::tempdir().unwrap();
    let at = catalog(folder.path());
    open(folder.path(), &[]).await;
    let opened = IcebergSink::open("p", "sink", &at, &replacing(&["day(ts)"]), schema()).await;
    let error = opened.err().unwrap();
    assert!(error.message.contains("has no partitions"), "{error}");
}
