//! Reconciliation (S11): a table that is right is equal to its source; a row doubled, one lost and one changed
//! behind the pipeline's back are each named, with the record and the epoch that they come from.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::lab::{Lab, check};
use crate::process::{End, PATIENCE};
use crate::scene::{Place, Scene};

const RECORDS: u64 = 3_000;

const ASKED: [&str; 7] =
    ["verify", "--key", "merchant_id", "--sum", "amount_minor", "--distinct", "txn_id"];

#[test]
fn every_row_that_differs_from_the_source_is_named() {
    check("verify::every_row_that_differs", &[], named);
}

fn named(lab: &Lab) -> Result<()> {
    let mut scene = Scene::new(lab, "verify", Place::Local)?;
    scene.settings.keep = 100;
    scene.settings.batch_records = 64;
    scene.make_input(RECORDS, 41)?;
    scene.write_pipeline()?;
    // Two runs, and so two epochs at the least.
    let input = std::fs::read_to_string(scene.input())?;
    let lines: Vec<&str> = input.lines().collect();
    let nothing = verify(&scene, &[], 2)?;
    ensure!(nothing.1.contains("is not there"), "{}", nothing.1);
    for end in [lines.len() / 2, lines.len()] {
        std::fs::write(scene.recording(), lines[..end].join("\n") + "\n")?;
        scene.run_until_end()?;
    }

    let (equal, said) = verify(&scene, &[], 0)?;
    ensure!(
        equal["keys_that_differ"] == 0 && equal["differences"] == Value::Array(vec![]),
        "{said}"
    );
    ensure!(equal["again"].as_u64().is_some_and(|it| it > 0), "no record came again: {said}");
    ensure!(equal["source_totals"] == equal["table_totals"], "{said}");

    // What was read up to the first commit, and not what was read since.
    let whole = equal["source_totals"]["rows"].as_i64().context("a number of rows")?;
    let first = first_snapshot(&scene)?;
    let (before, said) = verify(&scene, &["--snapshot", &first], 0)?;
    ensure!(before["source_totals"]["rows"].as_i64().is_some_and(|it| it < whole), "{said}");

    let tampered = scene.reader("tamper.py")?.output().context("start tamper.py")?;
    ensure!(tampered.status.success(), "{}", String::from_utf8_lossy(&tampered.stderr));
    let tampered: BTreeMap<String, Value> = serde_json::from_slice(&tampered.stdout)?;
    let report = scene.folder.join("report.md");
    let (differs, said) = verify(&scene, &["--report", &report.display().to_string()], 5)?;
    let report = std::fs::read_to_string(report)?;
    ensure!(differs["keys_that_differ"].as_u64().is_some_and(|it| (1..=3).contains(&it)), "{said}");
    for (name, what) in [
        ("doubled", "1 row too many in the table"),
        ("lost", "missing in the table"),
        ("changed", "amount_minor +1"),
    ] {
        let row = &tampered[name];
        let found = row_of(&differs, row).with_context(|| format!("{name} {row}\n{said}"))?;
        ensure!(found["what"].as_str().is_some_and(|it| it.starts_with(what)), "{name}: {found}");
        let at = format!("payments/{} @ {}", row["kafka_partition"], row["kafka_offset"]);
        ensure!(found["at"] == *at, "{name}: {found}, and it is {at}");
        let epochs = &found["epochs"];
        ensure!(epochs[0] == epochs[1] && epochs[0].as_u64().is_some(), "{name}: {found}");
        ensure!(report.contains(&at), "{at} is not in the report\n{report}");
    }
    ensure!(rows_named(&differs) == 3, "more than three rows differ\n{said}");

    // Another truth in place of the source; and the table itself, in which the doubled row comes again.
    let truth = scene.folder.join("truth.jsonl");
    std::fs::write(&truth, values_once(&lines)?)?;
    let (as_lines, said) = verify(&scene, &["--against", &truth.display().to_string()], 5)?;
    ensure!(rows_named(&as_lines) == 3, "{said}");
    let truth = scene.folder.join("truth.csv");
    std::fs::write(&truth, csv_once(&lines)?)?;
    let (other, said) = verify(&scene, &["--against", &truth.display().to_string()], 5)?;
    // Behind the names, a record of it has two lines.
    let lines_of: Vec<u64> = places(&as_lines).into_iter().map(|it| 2 * it).collect();
    ensure!(lines_of.len() == 3 && places(&other) == lines_of, "{lines_of:?}\n{said}");
    let same = format!("{}.payments", scene.namespace());
    let (other, said) = verify(&scene, &["--against", &same], 5)?;
    ensure!(rows_named(&other) == 1 && row_of(&other, &tampered["doubled"]).is_some(), "{said}");

    let broken = "txn_id,merchant_id,amount_minor\nt,m,1\nt,m,12x\n";
    std::fs::write(scene.folder.join("broken.csv"), broken)?;
    for (arguments, words) in [
        (&["--sum", "amont"][..], &["has no column \"amont\"", "amount_minor"][..]),
        (&["--sum", "merchant_id"], &["--sum takes integers"]),
        (&["--snapshot", "17"], &["has no snapshot 17"]),
        (&["--against", "no.csv"], &["no.csv cannot be read"]),
        (&["--against", "broken.csv"], &["broken.csv, line 3", "amount_minor"]),
        (&["--against", "no.jsonl"], &["no.jsonl cannot be read"]),
    ] {
        let (_, said) = verify(&scene, arguments, 2)?;
        ensure!(words.iter().all(|it| said.contains(it)), "{arguments:?}\n{said}");
    }
    // Retention took the beginning: no sum is right any more, and none is shown as if it were.
    std::fs::write(scene.recording(), lines[100..].join("\n") + "\n")?;
    let (_, said) = verify(&scene, &[], 4)?;
    ensure!(said.contains("retention or compaction") && said.contains("--against"), "{said}");
    scene.done();
    Ok(())
}

