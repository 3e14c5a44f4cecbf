//! An operator is exchanged for another build of it, and the command is killed at each step: not a row is
//! lost or repeated, whatever was killed, upgraded or rolled back in between.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::lab::{Lab, check, variable};
use crate::process::{End, PATIENCE};
use crate::scene::{Place, Scene};
use crate::topics::kafka_py;

/// The steps of an upgrade's one checkpoint.
pub(crate) const POINTS: &[&str] = &[
    "before-claim",
    "after-claim",
    "before-part",
    "after-part",
    "before-manifest",
    "after-manifest",
];

/// SIGABRT, by which a crash point ends the process.
pub(crate) const ABORTED: i32 = 6;

const RECORDS_EACH: usize = 400;

/// Those of them that leave this machine, where the store is another server.
const BETWEEN_SERVERS: &[&str] = &["after-claim", "after-part", "after-manifest"];

#[test]
fn killed_at_every_step() {
    upgrade("upgrades::killed_at_every_step", Place::Local, POINTS);
}

#[test]
fn killed_between_real_servers() {
    upgrade("upgrades::killed_between_real_servers", Place::Rest, BETWEEN_SERVERS);
}

fn upgrade(test: &str, place: Place, points: &[&str]) {
    check(test, place.needs(), |lab| {
        let mut scene = Scene::new(lab, &format!("upgrades-{place:?}").to_lowercase(), place)?;
        scene.make_input((RECORDS_EACH * (points.len() + 3)) as u64, 7)?;
        let input = std::fs::read_to_string(scene.input())?;
        let mut lines = input.lines();
        let mut hand_out = |scene: &Scene<'_>| -> Result<()> {
            let mut file = OpenOptions::new().create(true).append(true).open(scene.recording())?;
            for line in lines.by_ref().take(RECORDS_EACH) {
                writeln!(file, "{line}")?;
            }
            Ok(())
        };
        hand_out(&scene)?;
        scene.write_pipeline()?;
        scene.run_until_end()?;

        for (number, point) in points.iter().enumerate() {
            let module = build(lab, &scene, number)?;
            let named = format!("payments={}", module.display());
            let upgrade = ["upgrade", "--operator", &named, "--apply"];
            let mut killed = scene.start_armed_with(&upgrade, point)?;
            let end = killed.wait(PATIENCE)?;
            ensure!(end == End::Signal(ABORTED), "{point}: {end:?}\n{}", killed.last_words());
            said(&scene, &upgrade, 0, &[])?;
            // Given once more it finds nothing to do.
            said(&scene, &upgrade, 0, &["nothing to do"])?;

            // The file has the old module still, and is told the way forward.
            said(&scene, &["run", "--until-end"], 4, &["floe upgrade"])?;
            scene.settings.module = module;
            hand_out(&scene)?;
            scene.write_pipeline()?;
            scene.run_until_end()?;
        }

        // Back by the state that the new one tells, and on.
        said(&scene, &["upgrade", "--rollback"], 0, &["took the state"])?;
        scene.settings.module = build(lab, &scene, points.len() - 2)?;
        hand_out(&scene)?;
        scene.write_pipeline()?;
        scene.run_until_end()?;
        let module = build(lab, &scene, 99)?;
        let named = format!("payments={}", module.display());
        said(
            &scene,
            &["upgrade", "--operator", &named, "--try", "3"],
            0,
            &["identical", "0 changed"],
        )?;
        said(&scene, &["upgrade", "--operator", &named, "--apply"], 0, &[])?;
        // Nothing ran: back to the bit.
        said(&scene, &["upgrade", "--rollback"], 0, &["to the bit"])?;
        hand_out(&scene)?;
        scene.run_until_end()?;
        scene.compare(&[])?;
        scene.done();
        Ok(())
    });
}

/// Another build of the payments operator: the same code, and another hash.
fn build(lab: &Lab, scene: &Scene<'_>, number: usize) -> Result<PathBuf> {
    let mut bytes = std::fs::read(&lab.payments).context("read the payments operator")?;
    // A custom section: id 0, its length, the length of its name, its name.
    let name = format!("build-{number:02}");
    bytes.extend([0, name.len() as u8 + 1, name.len() as u8]);
    bytes.extend(name.as_bytes());
    let path = scene.folder.join(format!("payments-{number}.wasm"));
    std::fs::write(&path, bytes)?;
    Ok(path)
}

