//! Records that are none: each is named with its place, nothing of its epoch is seen, and nothing is lost when
//! the pipeline is told to skip it.

use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::lab::{Lab, check};
use crate::process::{End, PATIENCE};
use crate::replay::json;
use crate::scene::{Place, Scene};
use crate::upgrades::ABORTED;

/// A value between good ones, and what must be said of it.
struct Case {
    name: &'static str,
    value: fn() -> Value,
    says: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case { name: "not-json", value: || json!("no JSON at all"), says: &["JSON"] },
    Case { name: "cut-off", value: || json!("{\"txn_id\":\"x\",\"merchant"), says: &["JSON"] },
    Case { name: "no-object", value: || json!("[1,2,3]"), says: &["object"] },
    Case { name: "empty", value: || json!(""), says: &[] },
    Case {
        name: "wrong-type",
        value: || json!(r#"{"txn_id":"x","merchant_id":"m","amount_minor":"12"}"#),
        says: &["amount_minor"],
    },
    Case {
        name: "fraction",
        value: || json!(r#"{"txn_id":"x","merchant_id":"m","amount_minor":1.5}"#),
        says: &["amount_minor"],
    },
    Case {
        name: "beyond-64-bits",
        value: || json!(r#"{"txn_id":"x","merchant_id":"m","amount_minor":9223372036854775808}"#),
        says: &["amount_minor"],
    },
    Case {
        name: "missing-field",
        value: || json!(r#"{"txn_id":"x","amount_minor":1}"#),
        says: &["merchant_id"],
    },
    Case {
        name: "null-field",
        value: || json!(r#"{"txn_id":null,"merchant_id":"m","amount_minor":1}"#),
        says: &["txn_id"],
    },
    Case {
        name: "invalid-utf-8",
        // {"txn_id":"\xff","merchant_id":"m","amount_minor":1}
        value: || json!({"base64": "eyJ0eG5faWQiOiL/IiwibWVyY2hhbnRfaWQiOiJtIiwiYW1vdW50X21pbm9yIjoxfQ=="}),
        says: &["UTF-8"],
    },
    Case { name: "binary", value: || json!({"base64": "AAECAwQF/v8="}), says: &[] },
    Case { name: "tombstone", value: || Value::Null, says: &[] },
];

/// The bad one stands here, in partition 1.
const PLACE: usize = 30;
const RECORDS: usize = 60;

#[test]
fn each_is_named_and_nothing_is_lost() {
    check("bad_records::each_is_named", &[], |lab| {
        let failed: Vec<String> = CASES
            .iter()
            .filter_map(|case| Some(format!("{}: {:#}", case.name, one(lab, case).err()?)))
            .collect();
        ensure!(
            failed.is_empty(),
            "{} of {} cases\n{}",
            failed.len(),
            CASES.len(),
            failed.join("\n")
        );
        Ok(())
    });
}

fn one(lab: &Lab, case: &Case) -> Result<()> {
    let mut scene = Scene::new(lab, &format!("bad-{}", case.name), Place::Local)?;
    let text = recording(Some((case.value)()));
    std::fs::write(scene.input(), &text)?;
    std::fs::write(scene.recording(), &text)?;

    scene.write_pipeline()?;
    let mut process = scene.start(&["run", "--until-end"])?;
    let end = process.wait(PATIENCE)?;
    ensure!(end == End::Code(1), "it ended with {end:?}\n{}", process.last_words());
    let said = process.said();
    // Where: the partition, and the record's number in it, as the texts for people have it.
    for word in case.says.iter().chain(&["payments/1", "error:"]) {
        ensure!(said.contains(word), "{word:?} is not in what it said\n{said}");
    }
    let place = (PLACE / 2).to_string();
    ensure!(said.contains(&place), "the offset {place} is not in what it said\n{said}");
    ensure!(scene.row_count()? == 0, "rows of an epoch that failed are in the table");

    scene.settings.on_error = "skip";
    scene.write_pipeline()?;
    scene.run_until_end()?;
    scene.compare(&["--bad", "skip"])?;
    scene.done();
    Ok(())
}

/// Payments in two partitions by turns, with something else at `PLACE`.
fn recording(bad: Option<Value>) -> String {
    let mut text = String::new();
    for number in 0..RECORDS {
        let good = || {
            let payment = json!({"txn_id": format!("t-{number}"), "merchant_id": "m-1", "amount_minor": number});
            json!(payment.to_string())
        };
        let value = bad.clone().filter(|_| number == PLACE + 1).unwrap_or_else(good);
        let (partition, offset) = (number % 2, number / 2);
        let line = json!({"partition": partition, "offset": offset, "timestamp": 1_760_000_000_000_u64 + number as u64, "key": null, "value": value});
        writeln!(text, "{line}").expect("a String takes every write");
    }
    text
}

#[test]
fn a_record_of_ten_megabytes_goes_through() {
    check("bad_records::a_record_of_ten_megabytes", &[], |lab| {
        let scene = Scene::new(lab, "ten-megabytes", Place::Local)?;
        let payment = json!({"txn_id": "big", "merchant_id": "m-1", "amount_minor": 7, "note": "é".repeat(5 << 20)});
        let text = recording(Some(json!(payment.to_string())));
        std::fs::write(scene.input(), &text)?;
        std::fs::write(scene.recording(), &text)?;
        scene.write_pipeline()?;
        scene.run_until_end()?;
        let compared = scene.compare(&[])?;
        ensure!(compared.rows == RECORDS as u64, "{} rows", compared.rows);
        scene.done();
        Ok(())
    });
}

#[test]
fn an_empty_topic_is_no_error() {
    check("bad_records::an_empty_topic", Place::Kafka.needs(), |lab| {
        let scene = Scene::new(lab, "empty-topic", Place::Kafka)?;
        std::fs::write(scene.input(), "")?;
        scene.write_pipeline()?;
        scene.feed(1)?.finish()?;
        scene.run_until_end()?;
        ensure!(scene.row_count()? == 0, "rows out of nothing");
        scene.done();
        Ok(())
    });
}

/// A hundred records that make the operator trap, in one batch: more than are allowed stop the pipeline; a run goes
/// back once, also after it was killed, each of the hundred is a dead letter, the next run does not trip over them,
/// and every re-execution follows what was decided.
#[test]
fn a_hundred_poisoned_records_cost_one_rollback() {
    check("bad_records::a_hundred_poisoned_records", &[], |lab| {
        let mut scene = Scene::new(lab, "poisoned", Place::Local)?;
        let mut text = String::new();
        for number in 0..300 {
            let quantity = i32::from(number % 3 != 1);
            let order = json!({"order_id": format!("o-{number}"), "item": "tea", "amount_minor": 100, "quantity": quantity});
            let line = json!({"partition": 0, "offset": number, "timestamp": 1_760_000_000_000_u64, "value": order.to_string()});
            writeln!(text, "{line}").expect("a String takes every write");
        }
        std::fs::write(scene.recording(), &text)?;
        let guests = lab.payments.parent().context("the guests stand in a folder")?;
        scene.settings.module = guests.join("floe_example_prices.wasm");
        scene.settings.on_error = "dead-letter";
        let letters = "[dead-letters]\niceberg = \"lost.letters\"";
        scene.settings.operator = format!("{letters}\nmax = 99");
        // Longer than the run takes: the last checkpoint alone ends the epoch.
        scene.settings.interval = "60s";
        scene.write_pipeline()?;
        let mut flooded = scene.start(&["run", "--until-end"])?;
        ensure!(flooded.wait(PATIENCE)? == End::Code(1), "{}", flooded.said());
        let said = flooded.said();
        for word in
            ["100 records became dead letters in epoch 1", "the last: payments/0 @ 298, operator"]
        {
            ensure!(said.contains(word), "{word:?} is not in\n{said}");
        }
        ensure!(scene.row_count()? == 0, "rows of an epoch with too many letters");

        scene.settings.operator = letters.to_owned();
        scene.write_pipeline()?;
        let mut killed = scene.start_armed_with(&["run", "--until-end"], "before-manifest")?;
        ensure!(killed.wait(PATIENCE)? == End::Signal(ABORTED), "{}", killed.last_words());
        let said = scene.run_until_end()?;
        ensure!(said.matches("going back to the checkpoint").count() == 1, "{said}");
        ensure!(said.contains("300 records → 200 rows, 100 rejected"), "{said}");
        ensure!(scene.row_count()? == 200, "{} rows", scene.row_count()?);

        let again = scene.run_until_end()?;
        ensure!(again.contains("0 records → 0 rows"), "{again}");
        let mut list = scene.start(&["dead-letters", "list", "--class", "trap", "--json"])?;
        ensure!(list.wait(PATIENCE)? == End::Code(0), "{}", list.said());
        let said = list.said();
        ensure!(said.lines().count() == 100, "{} letters\n{said}", said.lines().count());
        for words in ["attempt to divide by zero", "src/lib.rs:", "\"module_hash\""] {
            ensure!(said.lines().all(|it| it.contains(words)), "{words:?}\n{said}");
        }
        let mut replay = scene.start(&["replay", "--checkpoint", "0", "--to", "1"])?;
        ensure!(replay.wait(PATIENCE)? == End::Code(0), "{}", replay.said());
        let verified = json(&scene, &["verify-determinism", "pipeline.toml", "--json"])?;
        let ways = verified["ways"].as_array().context("no ways")?;
        ensure!(ways.len() >= 4 && ways.iter().all(|it| it["identical"] == true), "{verified}");
        scene.done();
        Ok(())
    });
}
