//! The weaker guarantees under SIGKILL at each durable step: rows come again under the one and are missing under
//! the other, never the other way round, and every row that is there is right.

use anyhow::{Context, Result, ensure};
use floe_core::crash_point::CrashPoint;

use crate::lab::{Lab, check};
use crate::points::crash;
use crate::scene::{Compared, Place, Scene};

const RECORDS: u64 = 3_000;
const RECORDS_PER_SECOND: u64 = 12_000;

const POINTS: [CrashPoint; 10] = [
    CrashPoint::BeforeDataFileClose,
    CrashPoint::AfterDataFileClose,
    CrashPoint::AfterPart,
    CrashPoint::BeforeManifest,
    CrashPoint::AfterManifest,
    CrashPoint::BeforeCommit,
    CrashPoint::AfterCommitSent,
    CrashPoint::AfterCommit,
    CrashPoint::AfterVerify,
    CrashPoint::BeforeReport,
];

#[test]
fn at_least_once_loses_no_row_and_repeats_some() {
    check("guarantees::at_least_once", &[], |lab| {
        let all = at_each_point(lab, "at-least-once")?;
        let repeated: u64 = all.iter().map(|it| it.repeated).sum();
        ensure!(all.iter().all(|it| it.missing == 0), "rows are missing");
        ensure!(repeated > 0, "no crash repeated a row: it is exactly-once under another name");
        Ok(())
    });
}

#[test]
fn at_most_once_repeats_no_row_and_loses_some() {
    check("guarantees::at_most_once", &[], |lab| {
        let all = at_each_point(lab, "at-most-once")?;
        let missing: u64 = all.iter().map(|it| it.missing).sum();
        ensure!(all.iter().all(|it| it.repeated == 0), "rows are there twice");
        ensure!(missing > 0, "no crash lost a row: it is exactly-once under another name");
        Ok(())
    });
}

fn at_each_point(lab: &Lab, guarantee: &'static str) -> Result<Vec<Compared>> {
    let die = |point: &CrashPoint| {
        die_at(lab, guarantee, *point).with_context(|| format!("{guarantee} at {}", point.name()))
    };
    POINTS.iter().map(die).collect()
}

fn die_at(lab: &Lab, guarantee: &'static str, point: CrashPoint) -> Result<Compared> {
    let mut scene = Scene::new(lab, &format!("{guarantee}-{}", point.name()), Place::Local)?;
    scene.settings.guarantee = guarantee;
    scene.settings.interval = "30ms";
    scene.make_input(RECORDS, point as u64)?;
    scene.write_pipeline()?;
    let mut feed = scene.feed(RECORDS_PER_SECOND)?;
    // Each life finds records that are its own, and dies in its first epoch.
    for life in 1..=2 {
        feed.allow(life * RECORDS / 3)?;
        crash(&scene, point, 1)?;
    }
    feed.finish()?;
    scene.run_until_end().context("the run after the crashes")?;
    let compared = scene.compare(&[]).context("after the crashes")?;
    scene.done();
    Ok(compared)
}

/// An epoch that is in the table ahead of its checkpoint is not settled: another guarantee must wait.
#[test]
fn another_guarantee_waits_until_the_last_epoch_is_settled() {
    check("guarantees::another_guarantee", &[], |lab| {
        for (from, point, to) in [
            ("at-least-once", CrashPoint::BeforeManifest, "exactly-once"),
            ("exactly-once", CrashPoint::BeforeCommit, "at-least-once"),
            ("exactly-once", CrashPoint::BeforeCommit, "at-most-once"),
        ] {
            let mut scene = Scene::new(lab, &format!("from-{from}-to-{to}"), Place::Local)?;
            scene.settings.interval = "30ms";
            scene.make_input(RECORDS, 3)?;
            let with = |scene: &mut Scene<'_>, guarantee| {
                scene.settings.guarantee = guarantee;
                scene.write_pipeline()
            };
            with(&mut scene, from)?;
            let mut feed = scene.feed(RECORDS_PER_SECOND)?;
            feed.allow(RECORDS / 2)?;
            crash(&scene, point, 1)?;
            feed.finish()?;
            with(&mut scene, to)?;
            let refused = scene.run_until_end().map_err(|it| it.to_string());
            let text = refused.expect_err("the change must be refused");
            ensure!(text.contains("Code(4)") && text.contains(from), "{text}");
            with(&mut scene, from)?;
            scene.run_until_end()?;
            with(&mut scene, to)?;
            scene.run_until_end().context("now it is settled")?;
            // What came again under at-least-once stays in the table.
            scene.settings.guarantee = from;
            scene.compare(&[])?;
            scene.done();
        }
        Ok(())
    });
}
