//! A replay that names what went otherwise: the record, row and column that differ from the run's, and the record
//! behind a key that stops an operator.
//!
//! Operators cannot be made to leave other rows, and another module is refused. So the run is one of another build,
//! and its manifests are made to name the build that is replayed.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use floe_core::log_entry::LogEntry;
use serde_json::Value;

use crate::lab::{check, root};
use crate::replay::{floe, must};
use crate::scene::{Place, Scene};

/// The record whose row the run's build made otherwise: the 6th of partition 1 in the second run.
const OFFSET: i64 = 45;
const MARKED: i64 = 777;

pub(crate) fn lines(offsets: std::ops::Range<i64>) -> String {
    let mut text = String::new();
    for offset in offsets {
        for partition in [0, 1] {
            let v = if (partition, offset) == (1, OFFSET) { MARKED } else { offset + 1 };
            let value = format!(r#"{{"v":{v}}}"#);
            let line = serde_json::json!({ "topic": "numbers", "partition": partition, "offset": offset, "timestamp": 5, "value": value });
            text += &format!("{line}\n");
        }
    }
    text
}

pub(crate) const PIPELINE: &str = r#"
[pipeline]
id = "changed"

[source]
recording = "numbers.jsonl"

[[operator]]
name = "sum"
module = "sum.wat"

[sink]
iceberg = "lake.sums"
catalog = { type = "sql", uri = "sqlite://lake.db", warehouse = "file://./lake" }

[checkpoint]
interval = "1h"
keep = 1000
store = "file://./checkpoints"
"#;

/// The same operator, but that it says 1 more where a value is `MARKED`. Its sums are the same.
fn other_build(text: &str) -> Result<String> {
    let stored = "(i32.shl (local.get $row) (i32.const 3)) (global.get $total))";
    ensure!(text.contains(stored), "sum.wat is another one");
    let value = "(i64.load (i32.add (local.get $values) (i32.shl (local.get $row) (i32.const 3))))";
    let more = format!(
        "(i32.shl (local.get $row) (i32.const 3)) (i64.add (global.get $total) (i64.extend_i32_u (i64.eq {value} (i64.const {MARKED})))))"
    );
    Ok(text.replace(stored, &more))
}

/// Manifests of the log name this module in place of the one that made them.
pub(crate) fn name_module(log: &Path, module_hash: [u8; 32]) -> Result<()> {
    for file in std::fs::read_dir(log)? {
        let path = file?.path();
        let name = path.file_name().and_then(|it| it.to_str()).context("a name")?;
        let Ok(slot) = name.parse::<u64>() else { continue };
        let bytes = std::fs::read(&path)?;
        let entry = LogEntry::decode(&bytes[..bytes.len() - 32])?;
        let LogEntry::Manifest(mut manifest) = entry else { continue };
        manifest.identity.operators[0].module_hash = module_hash;
        let mut bytes = LogEntry::Manifest(manifest).encode();
        let mut hash = blake3::Hasher::new();
        hash.update(&bytes).update(&slot.to_le_bytes()).update(b"changed");
        bytes.extend_from_slice(hash.finalize().as_bytes());
        std::fs::write(&path, bytes)?;
    }
    Ok(())
}

#[test]
fn the_record_row_and_column_are_named() {
    check("changed::the_record_row_and_column", &[], |lab| {
        let scene = Scene::new(lab, "changed", Place::Local)?;
        let text = run_of_other_build(&scene, PIPELINE)?;
        let replay = ["replay", "pipeline.toml", "--checkpoint", "0", "--to", "2"];
        must(&scene, 0, &["identical ✓"], &replay)?;
        // What both builds make of it is shown as before.
        std::fs::write(scene.folder.join("plain.wat"), &text)?;
        let through = [&replay[..], &["--operator", "plain.wat"]].concat();
        must(&scene, 5, &["1 rows differ"], &through)?;

        std::fs::write(scene.folder.join("sum.wat"), &text)?;
        let log = scene.folder.join("checkpoints/changed/log");
        name_module(&log, *blake3::hash(text.as_bytes()).as_bytes())?;
        must(&scene, 0, &["identical ✓"], &["replay", "pipeline.toml", "--checkpoint", "0"])?;
        for checkpoint in ["0", "1"] {
            let replay = ["replay", "pipeline.toml", "--checkpoint", checkpoint, "--to", "2"];
            named(&scene, &replay)?;
            named(&scene, &[&replay[..], &["--task", "numbers/1"]].concat())?;
        }
        // A bundle carries the run's rows.
        let bundle = ["bundle", "pipeline.toml", "--checkpoint", "1", "-o", "of-1.floe"];
        must(&scene, 0, &["epoch 1 → 2"], &bundle)?;
        // Without the table the records are named that the call took.
        std::fs::rename(scene.folder.join("lake"), scene.folder.join("away"))?;
        must(
            &scene,
            5,
            &["numbers/1: records 40..79", "left other rows", "the run's rows cannot be had"],
            &replay,
        )?;
        std::fs::rename(scene.folder.join("checkpoints"), scene.folder.join("gone"))?;
        named(&scene, &["replay", "of-1.floe"])?;
        scene.done();
        Ok(())
    });
}

/// Gives the text of the build that it is replayed with.
fn run_of_other_build(scene: &Scene<'_>, pipeline: &str) -> Result<String> {
    let text = std::fs::read_to_string(root().join("sdk/abi/sum.wat"))?;
    std::fs::write(scene.pipeline(), pipeline)?;
    std::fs::write(scene.folder.join("sum.wat"), other_build(&text)?)?;
    for end in [40, 80] {
        std::fs::write(scene.folder.join("numbers.jsonl"), lines(0..end))?;
        must(scene, 0, &[], &["run", "pipeline.toml", "--until-end"])?;
    }
    Ok(text)
}

/// Of a key's rows the last is in the table: it is that of the other build.
#[test]
fn a_row_that_replaces_another_is_named() {
    check("changed::a_row_that_replaces", &[], |lab| {
        let scene = Scene::new(lab, "changed-upsert", Place::Local)?;
        let upsert =
            PIPELINE.replace("\"lake.sums\"", "\"lake.sums\"\nmode = \"upsert\"\nkey = [\"sum\"]");
        let text = run_of_other_build(&scene, &upsert)?;
        let replay = ["replay", "pipeline.toml", "--checkpoint", "0", "--to", "2"];
        must(&scene, 0, &["identical ✓"], &replay)?;
        std::fs::write(scene.folder.join("sum.wat"), &text)?;
        let log = scene.folder.join("checkpoints/changed/log");
        name_module(&log, *blake3::hash(text.as_bytes()).as_bytes())?;
        let bundle = ["bundle", "pipeline.toml", "--checkpoint", "1", "-o", "of-1.floe"];
        must(&scene, 0, &["epoch 1 → 2"], &bundle)?;
        let total = (1..=46).sum::<i64>() - 46 + MARKED;
        let row = format!("no row → {{\"sum\":{total}}}");
        let words = ["record numbers/1 @ 45, row 5 for lake.sums", row.as_str()];
        must(&scene, 5, &words, &replay)?;
        must(&scene, 5, &words, &["replay", "of-1.floe"])?;
        scene.done();
        Ok(())
    });
}

fn named(scene: &Scene<'_>, replay: &[&str]) -> Result<()> {
    let (code, said) = floe(scene, &[replay, &["--json"]].concat())?;
    ensure!(code == Some(5), "{replay:?} {code:?} {said}");
    let end = said.rfind('}').context("no JSON")?;
    let report: Value = serde_json::from_str(&said[..=end]).with_context(|| said.clone())?;
    let difference = &report["difference"];
    let row = &difference["row"];
    let total = (1..=46).sum::<i64>() - 46 + MARKED;
    let column = serde_json::json!([{ "column": "sum", "run": total + 1, "now": total }]);
    ensure!(difference["epoch"] == 2 && difference["task"] == "numbers/1", "{said}");
    ensure!(row["offset"] == OFFSET && row["row"] == 5 && row["columns"] == column, "{said}");
    // The row stands in the operator's memory until the next one does.
    ensure!(difference["state"][0]["bytes_differing"] == 1, "{said}");
    must(scene, 5, &["record numbers/1 @ 45, row 5 for lake.sums", "1 pages differ"], replay)?;
    Ok(())
}

/// Behind the newest checkpoint the task of a keyed stage traps: the run names the records that its rows were made
/// from, and a replay the one.
#[test]
fn a_trap_behind_a_key_is_shown_with_its_record() {
    check("changed::a_trap_behind_a_key", &[], |lab| {
        let scene = Scene::new(lab, "changed-keyed", Place::Local)?;
        let text = std::fs::read_to_string(root().join("sdk/abi/sum.wat"))?;
        let value =
            "(i64.load (i32.add (local.get $values) (i32.shl (local.get $row) (i32.const 3))))";
        let trap =
            format!("(loop $next (if (i64.eq {value} (i64.const {MARKED})) (then (unreachable)))");
        std::fs::write(scene.folder.join("sum.wat"), text.replace("(loop $next", &trap))?;
        let keyed = PIPELINE.replace("\"sum.wat\"", "\"sum.wat\"\nkey-by = [\"v\"]\ntasks = 2");
        std::fs::write(scene.pipeline(), keyed)?;
        std::fs::write(scene.folder.join("numbers.jsonl"), lines(0..40))?;
        must(&scene, 0, &[], &["run", "pipeline.toml", "--until-end"])?;
        std::fs::write(scene.folder.join("numbers.jsonl"), lines(0..80))?;
        let look = "floe replay pipeline.toml --checkpoint 1 --task @sum/";
        let words = ["made from numbers/1 @ 40..79", look, "--until 79 --step"];
        let said = must(&scene, 1, &words, &["run", "pipeline.toml", "--until-end"])?;
        let look = said.lines().find_map(|it| it.split_once("floe replay ")).context("no look")?.1;
        let look: Vec<&str> = look.split_whitespace().collect();
        let stopped = format!("record numbers/1 @ {OFFSET} stops operator \"sum\"");
        let words = ["what numbers/1 @ 45 passed", "  stopped   sum", "\"sum\":", &stopped];
        // From the first record on, so that both tasks' rows are seen.
        let step = [&["replay"], &look[..], &["--from", "40"]].concat();
        let said = must(&scene, 0, &words, &step)?;
        ensure!(!said.contains("numbers/1 @ 46 passed"), "it stopped there: {said}");
        must(&scene, 0, &[&stopped], &["replay", "pipeline.toml", "--checkpoint", "1"])?;
        // A task of a partition alone shows what it passes on.
        let of_partition = ["replay", "pipeline.toml", "--checkpoint", "1", "--task", "numbers/1"];
        let step = [&of_partition[..], &["--until", "45", "--step"]].concat();
        must(&scene, 0, &["numbers/1 @ 45", "passed    {\"v\":777}"], &step)?;
        scene.done();
        Ok(())
    });
}
