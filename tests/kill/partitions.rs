//! A topic that grows: the state of each key goes to the partition where the producer puts its records now, whatever
//! was killed, and each total follows from the one before.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::lab::{Lab, check};
use crate::process::{End, PATIENCE};
use crate::replay::must;
use crate::scene::{Place, Scene};
use crate::topics::kafka_py;
use crate::upgrades::ABORTED;

/// Totals by merchant, which is the key of the records.
const SCRIPT: &str = r#"
const totals = new Map();
export default {
  name: "totals",
  version: "1.0.0",
  input: { id: "text", merchant: "text", amount: "int64" },
  output: { id: "text", merchant: "text", total: "int64" },
  process({ id, merchant, amount }, emit) {
    const total = (totals.get(merchant) ?? 0) + amount;
    totals.set(merchant, total);
    emit({ id, merchant, total });
  },
  exportState() {
    return { "floe:by-key": ["totals"], totals: Object.fromEntries(totals) };
  },
  importState([{ state }]) {
    for (const [merchant, total] of Object.entries(state.totals)) totals.set(merchant, total);
  },
};
"#;

/// Before the claim that fences, behind it, and around the manifest.
const POINTS: [(&str, u32); 3] =
    [("after-claim", 6), ("before-manifest", 8), ("after-manifest", 12)];
const MERCHANTS: usize = 40;
const RECORDS_EACH: usize = 200;

/// What was sent, and what must come of it.
#[derive(Default)]
struct Sent {
    number: usize,
    totals: BTreeMap<String, i64>,
    rows: BTreeMap<String, i64>,
}

impl Sent {
    /// Sends more by Kafka's own way of choosing a partition, and reads all of it.
    fn more(&mut self, scene: &Scene<'_>) -> Result<()> {
        let mut text = String::new();
        for _ in 0..RECORDS_EACH {
            let (id, amount) = (format!("t-{}", self.number), (self.number % 97) as i64);
            let merchant = format!("m-{}", self.number * 7 % MERCHANTS);
            let value = format!(r#"{{"id":"{id}","merchant":"{merchant}","amount":{amount}}}"#);
            writeln!(text, "{}", serde_json::json!({ "key": merchant, "value": value }))?;
            let total = self.totals.entry(merchant).or_default();
            *total += amount;
            self.rows.insert(id, *total);
            self.number += 1;
        }
        std::fs::write(scene.input(), text)?;
        let input = scene.input();
        let mut produce = kafka_py(scene.lab)?;
        produce.args([&scene.id, "produce", "--partitioner", "murmur2_random", "--input"]);
        let done = produce.arg(&input).stdin(std::process::Stdio::null()).output()?;
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        scene.run_until_end()?;
        Ok(())
    }

    fn compare(&self, scene: &Scene<'_>) -> Result<()> {
        let mut found = BTreeMap::new();
        for line in scene.rows()? {
            let row: Value = serde_json::from_str(&line)?;
            let id = row["id"].as_str().context("an id")?.to_owned();
            let total = row["total"].as_i64().context("a total")?;
            ensure!(found.insert(id, total).is_none(), "twice: {line}");
        }
        let differs = self.rows.iter().find(|it| found.get(it.0) != Some(it.1));
        ensure!(
            found.len() == self.rows.len() && differs.is_none(),
            "{differs:?} of {}",
            found.len()
        );
        Ok(())
    }
}

fn grow(scene: &Scene<'_>, partitions: u32) -> Result<()> {
    let number = partitions.to_string();
    let grown = kafka_py(scene.lab)?.args([&scene.id, "grow", "--partitions", &number]).status()?;
    ensure!(grown.success(), "kafka.py grow: {grown}");
    Ok(())
}

fn build(lab: &Lab, scene: &mut Scene<'_>) -> Result<()> {
    let folder = scene.folder.join("totals");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("operator.js"), SCRIPT)?;
    let done = std::process::Command::new(&lab.floe).arg("build").current_dir(&folder).output()?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    scene.settings.module = folder.join("target/floe/operator.wasm");
    scene.settings.operator = "name = \"totals\"".to_owned();
    Ok(())
}

#[test]
fn keys_go_to_their_new_partitions_wherever_it_dies() {
    check("partitions::keys_go", &["FLOE_TEST_KAFKA"], |lab| {
        let mut scene = Scene::new(lab, "partitions", Place::Kafka)?;
        build(lab, &mut scene)?;
        let made = kafka_py(lab)?.args([&scene.id, "create", "--partitions", "4"]).status()?;
        ensure!(made.success(), "kafka.py create: {made}");
        scene.write_pipeline()?;
        let mut sent = Sent::default();
        sent.more(&scene)?;
        let upgrade = |number: &str, more: &[&str], code: i32, words: &[&str]| {
            let command = ["upgrade", "pipeline.toml", "--partitions", number, "--apply"];
            must(&scene, code, words, &[&command[..], more].concat())
        };
        upgrade("6", &[], 2, &["has 4"])?;
        upgrade("4", &[], 0, &["nothing to do"])?;
        let mut before = 4;
        for (point, partitions) in POINTS {
            grow(&scene, partitions)?;
            let number = partitions.to_string();
            must(&scene, 4, &["keys may have moved"], &["run", "pipeline.toml", "--until-end"])?;
            // Another partitioner would have put the keys elsewhere.
            upgrade(&number, &["--partitioner", "crc32"], 4, &["and its rows go to task"])?;
            let arguments = ["upgrade", "--partitions", &number, "--apply"];
            let mut killed = scene.start_armed_with(&arguments, point)?;
            let end = killed.wait(PATIENCE)?;
            ensure!(end == End::Signal(ABORTED), "{point}: {end:?}\n{}", killed.last_words());
            let change = format!("{before} → {partitions} partitions");
            let said = upgrade(&number, &[], 0, &[])?;
            let is_done = point == "after-manifest";
            ensure!(said.contains(if is_done { "nothing to do" } else { &change }), "{said}");
            upgrade(&number, &[], 0, &["nothing to do"])?;
            sent.more(&scene)?;
            before = partitions;
        }
        sent.compare(&scene)?;

        // A record that was sent before the topic grew and is not read stops it, whatever its key does.
        let input = scene.input();
        let all: String = (0..MERCHANTS)
            .map(|it| {
                format!("{}\n", serde_json::json!({ "key": format!("m-{it}"), "value": "{}" }))
            })
            .collect();
        std::fs::write(&input, all)?;
        let mut produce = kafka_py(lab)?;
        produce.args([&scene.id, "produce", "--partitioner", "murmur2_random", "--input"]);
        let done = produce.arg(&input).stdin(std::process::Stdio::null()).status()?;
        ensure!(done.success(), "kafka.py produce: {done}");
        grow(&scene, 13)?;
        upgrade("13", &[], 4, &["was sent before the topic grew and is not read yet", "--fresh"])?;
        upgrade("13", &["--fresh", "totals"], 0, &["12 → 13 partitions"])?;
        scene.done();
        Ok(())
    });
}
