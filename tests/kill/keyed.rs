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
use crate::replay::{epochs, json, must};
use crate::scene::{Place, Scene};

const RECORDS: u64 = 12_000;
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
fn replays(scene: &Scene<'_>, records: u64) -> Result<()> {
    // Four partitions and three tasks.
    replays_with(scene, records, 7)
}

fn replays_with(scene: &Scene<'_>, records: u64, tasks: u64) -> Result<()> {
    let kept = json(scene, &["checkpoint", "list", "pipeline.toml", "--json"])?;
    let newest = kept.as_array().and_then(|it| it.last()).context("no checkpoint")?;
    let to = newest["epoch"].to_string();
    let arguments = ["replay", "pipeline.toml", "--checkpoint", "0", "--to", &to, "--json"];
    let report = json(scene, &arguments)?;
    ensure!(report["identical"] == true && report["records"] == records, "{report}");
    ensure!(report["tasks"] == tasks, "{tasks} tasks: {report}");
    Ok(())
}

#[test]
fn totals_over_all_partitions_are_exact_wherever_it_dies() {
    check("keyed::totals_over_all_partitions", &[], |lab| {
        let scene = keyed(lab, "keyed-points", Place::Local)?;
        let feed = scene.feed_endlessly(RECORDS_PER_SECOND)?;
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
        let records = feed.stop()?;
        scene.run_until_end()?;
        compare(&scene)?;
        replays(&scene, records)?;
        recomputes(&scene)?;
        scene.done();
        Ok(())
    });
}

/// Rows of one merchant in ten go to one of three tasks: what waits for it is overtaken by every barrier.
const HOT_RECORDS: u64 = 30_000;

fn write_hot_input(scene: &Scene<'_>) -> Result<()> {
    let mut text = String::new();
    for number in 0..HOT_RECORDS {
        let merchant = if number % 10 == 0 { number / 10 % 40 } else { 7 };
        let amount = Random(number).below(90_000);
        let value = format!(
            r#"{{"txn_id":"t-{number}","merchant_id":"m-{merchant}","amount_minor":{amount}}}"#
        );
        let line = serde_json::json!({
            "partition": number % PARTITIONS, "offset": number / PARTITIONS,
            "timestamp": 1_760_000_000_000_u64 + number, "value": value
        });
        writeln!(text, "{line}")?;
    }
    std::fs::write(scene.input(), &text).context("write the input")?;
    std::fs::write(scene.recording(), text).context("write the recording")
}

/// For each kept checkpoint, the rows that its barrier overtook.
fn in_flight(scene: &Scene<'_>) -> Result<Vec<u64>> {
    let kept = json(scene, &["checkpoint", "list", "pipeline.toml", "--json"])?;
    let kept = kept.as_array().context("no list")?;
    kept.iter().map(|it| it["in_flight_rows"].as_u64().context("no rows in flight")).collect()
}

/// Behind two exchanges in a row, each with the hot task: a barrier overtakes at the first, and at the second what
/// the first one let through. The rows are in the checkpoint, and none is lost or counted twice, wherever the
/// process dies; what is run again is the same to the bit. Each stage adds up, and none would hide a row that
/// came twice.
#[test]
fn totals_are_exact_where_barriers_overtake() {
    check("keyed::totals_are_exact_where_barriers", &[], |lab| {
        let mut scene = keyed(lab, "keyed-overtaken", Place::Local)?;
        scene.settings.interval = "20ms";
        scene.settings.batch_records = 4;
        scene.settings.checkpoint = "alignment-timeout = \"0ms\"";
        scene.settings.operator = two_stages(lab);
        scene.write_pipeline()?;
        write_hot_input(&scene)?;
        let (mut refused, mut restored) = (false, false);
        for (point, nth) in [
            (CrashPoint::AfterManifest, 2),
            // Some of the nine tasks have captured, of either stage.
            (CrashPoint::AfterCapture, 7),
            (CrashPoint::BeforeCapture, 8),
            (CrashPoint::AfterPart, 2),
            (CrashPoint::AfterManifest, 3),
            (CrashPoint::AfterDataFileClose, 2),
        ] {
            let said = crash(&scene, point, nth)?;
            restored |= said.contains("rows that were on their way at the checkpoint come first");
            if in_flight(&scene)?.last().is_some_and(|it| *it > 0) {
                upgrade_is_refused(&mut scene)?;
                refused = true;
            }
        }
        ensure!(refused && restored, "no barrier overtook a row: {:?}", in_flight(&scene)?);
        scene.run_until_end()?;
        let overtaken = in_flight(&scene)?;
        println!("rows in flight, by checkpoint: {overtaken:?}");
        ensure!(overtaken.last() == Some(&0), "the last barrier is aligned: {overtaken:?}");
        compare(&scene)?;
        // Four partitions, and two and three tasks.
        replays_with(&scene, HOT_RECORDS, 9)?;
        scene.done();
        Ok(())
    });
}

