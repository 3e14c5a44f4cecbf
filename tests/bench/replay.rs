//! `cargo xtask bench replay`: payments taken live, then every epoch of them replayed and compared.
//!
//! Both sides are the real program over the same recording, timed from start to exit. Live also writes and
//! commits rows; a replay also hashes every state.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

struct Bench {
    json: bool,
    records: u64,
    /// Epochs to be compared at the least, over as many rounds as they take.
    epochs: u64,
    interval: String,
    floe: PathBuf,
    guest: PathBuf,
}

/// What all rounds came to.
#[derive(Default)]
struct Sum {
    epochs: u64,
    identical: u64,
    records: u64,
    live_seconds: f64,
    replay_seconds: f64,
    steps: u64,
    journal_bytes: u64,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|it| it == name)?;
        arguments.get(at + 1).cloned()
    };
    let number = |name: &str, default: u64| -> Result<u64> {
        value(name).map_or(Ok(default), |it| it.parse().with_context(|| format!("{name} {it}")))
    };
    let variable = |name: &str| {
        std::env::var(name).with_context(|| format!("{name} is not set: run cargo xtask bench"))
    };
    let bench = Bench {
        json: arguments.iter().any(|it| it == "--json"),
        records: number("--records", 2_000_000)?,
        epochs: number("--epochs", 1)?,
        interval: value("--interval").unwrap_or_else(|| "1s".to_owned()),
        floe: PathBuf::from(variable("FLOE_TEST_BIN")?),
        guest: PathBuf::from(variable("FLOE_TEST_GUEST_PAYMENTS")?),
    };
    let mut sum = Sum::default();
    let mut round = 0;
    while round == 0 || sum.epochs < bench.epochs {
        bench.round(round, &mut sum)?;
        round += 1;
    }
    bench.say("identical_fraction", sum.identical as f64 / sum.epochs as f64, "");
    bench.say("epochs", sum.epochs as f64, "");
    bench.say("speed_over_live", sum.live_seconds / sum.replay_seconds, "x");
    bench.say("journal_bytes_per_step", sum.journal_bytes as f64 / sum.steps as f64, "B");
    bench.say("live_records_per_second", sum.records as f64 / sum.live_seconds, "1/s");
    bench.say("replay_records_per_second", sum.records as f64 / sum.replay_seconds, "1/s");
    ensure!(sum.identical == sum.epochs, "{} epochs differ", sum.epochs - sum.identical);
    Ok(())
}

impl Bench {
    fn round(&self, round: u64, sum: &mut Sum) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let folder = folder.path();
        recording(&folder.join("payments.jsonl"), self.records, round)?;
        std::fs::copy(&self.guest, folder.join("payments.wasm"))?;
        std::fs::write(folder.join("pipeline.toml"), self.pipeline())?;
        // The compile cache is warm from here on.
        self.floe(folder, &["inspect", "payments.wasm"])?;
        let begin = Instant::now();
        self.floe(folder, &["run", "pipeline.toml", "--until-end"])?;
        let live = begin.elapsed().as_secs_f64();
        let kept = self.floe(folder, &["checkpoint", "list", "pipeline.toml", "--json"])?;
        let last = kept.as_array().and_then(|it| it.last()).context("there is no checkpoint")?;
        let last = last["epoch"].as_u64().context("an epoch")?.to_string();
        let replay = ["replay", "pipeline.toml", "--checkpoint", "0", "--to", &last, "--json"];
        let begin = Instant::now();
        let report = self.floe(folder, &replay)?;
        let number =
            |name: &str| report[name].as_u64().with_context(|| format!("{name} in {report}"));
        ensure!(number("records")? == self.records || report["identical"] != true, "{report}");
        sum.replay_seconds += begin.elapsed().as_secs_f64();
        sum.live_seconds += live;
        sum.records += self.records;
        sum.epochs += number("epochs")?;
        sum.identical += number("epochs_identical")?;
        sum.steps += number("steps")?;
        sum.journal_bytes += number("journal_bytes")?;
        eprintln!("round {round}: {} epochs so far, {} identical", sum.epochs, sum.identical);
        if report["identical"] != true {
            eprintln!("{report:#}");
        }
        Ok(())
    }

    fn pipeline(&self) -> String {
        format!(
            r#"[pipeline]
id = "payments"

[source]
recording = "payments.jsonl"

[[operator]]
module = "payments.wasm"

[sink]
iceberg = "lake.payments"
catalog = {{ type = "sql", uri = "sqlite://lake.db", warehouse = "file://./lake" }}

[checkpoint]
interval = "{}"
keep = 1000000
"#,
            self.interval
        )
    }

    /// What it printed, as JSON where it is that. A replay that differs is a result, too.
    fn floe(&self, folder: &Path, arguments: &[&str]) -> Result<Value> {
        let mut command = Command::new(&self.floe);
        command.args(arguments).current_dir(folder).stdin(Stdio::null());
        let out = command.output().context("start floe")?;
        let said = String::from_utf8_lossy(&out.stderr);
        ensure!(
            matches!(out.status.code(), Some(0 | 5)),
            "floe {arguments:?}: {}\n{said}",
            out.status
        );
        Ok(serde_json::from_slice(&out.stdout).unwrap_or_default())
    }

    fn say(&self, metric: &str, value: f64, unit: &str) {
        if self.json {
            let line = serde_json::json!({
                "bench": "replay", "metric": metric, "value": value, "unit": unit,
                "records": self.records, "cores": std::thread::available_parallelism().map_or(1, usize::from),
                "commit": commit(),
            });
            println!("{line}");
        } else {
            println!("{metric:<28} {value:>14.3} {unit}");
        }
    }
}

fn commit() -> String {
    let out = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    out.map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned()).unwrap_or_default()
}

/// Payments of four partitions; one in sixteen is a repetition.
fn recording(path: &Path, records: u64, seed: u64) -> Result<()> {
    let mut out = std::io::BufWriter::new(std::fs::File::create(path)?);
    for number in 0..records {
        let mixed = (number + (seed << 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let id = if number % 16 == 15 { number / 2 } else { number };
        writeln!(
            out,
            r#"{{"partition":{},"offset":{},"timestamp":{},"value":"{{\"txn_id\":\"txn-{seed}-{id:010}\",\"merchant_id\":\"m-{}\",\"amount_minor\":{},\"currency\":\"INR\",\"ts\":{}}}"}}"#,
            number % 4,
            number / 4,
            1_760_000_000_000 + number,
            mixed % 10_000,
            mixed % 900_000 + 1,
            1_760_000_000_000 + number
        )?;
    }
    Ok(out.flush()?)
}
