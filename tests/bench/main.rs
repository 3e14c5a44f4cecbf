//! `cargo xtask bench payments`: the payments job in floe, beside the same work natively and beside reading
//! alone, each as a process of its own, one after the other in one run on one machine.
//! `cargo xtask bench guarantees` is in guarantees.rs.

mod child;
mod feed;
mod guarantees;
mod latency;
mod measure;
mod report;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use guarantees::median;
use measure::{Usage, run, until_exit};
use report::{Report, machine};

struct Bench {
    report: Report,
    records: u64,
    /// How often each is run.
    turns: usize,
    /// Of `guarantees`: the part that is run alone.
    only: Option<String>,
    broker: String,
    floe: PathBuf,
    guest: PathBuf,
    folder: PathBuf,
    topic: String,
}

/// Long enough for a checkpoint every 10 s to happen; the state of that many ids is some 400 MB.
const RECORDS: u64 = 15_000_000;
/// An odd number has a median.
const TURNS: usize = 3;
const TURNS_OF_GUARANTEES: usize = 5;
/// What is run in each turn of `payments`, floe with a checkpoint interval: in an hour none is taken but the last.
const KINDS: [(&str, Option<&str>); 4] =
    [("native", None), ("none", Some("1h")), ("ten", Some("10s")), ("one", Some("1s"))];
/// A name of its own in each run: a broker that is used again keeps the last one.
fn topic() -> String {
    format!("payments-bench-{}", std::process::id())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((first, rest)) = arguments.split_first()
        && first == "child"
    {
        return child::main(rest);
    }
    let guarantees = arguments.first().is_some_and(|it| it == "guarantees");
    let value = |name: &str| {
        let at = arguments.iter().position(|it| it == name)?;
        arguments.get(at + 1)
    };
    let records =
        value("--records").map(|it| it.parse()).transpose().context("--records takes a number")?;
    let turns =
        value("--turns").map(|it| it.parse()).transpose().context("--turns takes a number")?;
    let variable = |name: &str| {
        std::env::var(name).with_context(|| format!("{name} is not set: run cargo xtask bench"))
    };
    let folder = tempfile::tempdir()?;
    let bench = Bench {
        report: Report {
            bench: if guarantees { "guarantees" } else { "payments" },
            json: arguments.iter().any(|it| it == "--json"),
        },
        records: records.unwrap_or(RECORDS),
        turns: turns.unwrap_or(if guarantees { TURNS_OF_GUARANTEES } else { TURNS }),
        only: value("--only").cloned(),
        broker: variable("FLOE_TEST_KAFKA")?,
        floe: PathBuf::from(variable("FLOE_TEST_BIN")?),
        guest: PathBuf::from(variable("FLOE_TEST_GUEST_PAYMENTS")?),
        folder: folder.path().to_owned(),
        topic: topic(),
    };
    if guarantees { bench.guarantees() } else { bench.run() }
}

impl Bench {
    fn run(&self) -> Result<()> {
        let command = std::env::var("FLOE_BENCH_COMMAND").unwrap_or_default();
        eprintln!("{} records of payments, 4 partitions; {}; {command}", self.records, machine());
        feed::produce(&self.broker, &self.topic, self.records)?;
        let million = self.records as f64 / 1e6;

        let consume = self.child("consume", "consume")?;
        self.say("consume_cpu_s_per_million", consume.cpu_seconds / million, "s");
        // The compile cache is warm from here on.
        let first = self.first_record_ms("warm", "1h")?;
        eprintln!("first start, modules compiled: {first:.0} ms to the first record");

        let mut runs: BTreeMap<&str, Vec<Run>> = BTreeMap::new();
        for turn in 0..self.turns {
            // Each is in each place in some turn: what a run leaves behind, the next one meets.
            for place in 0..KINDS.len() {
                let (kind, interval) = KINDS[(turn + place) % KINDS.len()];
                let name = format!("{kind}-{turn}");
                let run = match interval {
                    Some(interval) => self.floe_with(&name, interval, "exactly-once")?,
                    None => Run { usage: self.child(kind, &name)?, guest_mb: 0.0 },
                };
                runs.entry(kind).or_default().push(run);
                std::fs::remove_dir_all(self.folder.join(&name))?;
            }
        }
        let of =
            |kind: &str, figure: fn(&Run) -> f64| median(runs[kind].iter().map(figure).collect());
        self.say("native_limit_cpu_s_per_million", of("native", cpu) / million, "s");
        self.say("native_limit_wall_s_per_million", of("native", wall) / million, "s");
        self.say("native_limit_rss_mb", of("native", |it| it.usage.rss_mb), "MB");
        self.say("cpu_s_per_million", of("ten", cpu) / million, "s");
        self.say("wall_s_per_million", of("ten", wall) / million, "s");
        self.say("rss_mb", of("ten", |it| it.usage.rss_mb), "MB");
        self.say("guest_memory_mb", of("ten", |it| it.guest_mb), "MB");
        // Neighbours are compared: a machine that changes its pace changes it for both.
        let pairs = |metric: &str,
                     unit: &str,
                     [one, other]: [&str; 2],
                     over: fn(&Run, &Run) -> f64| {
            let mut each: Vec<f64> =
                runs[one].iter().zip(&runs[other]).map(|(one, other)| over(one, other)).collect();
            each.sort_by(f64::total_cmp);
            eprintln!("{metric}: {:.3} to {:.3} over the turns", each[0], each[each.len() - 1]);
            self.say(metric, median(each), unit);
        };
        let ratio: fn(&Run, &Run) -> f64 = |one, other| cpu(one) / cpu(other);
        pairs("ratio_to_native_limit", "ratio", ["ten", "native"], ratio);
        pairs("rss_over_native_mb", "MB", ["ten", "native"], |ten, native| {
            ten.usage.rss_mb - native.usage.rss_mb - ten.guest_mb
        });
        let overhead: fn(&Run, &Run) -> f64 = |one, other| cpu(one) / cpu(other) - 1.0;
        pairs("exactly_once_10s_overhead", "fraction", ["ten", "none"], overhead);
        pairs("exactly_once_1s_overhead", "fraction", ["one", "none"], overhead);

        let firsts: Vec<f64> = (0..5)
            .map(|n| self.first_record_ms(&format!("first{n}"), "1h"))
            .collect::<Result<_>>()?;
        self.say("first_record_ms", median(firsts), "ms");
        let recoveries = (0..3).map(|n| self.recovery_ms(n)).collect::<Result<Vec<f64>>>()?;
        self.say("recovery_ms", median(recoveries), "ms");
        Ok(())
    }

