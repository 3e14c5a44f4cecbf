//! Going back on purpose (S6): beside the pipeline on a branch, or as a new pipeline, and never on a table that
//! has the epochs; killed at each step, it begins once.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;

use anyhow::{Context, Result, bail, ensure};

use crate::lab::{Lab, check};
use crate::process::{End, PATIENCE};
use crate::scene::{Place, Scene};

const RECORDS: usize = 4_000;

/// The steps of a beginning that leave it to be begun: the claim, the branch, the log's first checkpoint.
const STEPS: [&str; 7] = [
    "before-claim",
    "after-claim",
    "before-table-change",
    "after-table-change",
    "before-part",
    "after-part",
    "before-manifest",
];

/// SIGABRT, by which a crash point ends the process.
const ABORTED: i32 = 6;

const TO_THE_BEGINNING: &str = "payments/0=0,payments/1=0,payments/2=0,payments/3=0";

/// The plugin knows what comes again: the branch has main's rows, whatever died on the way.
#[test]
fn with_dedup_a_rewind_leaves_the_rows_as_they_are() {
    check("rewinds::with_dedup", &[], |lab| deduplicated(lab, Place::Local));
}

#[test]
fn with_dedup_a_rewind_leaves_the_rows_as_they_are_on_a_server() {
    check("rewinds::with_dedup_on_a_server", Place::Rest.needs(), |lab| {
        deduplicated(lab, Place::Rest)
    });
}

fn deduplicated(lab: &Lab, place: Place) -> Result<()> {
    let mut scene = Scene::new(lab, &format!("rewind-{place:?}").to_lowercase(), place)?;
    first_is(&mut scene, "dedup", "key = [\"txn_id\"], window = \"9000h\"");
    scene.make_input(RECORDS as u64, 31)?;
    scene.write_pipeline()?;
    hand_out(&scene, 0..RECORDS / 2)?;
    scene.run_until_end()?;
    let before = rows(&scene, None)?;

    let back = ["--from-offset", TO_THE_BEGINNING];
    let again = ["--branch", "again"];
    said(&scene, &back, 4, &["has epochs up to", "would repeat their rows", "--branch NAME"])?;
    said(&scene, &again, 2, &["where does branch \"again\" begin?"])?;
    let ahead = ["--branch", "again", "--from-offset", "payments/0=999999"];
    said(&scene, &ahead, 4, &["offset 999999 lies ahead of checkpoint"])?;
    let elsewhere = ["--branch", "again", "--from-offset", "payments/9=0"];
    said(&scene, &elsewhere, 2, &["there is no such partition"])?;

    let both = [again, back].concat();
    // Between servers those alone that they have a part in.
    let steps = if place == Place::Local { &STEPS[..] } else { &STEPS[2..4] };
    for step in steps {
        dies(&scene, &both, step)?;
    }
    dies(&scene, &both, "after-manifest")?;
    // It has begun, once; from here on its own log says where it goes on.
    said(&scene, &both, 4, &["has begun already", "--branch again, without --from-"])?;
    for step in ["after-first-read", "after-manifest"] {
        dies(&scene, &again, step)?;
    }
    let taken = said(&scene, &again, 0, &[])?;
    ensure!(taken.contains("→ 0 rows"), "a row came again\n{taken}");
    ensure!(rows(&scene, Some("again"))? == before, "the branch is not what main is");

    if place != Place::Local {
        scene.done();
        return Ok(());
    }
    // Both go on, each for itself: neither was fenced.
    hand_out(&scene, RECORDS / 2..RECORDS)?;
    for step in ["after-manifest", "after-commit-sent"] {
        dies(&scene, &again, step)?;
    }
    said(&scene, &again, 0, &[])?;
    ensure!(rows(&scene, None)? == before, "main saw what was done on the branch");
    scene.run_until_end()?;
    let after = rows(&scene, None)?;
    ensure!(after.len() > before.len(), "main did not go on");
    ensure!(after.values().all(|it| *it == 1), "a row is in main twice");
    ensure!(rows(&scene, Some("again"))? == after, "the branch is not what main is");
    println!("{} rows on main and on the branch", after.len());
    scene.done();
    Ok(())
}

