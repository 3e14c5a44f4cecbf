//! Batches that replace partitions: a batch that dies is nothing, one that ran is whole, and run again it is the
//! same table.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use floe_checkpoint::register::{Register, RegisterEntry};
use serde_json::Value;

use crate::lab::{Lab, check};
use crate::process::{End, PATIENCE};
use crate::replay::json;
use crate::scene::{Place, Scene};

const POINTS: [&str; 7] = [
    "after-first-read",
    "after-data-file-close",
    "after-part",
    "before-manifest",
    "after-manifest",
    "before-recommit",
    "after-commit-sent",
];

/// SIGABRT, by which a crash point ends the process.
const ABORTED: i32 = 6;

#[test]
fn a_batch_is_whole_or_nothing() {
    check("overwrites::a_batch_is_whole", &[], |lab| batches(lab, Place::Local));
}

#[test]
fn a_batch_is_whole_or_nothing_on_a_server() {
    check("overwrites::a_batch_is_whole_on_a_server", Place::Rest.needs(), |lab| {
        batches(lab, Place::Rest)
    });
}

fn batches(lab: &Lab, place: Place) -> Result<()> {
    let mut scene = Scene::new(lab, &format!("overwrite-{place:?}").to_lowercase(), place)?;
    let plugins = lab.floe.with_file_name("plugins");
    scene.settings.module = plugins.join("project.wasm");
    scene.settings.operator = "config = { columns = [\"*\"] }".to_owned();
    scene.settings.source = Some(
        "recording = \"payments.jsonl\"\ncolumns = [\"day: string\", \"id: long\", \"amount: long\"]"
            .to_owned(),
    );
    scene.settings.partition_by = "[\"day\"]";
    scene.settings.sink = "mode = \"overwrite-partition\"";
    // Far more often than the batch takes: it is one epoch all the same.
    scene.settings.interval = "10ms";
    scene.settings.batch_records = 64;
    scene.write_pipeline()?;
    let mut offset = 0;

    // Days 1 to 3; then day 2 again, other rows of it, and a day 4.
    let first = batch(&mut offset, &[(1, 0..700), (2, 0..700), (3, 0..700)]);
    let second = batch(&mut offset, &[(2, 600..900), (4, 0..300)]);
    let after_first = table(&[(1, 0..700), (2, 0..700), (3, 0..700)]);
    let after_second = table(&[(1, 0..700), (2, 600..900), (3, 0..700), (4, 0..300)]);

    said(&scene, &["run"], 2, &["--until-end"])?;
    std::fs::write(scene.recording(), &first)?;
    // The second batch, and one between servers, at the steps behind which it counts.
    let some = &POINTS[4..];
    killed(&scene, if place == Place::Local { &POINTS } else { some }, &[])?;
    ensure!(shown(&scene)? == after_first, "the first batch");
    std::fs::write(scene.recording(), first.clone() + &second)?;
    if place == Place::Local {
        ask_for_savepoint(&scene)?;
    }
    killed(&scene, some, &after_first)?;
    if place == Place::Local {
        let kept = json(&scene, &["checkpoint", "list", "pipeline.toml", "--json"])?;
        let is_savepoint = |it: &Value| it["savepoint"] == true;
        let savepoints = kept.as_array().into_iter().flatten().filter(|it| is_savepoint(it));
        ensure!(savepoints.count() == 1, "the batch's one checkpoint is the savepoint: {kept}");
    }
    for reader in ["pyiceberg", "duckdb"] {
        ensure!(read(&scene, reader)? == after_second, "{reader}: the second batch");
    }

    // Nothing new changes nothing; all of it, by another pipeline, gives the same table.
    scene.run_until_end()?;
    ensure!(shown(&scene)? == after_second, "a run without records");
    let text = std::fs::read_to_string(scene.pipeline())?;
    let (id, again) = (format!("id = \"{}\"", scene.id), format!("id = \"{}-2\"", scene.id));
    std::fs::write(scene.pipeline(), text.replace(&id, &again))?;
    std::fs::write(scene.recording(), batch(&mut 0, &[(2, 600..900), (4, 0..300)]))?;
    scene.run_until_end()?;
    for reader in ["pyiceberg", "duckdb"] {
        ensure!(read(&scene, reader)? == after_second, "{reader}: the same batch again");
    }
    println!("{place:?}: {} rows", after_second.len());
    scene.done();
    Ok(())
}