/// Totals, and totals of what made them.
fn two_stages(lab: &Lab) -> String {
    let project = lab.floe.with_file_name("plugins").join("project.wasm");
    format!(
        r#"name = "first"
key-by = ["merchant_id"]
tasks = 2
config = {{ dedup = false }}

[[operator]]
name = "again"
module = '{}'
config = {{ columns = ["txn_id", "merchant_id", "amount_minor", "kafka_partition as _partition", "kafka_offset as _offset"] }}

[[operator]]
name = "second"
module = '{}'
key-by = ["merchant_id"]
tasks = 3
config = {{ dedup = false }}"#,
        project.display(),
        lab.payments.display()
    )
}

/// Rows on their way are parted among as many tasks as there were.
fn upgrade_is_refused(scene: &mut Scene<'_>) -> Result<()> {
    let before = scene.settings.operator.clone();
    scene.settings.operator = before.replace("tasks = 3", "tasks = 4");
    scene.write_pipeline()?;
    let mut process = scene.start(&["upgrade", "--apply"])?;
    let (ended, said) = (process.wait(PATIENCE)?, process.said());
    ensure!(ended == End::Code(4), "{ended:?}\n{said}");
    ensure!(said.contains("rows on their way to tasks behind key-by"), "{said}");
    scene.settings.operator = before;
    scene.write_pipeline()
}

/// Totals over all partitions, which no column of the source has, are held against the operators run again.
fn recomputes(scene: &Scene<'_>) -> Result<()> {
    let asked = ["verify", "--recompute", "--key", "merchant_id", "--distinct", "txn_id"];
    let equal = json(scene, &[&asked[..1], &["pipeline.toml"], &asked[1..], &["--json"]].concat())?;
    ensure!(equal["keys"] == 40 && equal["keys_that_differ"] == 0, "{equal}");
    ensure!(equal["source_totals"] == equal["table_totals"], "{equal}");
    let tampered = scene.reader("tamper.py")?.output().context("start tamper.py")?;
    ensure!(tampered.status.success(), "{}", String::from_utf8_lossy(&tampered.stderr));
    let tampered: Value = serde_json::from_slice(&tampered.stdout)?;
    let mut process = scene.start(&asked)?;
    let end = process.wait(PATIENCE)?;
    ensure!(end == End::Code(5), "{end:?}\n{}", process.last_words());
    for name in ["doubled", "lost", "changed"] {
        let id = tampered[name]["txn_id"].as_str().context("a name")?;
        let said = process.said();
        ensure!(said.contains(&format!("txn_id={id} ")), "{name} {id}\n{said}");
    }
    Ok(())
}

