//! Upserts under SIGKILL, lost answers and two owners: one row a key, the last, and one snapshot an epoch (S14).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use floe_core::crash_point::CrashPoint;
use floe_tests::proxy::{Fault, Rule};

use crate::answers::Proxied;
use crate::lab::{Lab, Random, check};
use crate::points::crash;
use crate::process::PATIENCE;
use crate::replay::{json, must};
use crate::scene::{Place, Scene, Settings};

const RECORDS: u64 = 12_000;
const RECORDS_PER_SECOND: u64 = 12_000;

/// Between the durable steps that an upsert takes otherwise than an append.
const POINTS: [CrashPoint; 5] = [
    CrashPoint::AfterDataFileClose,
    CrashPoint::AfterManifest,
    CrashPoint::AfterCommitSent,
    CrashPoint::AfterCommit,
    CrashPoint::AfterVerify,
];

/// A merchant's total replaces the one before it; a payment of a multiple of 7 takes the merchant out.
pub(crate) fn upserts(settings: &mut Settings) {
    settings.sink = "mode = \"upsert\"\nkey = [\"kafka_partition\", \"merchant_id\"]";
    settings.operator =
        "[[operator]]\nplugin = \"project\"\nconfig = { columns = [\"*\", \"amount_minor % 7 = 0 as _op\"] }"
            .to_owned();
    settings.reader = "upserts.py";
    settings.interval = "50ms";
}

#[test]
fn kills_leave_the_last_row_of_each_key() {
    check("upserts::kills_leave", &[], |lab| kills(lab, Place::Local, "exactly-once"));
}

/// A row that comes again replaces itself: the table is exact under the weaker guarantee too.
#[test]
fn at_least_once_is_exact_with_upserts() {
    check("upserts::at_least_once", &[], |lab| kills(lab, Place::Local, "at-least-once"));
}

#[test]
fn kills_between_real_servers_leave_the_last_row_of_each_key() {
    check("upserts::kills_between_real_servers", Place::Rest.needs(), |lab| {
        kills(lab, Place::Rest, "exactly-once")
    });
}

fn kills(lab: &Lab, place: Place, guarantee: &'static str) -> Result<()> {
    let mut scene =
        Scene::new(lab, &format!("upserts-{guarantee}-{place:?}").to_lowercase(), place)?;
    upserts(&mut scene.settings);
    scene.settings.guarantee = guarantee;
    scene.settings.partition_by = "[\"bucket(2, merchant_id)\"]";
    scene.make_input(RECORDS, 14)?;
    scene.write_pipeline()?;
    let mut feed = scene.feed(RECORDS_PER_SECOND)?;
    let lives = POINTS.len() as u64 + 1;
    for (life, point) in (1..).zip(POINTS) {
        // Records of its own, so that it comes to its point.
        feed.allow(life * RECORDS / lives)?;
        crash(&scene, point, 1).with_context(|| format!("life {life}"))?;
    }
    feed.finish()?;
    scene.run_until_end().context("the run after the kills")?;
    let compared = scene.compare(&[])?;
    println!("{guarantee} in {place:?}: {} keys, {} snapshots", compared.rows, compared.snapshots);
    scene.done();
    Ok(())
}

/// A changelog as a compacted topic has it: a record without a value takes the row of its key out.
#[test]
fn a_tombstone_takes_its_row_out() {
    check("upserts::a_tombstone", &[], |lab| {
        let mut scene = Scene::new(lab, "tombstones", Place::Local)?;
        let bin = lab.floe.parent().context("the program is in a folder")?;
        scene.settings.module = bin.join("plugins/project.wasm");
        scene.settings.operator =
            "config = { columns = [\"id\", \"name\", \"name is null as _op\"] }".to_owned();
        scene.settings.sink = "mode = \"upsert\"\nkey = [\"id\"]";
        scene.settings.keep = 1000;
        let source = "recording = \"payments.jsonl\"\ncolumns = [\"id: long\", \"name: string?\"]";
        let lines = changelog();
        std::fs::write(scene.recording(), lines[..lines.len() / 2].concat())?;

        // Unless it is asked for, a tombstone is no row.
        scene.settings.source = Some(source.to_owned());
        scene.write_pipeline()?;
        must(&scene, 1, &["it is a tombstone"], &["run", "pipeline.toml", "--until-end"])?;
        scene.settings.source = Some(format!("{source}\ntombstones = \"row\""));
        scene.write_pipeline()?;
        crash(&scene, CrashPoint::AfterManifest, 1)?;
        std::fs::write(scene.recording(), lines.concat())?;
        crash(&scene, CrashPoint::AfterCommitSent, 1)?;
        scene.run_until_end()?;

        let mut wanted: BTreeMap<i64, String> = BTreeMap::new();
        for (id, name) in changes() {
            match name {
                Some(name) => wanted.insert(id, name),
                None => wanted.remove(&id),
            };
        }
        let out = scene.reader("read_table.py")?.args(["--reader", "duckdb"]).output()?;
        let found = String::from_utf8(out.stdout)?;
        let row = |it: &str| -> Result<(i64, String)> {
            let row: serde_json::Value = serde_json::from_str(it)?;
            ensure!(row.as_object().is_some_and(|it| it.len() == 2), "{it}");
            let name = row["name"].as_str().context("a name")?;
            Ok((row["id"].as_i64().context("an id")?, name.to_owned()))
        };
        let rows = found.lines().map(row).collect::<Result<Vec<_>>>()?;
        let wanted: Vec<(i64, String)> = wanted.into_iter().collect();
        ensure!(rows == wanted && rows.len() > 50, "{rows:?}\n{wanted:?}");
        let same = json(&scene, &["verify", "pipeline.toml", "--recompute", "--json"])?;
        ensure!(same["keys_that_differ"] == 0 && same["rejected"] == 0, "{same}");
        scene.done();
        Ok(())
    });
}

