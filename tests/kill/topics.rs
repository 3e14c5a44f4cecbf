//! A topic as the sink: whatever dies between two steps, a reader of committed transactions sees each record
//! once, and those of a key in their order.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use floe_core::crash_point::CrashPoint;

use crate::lab::{Lab, check, root, variable};
use crate::process::{End, PATIENCE};
use crate::scene::{Place, Scene};

const RECORDS: u64 = 30_000;
const RECORDS_PER_SECOND: u64 = 8_000;
const NEEDS: &[&str] = &["FLOE_TEST_KAFKA"];
const FENCED: End = End::Code(3);
/// What a process says that may write.
const OURS: &str = "is ours";

/// Between every two durable steps of an epoch that goes to a topic.
const POINTS: [CrashPoint; 9] = [
    CrashPoint::AfterCapture,
    CrashPoint::AfterDataFileClose,
    CrashPoint::AfterPart,
    CrashPoint::AfterManifest,
    CrashPoint::BeforeCommit,
    CrashPoint::AfterCommitSent,
    CrashPoint::AfterCommit,
    CrashPoint::BeforeRecommit,
    CrashPoint::AfterRecommit,
];

#[test]
fn dying_between_two_steps_publishes_each_record_once() {
    check("topics::dying_between_two_steps", NEEDS, |lab| {
        let scene = scene(lab, "topic-points", 41)?;
        let mut feed = scene.feed(RECORDS_PER_SECOND)?;
        let mut allowed = 0;
        for point in POINTS {
            // Each start has something to publish, however long it took to come up.
            allowed += RECORDS / (POINTS.len() as u64 + 1);
            feed.allow(allowed)?;
            if matches!(point, CrashPoint::BeforeRecommit | CrashPoint::AfterRecommit) {
                die_at(&scene, CrashPoint::AfterManifest)?;
            }
            die_at(&scene, point)?;
        }
        feed.finish()?;
        scene.run_until_end()?;
        compare(&scene)?;
        scene.done();
        Ok(())
    });
}

#[test]
fn a_zombie_cannot_publish_after_its_successor() {
    check("topics::a_zombie", NEEDS, |lab| {
        let scene = scene(lab, "topic-zombie", 42)?;
        let feed = scene.feed_endlessly(RECORDS_PER_SECOND)?;
        let mut zombie = scene.start(&["run"])?;
        for round in 0..3u64 {
            // At no moment in particular: before, in and after a transaction.
            zombie.until_says(OURS)?;
            std::thread::sleep(Duration::from_millis(300 + 37 * round));
            ensure!(!zombie.has_ended()?, "it ended early\n{}", zombie.last_words());
            zombie.signal(libc::SIGSTOP)?;
            let mut next = scene.start(&["run", "--take-over"])?;
            next.until_says(OURS)?;
            std::thread::sleep(Duration::from_millis(400));
            zombie.signal(libc::SIGCONT)?;
            let end = zombie.wait(PATIENCE)?;
            ensure!(end == FENCED, "the zombie ended with {end:?}\n{}", zombie.last_words());
            ensure!(!next.has_ended()?, "its successor was disturbed\n{}", next.last_words());
            zombie = next;
        }
        ensure!(zombie.kill()?, "{}", zombie.last_words());
        feed.stop()?;
        scene.run_until_end()?;
        compare(&scene)?;
        scene.done();
        Ok(())
    });
}

fn scene<'a>(lab: &'a Lab, name: &str, seed: u64) -> Result<Scene<'a>> {
    let scene = Scene::new(lab, name, Place::Local)?;
    scene.make_input(RECORDS, seed)?;
    let status = kafka_py(lab)?
        .args([&output(&scene), "create", "--partitions", "3"])
        .status()
        .context("start kafka.py")?;
    ensure!(status.success(), "kafka.py create: {status}");
    let mut text = String::new();
    write!(
        text,
        "[pipeline]\nid = \"{}\"\n[source]\nrecording = \"payments.jsonl\"\n[[operator]]\nname = \"totals\"\nmodule = \"{}\"\n\
         [sink]\nkafka = \"{}\"\nbootstrap-servers = \"{}\"\nkey = [\"merchant_id\"]\n\
         [checkpoint]\nstore = \"file://./checkpoints\"\ninterval = \"60ms\"\n[run]\nbatch-records = 256\n",
        scene.id,
        lab.payments.display(),
        output(&scene),
        variable("FLOE_TEST_KAFKA")?
    )?;
    std::fs::write(scene.pipeline(), text)?;
    Ok(scene)
}

fn output(scene: &Scene<'_>) -> String {
    format!("{}-out", scene.id)
}

pub(crate) fn kafka_py(lab: &Lab) -> Result<Command> {
    let mut command = Command::new(&lab.python);
    command.arg(root().join("tests/kill/kafka.py")).arg(variable("FLOE_TEST_KAFKA")?);
    Ok(command)
}

/// It must die there and nowhere else.
pub(crate) fn die_at(scene: &Scene<'_>, point: CrashPoint) -> Result<()> {
    let mut process = scene.start_armed(point.name())?;
    let end = process
        .wait(PATIENCE)
        .with_context(|| format!("{} was not passed\n{}", point.name(), process.last_words()))?;
    ensure!(
        end == End::Signal(libc::SIGABRT),
        "armed at {}, it ended with {end:?}\n{}",
        point.name(),
        process.last_words()
    );
    Ok(())
}

/// The witness's records against a recomputation from the input, one by one; and the order of each key.
fn compare(scene: &Scene<'_>) -> Result<()> {
    let said = kafka_py(scene.lab)?
        .args([&output(scene), "consume"])
        .stderr(Stdio::inherit())
        .output()
        .context("start kafka.py")?;
    ensure!(said.status.success(), "kafka.py consume: {}", said.status);
    let text = String::from_utf8(said.stdout)?;
    let mut newest: BTreeMap<(String, i64), i64> = BTreeMap::new();
    let mut rows = String::new();
    for line in text.lines() {
        let (key, value) = line.split_once('\t').context("a key and a value")?;
        let row: serde_json::Value = serde_json::from_str(value)?;
        ensure!(row["merchant_id"] == key, "the key of {value} is {key:?}");
        let number = |name: &str| row[name].as_i64().with_context(|| format!("{name} in {value}"));
        let place = (key.to_owned(), number("kafka_partition")?);
        let offset = number("kafka_offset")?;
        let before = newest.insert(place, offset);
        ensure!(before.is_none_or(|it| it < offset), "{value} came after offset {before:?}");
        writeln!(rows, "{value}")?;
    }
    let path = scene.folder.join("published.jsonl");
    std::fs::write(&path, rows)?;
    let checked = Command::new(&scene.lab.python)
        .arg(root().join("examples/01-payments/oracle.py"))
        .arg(scene.input())
        .arg("--check")
        .arg(&path)
        .output()
        .context("start oracle.py")?;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&checked.stdout),
        String::from_utf8_lossy(&checked.stderr)
    );
    ensure!(checked.status.success() && said.contains("all as expected"), "{said}");
    Ok(())
}
