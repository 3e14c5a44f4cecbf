//! Totals by merchant over all partitions: rows change hands between tasks, and nothing is lost or counted
//! twice, wherever the process dies; what was merged is merged again by a replay.

use std::fmt::Write;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use floe_core::crash_point::CrashPoint;
use serde_json::Value;

use crate::lab::{Lab, Random, check};
use crate::points::crash;
use crate::process::{End, PATIENCE};
use crate::replay::json;
use crate::scene::{Place, Scene};

const RECORDS: u64 = 36_000;
/// Slowly, so that there is something left for each life also where a start takes long.
const RECORDS_PER_SECOND: u64 = 3_000;
const PARTITIONS: u64 = 4;

/// Payments whose merchants are in all partitions; every twelfth comes again, in the same partition.
fn write_input(scene: &Scene<'_>) -> Result<()> {
    let mut random = Random(7);
    let mut text = String::new();
    for number in 0..RECORDS {
        let again = number % 12 == 11;
        let id = if again { number - 2 * PARTITIONS } else { number };
        let mut of = Random(id);
        let (merchant, amount) = (of.below(40), of.below(90_000) as i64 - 10_000);
        let (partition, offset) = (number % PARTITIONS, number / PARTITIONS);
        let timestamp = 1_760_000_000_000 + number + random.below(50);
        let value = format!(
            r#"{{"txn_id":"t-{id}","merchant_id":"m-{merchant}","amount_minor":{amount}}}"#
        );
        let line = serde_json::json!({
            "partition": partition, "offset": offset, "timestamp": timestamp, "value": value
        });
        writeln!(text, "{line}")?;
    }
    std::fs::write(scene.input(), text).context("write the input")
}

fn keyed<'a>(lab: &'a Lab, name: &str, place: Place) -> Result<Scene<'a>> {
    let mut scene = Scene::new(lab, name, place)?;
    scene.settings.interval = "40ms";
    scene.settings.batch_records = 128;
    scene.settings.keep = 1000;
    scene.settings.operator = "key-by = [\"merchant_id\"]\ntasks = 3".to_owned();
    write_input(&scene)?;
    scene.write_pipeline()?;
    Ok(scene)
}

fn compare(scene: &Scene<'_>) -> Result<()> {
    let out = scene.reader("keyed.py")?.arg(scene.input()).output().context("start keyed.py")?;
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    ensure!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    print!("{said}");
    Ok(())
}

/// All that is kept, run again: the same state at each checkpoint, and as many rows.
fn replays(scene: &Scene<'_>) -> Result<()> {
    let kept = json(scene, &["checkpoint", "list", "pipeline.toml", "--json"])?;
    let newest = kept.as_array().and_then(|it| it.last()).context("no checkpoint")?;
    let to = newest["epoch"].to_string();
    let arguments = ["replay", "pipeline.toml", "--checkpoint", "0", "--to", &to, "--json"];
    let report = json(scene, &arguments)?;
    ensure!(report["identical"] == true && report["records"] == RECORDS, "{report}");
    ensure!(report["tasks"] == 7, "four partitions and three tasks: {report}");
    Ok(())
}

#[test]
fn totals_over_all_partitions_are_exact_wherever_it_dies() {
    check("keyed::totals_over_all_partitions", &[], |lab| {
        let scene = keyed(lab, "keyed-points", Place::Local)?;
        let feed = scene.feed_all(RECORDS_PER_SECOND)?;
        for (point, nth) in [
            // Some tasks have captured, and others have not.
            (CrashPoint::AfterCapture, 5),
            (CrashPoint::BeforeCapture, 6),
            (CrashPoint::AfterDataFileClose, 2),
            (CrashPoint::AfterPart, 2),
            (CrashPoint::AfterManifest, 2),
            (CrashPoint::AfterCommitSent, 1),
        ] {
            crash(&scene, point, nth).with_context(|| format!("{} {nth}", point.name()))?;
        }
        feed.finish()?;
        scene.run_until_end()?;
        compare(&scene)?;
        replays(&scene)?;
        scene.done();
        Ok(())
    });
}