/// `floe verify --recompute`: of each partition the rows of the batch that replaced it last, whether all
/// checkpoints are kept or the table of an older one is taken as it is; then a row doubled, one lost and one changed.
#[test]
fn replaced_partitions_are_made_anew_and_compared() {
    check("overwrites::replaced_partitions", &[], |lab| {
        // Day 2 is replaced twice; at the end the oldest checkpoint that is kept is not the first.
        let scene = Scene::new(lab, "overwrite-verified", Place::Local)?;
        let by_day = recomputed(
            scene,
            "[\"day\"]",
            &[("day-1", 300), ("day-2", 20), ("day-3", 50), ("day-4", 20)],
        )?;
        // All days begin with the same letters, and are one partition.
        let scene = Scene::new(lab, "overwrite-verified-all", Place::Local)?;
        recomputed(scene, "[\"truncate(4, day)\"]", &[("day-4", 20)])?.done();

        let tampered = by_day.reader("tamper.py")?.output().context("start tamper.py")?;
        ensure!(tampered.status.success(), "{}", String::from_utf8_lossy(&tampered.stderr));
        let tampered: Value = serde_json::from_slice(&tampered.stdout)?;
        let mut process = by_day.start(&RECOMPUTE)?;
        ensure!(process.wait(PATIENCE)? == End::Code(5), "{}", process.last_words());
        let said = process.said();
        for name in ["doubled", "lost", "changed"] {
            let id = tampered[name]["txn_id"].as_str().context("an id")?;
            ensure!(said.contains(&format!("txn_id={id} ")), "{name} {id}\n{said}");
        }
        by_day.done();
        Ok(())
    });
}

const RECOMPUTE: [&str; 6] = ["verify", "--recompute", "--key", "day", "--distinct", "txn_id"];

/// Four batches, each compared; in the end the table has so many rows of each day.
fn recomputed<'a>(
    mut scene: Scene<'a>,
    by: &'static str,
    days: &[(&str, u32)],
) -> Result<Scene<'a>> {
    scene.settings.module = scene.lab.floe.with_file_name("plugins").join("project.wasm");
    scene.settings.operator = "config = { columns = [\"day\", \"id as txn_id: string\", \"amount as amount_minor\", \"_partition as kafka_partition\", \"_offset as kafka_offset\"] }".to_owned();
    scene.settings.source = Some(
        "recording = \"payments.jsonl\"\ncolumns = [\"day: string\", \"id: long\", \"amount: long\", \"_partition: int\", \"_offset: long\"]"
            .to_owned(),
    );
    scene.settings.partition_by = by;
    scene.settings.sink = "mode = \"overwrite-partition\"";
    let (mut offset, mut text) = (0, String::new());
    for (keep, batched) in [
        (100, vec![(1, 0..300), (2, 0..300)]),
        (100, vec![(2, 200..350), (3, 0..50)]),
        (2, vec![(2, 0..20), (4, 0..90)]),
        (2, vec![(4, 80..100)]),
    ] {
        scene.settings.keep = keep;
        scene.write_pipeline()?;
        text += &batch(&mut offset, &batched);
        std::fs::write(scene.recording(), &text)?;
        scene.run_until_end()?;
        let asked = [&RECOMPUTE[..1], &["pipeline.toml"], &RECOMPUTE[1..], &["--json"]].concat();
        let report = json(&scene, &asked)?;
        ensure!(report["keys_that_differ"] == 0, "{by} {batched:?}: {report}");
    }
    let wanted = days.iter().map(|(day, rows)| ((*day).to_owned(), *rows)).collect();
    let found = row_counts(&scene)?;
    ensure!(found == wanted, "{by}: {found:?}");
    Ok(scene)
}

