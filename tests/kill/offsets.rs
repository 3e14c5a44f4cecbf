//! Somebody resets the consumer group's offsets by hand: nothing changes, the checkpoint's offsets rule.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::lab::{check, root, variable, wait_for};
use crate::process::PATIENCE;
use crate::scene::{Place, Scene};

const RECORDS: u64 = 20_000;

#[test]
fn resetting_the_groups_offsets_changes_nothing() {
    check("offsets::resetting_the_groups_offsets", Place::Kafka.needs(), |lab| {
        let scene = Scene::new(lab, "group-offsets", Place::Kafka)?;
        scene.make_input(RECORDS, 21)?;
        scene.write_pipeline()?;
        let mut feed = scene.feed(8_000)?;
        for (number, offset) in (1..).zip([0, 3, 1_000_000]) {
            feed.allow(number * RECORDS / 4)?;
            let mut process = scene.start(&["run"])?;
            process.until_commits(1)?;
            ensure!(process.kill()?, "it ended by itself\n{}", process.last_words());
            kafka(&scene, &["reset-group", "--group", &scene.id, "--offset", &offset.to_string()])?;
        }
        feed.finish()?;
        scene.run_until_end()?;
        scene.compare(&[])?;

        // And what people see on their dashboards is where the table is.
        let reported = wait_for(PATIENCE, || {
            let text = kafka(&scene, &["group", "--group", &scene.id])?;
            let offsets = text.lines().filter_map(|it| it.split(' ').nth(1)?.parse::<u64>().ok());
            Ok(offsets.sum::<u64>() == RECORDS)
        })?;
        ensure!(reported, "the group's offsets are not the input's end");
        scene.done();
        Ok(())
    });
}

pub(crate) fn kafka(scene: &Scene<'_>, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(&scene.lab.python);
    command.arg(root().join("tests/kill/kafka.py"));
    command.arg(variable("FLOE_TEST_KAFKA")?).arg(&scene.id).args(arguments);
    let out = command.output().context("start kafka.py")?;
    let error = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "kafka.py {}: {}\n{error}", arguments.join(" "), out.status);
    Ok(String::from_utf8(out.stdout)?)
}
