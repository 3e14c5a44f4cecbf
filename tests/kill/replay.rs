//! Checkpoints of the real program, run again by the real program: identical, or the difference is named.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::lab::{check, root};
use crate::scene::{Place, Scene};

/// `floe VERB …` in the scene's folder: exit code and what it said.
pub(crate) fn floe(scene: &Scene<'_>, arguments: &[&str]) -> Result<(Option<i32>, String)> {
    let mut command = Command::new(&scene.lab.floe);
    command.args(arguments).current_dir(&scene.folder).stdin(Stdio::null());
    let out = command.output().context("start floe")?;
    let mut said = String::from_utf8_lossy(&out.stdout).into_owned();
    said += &String::from_utf8_lossy(&out.stderr);
    ensure!(!said.contains("panicked"), "{said}");
    Ok((out.status.code(), said))
}

pub(crate) fn must(
    scene: &Scene<'_>,
    code: i32,
    words: &[&str],
    arguments: &[&str],
) -> Result<String> {
    let (ended, said) = floe(scene, arguments)?;
    ensure!(ended == Some(code), "floe {arguments:?} ended with {ended:?}, not {code}\n{said}");
    for word in words {
        ensure!(said.contains(word), "floe {arguments:?}: {word:?} is not in\n{said}");
    }
    Ok(said)
}

pub(crate) fn json(scene: &Scene<'_>, arguments: &[&str]) -> Result<Value> {
    let said = must(scene, 0, &[], arguments)?;
    serde_json::from_str(&said).with_context(|| said)
}

/// Epochs that a run of the scene left.
pub(crate) fn epochs(scene: &Scene<'_>) -> Result<u64> {
    let kept = json(scene, &["checkpoint", "list", "pipeline.toml", "--json"])?;
    kept.as_array().and_then(|it| it.last()).and_then(|it| it["epoch"].as_u64()).context("no epoch")
}

/// In three runs, so that there are three epochs at the least on a machine of any speed.
fn ran<'a>(lab: &'a crate::lab::Lab, name: &str, records: u64) -> Result<Scene<'a>> {
    let mut scene = Scene::new(lab, name, Place::Local)?;
    scene.settings.keep = 1000;
    scene.settings.interval = "20ms";
    scene.make_input(records, 11)?;
    scene.write_pipeline()?;
    let input = std::fs::read_to_string(scene.input())?;
    let lines: Vec<&str> = input.split_inclusive('\n').collect();
    for third in 1..=3 {
        std::fs::write(scene.recording(), lines[..lines.len() * third / 3].concat())?;
        scene.run_until_end()?;
    }
    Ok(scene)
}

#[test]
fn every_epoch_comes_out_identical() {
    check("replay::every_epoch", &[], |lab| {
        let scene = ran(lab, "replay-all", 40_000)?;
        let last = epochs(&scene)?;
        ensure!(last >= 3, "{last} epochs");
        let to = last.to_string();
        let all = ["replay", "pipeline.toml", "--checkpoint", "0", "--to", &to, "--json"];
        let report = json(&scene, &[&all[..], &["--out", "again.jsonl"]].concat())?;
        ensure!(report["identical"] == true && report["epochs_identical"] == last, "{report}");
        ensure!(report["records"] == 40_000, "{report}");
        let number = |name: &str| report[name].as_u64().unwrap_or_default();
        // A journal without steps is a byte.
        let heads = number("epochs") * number("tasks");
        ensure!(number("journal_bytes") <= 16 * number("steps") + heads, "{report}");
        ensure!(number("rows") == scene.row_count()? as u64, "{report}");
        let out = std::fs::read_to_string(scene.folder.join("again.jsonl"))?;
        ensure!(out.lines().count() as u64 == number("rows"), "{} rows", out.lines().count());
        for from in [1, last - 1] {
            must(
                &scene,
                0,
                &["identical ✓"],
                &["replay", "pipeline.toml", "--checkpoint", &from.to_string()],
            )?;
        }
        scene.done();
        Ok(())
    });
}