/// How many rows each day has.
fn row_counts(scene: &Scene<'_>) -> Result<BTreeMap<String, u32>> {
    let mut days = BTreeMap::new();
    for row in scene.rows()? {
        let row: Value = serde_json::from_str(&row)?;
        *days.entry(row["day"].as_str().context("a day")?.to_owned()).or_default() += 1;
    }
    Ok(days)
}

/// As `floe savepoint` asks a process that runs elsewhere.
fn ask_for_savepoint(scene: &Scene<'_>) -> Result<()> {
    let folder = scene.folder.join("checkpoints");
    let store = floe_checkpoint::open_store(&folder.display().to_string(), &BTreeMap::new())?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let from = floe_checkpoint::read_log(&*store, &scene.id).await?.end();
        let mut register = Register::read(&*store, &scene.id).await?;
        register.append(&*store, &scene.id, RegisterEntry::Asked { from }).await?;
        Ok(())
    })
}

/// Dies at each point: until it is committed the table is what it was. Then runs.
fn killed(scene: &Scene<'_>, points: &[&str], before: &[(String, i64)]) -> Result<()> {
    for point in points {
        let mut process = scene.start_armed_with(&["run", "--until-end"], point)?;
        let end = process.wait(PATIENCE)?;
        let says = process.said();
        ensure!(end == End::Signal(ABORTED) && says.contains(point), "{point}: {end:?}\n{says}");
        if *point != "after-commit-sent" {
            let now = shown(scene)?;
            ensure!(now == before, "{point}: {} rows, and {} before", now.len(), before.len());
        }
    }
    scene.run_until_end().map(|_| ())
}

/// The rows as floe shows them.
fn shown(scene: &Scene<'_>) -> Result<Vec<(String, i64)>> {
    let mut rows: Vec<(String, i64)> =
        scene.rows()?.iter().map(|it| row(it)).collect::<Result<_>>()?;
    rows.sort();
    Ok(rows)
}

/// Records of so many ids of each day.
fn batch(offset: &mut u64, days: &[(u32, std::ops::Range<i64>)]) -> String {
    let mut text = String::new();
    for (day, id) in rows_of(days) {
        let value = serde_json::json!({"day": day, "id": id, "amount": id % 7}).to_string();
        let line = serde_json::json!({"partition": 0, "offset": *offset, "timestamp": 1_760_000_000_000_u64, "value": value});
        text += &format!("{line}\n");
        *offset += 1;
    }
    text
}

fn rows_of(days: &[(u32, std::ops::Range<i64>)]) -> impl Iterator<Item = (String, i64)> {
    days.iter().flat_map(|(day, ids)| ids.clone().map(move |id| (format!("day-{day}"), id)))
}

fn table(days: &[(u32, std::ops::Range<i64>)]) -> Vec<(String, i64)> {
    rows_of(days).collect()
}

fn read(scene: &Scene<'_>, reader: &str) -> Result<Vec<(String, i64)>> {
    let mut command = scene.reader("read_table.py")?;
    let done = command.args(["--reader", reader, "--columns", "day,id"]).output()?;
    ensure!(done.status.success(), "{reader}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout)?.lines().map(row).collect()
}

fn row(line: &str) -> Result<(String, i64)> {
    let row: serde_json::Value = serde_json::from_str(line)?;
    let day = row["day"].as_str().context("a day")?.to_owned();
    Ok((day, row["id"].as_i64().context("an id")?))
}

fn said(scene: &Scene<'_>, arguments: &[&str], code: i32, words: &[&str]) -> Result<()> {
    let mut process = scene.start(arguments)?;
    let end = process.wait(PATIENCE)?;
    let said = process.said();
    ensure!(end == End::Code(code), "{arguments:?}: {end:?}\n{said}");
    for word in words {
        ensure!(said.contains(word), "{arguments:?}: {word:?} is not in what it said\n{said}");
    }
    Ok(())
}
