//! Two processes of one pipeline: one of them writes, the other one is refused or fenced, and the rows are exact.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::TcpListener;

use anyhow::{Result, ensure};

use crate::diverged::metric;
use crate::lab::check;
use crate::process::{End, PATIENCE, Process};
use crate::scene::{Place, Scene};

const RECORDS: u64 = 20_000;
const RECORDS_PER_SECOND: u64 = 8_000;

/// Of the test that stops it.
const STOPPED_RECORDS: u64 = 5_000;

const FENCED: End = End::Code(3);
const REFUSED: End = End::Code(4);

#[test]
fn a_second_process_is_refused_until_it_takes_over() {
    check("owners::a_second_process", &[], |lab| {
        let mut scene = Scene::new(lab, "two-owners", Place::Local)?;
        scene.settings.interval = "200ms";
        scene.make_input(RECORDS, 11)?;
        scene.write_pipeline()?;
        let feed = scene.feed_endlessly(RECORDS_PER_SECOND)?;
        let mut first = scene.start(&["run"])?;
        first.until_commits(3)?;

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

        second.until_commits(2)?;
        ensure!(second.kill()?, "the second ended\n{}", second.last_words());
        feed.stop()?;
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
        let feed = scene.feed_endlessly(RECORDS_PER_SECOND)?;
        let mut zombie = scene.start(&["run"])?;
        let mut successor = None;
        // Each sleeper is woken again when its successor is at work, and becomes the next one's zombie.
        for _ in 0..count {
            zombie.until_commits(2)?;
            zombie.signal(libc::SIGSTOP)?;
            let mut next = scene.start(&["run", "--take-over"])?;
            next.until_commits(1)?;
            zombie.signal(libc::SIGCONT)?;
            let end = zombie.wait(PATIENCE)?;
            ensure!(end == FENCED, "the zombie ended with {end:?}\n{}", zombie.last_words());
            ensure!(!next.has_ended()?, "its successor was disturbed\n{}", next.last_words());
            zombie = next;
            successor = Some(());
        }
        ensure!(successor.is_some() && zombie.kill()?, "{}", zombie.last_words());
        feed.stop()?;
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
        scene.make_input(STOPPED_RECORDS, 13)?;
        scene.write_pipeline()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let listen = format!("\n[telemetry]\nlisten = \"127.0.0.1:{port}\"\n");
        OpenOptions::new().append(true).open(scene.pipeline())?.write_all(listen.as_bytes())?;
        scene.feed(1)?.finish()?;
        for signal in [libc::SIGTERM, libc::SIGINT] {
            let mut process = scene.start(&["run"])?;
            process.until_says("is ours")?;
            if signal == libc::SIGTERM {
                process.until("it has taken all records", || {
                    Ok(metric(port, "floe_records_total", "direction=\"in\"")? >= STOPPED_RECORDS)
                })?;
            }
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

fn ensure_says(process: &Process, words: &[&str]) -> Result<()> {
    let said = process.said();
    for word in words {
        ensure!(said.contains(word), "{word:?} is not in what it said\n{}", process.last_words());
    }
    Ok(())
}
