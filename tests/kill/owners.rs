//! Two processes of one pipeline: one of them writes, the other one is refused or fenced, and the rows are exact.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::lab::{check, wait_for};
use crate::process::{End, PATIENCE, Process};
use crate::scene::{Place, Scene};

const RECORDS: u64 = 60_000;
const RECORDS_PER_SECOND: u64 = 8_000;

const FENCED: End = End::Code(3);
const REFUSED: End = End::Code(4);

#[test]
fn a_second_process_is_refused_until_it_takes_over() {
    check("owners::a_second_process", &[], |lab| {
        let mut scene = Scene::new(lab, "two-owners", Place::Local)?;
        scene.settings.interval = "200ms";
        scene.make_input(RECORDS, 11)?;
        scene.write_pipeline()?;
        let feed = scene.feed_all(RECORDS_PER_SECOND)?;
        let mut first = scene.start(&["run"])?;
        wait_for_commits(&scene, &mut first, 3)?;

        let mut refused = scene.start(&["run"])?;
        let end = refused.wait(PATIENCE)?;
        ensure!(end == REFUSED, "the second ended with {end:?}\n{}", refused.last_words());
        ensure_says(&refused, &["--take-over"])?;
        ensure!(!first.has_ended()?, "the first was disturbed\n{}", first.last_words());

        let mut second = scene.start(&["run", "--take-over"])?;
        let end = first.wait(PATIENCE)?;
        ensure!(end == FENCED, "the first ended with {end:?}\n{}", first.last_words());
        let started_by = format!("pid {}", second.id());
        ensure_says(&first, &["fenced: generation 2", "generation 1", "started by", &started_by])?;

        wait_for_commits(&scene, &mut second, 2)?;
        ensure!(second.kill()?, "the second ended\n{}", second.last_words());
        feed.finish()?;
        scene.run_until_end()?;
        scene.compare(&[])?;
        scene.done();
        Ok(())
    });
}

#[test]
fn a_zombie_is_fenced_when_it_wakes() {
    zombies("owners::a_zombie_is_fenced", Place::Local, 4);
}

#[test]
fn a_zombie_between_real_servers_is_fenced_when_it_wakes() {
    zombies("owners::a_zombie_between", Place::RestS3, 3);
}

fn zombies(test: &str, place: Place, count: u32) {
    check(test, place.needs(), |lab| {
        let mut scene = Scene::new(lab, &format!("zombie-{place:?}").to_lowercase(), place)?;
        scene.settings.interval = "100ms";
        scene.make_input(RECORDS, 12)?;
        scene.write_pipeline()?;
        let feed = scene.feed_all(RECORDS_PER_SECOND)?;
        let mut zombie = scene.start(&["run"])?;
        let mut successor = None;
        // Each sleeper is woken again when its successor is at work, and becomes the next one's zombie.
        for _ in 0..count {
            wait_for_commits(&scene, &mut zombie, 2)?;
            zombie.signal(libc::SIGSTOP)?;
            let mut next = scene.start(&["run", "--take-over"])?;
            wait_for_commits(&scene, &mut next, 1)?;
            zombie.signal(libc::SIGCONT)?;
            let end = zombie.wait(PATIENCE)?;
            ensure!(end == FENCED, "the zombie ended with {end:?}\n{}", zombie.last_words());
            ensure!(!next.has_ended()?, "its successor was disturbed\n{}", next.last_words());
            zombie = next;
            successor = Some(());
        }
        ensure!(successor.is_some() && zombie.kill()?, "{}", zombie.last_words());
        feed.finish()?;
        scene.run_until_end()?;
        scene.compare(&[])?;
        scene.done();
        Ok(())
    });
}

#[test]
fn told_to_stop_it_commits_and_ends_well() {
    check("owners::told_to_stop", &[], |lab| {
        let mut scene = Scene::new(lab, "told-to-stop", Place::Local)?;
        // Nothing but the stop makes a checkpoint.
        scene.settings.interval = "1h";
        scene.make_input(5_000, 13)?;
        scene.write_pipeline()?;
        scene.feed(1)?.finish()?;
        for signal in [libc::SIGTERM, libc::SIGINT] {
            let mut process = scene.start(&["run"])?;
            let ready =
                wait_for(Duration::from_secs(20), || Ok(process.said().contains("is ours")))?;
            ensure!(ready, "it does not start\n{}", process.last_words());
            std::thread::sleep(Duration::from_millis(500));
            process.signal(signal)?;
            let end = process.wait(PATIENCE)?;
            ensure!(end == End::Code(0), "it ended with {end:?}\n{}", process.last_words());
        }
        // All of it is in the table, although no interval ever passed.
        scene.compare(&[])?;
        scene.done();
        Ok(())
    });
}

/// Until this process itself has committed so often.
fn wait_for_commits(scene: &Scene<'_>, process: &mut Process, count: usize) -> Result<()> {
    let come = wait_for(PATIENCE, || {
        ensure!(!process.has_ended()?, "it ended by itself\n{}", process.last_words());
        Ok(process.said().matches("committed epoch=").count() >= count)
    })?;
    ensure!(come, "{}: no {count} commits\n{}", scene.id, process.last_words());
    Ok(())
}

fn ensure_says(process: &Process, words: &[&str]) -> Result<()> {
    let said = process.said();
    for word in words {
        ensure!(said.contains(word), "{word:?} is not in what it said\n{}", process.last_words());
    }
    Ok(())
}
