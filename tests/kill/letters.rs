//! A topic for dead letters: whatever dies between two steps, a reader of committed transactions sees each
//! letter once, and the table has each row once.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;

use anyhow::{Context, ensure};
use floe_core::crash_point::CrashPoint;

use crate::lab::{check, variable};
use crate::replay::must;
use crate::scene::{Place, Scene};
use crate::topics::{die_at, kafka_py};

const RECORDS: u64 = 4_000;
/// Of so many records one is no JSON.
const BAD: u64 = 10;

const POINTS: [CrashPoint; 3] =
    [CrashPoint::AfterManifest, CrashPoint::AfterCommitSent, CrashPoint::AfterCommit];

fn input() -> String {
    let line = |it: u64| {
        let value = match it % BAD {
            3 => "no JSON at all".to_owned(),
            _ => format!(r#"{{"txn_id":"t-{it}","merchant_id":"m","amount_minor":1}}"#),
        };
        let line = serde_json::json!({ "partition": it % 4, "offset": it / 4, "timestamp": 5, "value": value });
        format!("{line}\n")
    };
    (0..RECORDS).map(line).collect()
}

#[test]
fn a_topic_has_each_dead_letter_once() {
    check("letters::a_topic_has", &["FLOE_TEST_KAFKA"], |lab| {
        let mut scene = Scene::new(lab, "letters", Place::Local)?;
        scene.settings.on_error = "dead-letter";
        let topic = format!("{}-dead-letters", scene.id);
        let made = kafka_py(lab)?.args([&topic, "create", "--partitions", "3"]).status()?;
        ensure!(made.success(), "kafka.py create: {made}");
        std::fs::write(scene.input(), input())?;
        scene.write_pipeline()?;
        let broker = variable("FLOE_TEST_KAFKA")?;
        let letters = format!(
            "\n[dead-letters]\nkafka = \"{topic}\"\nbootstrap-servers = \"{broker}\"\nmax = {RECORDS}\n"
        );
        OpenOptions::new().append(true).open(scene.pipeline())?.write_all(letters.as_bytes())?;
        let mut feed = scene.feed(1_000_000)?;
        for (number, point) in (1..).zip(POINTS) {
            feed.allow(number * RECORDS / (POINTS.len() as u64 + 1))?;
            die_at(&scene, point)?;
        }
        feed.finish()?;
        scene.run_until_end()?;

        let said = kafka_py(lab)?.args([&topic, "consume"]).output().context("kafka.py")?;
        ensure!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let mut places = BTreeSet::new();
        for line in String::from_utf8(said.stdout)?.lines() {
            let (_, value) = line.split_once('\t').context("a key and a value")?;
            let letter: serde_json::Value = serde_json::from_str(value)?;
            ensure!(letter["class"] == "decode" && letter["epoch"].is_u64(), "{letter}");
            ensure!(letter["value"] == hex("no JSON at all"), "{letter}");
            let place = (letter["partition"].as_u64(), letter["offset"].as_u64());
            ensure!(places.insert(place), "twice: {letter}");
        }
        ensure!(places.len() as u64 == RECORDS / BAD, "{} letters", places.len());
        let rows = scene.row_count()? as u64;
        ensure!(rows == RECORDS - RECORDS / BAD, "{rows} rows");
        must(&scene, 0, &[&topic], &["check", "pipeline.toml"])?;
        let waiting = must(&scene, 0, &[], &["dead-letters", "list", "pipeline.toml", "--json"])?;
        ensure!(waiting.lines().count() as u64 == RECORDS / BAD, "{waiting}");
        let first = format!("{}/3@0", "payments");
        let shown = ["dead-letters", "show", "pipeline.toml", &first];
        must(&scene, 0, &["no JSON at all", "decode"], &shown)?;
        scene.done();
        Ok(())
    });
}

fn hex(text: &str) -> String {
    text.bytes().map(|it| format!("{it:02x}")).collect()
}