/// One in four is a tombstone, often of a key that is not there.
fn changes() -> Vec<(i64, Option<String>)> {
    let mut random = Random(19);
    let change = |number: u64| {
        let id = random.below(150) as i64;
        (id, (random.below(4) > 0).then(|| format!("n-{number}")))
    };
    (0..900).map(change).collect()
}

fn changelog() -> Vec<String> {
    let line = |(offset, (id, name)): (usize, &(i64, Option<String>))| {
        let mut line = format!(r#"{{"partition":0,"offset":{offset},"key":"{{\"id\":{id}}}""#);
        let value = name.as_ref().map(|it| format!(r#"{{"id":{id},"name":"{it}"}}"#));
        // Writing to a text cannot fail.
        let _ = writeln!(line, r#","value":{}}}"#, serde_json::json!(value));
        line
    };
    changes().iter().enumerate().map(line).collect()
}

/// Some of `answers::a_commits_answer`: our own update of the catalog meets what the crate's does.
const OF_A_COMMIT: &[Fault] = &[
    Fault::AnswerCut,
    Fault::AppliedAndAnswered(409),
    Fault::AppliedAndAnswered(503),
    Fault::CutBefore,
    Fault::AnsweredInstead(409),
    Fault::AnsweredInstead(429),
    Fault::AnsweredInstead(500),
    Fault::Twice,
    Fault::Late(Duration::from_millis(60)),
    Fault::Late(Duration::from_millis(1500)),
];

#[test]
fn an_upserts_answer_lost_makes_one_snapshot() {
    check("upserts::an_upserts_answer", Place::Rest.needs(), |lab| {
        let mut it = Proxied::new(lab, "upsert-answers", Place::Rest)?;
        upserts(&mut it.scene.settings);
        it.scene.make_input(24_000, 15)?;
        it.scene.write_pipeline()?;
        it.meet_each(OF_A_COMMIT)?;
        let epochs = it.finish()?;
        println!("{} faults of commits, {epochs} epochs, each one snapshot", OF_A_COMMIT.len());
        Ok(())
    });
}

/// The first owner's request is on its way when a successor commits the same epoch; both reach the catalog.
#[test]
fn two_owners_of_an_upsert_make_one_snapshot() {
    check("upserts::two_owners", Place::Rest.needs(), |lab| {
        let mut it = Proxied::new(lab, "upsert-owners", Place::Rest)?;
        upserts(&mut it.scene.settings);
        it.scene.make_input(16_000, 16)?;
        it.scene.write_pipeline()?;
        let feed = it.scene.feed_endlessly(2_000)?;
        it.rest.add(Rule { skip: 1, times: 2, ..Rule::once("POST", &it.table(), Fault::Meet) });
        let mut first = it.scene.start(&["run"])?;
        first.until("a commit is sent", || Ok(it.rest.held() > 0))?;
        let mut second = it.scene.start(&["run", "--take-over"])?;
        let both = |fault: &Fault| {
            it.rest.seen().into_iter().filter(|it| it.fault == Some(*fault)).collect::<Vec<_>>()
        };
        second.until("the commits meet", || Ok(both(&Fault::Meet).len() == 2))?;
        let end = first.wait(PATIENCE)?;
        ensure!(end == crate::process::End::Code(3), "{end:?}\n{}", first.last_words());
        let applied = both(&Fault::Meet).iter().filter(|it| it.is_applied()).count();
        ensure!(applied == 1, "{applied} of two requests for one epoch were applied");
        ensure!(second.kill()?, "it ended by itself\n{}", second.last_words());
        feed.stop()?;
        it.finish()?;
        Ok(())
    });
}
