//! What a bench says: a line for people, or a JSON object a line.

use std::process::Command;

pub(crate) struct Report {
    pub(crate) bench: &'static str,
    pub(crate) json: bool,
}

impl Report {
    pub(crate) fn say(&self, metric: &str, value: f64, unit: &str, records: u64) {
        if self.json {
            let line = serde_json::json!({
                "bench": self.bench, "metric": metric, "value": value, "unit": unit,
                "records": records, "machine": machine(), "commit": commit(),
            });
            println!("{line}");
        } else {
            println!("{metric:<38} {value:>10.3} {unit}");
        }
    }
}

pub(crate) fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        model.lines().find_map(|it| it.strip_prefix("model name")).unwrap_or("unknown processor");
    format!("{cpus} cores, {}", model.trim_start_matches([' ', '\t', ':']))
}

fn commit() -> String {
    let head = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    head.map_or_else(
        |_| "unknown".to_owned(),
        |it| String::from_utf8_lossy(&it.stdout).trim().to_owned(),
    )
}