/// Without the plugin the rows come again, on the branch and not on main: so the test above can fail.
#[test]
fn without_dedup_rows_come_again_on_the_branch_alone() {
    check("rewinds::without_dedup", &[], |lab| {
        let mut scene = Scene::new(lab, "rewind-plain", Place::Local)?;
        first_is(&mut scene, "project", "columns = [\"*\"]");
        scene.make_input(RECORDS as u64, 32)?;
        scene.write_pipeline()?;
        hand_out(&scene, 0..RECORDS)?;
        scene.run_until_end()?;
        said(&scene, &["--branch", "b", "--from-offset", "payments/0=0"], 0, &[])?;
        let (main, branch) = (rows(&scene, None)?, rows(&scene, Some("b"))?);
        let (twice, once): (Vec<_>, Vec<_>) = branch.iter().partition(|it| *it.1 > main[it.0]);
        ensure!(!twice.is_empty() && !once.is_empty(), "{} and {}", twice.len(), once.len());
        let wrong = |it: &(&String, &u64), of_0: bool| it.0.contains("\"_partition\":0,") != of_0;
        ensure!(!twice.iter().any(|it| wrong(it, true)), "a row of another partition came again");
        ensure!(!once.iter().any(|it| wrong(it, false)), "a row of partition 0 is there once");
        // By time: at the last record's of a partition, nearly nothing comes again.
        let late = ["--branch", "late", "--from-timestamp", "2100-01-01T00:00:00Z"];
        said(&scene, &late, 0, &["→ 0 rows"])?;
        scene.done();
        Ok(())
    });
}

/// The branch begins at the snapshot of the checkpoint: what followed is done again, and ends as main did.
#[test]
fn from_a_checkpoint_the_branch_becomes_what_main_is() {
    check("rewinds::from_a_checkpoint", &[], |lab| {
        let mut scene = Scene::new(lab, "rewind-checkpoint", Place::Local)?;
        scene.settings.keep = 100;
        scene.make_input(RECORDS as u64, 33)?;
        scene.write_pipeline()?;
        for part in 0..4 {
            hand_out(&scene, part * RECORDS / 4..(part + 1) * RECORDS / 4)?;
            scene.run_until_end()?;
        }
        let main = rows(&scene, None)?;
        let epochs = crate::savepoints::json(&scene, "status", &[])?;
        let newest = epochs["checkpoint"]["epoch"].as_u64().context("the newest epoch")?;
        ensure!(newest >= 4, "{epochs}");
        let from = (newest / 2).to_string();
        let arguments = ["--branch", "b", "--from-checkpoint", &from];
        dies(&scene, &arguments, "after-table-change")?;
        // Main goes on meanwhile; the branch begins where it began.
        said(&scene, &arguments, 0, &[])?;
        ensure!(rows(&scene, Some("b"))? == main, "the branch is not what main is");
        said(&scene, &["--branch", "c", "--from-checkpoint", "99999"], 4, &["is not kept"])?;
        scene.done();
        Ok(())
    });
}

