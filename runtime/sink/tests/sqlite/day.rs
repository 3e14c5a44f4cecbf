//! A pipeline that commits every second for a day, without the seconds between: nothing grows.
//!
//! `cargo xtask soak day` runs it at full length; the number of kept snapshots stands for their age.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::{ids, open_with, prepare, request, snapshot_ids};
use crate::{Log, catalog};

/// Rounds of upkeep come as often as the pipeline asks for them.
const COMMITS_PER_UPKEEP: u64 = 20;
const ROWS: i64 = 10;

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")),
        Err(_) => default,
    }
}

/// What a tenth of the day took, and left.
struct Tenth {
    commits: Vec<Duration>,
    upkeep: Duration,
    files: u64,
}

impl Tenth {
    fn quantile(&self, per_cent: usize) -> Duration {
        let mut sorted = self.commits.clone();
        sorted.sort_unstable();
        sorted[(sorted.len() - 1) * per_cent / 100]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_commits_stays_flat() {
    let commits = number("FLOE_DAY_COMMITS", 400);
    let kept = number("FLOE_DAY_SNAPSHOTS", 20);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let kept_text = kept.to_string();
    let properties = [
        ("history.expire.max-snapshot-age-ms", "1"),
        ("history.expire.min-snapshots-to-keep", kept_text.as_str()),
        ("commit.manifest.min-count-to-merge", "20"),
    ];
    // In CI the day is too short for the default number of manifests.
    let properties = if commits > 10_000 { &properties[..2] } else { &properties[..] };
    let sink = open_with(folder, &[], properties).await;
    let committer = sink.committer();
    let mut tenths: Vec<Tenth> = Vec::new();
    let mut took = Vec::new();
    let mut upkeep = Duration::ZERO;
    for n in 1..=commits {
        let first = n as i64 * ROWS;
        let committable = prepare(&sink, n, first..first + ROWS).await;
        let request = request(&sink, n, (n > 1).then(|| n - 1), committable);
        let begin = Instant::now();
        committer.commit(&request, &Log).await.unwrap();
        took.push(begin.elapsed());
        if n.is_multiple_of(COMMITS_PER_UPKEEP) {
            let begin = Instant::now();
            committer.maintain().await.unwrap();
            upkeep += begin.elapsed();
        }
        if n.is_multiple_of(commits / 10) {
            let (files, bytes) = left(&folder.join("lake"));
            tenths.push(Tenth { commits: std::mem::take(&mut took), upkeep, files });
            upkeep = Duration::ZERO;
            let tenth = tenths.last().unwrap();
            println!(
                "| {n} | {:.1} | {:.1} | {:.1} | {:.1} | {files} | {bytes} |",
                tenth.quantile(10).as_secs_f64() * 1e3,
                tenth.quantile(50).as_secs_f64() * 1e3,
                tenth.quantile(99).as_secs_f64() * 1e3,
                tenth.upkeep.as_secs_f64() * 1e3 / (commits / 10 / COMMITS_PER_UPKEEP) as f64,
            );
        }
    }
    // By then all that is bounded has reached its bound. The fastest commits say what the machine's other
    // work does not hide.
    let fastest = |of: &[Tenth]| of.iter().map(|it| it.quantile(0)).min().unwrap();
    let (early, late) = (fastest(&tenths[2..5]), fastest(&tenths[7..]));
    assert!(late <= early * 2 + Duration::from_millis(3), "commits take {early:?}, then {late:?}");
    let late = &tenths[9];
    let most_files = tenths[..5].iter().map(|it| it.files).max().unwrap() + 10;
    assert!(late.files <= most_files, "{} files, and early {most_files} at most", late.files);

    assert_eq!(ids(folder).await.len() as u64, commits * ROWS as u64);
    // Every snapshot that is kept can be read.
    let snapshots = snapshot_ids(folder).await;
    assert!(
        snapshots.len() as u64 <= kept + 2 * COMMITS_PER_UPKEEP,
        "{} snapshots",
        snapshots.len()
    );
    let step = (snapshots.len() / 25).max(1);
    for id in snapshots.into_iter().step_by(step) {
        let rows = floe_sink::iceberg::read_rows(&catalog(folder), "lake.rows", Some(id)).await;
        assert!(!rows.unwrap().is_empty());
    }
}

/// Files of the table, and their bytes.
fn left(folder: &Path) -> (u64, u64) {
    let (mut files, mut bytes) = (0, 0);
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let facts = entry.metadata().unwrap();
            if facts.is_dir() {
                open.push(entry.path());
            } else {
                files += 1;
                bytes += facts.len();
            }
        }
    }
    (files, bytes)
}