/// Operators run again: totals that an upsert keeps, and which no column of the source has.
#[test]
fn every_row_that_the_operators_do_not_make_is_named() {
    check("verify::every_row_that_the_operators", &[], recomputed);
}

fn recomputed(lab: &Lab) -> Result<()> {
    let mut scene = Scene::new(lab, "recomputed", Place::Local)?;
    crate::upserts::upserts(&mut scene.settings);
    scene.settings.keep = 1000;
    scene.make_input(RECORDS, 43)?;
    scene.write_pipeline()?;
    let input = std::fs::read_to_string(scene.input())?;
    let lines: Vec<&str> = input.lines().collect();
    let begin = |part: usize| lines.len() * part / 12;
    for part in 1..=4 {
        std::fs::write(scene.recording(), lines[..begin(part)].join("\n") + "\n")?;
        scene.run_until_end()?;
    }
    let recompute = |scene: &Scene<'_>, more: &[&str], code| {
        asked(scene, &[&["verify", "--recompute"], more], code)
    };
    let (equal, said) = recompute(&scene, &[], 0)?;
    ensure!(equal["keys"].as_u64().is_some_and(|it| it >= 10), "{said}");
    ensure!(
        equal["keys_not_compared"] == 0 && equal["source_totals"]["rows"].as_i64() >= Some(10),
        "{said}"
    );
    let (_, said) = recompute(&scene, &["--key", "merchant_id"], 2)?;
    ensure!(said.contains("kafka_partition, merchant_id"), "{said}");

    // Most checkpoints are gone: the table's own rows of then are the base.
    scene.settings.keep = 3;
    scene.write_pipeline()?;
    let mut process = scene.start(&["run"])?;
    for part in 4..12 {
        let mut recording = std::fs::File::options().append(true).open(scene.recording())?;
        recording.write_all((lines[begin(part)..begin(part + 1)].join("\n") + "\n").as_bytes())?;
        process.until_commits(part - 3)?;
    }
    ensure!(process.kill()?, "it ended by itself\n{}", process.last_words());
    scene.run_until_end()?;
    let (_, said) = recompute(&scene, &[], 0)?;
    ensure!(said.contains("are taken as they are"), "{said}");

    let tampered = scene.reader("tamper.py")?.arg("--upserts").output()?;
    ensure!(tampered.status.success(), "{}", String::from_utf8_lossy(&tampered.stderr));
    let tampered: BTreeMap<String, Value> = serde_json::from_slice(&tampered.stdout)?;
    let report = scene.folder.join("recomputed.md");
    let (differs, said) = recompute(&scene, &["--report", &report.display().to_string()], 5)?;
    let report = std::fs::read_to_string(report)?;
    ensure!(differs["keys_that_differ"] == 3, "{said}");
    for (name, what) in [
        ("doubled", "1 row too many in the table"),
        ("lost", "missing in the table"),
        ("changed", "amount_minor differs"),
    ] {
        let row = &tampered[name];
        let found = differs["differences"].as_array().into_iter().flatten().find(|it| {
            it["key"]["merchant_id"] == row["merchant_id"]
                && it["key"]["kafka_partition"] == row["kafka_partition"]
        });
        let found = found.with_context(|| format!("{name} {row}\n{said}"))?;
        ensure!(found["what"] == what, "{name}: {found}");
        ensure!(found["at"].as_str().is_some_and(|it| !it.is_empty()), "{name}: {found}");
        if name == "changed" {
            let value = &found["values"][0];
            let right = row["amount_minor"].as_i64().context("an amount")?;
            ensure!(value["source"] == right && value["table"] == right + 1, "{found}");
            let cell = format!("amount_minor: {right} and {}", right + 1);
            ensure!(report.contains(&cell), "{cell} is not in the report\n{report}");
        }
    }
    scene.done();
    Ok(())
}