/// A new pipeline begins where it is told to, also if it dies before its first record.
#[test]
fn a_new_pipeline_begins_where_it_is_told_to() {
    check("rewinds::a_new_pipeline", &[], |lab| {
        let mut scene = Scene::new(lab, "rewind-new", Place::Local)?;
        first_is(&mut scene, "project", "columns = [\"*\"]");
        scene.make_input(RECORDS as u64, 34)?;
        scene.write_pipeline()?;
        hand_out(&scene, 0..RECORDS)?;
        let from = ["--from-offset", "payments/1=100"];
        dies(&scene, &from, "before-manifest")?;
        dies(&scene, &from, "after-manifest")?;
        // Not told again, it knows.
        scene.run_until_end()?;
        let of_1 = rows(&scene, None)?.keys().filter(|it| it.contains("\"_partition\":1,")).count();
        let all = std::fs::read_to_string(scene.input())?;
        let all = all
            .lines()
            .filter(|it| it.contains("\"partition\": 1,") || it.contains("\"partition\":1,"));
        ensure!(of_1 == all.count() - 100, "{of_1} rows of partition 1");

        let intents = "[[sink]]\nname = \"i\"\nkafka = \"i\"\nbootstrap-servers = \"127.0.0.1:1\"\nintents = true\nkey = [\"txn_id\"]\n\n[[sink]]";
        let text = std::fs::read_to_string(scene.pipeline())?;
        let text = text.replace("[sink]", intents);
        std::fs::write(scene.pipeline(), text)?;
        said(&scene, &from, 4, &["command intents", "would be caused again"])?;
        scene.done();
        Ok(())
    });
}

/// The first operator is this plugin, and takes payments as they come.
fn first_is(scene: &mut Scene<'_>, plugin: &str, config: &str) {
    let plugins = scene.lab.floe.with_file_name("plugins");
    scene.settings.module = plugins.join(format!("{plugin}.wasm"));
    scene.settings.operator = format!("config = {{ {config} }}");
    scene.settings.source = Some(
        "recording = \"payments.jsonl\"\ncolumns = [\"txn_id: string\", \"merchant_id: string\", \"amount_minor: long\", \"_partition: int\", \"_timestamp: timestamp\"]"
            .to_owned(),
    );
}

/// So many lines of the input, in their order.
fn hand_out(scene: &Scene<'_>, lines: std::ops::Range<usize>) -> Result<()> {
    let input = std::fs::read_to_string(scene.input())?;
    let mut file = OpenOptions::new().create(true).append(true).open(scene.recording())?;
    for line in input.lines().take(lines.end).skip(lines.start) {
        writeln!(file, "{line}")?;
    }
    Ok(())
}

/// The rows of main or of a branch, each with how often it is there.
pub(crate) fn rows(scene: &Scene<'_>, branch: Option<&str>) -> Result<BTreeMap<String, u64>> {
    let mut command = scene.reader("read_table.py")?;
    if let Some(branch) = branch {
        command.args(["--branch", branch]);
    }
    let done = command.output().context("start read_table.py")?;
    if !done.status.success() {
        bail!("read_table.py: {}", String::from_utf8_lossy(&done.stderr));
    }
    let mut rows = BTreeMap::new();
    for line in String::from_utf8(done.stdout)?.lines() {
        *rows.entry(line.to_owned()).or_default() += 1;
    }
    ensure!(!rows.is_empty(), "no rows");
    Ok(rows)
}

/// `floe run --until-end` with these words ends there.
fn dies(scene: &Scene<'_>, arguments: &[&str], point: &str) -> Result<()> {
    let arguments = [&["run", "--until-end"], arguments].concat();
    let mut process = scene.start_armed_with(&arguments, point)?;
    let end = process.wait(PATIENCE)?;
    let says = process.said();
    ensure!(end == End::Signal(ABORTED) && says.contains(point), "{point}: {end:?}\n{says}");
    Ok(())
}

fn said(scene: &Scene<'_>, arguments: &[&str], code: i32, words: &[&str]) -> Result<String> {
    let arguments = [&["run", "--until-end"], arguments].concat();
    let mut process = scene.start(&arguments)?;
    let end = process.wait(PATIENCE)?;
    let said = process.said();
    ensure!(end == End::Code(code), "{arguments:?}: {end:?}\n{said}");
    for word in words {
        ensure!(said.contains(word), "{arguments:?}: {word:?} is not in what it said\n{said}");
    }
    Ok(said)
}