#[test]
fn what_differs_is_named() {
    check("replay::what_differs", &[], |lab| {
        let scene = ran(lab, "replay-differs", 20_000)?;
        let text = std::fs::read_to_string(scene.recording())?;
        let altered = text.replacen("\\\"amount_minor\\\":", "\\\"amount_minor\\\":1", 1);
        ensure!(altered != text, "nothing was altered");
        std::fs::write(scene.folder.join("altered.jsonl"), altered)?;
        let with = ["replay", "pipeline.toml", "--checkpoint", "0", "--recording", "altered.jsonl"];
        must(&scene, 5, &["first difference: epoch 1", "not those that the run took"], &with)?;
        std::fs::write(scene.folder.join("short.jsonl"), text.lines().next().context("empty")?)?;
        let short = ["replay", "pipeline.toml", "--checkpoint", "0", "--recording", "short.jsonl"];
        let (code, said) = floe(&scene, &short)?;
        ensure!(code.is_some_and(|it| it != 0 && it != 5), "{code:?} {said}");
        must(&scene, 2, &["it has 0 to"], &["replay", "pipeline.toml", "--checkpoint", "4000"])?;
        must(
            &scene,
            2,
            &["no task"],
            &["replay", "pipeline.toml", "--checkpoint", "0", "--task", "x/0"],
        )?;
        // Another build of the operator is none of the checkpoint's.
        let module = scene.folder.join("other.wasm");
        std::fs::copy(&scene.settings.module, &module)?;
        let mut bytes = std::fs::read(&module)?;
        // A custom section: another module by its hash, the same by what it does.
        bytes.extend_from_slice(&[0, 2, 1, b'x']);
        std::fs::write(&module, bytes)?;
        let pipeline = std::fs::read_to_string(scene.pipeline())?;
        let other = pipeline.replace(&scene.settings.module.display().to_string(), "other.wasm");
        std::fs::write(scene.folder.join("other.toml"), other)?;
        let replay = ["replay", "other.toml", "--checkpoint", "0"];
        must(&scene, 0, &["another module", "which the store keeps", "identical ✓"], &replay)?;
        let modules = scene.folder.join("checkpoints").join(&scene.id).join("modules");
        std::fs::rename(&modules, scene.folder.join("modules.gone"))?;
        must(&scene, 2, &["another module", "does not keep that one"], &replay)?;
        let through = ["replay", "pipeline.toml", "--checkpoint", "0", "--operator", "other.wasm"];
        must(&scene, 0, &["the same rows"], &through)?;
        scene.done();
        Ok(())
    });
}

#[test]
fn the_record_that_stopped_the_pipeline_is_shown() {
    check("replay::the_record_that_stopped", &[], |lab| {
        let mut scene = Scene::new(lab, "replay-stopped", Place::Local)?;
        scene.settings.keep = 1000;
        let line = |partition: u32, offset: u32, amount: i64| {
            let value = format!(
                r#"{{"txn_id":"t-{partition}-{offset}","merchant_id":"m","amount_minor":{amount}}}"#
            );
            let line = serde_json::json!({ "partition": partition, "offset": offset, "timestamp": 1000 + offset, "value": value });
            format!("{line}\n")
        };
        let mut text: String = (0..40).map(|it| line(it % 2, it / 2, 5)).collect();
        std::fs::write(scene.recording(), &text)?;
        scene.write_pipeline()?;
        scene.run_until_end()?;
        text += &(20..30)
            .map(|it| line(1, it, if it == 25 { i64::MAX } else { 1 }))
            .collect::<String>();
        std::fs::write(scene.recording(), &text)?;
        let last = epochs(&scene)?.to_string();
        let look = format!(
            "floe replay pipeline.toml --checkpoint {last} --task payments/1 --until 25 --step"
        );
        let words = ["payments/1 @ 25", &look];
        must(&scene, 1, &words, &["run", "pipeline.toml", "--until-end"])?;
        let step = [
            "replay",
            "pipeline.toml",
            "--checkpoint",
            &last,
            "--task",
            "payments/1",
            "--until",
            "25",
            "--step",
        ];
        let words = [
            "payments/1 @ 24",
            "\"running_total\":104",
            "payments/1 @ 25",
            "rejected  by",
            "leaves 64 bits",
            "fuel",
            "no checkpoint to compare with",
        ];
        let said = must(&scene, 0, &words, &step)?;
        ensure!(!said.contains("payments/1 @ 26"), "{said}");
        let core = [&step[..step.len() - 1], &["--core", "25.core"]].concat();
        must(&scene, 0, &["25.core"], &core)?;
        let core = std::fs::read(scene.folder.join("25.core"))?;
        let section = |name: &[u8]| core.windows(name.len()).any(|it| it == name);
        ensure!(core.starts_with(b"\0asm") && section(b"\x04core"), "it is no core dump");
        scene.done();
        Ok(())
    });
}

