//! Pipelines that are no chain: rows that part by an operator's outputs, into several tables.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use floe_core::crash_point::CrashPoint;
use serde_json::Value;

use crate::lab::check;
use crate::points::crash;
use crate::replay::json;
use crate::scene::{Place, Scene};

const RECORDS: u64 = 12_000;
const RECORDS_PER_SECOND: u64 = 3_000;
/// In minor units: about half of the payments are below.
const LARGE: i64 = 400_000;

/// A payment of the input.
struct Payment {
    partition: i64,
    offset: i64,
    id: String,
    merchant: String,
    amount: i64,
}

fn payments(scene: &Scene<'_>) -> Result<Vec<Payment>> {
    let text = std::fs::read_to_string(scene.input())?;
    let payment = |line: &str| -> Result<Payment> {
        let record: Value = serde_json::from_str(line)?;
        let value: Value = serde_json::from_str(record["value"].as_str().context("a value")?)?;
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        Ok(Payment {
            partition: record["partition"].as_i64().context("a partition")?,
            offset: record["offset"].as_i64().context("an offset")?,
            id: text("txn_id"),
            merchant: text("merchant_id"),
            amount: value["amount_minor"].as_i64().context("an amount")?,
        })
    };
    text.lines().map(payment).collect()
}

/// Large payments to the totals, small ones to a table of their own.
fn parted(scene: &mut Scene<'_>) -> Result<()> {
    let module = scene.settings.module.display().to_string();
    let (route, project) = (module_of(scene, "route"), module_of(scene, "project"));
    scene.settings.module = route.into();
    scene.settings.operator = format!(
        r#"name = "route"
config = {{ into = "outputs", otherwise = "small", routes = [{{ name = "large", where = "amount_minor >= {LARGE}" }}] }}

[[operator]]
name = "small"
module = '{project}'
input = "route.small"
config = {{ columns = ["txn_id", "_partition as partition", "_offset as place"] }}

[[operator]]
name = "totals"
module = '{module}'
input = "route.large""#
    );
    scene.settings.source = Some(
        "recording = \"payments.jsonl\"\ncolumns = [\"txn_id: string\", \"merchant_id: string\", \"amount_minor: long\", \"_partition: int\", \"_offset: long\"]"
            .to_owned(),
    );
    scene.write_pipeline()?;
    let text = std::fs::read_to_string(scene.pipeline())?;
    let (before, after) = text.split_once("[sink]").context("a sink")?;
    let (sink, rest) = after.split_once("[checkpoint]").context("a checkpoint")?;
    let other = sink.replace(".payments\"", ".small\"");
    let text = format!(
        "{before}[[sink]]{sink}[[sink]]\nname = \"small\"\ninput = \"small\"{other}[checkpoint]{rest}"
    );
    std::fs::write(scene.pipeline(), text).context("write the pipeline file")
}

fn module_of(scene: &Scene<'_>, plugin: &str) -> String {
    let folder = scene.lab.floe.parent().expect("a program stands in a folder");
    folder.join("plugins").join(format!("{plugin}.wasm")).display().to_string()
}

/// The newest checkpoint but one.
fn newest_epochs(scene: &Scene<'_>) -> Result<String> {
    let kept = json(scene, &["checkpoint", "list", "pipeline.toml", "--json"])?;
    let kept = kept.as_array().context("a list")?;
    let before = kept.len().checked_sub(2).context("two checkpoints")?;
    Ok(kept[before]["epoch"].to_string())
}

fn rows(scene: &Scene<'_>, sink: &str) -> Result<Vec<Value>> {
    let (mut command, _) = scene.floe(&["rows", "--sink", sink, "--json"])?;
    let out = command.stdout(std::process::Stdio::piped()).output().context("start floe rows")?;
    ensure!(out.status.success(), "floe rows --sink {sink}: {}", out.status);
    String::from_utf8(out.stdout)?.lines().map(|it| Ok(serde_json::from_str(it)?)).collect()
}