/// What it printed as JSON, where it did, and what it said.
fn verify(scene: &Scene<'_>, more: &[&str], code: i32) -> Result<(Value, String)> {
    asked(scene, &[&ASKED, more], code)
}

fn asked(scene: &Scene<'_>, words: &[&[&str]], code: i32) -> Result<(Value, String)> {
    let arguments = [&words.concat()[..], &["--json"]].concat();
    let (mut command, log) = scene.floe(&arguments)?;
    let out = scene.folder.join("verified.json");
    command.stdout(Stdio::from(std::fs::File::create(&out)?));
    let mut process = crate::process::Process::start(command, log.clone())?;
    let end = process.wait(PATIENCE)?;
    let printed = std::fs::read_to_string(&out)?;
    let said = format!("{printed}{}", std::fs::read_to_string(log)?);
    ensure!(end == End::Code(code), "{arguments:?}: {end:?}, and not {code}\n{said}");
    let printed = if printed.is_empty() { Value::Null } else { serde_json::from_str(&printed)? };
    Ok((printed, said))
}

fn row_of<'a>(verified: &'a Value, row: &Value) -> Option<&'a Value> {
    let keys = verified["differences"].as_array()?;
    let key = keys.iter().find(|it| it["key"]["merchant_id"] == row["merchant_id"])?;
    key["rows"].as_array()?.iter().find(|it| it["key"]["txn_id"] == row["txn_id"])
}

fn rows_named(verified: &Value) -> usize {
    let keys = verified["differences"].as_array();
    keys.into_iter().flatten().filter_map(|it| it["rows"].as_array()).map(Vec::len).sum()
}

/// The lines of the rows that differ.
fn places(verified: &Value) -> Vec<u64> {
    let keys = verified["differences"].as_array().into_iter().flatten();
    let rows = keys.flat_map(|it| it["rows"].as_array().into_iter().flatten());
    rows.filter_map(|it| it["at"].as_str()?.strip_prefix("line ")?.parse().ok()).collect()
}

/// Of the first commit, as the run's log has it.
fn first_snapshot(scene: &Scene<'_>) -> Result<String> {
    for number in 0.. {
        let log = std::fs::read_to_string(scene.folder.join(format!("floe-{number:03}.log")))?;
        if let Some((_, behind)) = log.split_once("snapshot=") {
            return Ok(behind.chars().take_while(char::is_ascii_digit).collect());
        }
    }
    anyhow::bail!("no run spoke of a snapshot")
}

/// The same as CSV, with what must be quoted.
fn csv_once(lines: &[&str]) -> Result<String> {
    let mut text = "\u{feff}note,merchant_id,txn_id,amount_minor\r\n".to_owned();
    for line in values_once(lines)?.lines() {
        let payment: Value = serde_json::from_str(line)?;
        let word = |name: &str| payment[name].as_str().context("a word").map(str::to_owned);
        text += &format!(
            "\"a, \"\"b\"\"\nc\",\"{}\",{},{}\r\n",
            word("merchant_id")?,
            word("txn_id")?,
            payment["amount_minor"]
        );
    }
    Ok(text)
}

/// The payments themselves, each once, as another system would keep them.
fn values_once(lines: &[&str]) -> Result<String> {
    let mut seen = std::collections::BTreeSet::new();
    let mut text = String::new();
    for line in lines {
        let record: Value = serde_json::from_str(line)?;
        let value = record["value"].as_str().context("a value")?;
        let payment: Value = serde_json::from_str(value)?;
        if seen.insert(payment["txn_id"].to_string()) {
            text.push_str(value);
            text.push('\n');
        }
    }
    Ok(text)
}
