//! `cargo xtask bench guarantees`: what exactly-once costs beside at-least-once and at-most-once, and how long
//! a record is on its way from topic to topic.
//!
//! The same records go through the same operator into the same table under each guarantee, in turns. Each turn
//! gives one ratio of neighbours, and the median of the turns is told: a machine that changes its pace in between
//! changes it for both. CPU seconds are compared, since wall time is bound by the broker and the disk. Each turn
//! has exactly-once twice: the ratio of these two is what the machine adds to any figure, and is told beside them.

use std::collections::BTreeMap;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::{Bench, feed, machine};

/// With a second run of the first, to be held against it.
const RUNS: [(&str, &str); 4] = [
    ("exactly_once", "exactly-once"),
    ("at_least_once", "at-least-once"),
    ("at_most_once", "at-most-once"),
    ("exactly_once_again", "exactly-once"),
];

impl Bench {
    pub(crate) fn guarantees(&self) -> Result<()> {
        eprintln!("{} records of payments, 4 partitions; {}", self.records, machine());
        let wanted = |part: &str| self.only.as_ref().is_none_or(|it| it == part);
        feed::produce(&self.broker, &self.topic, self.records)?;
        // The compile cache is warm from here on.
        self.first_record_ms("warm", "1h")?;
        for interval in ["1s", "10s"] {
            if wanted(interval) {
                self.compare(interval)?;
            }
        }
        if wanted("rekeyed") {
            self.rekeyed()?;
        }
        if wanted("commits") {
            self.commits()?;
        }
        if wanted("latencies") {
            self.latencies()?;
        }
        Ok(())
    }

    fn compare(&self, interval: &str) -> Result<()> {
        let mut cpu: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        let mut wall: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for turn in 0..self.turns {
            // Each is in each place in some turn: what a run leaves behind, the next one meets.
            for place in 0..RUNS.len() {
                let (run, guarantee) = RUNS[(turn + place) % RUNS.len()];
                let name = format!("{run}-{interval}-{turn}");
                let usage = self.floe_with(&name, interval, guarantee)?.usage;
                cpu.entry(run).or_default().push(usage.cpu_seconds);
                wall.entry(run).or_default().push(usage.wall_seconds);
                // Each leaves a table and a state of some hundred megabytes.
                std::fs::remove_dir_all(self.folder.join(&name))?;
            }
        }
        let million = self.records as f64 / 1e6;
        for (run, _) in &RUNS[..3] {
            let metric = format!("{run}_{interval}_cpu_s_per_million");
            self.say(&metric, median(cpu[run].clone()) / million, "s");
            let rate = self.records as f64 / median(wall[run].clone());
            self.say(&format!("{run}_{interval}_records_per_s"), rate, "1/s");
        }
        for (other, _) in &RUNS[1..] {
            let pairs = cpu["exactly_once"].iter().zip(&cpu[other]);
            let mut over: Vec<f64> = pairs.map(|(one, other)| one / other - 1.0).collect();
            over.sort_by(f64::total_cmp);
            let metric = format!("exactly_once_over_{other}_{interval}");
            let (least, most) = (over[0], over[over.len() - 1]);
            eprintln!("{metric}: {:.1} % to {:.1} % over the turns", least * 100.0, most * 100.0);
            self.say(&metric, median(over), "fraction");
        }
        Ok(())
    }

    /// The same operator, its rows shared out by merchant among as many tasks as there are partitions, beside a
    /// task for each partition. Each pair of runs is one figure; the median is told.
    fn rekeyed(&self) -> Result<()> {
        let (mut ratios, mut cpu) = (Vec::new(), Vec::new());
        for turn in 0..self.turns {
            let mut of = BTreeMap::new();
            for place in 0..2 {
                let keyed = (turn + place) % 2 == 1;
                let name = format!("{}-{turn}", if keyed { "rekeyed" } else { "unkeyed" });
                let pipeline = self.pipeline(&name, "10s", "exactly-once")?;
                if keyed {
                    let text = std::fs::read_to_string(&pipeline)?;
                    let lines = "[[operator]]\nkey-by = [\"merchant_id\"]\ntasks = 4";
                    std::fs::write(&pipeline, text.replace("[[operator]]", lines))?;
                }
                of.insert(keyed, self.floe_of(&name, &pipeline)?.usage);
                std::fs::remove_dir_all(self.folder.join(&name))?;
            }
            ratios.push(of[&false].wall_seconds / of[&true].wall_seconds);
            cpu.push(of[&true].cpu_seconds / of[&false].cpu_seconds);
        }
        self.say("rekeyed_over_unkeyed_throughput", median(ratios), "ratio");
        self.say("rekeyed_over_unkeyed_cpu", median(cpu), "ratio");
        Ok(())
    }

    /// How long a commit takes, beside a job at full speed that checkpoints every second.
    fn commits(&self) -> Result<()> {
        let pipeline = self.pipeline("commits", "1s", "exactly-once")?;
        let mut command = self.floe_run(&pipeline);
        command.arg("--until-end").env("FLOE_LOG", "floe_pipeline=info").stdout(Stdio::null());
        let output = command.output().context("start floe")?;
        let log = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "floe ended with {}\n{log}", output.status);
        let mut took: Vec<f64> = log
            .split("commit_ms=")
            .skip(1)
            .filter_map(|it| it.split(|it: char| !it.is_ascii_digit()).next()?.parse().ok())
            .collect();
        ensure!(!took.is_empty(), "the log tells of no commit:\n{log}");
        took.sort_by(f64::total_cmp);
        self.say("commit_p50_ms", percentile(&took, 0.5), "ms");
        self.say("commit_p99_ms", percentile(&took, 0.99), "ms");
        Ok(())
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    percentile(&values, 0.5)
}

/// Of values in order; the nearest rank.
pub(crate) fn percentile(sorted: &[f64], fraction: f64) -> f64 {
    let rank = (sorted.len() as f64 * fraction).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}