#[test]
fn a_bundle_needs_nothing_else() {
    check("replay::a_bundle", &[], |lab| {
        let scene = ran(lab, "replay-bundle", 40_000)?;
        let bundle =
            ["bundle", "pipeline.toml", "--checkpoint", "1", "--to", "2", "-o", "a.bundle"];
        must(&scene, 0, &["raw records", "secrets"], &bundle)?;
        let hidden = [
            "bundle",
            "pipeline.toml",
            "--checkpoint",
            "0",
            "--redact",
            "merchant_id",
            "-o",
            "b.bundle",
        ];
        must(&scene, 0, &["merchant_id"], &hidden)?;
        // Elsewhere, with nothing of the pipeline left, and no network.
        let elsewhere = scene.folder.join("elsewhere");
        std::fs::create_dir(&elsewhere)?;
        for name in ["a.bundle", "b.bundle"] {
            std::fs::rename(scene.folder.join(name), elsewhere.join(name))?;
        }
        for gone in ["checkpoints", "lake", "payments.jsonl", "pipeline.toml", "lake.db"] {
            std::fs::rename(scene.folder.join(gone), scene.folder.join(format!("{gone}.gone")))?;
        }
        let replay = |name: &str| -> Result<String> {
            let mut command = without_network(lab.floe.clone());
            command.args(["replay", name]).current_dir(&elsewhere);
            let out = command.output().context("start floe without a network")?;
            let said = String::from_utf8_lossy(&out.stdout).into_owned();
            ensure!(out.status.success(), "{name}: {said}{}", String::from_utf8_lossy(&out.stderr));
            Ok(said)
        };
        let said = replay("a.bundle")?;
        ensure!(said.contains("epoch 1 → 2") && said.contains("identical ✓"), "{said}");
        let said = replay("b.bundle")?;
        ensure!(said.contains("redacted (merchant_id)") && said.contains("not compared"), "{said}");
        let left = std::fs::read_dir(&elsewhere)?.count();
        ensure!(left == 2, "a replay left {} files", left - 2);
        scene.done();
        Ok(())
    });
}

#[test]
fn other_ways_to_run_come_out_the_same() {
    check("replay::other_ways", &[], |lab| {
        let scene = ran(lab, "replay-ways", 20_000)?;
        let verified = json(&scene, &["verify-determinism", "pipeline.toml", "--json"])?;
        let ways = verified["ways"].as_array().context("no ways")?;
        ensure!(ways.len() >= 4 && ways.iter().all(|it| it["identical"] == true), "{verified}");
        ensure!(verified["records"] == 20_000, "{verified}");
        // Two neighbours differ in what the records between them changed.
        let diff = json(&scene, &["checkpoint", "diff", "pipeline.toml", "1", "2", "--json"])?;
        let task = &diff["tasks"][0];
        ensure!(task["same_state"] == false, "{diff}");
        ensure!(task["state"][0]["pages_differing"].as_u64() > Some(0), "{diff}");
        let same = json(&scene, &["checkpoint", "diff", "pipeline.toml", "2", "2", "--json"])?;
        ensure!(
            same["tasks"].as_array().is_some_and(|it| it.iter().all(|it| it["same_state"] == true))
        );
        scene.done();
        Ok(())
    });
}