/// Each row of each table, against the input.
fn compare(scene: &Scene<'_>) -> Result<()> {
    let place = |it: &Value| (it["partition"].as_i64(), it["place"].as_i64());
    let mut wanted = BTreeSet::new();
    let mut totals: BTreeMap<(i64, &str), i64> = BTreeMap::new();
    let (mut seen, mut large) = (BTreeSet::new(), BTreeMap::new());
    let all = payments(scene)?;
    for it in &all {
        if it.amount < LARGE {
            wanted.insert((Some(it.partition), Some(it.offset)));
        } else if seen.insert((it.partition, &it.id)) {
            let total = totals.entry((it.partition, &it.merchant)).or_default();
            *total += it.amount;
            large.insert((it.partition, it.offset), *total);
        }
    }
    let small = rows(scene, "small")?;
    let found: BTreeSet<_> = small.iter().map(place).collect();
    ensure!(found.len() == small.len(), "a small payment is there twice");
    ensure!(found == wanted, "{} small payments, not {}", found.len(), wanted.len());
    let made = rows(scene, "sink")?;
    ensure!(made.len() == large.len(), "{} totals, not {}", made.len(), large.len());
    for row in made {
        let number = |key: &str| row[key].as_i64().unwrap_or(-1);
        let total = large.get(&(number("kafka_partition"), number("kafka_offset")));
        ensure!(total == Some(&number("running_total")), "{row}, and the total is {total:?}");
    }
    ensure!(!small.is_empty() && !large.is_empty(), "one of the tables is empty");
    Ok(())
}

/// The places around the commits of an epoch to two tables: the process dies before the first, between
/// them, and behind the second.
#[test]
fn two_tables_have_each_epoch_once() {
    check("graph::two_tables", &[], |lab| {
        let mut scene = Scene::new(lab, "two-tables", Place::Local)?;
        scene.settings.interval = "30ms";
        scene.make_input(RECORDS, 5)?;
        parted(&mut scene)?;
        let feed = scene.feed_endlessly(RECORDS_PER_SECOND)?;
        for (point, nth) in [
            (CrashPoint::AfterCommit, 3),
            (CrashPoint::BeforeCommit, 3),
            (CrashPoint::AfterCommitSent, 1),
            (CrashPoint::AfterManifest, 2),
            // Between the two tables, at the recovery itself.
            (CrashPoint::AfterRecommit, 1),
        ] {
            crash(&scene, point, nth).with_context(|| format!("{} {nth}", point.name()))?;
        }
        feed.stop()?;
        scene.run_until_end()?;
        compare(&scene)?;
        let newest = newest_epochs(&scene)?;
        let report = json(&scene, &["replay", "pipeline.toml", "--checkpoint", &newest, "--json"])?;
        ensure!(report["identical"] == true, "{report}");
        scene.done();
        Ok(())
    });
}

/// What would lose rows without a word, or take what is not there, is refused with its line.
#[test]
fn outputs_that_go_nowhere_are_refused() {
    check("graph::outputs_that_go_nowhere", &[], |lab| {
        let mut scene = Scene::new(lab, "lost-outputs", Place::Local)?;
        scene.make_input(10, 5)?;
        std::fs::copy(scene.input(), scene.recording())?;
        parted(&mut scene)?;
        let good = std::fs::read_to_string(scene.pipeline())?;
        for (what, by, wanted) in [
            ("input = \"route.small\"", "input = \"route.smal\"", "has no output \"smal\""),
            (
                "input = \"route.small\"",
                "input = \"route.large\"",
                "nobody takes output route.small",
            ),
            (
                "name = \"small\"\ninput = \"small\"",
                "input = \"small\"",
                "of several sinks each has a name",
            ),
            (".small\"", ".payments\"", "is where sink \"sink\" writes"),
        ] {
            ensure!(good.contains(what), "{what} is not in\n{good}");
            std::fs::write(scene.pipeline(), good.replace(what, by))?;
            let (mut command, log) = scene.floe(&["run", "--until-end"])?;
            let ended = command.status().context("start floe")?;
            let said = std::fs::read_to_string(log)?;
            ensure!(ended.code() == Some(2), "{by}: {ended}\n{said}");
            ensure!(said.contains(wanted) && said.contains("pipeline.toml:"), "{by}: {said}");
        }
        // What is said to be discarded may be.
        let (before, after) = good.split_once("[[sink]]\nname = \"small\"").context("two sinks")?;
        let (_, rest) = after.split_once("[checkpoint]").context("a checkpoint")?;
        let discarded = before
            .replace("input = \"route.small\"", "input = \"route.small\"\ndiscard = [\"rows\"]");
        std::fs::write(scene.pipeline(), format!("{discarded}[checkpoint]{rest}"))?;
        scene.run_until_end()?;
        scene.done();
        Ok(())
    });
}
