//! Write, audit, publish: under kills main shows nothing until it is published, and then everything, once.

use anyhow::{Context, Result, ensure};
use floe_core::crash_point::CrashPoint;

use crate::lab::{Lab, check};
use crate::points::crash;
use crate::process::{End, PATIENCE};
use crate::savepoints::json;
use crate::scene::{Place, Scene};

const RECORDS: u64 = 6_000;
const RECORDS_PER_SECOND: u64 = 12_000;

const POINTS: [CrashPoint; 3] =
    [CrashPoint::AfterManifest, CrashPoint::AfterCommitSent, CrashPoint::AfterVerify];

#[test]
fn main_shows_nothing_until_it_is_published() {
    check("branches::main_shows_nothing", &[], |lab| audit(lab, Place::Local));
}

#[test]
fn main_shows_nothing_until_it_is_published_on_a_server() {
    check("branches::main_shows_nothing_on_a_server", Place::Rest.needs(), |lab| {
        audit(lab, Place::Rest)
    });
}

fn audit(lab: &Lab, place: Place) -> Result<()> {
    let mut scene = Scene::new(lab, &format!("audit-{place:?}").to_lowercase(), place)?;
    scene.settings.sink = "branch = \"audit\"";
    scene.settings.interval = "50ms";
    scene.make_input(RECORDS, 21)?;
    scene.write_pipeline()?;
    let mut feed = scene.feed(RECORDS_PER_SECOND)?;
    for (life, point) in (1..).zip(POINTS) {
        feed.allow(life * RECORDS / 4)?;
        crash(&scene, point, 1).with_context(|| format!("life {life}"))?;
    }
    feed.finish()?;
    scene.run_until_end()?;
    ensure!(scene.row_count()? == 0, "main shows what was not published");
    let published = json(&scene, "publish", &[])?;
    ensure!(published["branch"] == "audit" && published["before"].is_null(), "{published}");
    ensure!(published["snapshots"].as_u64() > Some(0), "{published}");
    scene.compare(&[])?;
    ensure!(json(&scene, "publish", &[])?["snapshots"] == 0, "it is published already");
    // A pipeline without a branch has nothing to publish.
    scene.settings.sink = "";
    scene.write_pipeline()?;
    let mut process = scene.start(&["publish"])?;
    let end = process.wait(PATIENCE)?;
    ensure!(end == End::Code(2), "{end:?}\n{}", process.said());
    scene.done();
    Ok(())
}