/// In a network namespace of its own where this machine allows one.
pub(crate) fn without_network(floe: PathBuf) -> Command {
    for flags in ["-n", "-rn"] {
        let tried = Command::new("unshare").args([flags, "true"]).stderr(Stdio::null()).status();
        if tried.is_ok_and(|it| it.success()) {
            let mut command = Command::new("unshare");
            command.arg(flags).arg(floe);
            return command;
        }
    }
    println!("this machine allows no network namespace: the bundle is replayed with the network");
    Command::new(floe)
}

#[test]
fn a_row_leads_to_its_record() {
    check("replay::a_row_leads", &[], |lab| {
        let scene = ran(lab, "replay-trace", 20_000)?;
        // The last record of the recording that made a row.
        let (mut command, _) = scene.floe(&["rows", "--json"])?;
        let rows = command.stdout(Stdio::piped()).output()?.stdout;
        let row: Value =
            serde_json::from_slice(rows.split(|it| *it == b'\n').nth(15_000).context("rows")?)?;
        let wanted = format!("txn_id = '{}'", row["txn_id"].as_str().context("an id")?);
        let traced = json(&scene, &["trace", "pipeline.toml", "--row", &wanted, "--json"])?;
        let traced = &traced[0];
        ensure!(traced["row"] == row && traced["identical"] == true, "{traced}");
        ensure!(traced["task"] == format!("payments/{}", row["kafka_partition"]), "{traced}");
        ensure!(traced["record"]["offset"] == row["kafka_offset"], "{traced}");
        let value = traced["record"]["value"].as_str().unwrap_or_default();
        ensure!(value.contains(row["txn_id"].as_str().unwrap_or("?")), "{traced}");
        must(
            &scene,
            0,
            &["identical ✓", "record "],
            &["trace", "pipeline.toml", "--row", &wanted],
        )?;
        must(&scene, 2, &["no row"], &["trace", "pipeline.toml", "--row", "txn_id = 'none'"])?;
        must(&scene, 2, &["no column"], &["trace", "pipeline.toml", "--row", "nope = 1"])?;

        // The first epoch with a total over what that row has is found again by its row.
        must(
            &scene,
            0,
            &["holds from epoch 0"],
            &["bisect", "pipeline.toml", "--expect", "kafka_offset >= 0"],
        )?;
        let limit = row["running_total"].as_i64().context("a total")?;
        let expect = format!("running_total < {limit}");
        let (code, said) =
            floe(&scene, &["bisect", "pipeline.toml", "--expect", &expect, "--json"])?;
        ensure!(code == Some(5), "{code:?} {said}");
        let broken: Value = serde_json::from_str(said.split("error:").next().unwrap_or_default())?;
        ensure!(broken["broken"]["row"]["running_total"].as_i64() >= Some(limit), "{broken}");
        let epoch = broken["broken"]["epoch"].as_u64().context("an epoch")?;
        ensure!(epoch <= traced["epoch"].as_u64().unwrap_or_default(), "{broken}");
        if epoch > 1 {
            let to = (epoch - 1).to_string();
            must(
                &scene,
                0,
                &["holds"],
                &["bisect", "pipeline.toml", "--expect", &expect, "--to", &to],
            )?;
        }
        scene.done();
        Ok(())
    });
}

#[test]
fn sampled_epochs_are_run_again_beside_the_pipeline() {
    check("replay::sampled_epochs", &[], |lab| {
        let mut scene = Scene::new(lab, "replay-verify", Place::Local)?;
        scene.settings.keep = 1000;
        scene.make_input(40_000, 5)?;
        scene.write_pipeline()?;
        let pipeline = std::fs::read_to_string(scene.pipeline())?;
        let verify =
            "\n[verify]\nsample = \"1 of 2 epochs\"\ncpu = \"100%\"\non-divergence = \"stop\"\n";
        std::fs::write(scene.pipeline(), pipeline + verify)?;
        let _feed = scene.feed_endlessly(4_000)?;
        let mut process = scene.start(&["run"])?;
        process.until_says("verified: run again, state hashes identical")?;
        let said = process.said();
        process.kill()?;
        ensure!(!said.contains("it differs"), "{said}");
        scene.done();
        Ok(())
    });
}

