//! The plugins `join` and `enrich` against DuckDB, which is given all records at once: the same rows, whichever
//! source comes first.

use std::fmt::Write;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::lab::{Random, check, root};
use crate::scene::{Place, Scene};

const BEGIN_MS: i64 = 1_760_000_000_000;
/// A record of each partition stands here at the end, so that all before it is done with.
const END_MS: i64 = BEGIN_MS + 1_000_000_000;
const OUT_OF_ORDER_MS: u64 = 500;
const RECORDS: u64 = 4_000;
const KEYS: u64 = 300;

const PAYMENTS: &str = r#"
[[source]]
name = "orders"
recording = "left.jsonl"
columns = ["id: string?", "ts: long", "amount: long"]
event-time = { field = "ts", out-of-order = "500ms" }

[[source]]
name = "payments"
recording = "right.jsonl"
columns = ["id: string?", "ts: long", "paid: long"]
event-time = { field = "ts", out-of-order = "500ms" }

[[operator]]
plugin = "join"
input = ["orders", "payments"]
key-by = ["id"]
tasks = 3
config = { left = "orders", right = "payments", key = ["id"], time = "ts", within = "20s", add = ["paid"], type = "TYPE" }
"#;

const RATES: &str = r#"
[[source]]
name = "orders"
recording = "left.jsonl"
columns = ["id: string?", "ts: long", "amount: long"]
event-time = { field = "ts", out-of-order = "500ms" }

[[source]]
name = "rates"
recording = "right.jsonl"
columns = ["id: string?", "ts: long", "rate: long?"]
event-time = { field = "ts", out-of-order = "500ms" }

[[operator]]
plugin = "enrich"
input = ["orders", "rates"]
key-by = ["id"]
tasks = 3
config = { table = "rates", key = ["id"], time = "ts", add = ["rate"] }
"#;

/// A name, the operators, and what the right source says beside key and time.
const QUERIES: [(&str, &str, &str); 3] =
    [("inner", PAYMENTS, "paid"), ("left", PAYMENTS, "paid"), ("enrich", RATES, "rate")];

/// The records of one source in two partitions. A few have no key, where the right side may; in `enrich` no two
/// rows of the table are of one time, and some are deletions.
fn records(seed: u64, value: &str, is_left: bool) -> Result<String> {
    let mut random = Random(seed);
    let mut text = String::new();
    let mut offsets = [0_u64; 2];
    let mut push = |partition: u64, value: &str| {
        let offset = &mut offsets[partition as usize];
        let value = serde_json::Value::from(value);
        let line = writeln!(
            text,
            r#"{{"partition":{partition},"offset":{offset},"timestamp":{BEGIN_MS},"value":{value}}}"#
        );
        *offset += 1;
        line
    };
    let is_table = value == "rate";
    for number in 0..RECORDS {
        let late = if is_table { 0 } else { random.below(OUT_OF_ORDER_MS) };
        let ts = BEGIN_MS + 20 * number as i64 - late as i64;
        let id = match random.below(50) {
            0 if !is_table => "null".to_owned(),
            _ => format!("\"k{}\"", random.below(KEYS)),
        };
        let said = match random.below(10) {
            0 if is_table => "null".to_owned(),
            _ => random.below(1_000).to_string(),
        };
        // A table's rows of one key are in order in one partition.
        let partition = if is_table { u64::from(id.len() as u32) % 2 } else { number % 2 };
        push(partition, &format!(r#"{{"id":{id},"ts":{ts},"{value}":{said}}}"#))?;
    }
    for partition in 0..2 {
        let id = format!("end-{is_left}-{partition}");
        push(partition, &format!(r#"{{"id":"{id}","ts":{END_MS},"{value}":1}}"#))?;
    }
    Ok(text)
}

fn compare(scene: &Scene<'_>, query: &str) -> Result<()> {
    let rows = scene.folder.join("rows.jsonl");
    std::fs::write(&rows, scene.rows()?.join("\n"))?;
    let mut command = Command::new(&scene.lab.python);
    command.arg(root().join("tests/readers/joined.py")).arg(query);
    command.args(["left.jsonl", "right.jsonl"].map(|it| scene.folder.join(it))).arg(rows);
    let out = command.output().context("start joined.py")?;
    let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    if !out.status.success() {
        bail!("{said}");
    }
    print!("{said}");
    Ok(())
}

#[test]
fn joins_give_the_rows_that_duckdb_gives() {
    check("joins::joins_give", &[], |lab| {
        for (seed, (query, operators, right)) in (1..).zip(QUERIES) {
            let scene = Scene::new(lab, &format!("join-{query}"), Place::Local)?;
            std::fs::write(scene.folder.join("left.jsonl"), records(seed, "amount", true)?)?;
            std::fs::write(scene.folder.join("right.jsonl"), records(seed + 10, right, false)?)?;
            let text = format!(
                "[pipeline]\nid = \"join-{query}\"\n{}\n[sink]\niceberg = \"lake.rows\"\n{}\n",
                operators.replace("TYPE", query),
                "catalog = { type = \"sql\", uri = \"sqlite://lake.db\", warehouse = \"file://./lake\" }"
            );
            std::fs::write(scene.pipeline(), text)?;
            scene.run_until_end()?;
            compare(&scene, query)?;
            scene.done();
        }
        Ok(())
    });
}