    fn say(&self, metric: &str, value: f64, unit: &str) {
        self.report.say(metric, value, unit, self.records);
    }

    fn child(&self, what: &str, name: &str) -> Result<Usage> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["child", what, &self.broker, &self.topic]).arg(self.folder.join(name));
        command.env("MALLOC_CONF", "dirty_decay_ms:1000,muzzy_decay_ms:0");
        run(&mut command)
    }

    fn floe_with(&self, name: &str, interval: &str, guarantee: &str) -> Result<Run> {
        let pipeline = self.pipeline(name, interval, guarantee)?;
        self.floe_of(name, &pipeline)
    }

    fn floe_of(&self, name: &str, pipeline: &Path) -> Result<Run> {
        let usage = run(self.floe_run(pipeline).arg("--until-end"))?;
        let (records, bytes) = self.newest_checkpoint(name)?;
        anyhow::ensure!(records == self.records, "floe took {records} records");
        Ok(Run { usage, guest_mb: bytes as f64 / 1e6 })
    }

    /// Records and bytes of guest memory in the newest checkpoint.
    fn newest_checkpoint(&self, pipeline: &str) -> Result<(u64, u64)> {
        let folder = self.folder.join(pipeline).join("lake/.floe/checkpoints");
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let store =
                floe_checkpoint::open_store(&folder.display().to_string(), &BTreeMap::new())?;
            let log = floe_checkpoint::read_log(store.as_ref(), pipeline).await?;
            let (_, manifest) = log.newest_manifest().context("the run left a checkpoint")?;
            let tasks = floe_checkpoint::read_parts(&*store, pipeline, manifest).await?;
            let images = tasks.iter().flat_map(|it| &it.operators);
            let bytes = images.map(|(_, image)| image.memory.bytes).sum();
            let of_partitions = tasks.iter().filter(|it| it.task.stage().is_none());
            Ok((of_partitions.map(|it| it.records).sum(), bytes))
        })
    }

    fn floe_run(&self, pipeline: &Path) -> Command {
        let mut command = Command::new(&self.floe);
        command.arg("run").arg(pipeline);
        command
            .env("FLOE_CACHE", self.folder.join("cache"))
            .env("FLOE_LOG", std::env::var("FLOE_LOG").unwrap_or_else(|_| "error".to_owned()));
        command
    }

    fn pipeline(&self, name: &str, interval: &str, guarantee: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        std::fs::create_dir_all(&folder)?;
        let text = format!(
            r#"[pipeline]
id = "{name}"
guarantee = "{guarantee}"
[source]
kafka = "{}"
bootstrap-servers = "{}"
[[operator]]
module = "{}"
[sink]
iceberg = "lake.payments"
catalog = {{ type = "sql", uri = "sqlite://lake.db", warehouse = "file://./lake" }}
partition-by = ["bucket(4, merchant_id)"]
[checkpoint]
interval = "{interval}"
"#,
            self.topic,
            self.broker,
            self.guest.display()
        );
        let file = folder.join("pipeline.toml");
        std::fs::write(&file, text)?;
        Ok(file)
    }

    /// From the start of the process to the return of the operator's first call.
    fn first_record_ms(&self, name: &str, interval: &str) -> Result<f64> {
        let pipeline = self.pipeline(name, interval, "exactly-once")?;
        self.until_first_record(&pipeline)
    }

    fn until_first_record(&self, pipeline: &Path) -> Result<f64> {
        let mut command = self.floe_run(pipeline);
        command.arg("--until-end").env("FLOE_CRASH_AT", "after-guest-call:1");
        Ok(until_exit(&mut command)?.as_secs_f64() * 1e3)
    }

    /// A run is killed in the middle, with state and a checkpoint or two; then as above.
    fn recovery_ms(&self, n: u32) -> Result<f64> {
        let pipeline = self.pipeline(&format!("recovery{n}"), "500ms", "exactly-once")?;
        let mut killed = self.floe_run(&pipeline);
        killed.arg("--until-end").env("FLOE_CRASH_AT", "after-commit:3");
        until_exit(&mut killed)?;
        self.until_first_record(&pipeline)
    }
}

struct Run {
    usage: Usage,
    guest_mb: f64,
}

fn cpu(run: &Run) -> f64 {
    run.usage.cpu_seconds
}

fn wall(run: &Run) -> f64 {
    run.usage.wall_seconds
}
