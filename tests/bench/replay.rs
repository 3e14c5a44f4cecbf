//! `cargo xtask bench replay`: payments taken live, then every epoch of them replayed and compared.
//!
//! `--operators rust,c,go,assemblyscript,zig` takes turns with operators in other languages, which drop what
//! they saw before.
//!
//! `--rate 1000 --interval 10ms` hands records out slowly, for many small epochs, and kills the process.
//!
//! Both sides are the real program over the same recording, timed from start to exit. Live also writes and
//! commits rows; a replay also hashes every state.

use std::collections::BTreeMap;
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
    /// Records a second; 0 is as fast as they are taken.
    rate: u64,
    floe: PathBuf,
    /// Each round has the next one.
    operators: Vec<Operator>,
}

#[derive(Clone)]
struct Operator {
    language: String,
    module: PathBuf,
}

impl Operator {
    /// The payments operator, or beside it what `cargo xtask guests` builds in other languages.
    fn of(language: &str, payments: &Path) -> Result<Operator> {
        let module = match language {
            "rust" => payments.to_owned(),
            "assemblyscript" => payments.with_file_name("dedup_as.wasm"),
            other => payments.with_file_name(format!("dedup_{other}.wasm")),
        };
        ensure!(module.exists(), "{} is not built: cargo xtask guests", module.display());
        Ok(Operator { language: language.to_owned(), module })
    }
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
    /// Epochs of each language.
    of_language: BTreeMap<String, u64>,
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
        rate: number("--rate", 0)?,
        interval: value("--interval").unwrap_or_else(|| "1s".to_owned()),
        floe: PathBuf::from(variable("FLOE_TEST_BIN")?),
        operators: {
            let payments = PathBuf::from(variable("FLOE_TEST_GUEST_PAYMENTS")?);
            let languages = value("--operators").unwrap_or_else(|| "rust".to_owned());
            languages.split(',').map(|it| Operator::of(it, &payments)).collect::<Result<_>>()?
        },
    };
    let mut sum = Sum::default();
    let mut round = 0;
    while round == 0 || sum.epochs < bench.epochs {
        bench.round(round, &mut sum)?;
        round += 1;
    }
    bench.say("identical_fraction", sum.identical as f64 / sum.epochs as f64, "");
    bench.say("epochs", sum.epochs as f64, "");
    if sum.of_language.len() > 1 {
        for (language, epochs) in &sum.of_language {
            bench.say(&format!("epochs_{language}"), *epochs as f64, "");
        }
    }
    if bench.rate == 0 {
        bench.say("speed_over_live", sum.live_seconds / sum.replay_seconds, "x");
    }
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
        let operator = &self.operators[round as usize % self.operators.len()];
        let value = if operator.language == "rust" { payment } else { click };
        recording(&folder.join("payments.jsonl"), self.records, round, value)?;
        std::fs::copy(&operator.module, folder.join("payments.wasm"))?;
        std::fs::write(folder.join("pipeline.toml"), self.pipeline())?;
        // The compile cache is warm from here on.
        self.floe(folder, &["inspect", "payments.wasm"])?;
        let begin = Instant::now();
        if self.rate > 0 {
            self.run_slowly(folder)?;
        }
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
        *sum.of_language.entry(operator.language.clone()).or_default() += number("epochs")?;
        sum.identical += number("epochs_identical")?;
        sum.steps += number("steps")?;
        sum.journal_bytes += number("journal_bytes")?;
        eprintln!(
            "round {round}, {}: {} epochs so far, {} identical",
            operator.language, sum.epochs, sum.identical
        );
        if report["identical"] != true {
            eprintln!("{report:#}");
        }
        Ok(())
    }

    /// Hands the records out at a pace, so that epochs are many and small; the process is killed then.
    fn run_slowly(&self, folder: &Path) -> Result<()> {
        let all = folder.join("all.jsonl");
        std::fs::rename(folder.join("payments.jsonl"), &all)?;
        let lines = std::fs::read_to_string(&all)?;
        let mut out = std::fs::File::create(folder.join("payments.jsonl"))?;
        let mut lines = lines.split_inclusive('\n').peekable();
        // Partitions are told apart by their first records.
        for line in lines.by_ref().take(4) {
            out.write_all(line.as_bytes())?;
        }
        let mut command = Command::new(&self.floe);
        command.args(["run", "pipeline.toml"]).current_dir(folder).stdin(Stdio::null());
        let log = std::fs::File::create(folder.join("run.log"))?;
        command.stdout(log.try_clone()?).stderr(log);
        let mut child = command.spawn().context("start floe")?;
        let per_tick = (self.rate / 100).max(1) as usize;
        while lines.peek().is_some() {
            std::thread::sleep(std::time::Duration::from_millis(10));
            let some: String = lines.by_ref().take(per_tick).collect();
            out.write_all(some.as_bytes())?;
            if let Some(ended) = child.try_wait()? {
                let said = std::fs::read_to_string(folder.join("run.log"))?;
                anyhow::bail!("floe run: {ended}\n{said}");
            }
        }
        child.kill()?;
        child.wait()?;
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
commit-every = {}
keep = 1000000
"#,
            self.interval,
            // Small epochs are about state; the table need not have each of them at once.
            if self.rate > 0 { 100 } else { 1 }
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

/// Records of four partitions; one in sixteen is a repetition.
fn recording(path: &Path, records: u64, seed: u64, value: ValueOf) -> Result<()> {
    let mut out = std::io::BufWriter::new(std::fs::File::create(path)?);
    for number in 0..records {
        let mixed = (number + (seed << 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let id = if number % 16 == 15 { number / 2 } else { number };
        let time = 1_760_000_000_000 + number;
        writeln!(
            out,
            r#"{{"partition":{},"offset":{},"timestamp":{time},"value":"{}"}}"#,
            number % 4,
            number / 4,
            value(&format!("txn-{seed}-{id:010}"), mixed, time)
        )?;
    }
    Ok(out.flush()?)
}

/// The value's text, its quotes escaped: of an id, a random number and a time.
type ValueOf = fn(&str, u64, u64) -> String;

fn payment(id: &str, mixed: u64, time: u64) -> String {
    let (merchant, amount) = (mixed % 10_000, mixed % 900_000 + 1);
    format!(
        r#"{{\"txn_id\":\"{id}\",\"merchant_id\":\"m-{merchant}\",\"amount_minor\":{amount},\"currency\":\"INR\",\"ts\":{time}}}"#
    )
}

fn click(id: &str, mixed: u64, _: u64) -> String {
    format!(r#"{{\"id\":\"{id}\",\"amount\":{}}}"#, mixed % 900_000 + 1)
}