#[test]
fn totals_of_kafka_are_exact_under_kills() {
    check("keyed::totals_of_kafka", &["FLOE_TEST_KAFKA"], |lab| {
        let scene = keyed(lab, "keyed-kafka", Place::Kafka)?;
        let feed = scene.feed_endlessly(RECORDS_PER_SECOND)?;
        let mut random = Random::from_environment();
        println!("FLOE_KILL_SEED={}", random.0);
        for _ in 0..6 {
            let mut process = scene.start(&["run"])?;
            // Each life adds to the table before it dies at no moment in particular.
            process.until_commits(1)?;
            std::thread::sleep(Duration::from_millis(random.below(300)));
            ensure!(process.kill()?, "it ended by itself\n{}", process.last_words());
        }
        let records = feed.stop()?;
        scene.run_until_end()?;
        compare(&scene)?;
        replays(&scene, records)?;
        scene.done();
        Ok(())
    });
}

/// A row that the operator behind the exchange rejects is named by the record that it came of.
#[test]
fn a_row_rejected_behind_the_exchange_is_named() {
    check("keyed::a_row_rejected", &[], |lab| {
        let mut scene = keyed(lab, "keyed-rejected", Place::Local)?;
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

const ORDERS: u64 = 400;
/// Of these the first half come on the first day, without fault; this one is ordered with quantity 0.
const SERVICE: u64 = 301;

fn order(number: u64) -> String {
    let quantity = u64::from(number != SERVICE) * (1 + number % 3);
    let order = serde_json::json!({
        "order_id": format!("o-{number}"), "item": format!("item-{}", number % 7),
        "amount_minor": 600, "quantity": quantity
    });
    let line = serde_json::json!({
        "partition": number % PARTITIONS, "offset": number / PARTITIONS,
        "timestamp": 1_760_000_000_000_u64 + number, "value": order.to_string()
    });
    format!("{line}\n")
}

/// A row that ends the operator behind the exchange is found among those of all partitions; that it was passed
/// over is part of the epoch, and a replay does so and says so.
#[test]
fn a_trap_behind_the_exchange_is_found_and_replayed() {
    check("keyed::a_trap_behind", &[], |lab| {
        let mut scene = Scene::new(lab, "keyed-trap", Place::Local)?;
        scene.settings.module = lab.payments.with_file_name("floe_example_prices.wasm");
        scene.settings.operator = "name = \"prices\"\nkey-by = [\"item\"]\ntasks = 3".to_owned();
        scene.settings.keep = 1000;
        scene.write_pipeline()?;
        let days: Vec<String> = (0..ORDERS).map(order).collect();
        let (first, second) = days.split_at(days.len() / 2);
        std::fs::write(scene.recording(), first.concat())?;
        scene.run_until_end()?;
        std::fs::write(scene.recording(), [first, second].concat().concat())?;

        let from = format!("made from payments/{} @ ", SERVICE % PARTITIONS);
        let mut process = scene.start(&["run", "--until-end"])?;
        let (ended, said) = (process.wait(PATIENCE)?, process.said());
        ensure!(ended == End::Code(1), "{ended:?}\n{said}");
        for word in ["a row of @prices/", &from, "divide by zero", "src/lib.rs:"] {
            ensure!(said.contains(word), "{word:?} is not in\n{said}");
        }

        scene.settings.on_error = "skip";
        scene.write_pipeline()?;
        let said = scene.run_until_end()?;
        ensure!(said.contains("going back to the checkpoint"), "{said}");
        let mut rows = scene.rows()?;
        rows.retain(|it| it.contains("\"order_id\":\"o-"));
        ensure!(rows.len() as u64 == ORDERS - 1, "{} rows", rows.len());
        let service = format!("\"o-{SERVICE}\"");
        ensure!(!rows.iter().any(|it| it.contains(&service)), "the service is in the table");
        let last = epochs(&scene)?.to_string();
        let all = ["replay", "pipeline.toml", "--checkpoint", "0", "--to", &last, "--json"];
        let report = json(&scene, &all)?;
        ensure!(report["identical"] == true && report["records"] == ORDERS, "{report}");
        let step = ["replay", "pipeline.toml", "--checkpoint", "1", "--to", &last, "--step"];
        let words = ["@prices/", "skipped, as the run did: it stops an operator", "identical ✓"];
        must(&scene, 0, &words, &step)?;
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
