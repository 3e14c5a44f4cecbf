//! Every crash point by its name: the process dies there, twice, and the table is right all the same.

use std::collections::VecDeque;
use std::sync::Mutex;

use anyhow::{Context, Result, bail, ensure};
use floe_core::crash_point::CrashPoint;

use crate::lab::{Lab, check};
use crate::process::{End, PATIENCE};
use crate::savepoints::json;
use crate::scene::{Place, Scene};

const RECORDS: u64 = 12_000;
const RECORDS_PER_SECOND: u64 = 3_000;

#[test]
fn dying_at_each_point_leaves_the_table_right() {
    visit("points::dying_at_each_point", Place::Local, CrashPoint::ALL);
}

/// Between the effects that leave this machine. The soak visits all.
const BETWEEN_SERVERS: &[CrashPoint] = &[
    CrashPoint::AfterClaim,
    CrashPoint::AfterPart,
    CrashPoint::AfterManifest,
    CrashPoint::AfterCommitSent,
    CrashPoint::BeforeRecommit,
    CrashPoint::AfterSweepObject,
];

#[test]
fn dying_between_real_servers_leaves_the_table_right() {
    let points = match std::env::var_os("FLOE_KILL_ALL_POINTS") {
        Some(_) => CrashPoint::ALL,
        None => BETWEEN_SERVERS,
    };
    visit("points::dying_between_real_servers", Place::RestS3, points);
}

fn visit(test: &str, place: Place, points: &[CrashPoint]) {
    check(test, place.needs(), |lab| {
        let only = std::env::var("FLOE_KILL_POINT").ok();
        let points = points.iter().filter(|it| only.as_ref().is_none_or(|name| name == it.name()));
        // Those of a table that lacks columns are `evolution`'s.
        let points = points.filter(|it| !is_of_a_table_change(**it));
        let queue: Mutex<VecDeque<&CrashPoint>> = Mutex::new(points.collect());
        let count = queue.lock().expect("no one panics with it").len();
        ensure!(count > 0, "no such crash point");
        let failed = Mutex::new(Vec::new());
        // Two at a time: one waits for the disk or the readers while the other works.
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    loop {
                        let Some(point) = queue.lock().expect("no one panics with it").pop_front()
                        else {
                            break;
                        };
                        if let Err(error) = die_at(lab, place, *point) {
                            let mut failed = failed.lock().expect("no one panics with it");
                            failed.push(format!("{}: {error:#}", point.name()));
                        }
                    }
                });
            }
        });
        let failed = failed.into_inner().expect("no one panics with it");
        if !failed.is_empty() {
            bail!(
                "{} crash points failed\n\n{}\n(one alone: FLOE_KILL_POINT=name)",
                failed.len(),
                failed.join("\n\n")
            );
        }
        println!("{test}: {count} points, each fired twice or more, in {place:?}");
        Ok(())
    });
}

fn die_at(lab: &Lab, place: Place, point: CrashPoint) -> Result<()> {
    let name = format!("at-{}-{place:?}", point.name()).to_lowercase();
    let mut scene = Scene::new(lab, &name, place)?;
    scene.settings.interval = "30ms";
    scene.settings.keep = 2;
    if is_of_maintenance(point) {
        // It comes once in some dozens of commits of a run, and has something to do.
        scene.settings.interval = "10ms";
        scene.settings.properties = "\"history.expire.min-snapshots-to-keep\" = \"1\", \"history.expire.max-snapshot-age-ms\" = \"1\", \"commit.manifest.min-count-to-merge\" = \"10\", \"floe.compaction.min-input-files\" = \"3\"";
    }
    scene.make_input(RECORDS, point as u64)?;
    scene.write_pipeline()?;
    let feed = scene.feed_endlessly(RECORDS_PER_SECOND)?;
    if is_of_recovery(point) {
        // Something must be left to do: a checkpoint that is complete and not in the table.
        crash(&scene, CrashPoint::AfterManifest, 3)?;
    } else if is_of_orphans(point) {
        // A file of an epoch that never completes, twice.
        crash(&scene, CrashPoint::AfterDataFileClose, 3)?;
        crash(&scene, point, 1)?;
        crash(&scene, CrashPoint::AfterDataFileClose, 1)?;
    } else if is_of_savepoints(point) {
        crash(&scene, CrashPoint::AfterManifest, 3)?;
        json(&scene, "savepoint", &[])?;
        crash(&scene, point, 1)?;
        json(&scene, "savepoint", &[])?;
    } else if is_rare(point) {
        crash(&scene, point, 1)?;
    } else {
        crash(&scene, point, 3)?;
    }
    if is_of_recovery(point) {
        crash(&scene, point, 1)?;
        crash(&scene, CrashPoint::AfterManifest, 1)?;
    }
    // A second time, now from a checkpoint.
    crash(&scene, point, 1)?;
    feed.stop()?;
    scene.run_until_end().context("the run after the crashes")?;
    scene.compare(&[]).context("after the crashes")?;
    scene.done();
    Ok(())
}

