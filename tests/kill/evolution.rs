//! Operators that emit other columns than the table has: the next run adds and widens them, killed at each
//! step, and no row of the time before is lost; what would touch rows is refused by name.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use floe_core::crash_point::CrashPoint;

use crate::lab::{Lab, check};
use crate::points::crash;
use crate::process::{End, PATIENCE};
use crate::scene::{Place, Scene};

const RECORDS: u64 = 12_000;
const RECORDS_PER_SECOND: u64 = 12_000;

/// Around the change, and between the durable steps of the first epochs behind it.
const POINTS: [CrashPoint; 6] = [
    CrashPoint::BeforeTableChange,
    CrashPoint::AfterTableChange,
    CrashPoint::AfterFirstRead,
    CrashPoint::AfterDataFileClose,
    CrashPoint::AfterManifest,
    CrashPoint::AfterCommitSent,
];

const BEFORE: &str = "\"*\", \"kafka_partition as part: int\"";
const AFTER: &str = "\"*\", \"kafka_partition as part: long\", \"txn_id as note: string\"";

#[test]
fn columns_are_added_and_widened_whatever_dies() {
    check("evolution::columns_are_added", &[], |lab| changes(lab, Place::Local));
}

#[test]
fn columns_change_between_real_servers() {
    check("evolution::columns_change_between_real_servers", Place::Rest.needs(), |lab| {
        changes(lab, Place::Rest)
    });
}

fn changes(lab: &Lab, place: Place) -> Result<()> {
    let mut scene = Scene::new(lab, &format!("evolution-{place:?}").to_lowercase(), place)?;
    let columns = |scene: &mut Scene<'_>, columns: &str| -> Result<()> {
        scene.settings.operator = format!(
            "[[operator]]\nname = \"shape\"\nplugin = \"project\"\nconfig = {{ columns = [{columns}] }}"
        );
        scene.write_pipeline()
    };
    scene.make_input(RECORDS, 21)?;
    columns(&mut scene, BEFORE)?;
    let mut feed = scene.feed(RECORDS_PER_SECOND)?;
    let lives = POINTS.len() as u64 + 2;
    feed.allow(RECORDS / lives)?;
    // An epoch waits for its commit: its files have the columns of before.
    crash(&scene, CrashPoint::AfterManifest, 1)?;

    columns(&mut scene, AFTER)?;
    said(&scene, &["run", "--until-end"], 4, &["floe upgrade"])?;
    said(&scene, &["upgrade", "--apply", "--fresh", "shape"], 0, &["another config"])?;
    said(
        &scene,
        &["check"],
        0,
        &["the next run changes it", "part: int became long", "note: added as string, optional"],
    )?;
    // Asked not to, it leaves the table alone and says what to do.
    scene.settings.sink = "schema-evolution = \"none\"";
    scene.write_pipeline()?;
    said(&scene, &["run", "--until-end"], 2, &["note ", "add the column: floe check --fix-table"])?;
    scene.settings.sink = "";
    scene.write_pipeline()?;

    let mut rows_before = 0;
    for (life, point) in (2..).zip(POINTS) {
        feed.allow(life * RECORDS / lives)?;
        crash(&scene, point, 1).with_context(|| format!("{point:?}"))?;
        if point == CrashPoint::BeforeTableChange {
            // What the checkpoints carried is in the table, and nothing else.
            rows_before = scene.row_count()?;
            ensure!(rows_before > 0, "no row from before the change");
            ensure!(!scene.rows()?[0].contains("\"note\""), "the table was changed too early");
        }
    }
    feed.finish()?;
    scene.run_until_end().context("the run after the kills")?;
    let compared = scene.compare(&[])?;

    for reader in ["pyiceberg", "duckdb"] {
        let rows = read(&scene, reader)?;
        ensure!(rows.len() as u64 == compared.rows, "{reader}: {} rows", rows.len());
        let old = rows.iter().filter(|it| it["note"].is_null()).count();
        ensure!(
            old == rows_before,
            "{reader}: {old} rows without a note, and {rows_before} before"
        );
        let wrong = rows.iter().find(|it| {
            it["part"] != it["kafka_partition"]
                || !(it["note"].is_null() || it["note"] == it["txn_id"])
        });
        ensure!(wrong.is_none(), "{reader}: {wrong:?}");
    }

    // A type that does not hold what is there: by name, before anything is written.
    columns(&mut scene, "\"*\", \"kafka_partition as part: string\", \"txn_id as note: string\"")?;
    let refused = ["part ", "table: long", "operator: string", "change the column's type"];
    said(&scene, &["upgrade", "--apply", "--fresh", "shape"], 2, &refused)?;
    println!("{place:?}: {} rows, {rows_before} of them from before", compared.rows);
    scene.done();
    Ok(())
}

/// A table that the pipeline never wrote to is somebody's: it is not changed without being asked.
#[test]
fn another_pipelines_table_is_not_changed() {
    check("evolution::another_pipelines_table", &[], |lab| {
        let scene = Scene::new(lab, "evolution-of-another", Place::Local)?;
        scene.make_input(200, 22)?;
        scene.write_pipeline()?;
        std::fs::copy(scene.input(), scene.recording())?;
        scene.run_until_end()?;
        let rows = scene.row_count()?;
        let text = std::fs::read_to_string(scene.pipeline())?;
        let other = text.replace(&format!("id = \"{}\"", scene.id), "id = \"another\"").replace(
            "[sink]\n",
            &format!("[[operator]]\nname = \"shape\"\nplugin = \"project\"\nconfig = {{ columns = [{AFTER}] }}\n\n[sink]\n"),
        );
        std::fs::write(scene.pipeline(), other)?;
        for verb in [&["check"][..], &["run", "--until-end"]] {
            said(&scene, verb, 2, &["note ", "add the column: floe check --fix-table"])?;
        }
        said(&scene, &["check", "--fix-table"], 0, &["note: added as string, optional"])?;
        scene.run_until_end()?;
        ensure!(scene.row_count()? == 2 * rows, "{} rows", scene.row_count()?);
        scene.done();
        Ok(())
    });
}

fn read(scene: &Scene<'_>, reader: &str) -> Result<Vec<serde_json::Value>> {
    let mut command: Command = scene.reader("read_table.py")?;
    let columns = "kafka_partition,kafka_offset,part,note,txn_id";
    let done = command.args(["--reader", reader, "--columns", columns]).output()?;
    ensure!(done.status.success(), "{reader}: {}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout)?;
    text.lines().map(|it| serde_json::from_str(it).context("read a row")).collect()
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