#[test]
fn totals_of_kafka_are_exact_under_kills() {
    check("keyed::totals_of_kafka", &["FLOE_TEST_KAFKA"], |lab| {
        let scene = keyed(lab, "keyed-kafka", Place::Kafka)?;
        let feed = scene.feed_all(RECORDS_PER_SECOND)?;
        let mut random = Random::from_environment();
        println!("FLOE_KILL_SEED={}", random.0);
        for _ in 0..6 {
            let mut process = scene.start(&["run"])?;
            std::thread::sleep(Duration::from_millis(200 + random.below(500)));
            ensure!(process.kill()?, "it ended by itself\n{}", process.last_words());
        }
        feed.finish()?;
        scene.run_until_end()?;
        compare(&scene)?;
        replays(&scene)?;
        scene.done();
        Ok(())
    });
}

/// A row that stops an operator behind the exchange is found, and what was decided is replayed.
#[test]
fn a_poisonous_row_is_found_behind_the_exchange() {
    check("keyed::a_poisonous_row", &[], |lab| {
        let mut scene = keyed(lab, "keyed-poison", Place::Local)?;
        let text = std::fs::read_to_string(scene.input())?;
        // Its total leaves 64 bits: the operator rejects it.
        let bad = r#"{"txn_id":"bad","merchant_id":"m-1","amount_minor":9223372036854775807}"#;
        let (partition, offset) = (1, RECORDS / PARTITIONS);
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let line = serde_json::json!({
            "partition": partition, "offset": offset, "timestamp": 1_760_000_100_000_u64, "value": bad
        });
        lines.push(line.to_string());
        std::fs::write(scene.recording(), lines.join("\n") + "\n")?;
        let mut process = scene.start(&["run", "--until-end"])?;
        let ended = process.wait(PATIENCE)?;
        let said = process.said();
        ensure!(ended == End::Code(1), "{ended:?}\n{said}");
        for word in ["@payments/", "a row of", &format!("payments/{partition} @"), "leaves 64 bits"]
        {
            ensure!(said.contains(word), "{word:?} is not in\n{said}");
        }
        scene.settings.on_error = "skip";
        scene.write_pipeline()?;
        scene.run_until_end()?;
        compare(&scene)?;
        scene.done();
        Ok(())
    });
}

#[test]
fn another_key_or_number_of_tasks_is_refused() {
    check("keyed::another_key", &[], |lab| {
        let mut scene = keyed(lab, "keyed-identity", Place::Local)?;
        std::fs::copy(scene.input(), scene.recording())?;
        scene.run_until_end()?;
        for (lines, word) in [
            ("key-by = [\"merchant_id\"]\ntasks = 4", "key-by [merchant_id] in 3 tasks"),
            ("key-by = [\"txn_id\"]\ntasks = 3", "key-by [merchant_id] in 3 tasks"),
            ("", "key-by [merchant_id] in 3 tasks"),
            ("key-by = [\"merchant\"]\ntasks = 3", "there is no column \"merchant\" to key by"),
            ("key-by = [\"merchant_id\"]", "says no tasks"),
            ("tasks = 3", "tasks is for an operator with key-by"),
        ] {
            scene.settings.operator = lines.to_owned();
            scene.write_pipeline()?;
            let mut process = scene.start(&["run", "--until-end"])?;
            match process.wait(PATIENCE)? {
                End::Code(2 | 4) if process.said().contains(word) => {}
                end => bail!("{lines}: {end:?}\n{}", process.said()),
            }
        }
        scene.done();
        Ok(())
    });
}

/// The re-executions that a run's determinism is judged by merge as the run did.
#[test]
fn every_way_to_run_it_again_is_identical() {
    check("keyed::every_way", &[], |lab| {
        let scene = keyed(lab, "keyed-ways", Place::Local)?;
        std::fs::copy(scene.input(), scene.recording())?;
        scene.run_until_end()?;
        let mut command = Command::new(&scene.lab.floe);
        command.args(["verify-determinism", "pipeline.toml", "--json"]).current_dir(&scene.folder);
        let out = command.output().context("start floe")?;
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        let verified: Value = serde_json::from_str(&said)
            .with_context(|| format!("{said}{}", String::from_utf8_lossy(&out.stderr)))?;
        ensure!(verified["identical"] == true, "{verified}");
        let ways = verified["ways"].as_array().context("no ways")?;
        ensure!(ways.len() >= 4 && ways.iter().all(|it| it["identical"] == true), "{verified}");
        scene.done();
        Ok(())
    });
}