/// Starts the pipeline with the point armed; it must die there and nowhere else. Gives what it said until then.
pub(crate) fn crash(scene: &Scene<'_>, point: CrashPoint, nth: u32) -> Result<String> {
    let mut process = scene.start_armed(&format!("{}:{nth}", point.name()))?;
    let end = process.wait(PATIENCE).context("the armed point was not passed")?;
    let said = format!("crash point {}", point.name());
    let died = end == End::Signal(libc::SIGABRT) && process.said().contains(&said);
    ensure!(died, "armed at pass {nth}, it ended with {end:?}\n{}", process.last_words());
    Ok(process.said())
}

/// Passed once a start, or seldom in a run.
fn is_rare(point: CrashPoint) -> bool {
    match point {
        CrashPoint::BeforeClaim
        | CrashPoint::AfterClaim
        | CrashPoint::AfterRestore
        | CrashPoint::BeforeFirstRead
        | CrashPoint::AfterFirstRead
        | CrashPoint::BeforeMaintain
        | CrashPoint::AfterMaintain
        | CrashPoint::BeforeRewriteSwap
        | CrashPoint::AfterRewriteSwap
        | CrashPoint::BeforeReplacedDelete
        | CrashPoint::AfterReplacedDelete => true,
        CrashPoint::BeforeGuestCall
        | CrashPoint::AfterGuestCall
        | CrashPoint::BeforeDataFileClose
        | CrashPoint::AfterDataFileClose
        | CrashPoint::BeforeCapture
        | CrashPoint::AfterCapture
        | CrashPoint::BeforePart
        | CrashPoint::AfterPart
        | CrashPoint::BeforeManifest
        | CrashPoint::AfterManifest
        | CrashPoint::BeforeCommit
        | CrashPoint::AfterCommitSent
        | CrashPoint::AfterCommit
        | CrashPoint::AfterVerify
        | CrashPoint::BeforeReport
        | CrashPoint::AfterReport
        | CrashPoint::BeforeRecommit
        | CrashPoint::AfterRecommit
        | CrashPoint::BeforeTableChange
        | CrashPoint::AfterTableChange
        | CrashPoint::BeforeHint
        | CrashPoint::AfterHint
        | CrashPoint::BeforeSavepointKept
        | CrashPoint::AfterSavepointKept
        | CrashPoint::BeforeSweepObject
        | CrashPoint::AfterSweepObject
        | CrashPoint::BeforeSweepEntry
        | CrashPoint::AfterSweepEntry
        | CrashPoint::BeforeOrphanDelete
        | CrashPoint::AfterOrphanDelete => false,
    }
}

fn is_of_recovery(point: CrashPoint) -> bool {
    point == CrashPoint::BeforeRecommit || point == CrashPoint::AfterRecommit
}

fn is_of_orphans(point: CrashPoint) -> bool {
    point == CrashPoint::BeforeOrphanDelete || point == CrashPoint::AfterOrphanDelete
}

fn is_of_a_table_change(point: CrashPoint) -> bool {
    point == CrashPoint::BeforeTableChange || point == CrashPoint::AfterTableChange
}

fn is_of_savepoints(point: CrashPoint) -> bool {
    point == CrashPoint::BeforeSavepointKept || point == CrashPoint::AfterSavepointKept
}

fn is_of_maintenance(point: CrashPoint) -> bool {
    const OF_MAINTENANCE: &[CrashPoint] = &[
        CrashPoint::BeforeMaintain,
        CrashPoint::AfterMaintain,
        CrashPoint::BeforeRewriteSwap,
        CrashPoint::AfterRewriteSwap,
        CrashPoint::BeforeReplacedDelete,
        CrashPoint::AfterReplacedDelete,
    ];
    OF_MAINTENANCE.contains(&point)
}