pub(crate) fn said(scene: &Scene<'_>, arguments: &[&str], code: i32, words: &[&str]) -> Result<()> {
    let mut process = scene.start(arguments)?;
    let end = process.wait(PATIENCE)?;
    let said = process.said();
    ensure!(end == End::Code(code), "{arguments:?}: {end:?}\n{said}");
    for word in words {
        ensure!(said.contains(word), "{arguments:?}: {word:?} is not in what it said\n{said}");
    }
    Ok(())
}

/// Every fourth record is none; each becomes a dead letter, is mended and given back, and the command that
/// gives it back is killed at another step each time.
#[test]
fn letters_are_given_back_once() {
    let of_a_commit = &["before-commit", "after-commit-sent", "after-commit", "after-verify"];
    let points = [POINTS, of_a_commit].concat();
    give_back("upgrades::letters_are_given_back", Place::Local, &points);
}

#[test]
fn letters_of_a_topic_are_given_back_once() {
    let points = ["after-manifest", "after-commit-sent"];
    give_back("upgrades::letters_of_a_topic", Place::RestS3, &points);
}

/// The letters are in a topic themselves. The first commit of an epoch is the table's, the second the letters'.
#[test]
fn letters_in_a_topic_are_given_back_once() {
    let points = [
        "after-claim",
        "before-manifest",
        "after-manifest",
        "after-commit",
        "after-commit-sent:2",
        "after-commit:2",
    ];
    give_back("upgrades::letters_in_a_topic", Place::Kafka, &points);
}

fn give_back(test: &str, place: Place, points: &[&str]) {
    check(test, place.needs(), |lab| {
        let mut scene = Scene::new(lab, &format!("back-{place:?}").to_lowercase(), place)?;
        // As the source is called: its recording, or its topic.
        let source = if place == Place::Local { "payments".to_owned() } else { scene.id.clone() };
        let payment = |number: usize| {
            serde_json::json!({"txn_id": format!("t-{number}"), "merchant_id": "m-1", "amount_minor": 1}).to_string()
        };
        let records = 4 * (points.len() + 1);
        let mut file = std::fs::File::create(scene.input())?;
        for number in 0..records {
            let value = if number % 4 == 3 { "none".to_owned() } else { payment(number) };
            let line = serde_json::json!({"partition": 0, "offset": number, "timestamp": 1_760_000_000_000_u64, "value": value});
            writeln!(file, "{line}")?;
        }
        scene.settings.on_error = "dead-letter";
        let letters = format!("{}.letters", scene.namespace());
        scene.settings.operator = format!("[dead-letters]\niceberg = \"{letters}\"");
        if place == Place::Kafka {
            let (topic, broker) = (format!("{}-letters", scene.id), variable("FLOE_TEST_KAFKA")?);
            let made = kafka_py(lab)?.args([&topic, "create", "--partitions", "2"]).status()?;
            ensure!(made.success(), "kafka.py create: {made}");
            scene.settings.operator =
                format!("[dead-letters]\nkafka = \"{topic}\"\nbootstrap-servers = \"{broker}\"");
        }
        scene.write_pipeline()?;
        scene.feed(1)?.finish()?;
        scene.run_until_end()?;
        ensure!(scene.row_count()? == records / 4 * 3, "{} rows", scene.row_count()?);

        let from = scene.folder.join("mended.jsonl");
        for (index, point) in points.iter().enumerate() {
            let number = 4 * index + 3;
            let mended =
                serde_json::json!({"id": format!("{source}/0@{number}"), "value": payment(number)});
            std::fs::write(&from, format!("{mended}\n"))?;
            let retry = ["dead-letters", "retry", "--from", "mended.jsonl"];
            let mut killed = scene.start_armed_with(&retry, point)?;
            let end = killed.wait(PATIENCE)?;
            ensure!(end == End::Signal(ABORTED), "{point}: {end:?}\n{}", killed.last_words());
            said(&scene, &retry, 0, &[])?;
            said(&scene, &retry, 0, &["1 had been given back before"])?;
            ensure!(
                scene.row_count()? == records / 4 * 3 + index + 1,
                "{point}: a row too many or too few"
            );
        }
        // What is not mended is rejected again, and waits again.
        said(
            &scene,
            &["dead-letters", "retry", "--class", "decode"],
            0,
            &["0 rows, 1 rejected again"],
        )?;
        said(&scene, &["dead-letters", "list"], 0, &[&format!("{source}/0@{}", records - 1)])?;
        scene.run_until_end()?;
        ensure!(scene.row_count()? == records - 1, "{} rows", scene.row_count()?);
        scene.done();
        Ok(())
    });
}
