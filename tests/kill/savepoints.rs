//! Savepoints and sweeping from outside: beside a running process, and of a stopped pipeline.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::lab::check;
use crate::process::{End, PATIENCE};
use crate::scene::{Place, Scene};

#[test]
fn savepoints_outlive_the_checkpoints_around_them() {
    check("savepoints::savepoints_outlive", &[], |lab| {
        let mut scene = Scene::new(lab, "savepoints", Place::Local)?;
        scene.settings.interval = "50ms";
        scene.settings.keep = 2;
        scene.make_input(20_000, 21)?;
        scene.write_pipeline()?;
        let feed = scene.feed_endlessly(8_000)?;
        let mut running = scene.start(&["run"])?;
        running.until_commits(5)?;

        let asked = json(&scene, "savepoint", &[])?;
        let first = asked["epoch"].as_u64().context("an epoch")?;
        let swept = json(&scene, "sweep", &[])?;
        ensure!(swept["kept_savepoints"] == serde_json::json!([first]), "{swept}");
        ensure!(!running.has_ended()?, "it was disturbed\n{}", running.last_words());
        // One further, so that the two savepoints share nothing.
        let further = format!("committed epoch={} ", first + 1);
        running.until_says(&further)?;
        feed.stop()?;
        ensure!(running.kill()?, "it ended by itself\n{}", running.last_words());

        // Nobody answers any more, and the owner is known to be dead.
        let second = json(&scene, "savepoint", &[])?["epoch"].as_u64().context("an epoch")?;
        ensure!(second > first);
        scene.run_until_end()?;
        scene.compare(&[])?;

        // What the killed process could not sweep any more goes first.
        json(&scene, "sweep", &[])?;
        ensure!(savepoints(&scene)? == [first, second]);
        json(&scene, "savepoint", &["--drop", &first.to_string()])?;
        ensure!(savepoints(&scene)? == [second]);
        let dry = json(&scene, "sweep", &["--dry-run"])?;
        // Its objects may be those of kept checkpoints, too.
        ensure!(dry["checkpoints"] == 1, "{dry}");
        ensure!(json(&scene, "sweep", &[])?["bytes"] == dry["bytes"]);
        let again = json(&scene, "sweep", &[])?;
        ensure!(again["checkpoints"] == 0 && again["objects"] == 0, "{again}");
        let mut unknown = scene.start(&["savepoint", "--drop", "999999"])?;
        ensure!(unknown.wait(PATIENCE)? == End::Code(2), "{}", unknown.last_words());

        scene.run_until_end()?;
        scene.compare(&[])?;
        scene.done();
        Ok(())
    });
}

fn savepoints(scene: &Scene<'_>) -> Result<Vec<u64>> {
    let found = json(scene, "sweep", &["--dry-run"])?;
    let kept = found["kept_savepoints"].as_array().context("savepoints")?;
    kept.iter().map(|it| it.as_u64().context("an epoch")).collect()
}

/// What `floe VERB pipeline.toml … --json` says.
pub(crate) fn json(scene: &Scene<'_>, verb: &str, arguments: &[&str]) -> Result<Value> {
    let arguments: Vec<&str> = [verb].iter().chain(arguments).chain(&["--json"]).copied().collect();
    let (mut command, log) = scene.floe(&arguments)?;
    command.stdout(std::process::Stdio::piped());
    let out = command.output().with_context(|| format!("start floe {verb}"))?;
    let said = std::fs::read_to_string(log)?;
    ensure!(out.status.success(), "floe {verb} ended with {}\n{said}", out.status);
    serde_json::from_slice(&out.stdout).with_context(|| format!("floe {verb} said\n{said}"))
}
