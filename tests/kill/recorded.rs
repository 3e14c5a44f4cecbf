//! `[recording]`: what a topic does not have any more is replayed from beside the checkpoints.

use anyhow::{Context, Result, ensure};

use crate::feed::Feed;
use crate::lab::check;
use crate::offsets::kafka;
use crate::replay::{epochs, json, must, without_network};
use crate::scene::{Place, Scene};

const RECORDS: u64 = 20_000;
const KEPT: u64 = 5;

/// Hands out so many records, waits until they are committed, and so on; then the process is killed.
pub(crate) fn epoch_by_epoch(
    scene: &Scene<'_>,
    feed: &mut Feed,
    records: u64,
    epochs: u64,
) -> Result<()> {
    let mut process = scene.start(&["run"])?;
    for number in 1..=epochs {
        feed.allow(number * records)?;
        process.until_commits(number as usize)?;
    }
    ensure!(process.kill()?, "it ended by itself\n{}", process.last_words());
    Ok(())
}

#[test]
fn kept_epochs_are_replayed_when_the_topic_is_empty() {
    check("recorded::kept_epochs", Place::Kafka.needs(), |lab| {
        let mut scene = Scene::new(lab, "recorded", Place::Kafka)?;
        scene.settings.keep = 1000;
        scene.settings.interval = "20ms";
        scene.make_input(RECORDS, 31)?;
        scene.write_pipeline()?;
        let pipeline = std::fs::read_to_string(scene.pipeline())?;
        let recording = format!("\n[recording]\nkeep = \"{KEPT} epochs\"\n");
        std::fs::write(scene.pipeline(), pipeline + &recording)?;
        let mut feed = scene.feed(1_000_000)?;
        epoch_by_epoch(&scene, &mut feed, RECORDS / 10, KEPT + 1)?;
        feed.finish()?;
        // The second generation records what the first one may have recorded before it died.
        let said = scene.run_until_end()?;
        ensure!(!said.contains("was not recorded"), "{said}");
        scene.compare(&[])?;
        let last = epochs(&scene)?;
        ensure!(last > KEPT, "{last} epochs");
        let folder = scene.folder.join("checkpoints").join(&scene.id).join("recordings");
        let kept = std::fs::read_dir(&folder).context("recordings")?.count() as u64;
        // The newest sweep may be behind by the epochs that were under way.
        ensure!((1..=KEPT + 5).contains(&kept), "{kept} recordings of {last} epochs");

        kafka(&scene, &["delete-records"])?;
        let to = last.to_string();
        let from = (last - 2).to_string();
        let again = ["replay", "pipeline.toml", "--checkpoint", &from, "--to", &to, "--json"];
        let report = json(&scene, &again)?;
        ensure!(report["identical"] == true && report["epochs"] == 2, "{report}");
        let bundle =
            ["bundle", "pipeline.toml", "--checkpoint", &from, "--to", &to, "-o", "a.bundle"];
        must(&scene, 0, &["raw records"], &bundle)?;
        let mut alone = without_network(lab.floe.clone());
        let out = alone.args(["replay", "a.bundle"]).current_dir(&scene.folder).output()?;
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        ensure!(out.status.success() && said.contains("identical ✓"), "{said}");
        // What neither has is said, with its offsets.
        let gone = ["replay", "pipeline.toml", "--checkpoint", "0", "--to", "1"];
        must(&scene, 4, &["offset 0 is out of range", "[recording]"], &gone)?;
        scene.done();
        Ok(())
    });
}