/// The operator of the demo, whose calls nest 100,000 deep for records of offset 5: 1.6 MB at the least.
fn nesting() -> Result<String> {
    let counter = std::fs::read_to_string(root().join("runtime/cli/src/demo/counter.wat"))?;
    let counts = "(global.set $count (i64.add";
    let process = "(func (export \"floe_v1_process\")";
    ensure!(counter.contains(counts) && counter.contains(process), "the counter was changed");
    let offset = "(i64.load (i32.add (i32.shl (local.get $row) (i32.const 3))
      (i32.load offset=4 (i32.load offset=40 (i32.load (local.get $children))))))";
    let nest = format!(
        "(if (i64.eq {offset} (i64.const 5)) (then (drop (call $deeper (i32.const 100000)))))"
    );
    let deeper = "(func $deeper (param i32) (result i32)
      (if (result i32) (i32.eqz (local.get 0)) (then (i32.const 0))
        (else (i32.add (i32.const 1) (call $deeper (i32.sub (local.get 0) (i32.const 1)))))))";
    let counter = counter.replacen(counts, &format!("{nest} {counts}"), 1);
    Ok(counter.replacen(process, &format!("{deeper} {process}"), 1))
}

/// A record that overflows the stack is one that the operator cannot take; with a larger stack the next such
/// is one that it can. Both are repeated.
#[test]
fn a_stack_that_overflowed_overflows_again() {
    check("replay::a_stack_that_overflowed", &[], |lab| {
        let mut scene = Scene::new(lab, "replay-stack", Place::Local)?;
        scene.settings.module = scene.folder.join("nesting.wat");
        scene.settings.on_error = "skip";
        scene.settings.keep = 1000;
        std::fs::write(&scene.settings.module, nesting()?)?;
        let record = |partition: u32, offset: u32| {
            let value = format!("{{\"order_id\":\"o-{partition}-{offset}\"}}");
            let record = serde_json::json!({ "partition": partition, "offset": offset, "timestamp": offset, "value": value });
            format!("{record}\n")
        };
        let mut text: String = (0..10).map(|it| record(0, it)).collect::<String>() + &record(1, 0);
        std::fs::write(scene.recording(), &text)?;
        scene.write_pipeline()?;
        let said = scene.run_until_end()?;
        ensure!(said.contains("1 rejected"), "{said}");
        ensure!(scene.row_count()? == 10, "the record of offset 5 made a row");
        let first = epochs(&scene)?.to_string();

        scene.settings.operator = "limits = { stack = \"16MiB\" }".to_owned();
        scene.write_pipeline()?;
        text += &(1..10).map(|it| record(1, it)).collect::<String>();
        std::fs::write(scene.recording(), &text)?;
        let said = scene.run_until_end()?;
        ensure!(!said.contains("rejected"), "{said}");
        ensure!(scene.row_count()? == 19, "the record of partition 1 made no row");
        let last = epochs(&scene)?.to_string();
        for (from, to) in [("0", &first), (&first, &last), ("0", &last)] {
            let again = ["replay", "pipeline.toml", "--checkpoint", from, "--to", to];
            must(&scene, 0, &["identical ✓"], &again)?;
        }
        // With less than it had, a call that fitted may not fit.
        scene.settings.operator = String::new();
        scene.write_pipeline()?;
        let less = ["replay", "pipeline.toml", "--checkpoint", &first, "--to", &last];
        must(&scene, 2, &["limits.stack of 1048576", "stack = \"16777216B\""], &less)?;
        let before = ["replay", "pipeline.toml", "--checkpoint", "0", "--to", &first];
        must(&scene, 0, &["identical ✓"], &before)?;
        scene.done();
        Ok(())
    });
}
