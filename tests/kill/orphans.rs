//! Files that were prepared in vain: after kills and a sweep the table's folder holds what its snapshots name,
//! and what others put there.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use floe_core::crash_point::CrashPoint;
use serde_json::Value;

use crate::lab::{Lab, check};
use crate::points::crash;
use crate::process::{End, PATIENCE};
use crate::savepoints::json;
use crate::scene::{Place, Scene};

const RECORDS: u64 = 16_000;
const RECORDS_PER_SECOND: u64 = 4_000;

/// Each leaves files of an epoch that is not complete, or is in the table and nobody was told.
const POINTS: [CrashPoint; 4] = [
    CrashPoint::AfterDataFileClose,
    CrashPoint::BeforePart,
    CrashPoint::BeforeManifest,
    CrashPoint::AfterCommitSent,
];

/// Of another pipeline, of a floe that named files otherwise, of somebody else.
const STRANGE: [&str; 3] = [
    "floe-0123456789abcdef-00000001-0123456789abcdef0123456789abcdef-00000.parquet",
    "00000001-3f0a6f06-6f6a-4c7e-9d39-0123456789ab-00000.parquet",
    "part-00000.parquet",
];

#[test]
fn kills_leave_no_file_that_nobody_names() {
    check("orphans::kills_leave", &[], |lab| kills(lab, Place::Local, "[]", ""));
}

#[test]
fn kills_between_real_servers_leave_no_file_that_nobody_names() {
    check("orphans::kills_between_real_servers", Place::Rest.needs(), |lab| {
        let upserts = "mode = \"upsert\"\nkey = [\"kafka_partition\", \"merchant_id\"]";
        kills(lab, Place::Rest, "[\"bucket(2, merchant_id)\"]", upserts)
    });
}

fn kills(lab: &Lab, place: Place, partition_by: &'static str, sink: &'static str) -> Result<()> {
    let mut scene = Scene::new(lab, &format!("orphans-{place:?}").to_lowercase(), place)?;
    scene.settings.interval = "50ms";
    scene.settings.partition_by = partition_by;
    scene.settings.sink = sink;
    scene.make_input(RECORDS, 61)?;
    scene.write_pipeline()?;
    let feed = scene.feed_endlessly(RECORDS_PER_SECOND)?;
    for (life, point) in POINTS.into_iter().enumerate() {
        crash(&scene, point, 2).with_context(|| format!("life {life}"))?;
    }
    let data = scene.watched()?[3].clone();
    for name in STRANGE {
        std::fs::write(data.join(name), "not a table's").context("write a strange file")?;
    }
    let before = listed(&data)?;
    let named = named(&scene)?;
    ensure!(before.difference(&named).count() >= STRANGE.len() + 3, "nothing was left in vain");

    // What the last of them left is not settled yet, and nothing is deleted by a look.
    json(&scene, "sweep", &["--dry-run"])?;
    ensure!(listed(&data)? == before, "a dry run deleted something");
    crash(&scene, CrashPoint::BeforeOrphanDelete, 1).context("the first that is deleted")?;
    crash(&scene, CrashPoint::AfterOrphanDelete, 1).context("the second")?;

    let mut last = scene.start(&["run"])?;
    last.until_commits(5)?;
    last.signal(libc::SIGTERM)?;
    ensure!(last.wait(PATIENCE)? == End::Code(0), "{}", last.last_words());
    feed.stop()?;
    scene.run_until_end()?;
    if sink.is_empty() {
        scene.compare(&[])?;
    }

    let dry = json(&scene, "sweep", &["--dry-run"])?;
    let swept = json(&scene, "sweep", &[])?;
    ensure!(orphans(&dry)? == orphans(&swept)?, "{dry}\n{swept}");
    ensure!(dry["sinks"][0]["not_ours"] == STRANGE.len() as u64, "{dry}");
    let mut expected = self::named(&scene)?;
    expected.extend(STRANGE.map(str::to_owned));
    let found = listed(&data)?;
    let more: Vec<&String> = found.difference(&expected).collect();
    let less: Vec<&String> = expected.difference(&found).collect();
    ensure!(more.is_empty() && less.is_empty(), "left over: {more:?}; missing: {less:?}");
    let again = json(&scene, "sweep", &[])?;
    ensure!(orphans(&again)?.is_empty(), "{again}");
    ensure!(scene.row_count()? > 0, "the table can be read");
    scene.done();
    Ok(())
}

fn orphans(swept: &Value) -> Result<Vec<String>> {
    let orphans = swept["sinks"][0]["orphans"].as_array().context("orphans")?;
    orphans.iter().map(|it| Ok(it["path"].as_str().context("a path")?.to_owned())).collect()
}

/// The names of all files below a folder.
fn listed(folder: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).context("list the table's folder")? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => folders.push(entry.path()),
                false => {
                    names.insert(entry.file_name().to_string_lossy().into_owned());
                }
            }
        }
    }
    Ok(names)
}

/// The names of the files that snapshots name, by a reader that shares no code with floe.
fn named(scene: &Scene<'_>) -> Result<BTreeSet<String>> {
    let out = scene.reader("files.py")?.output().context("start files.py")?;
    ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Ok(String::from_utf8(out.stdout)?.lines().map(str::to_owned).collect())
}
