//! Two sources joined by time: orders, and the rates that they are priced by (S8). Whichever is faster, and
//! wherever the process dies, each order has the rate that held when it was made, and a replay merges as the run did.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use floe_core::crash_point::CrashPoint;
use serde_json::Value;

use crate::feed::{Appender, Feed};
use crate::lab::{Lab, Random, check, root};
use crate::points::crash;
use crate::process::{End, PATIENCE};
use crate::replay::{json, must};
use crate::scene::{Place, Scene};
use crate::upgrades::{ABORTED, POINTS, said};

const BEGIN_MS: i64 = 1_760_000_000_000;
/// A record of each partition stands here at the end, so that all before it is done with.
const END_MS: i64 = BEGIN_MS + 1_000_000_000_000;
/// How far a record may lie behind, as the pipeline file says.
const OUT_OF_ORDER_MS: u64 = 500;
const CURRENCIES: u64 = 12;

/// Records of both sources, each of two partitions, one behind the other without an end.
struct Records {
    topics: [String; 2],
    random: Random,
    number: u64,
    offsets: BTreeMap<(usize, u64), u64>,
}

impl Records {
    fn new(orders: &str, rates: &str) -> Records {
        let topics = [orders.to_owned(), rates.to_owned()];
        Records { topics, random: Random(11), number: 0, offsets: BTreeMap::new() }
    }

    /// A third of them are rates.
    fn next(&mut self) -> String {
        let number = self.number;
        self.number += 1;
        let ts = BEGIN_MS + 7 * number as i64 - self.random.below(OUT_OF_ORDER_MS) as i64;
        // The first four are of the four partitions.
        let currency = if number < 4 { number } else { self.random.below(CURRENCIES) };
        let is_rate = if number < 4 { number >= 2 } else { self.random.below(3) == 0 };
        // The rates of a currency are in order: of two of one time the last one holds.
        let is_any = !is_rate && number >= 4;
        let partition = if is_any { self.random.below(2) } else { currency % 2 };
        let currency = format!("C{currency}");
        let value = match is_rate {
            true => {
                let rate = 500_000 + self.random.below(1_000_000_000);
                format!(r#"{{"currency":"{currency}","ts":{ts},"rate_micro":{rate}}}"#)
            }
            false => {
                let amount = 1_000 + self.random.below(1_000_000);
                format!(
                    r#"{{"order_id":"o-{number}","currency":"{currency}","ts":{ts},"amount_minor":{amount}}}"#
                )
            }
        };
        self.line(usize::from(is_rate), partition, &value)
    }

    fn line(&mut self, source: usize, partition: u64, value: &str) -> String {
        let offset = self.offsets.entry((source, partition)).or_default();
        let value = Value::from(value);
        let line = format!(
            r#"{{"topic":"{}","partition":{partition},"offset":{offset},"timestamp":{BEGIN_MS},"value":{value}}}"#,
            self.topics[source]
        );
        *offset += 1;
        line
    }

    fn last(&mut self) -> Vec<String> {
        let order =
            format!(r#"{{"order_id":"end","currency":"C0","ts":{END_MS},"amount_minor":1}}"#);
        let rate = format!(r#"{{"currency":"C0","ts":{END_MS},"rate_micro":1}}"#);
        let both = [(0, 0, &order), (0, 1, &order), (1, 0, &rate), (1, 1, &rate)];
        both.map(|(source, partition, value)| self.line(source, partition, value)).into()
    }
}

/// Two sources in place of the one that the scene's file has.
fn write_pipeline(scene: &Scene<'_>, lines: &str, sources: [&str; 2]) -> Result<()> {
    scene.write_pipeline()?;
    let text = std::fs::read_to_string(scene.pipeline())?;
    let (before, after) = text.split_once("[source]").context("a source")?;
    let (_, rest) = after.split_once("[[operator]]").context("an operator")?;
    let mut both = String::new();
    for (name, source) in ["orders", "rates"].iter().zip(sources) {
        writeln!(both, "[[source]]\nname = \"{name}\"\n{source}")?;
        writeln!(
            both,
            "event-time = {{ field = \"ts\", out-of-order = \"{OUT_OF_ORDER_MS}ms\" }}\n"
        )?;
    }
    let text = format!("{before}{both}[[operator]]\n{lines}{rest}");
    std::fs::write(scene.pipeline(), text).context("write the pipeline file")
}

const INPUT: &str = "input = [\"orders\", \"rates\"]";

/// Both in one file, each with its own topic of it.
fn recorded(scene: &mut Scene<'_>, lines: &str) -> Result<()> {
    let of = |topic| format!("recording = \"payments.jsonl\"\ntopics = \"{topic}\"");
    write_pipeline(scene, lines, [&of("orders"), &of("rates")])
}

fn scene<'a>(lab: &'a Lab, name: &str, place: Place) -> Result<Scene<'a>> {
    let mut scene = Scene::new(lab, name, place)?;
    scene.settings.interval = "40ms";
    scene.settings.batch_records = 64;
    scene.settings.keep = 10_000;
    scene.settings.module = module(lab);
    Ok(scene)
}

fn module(lab: &Lab) -> PathBuf {
    lab.payments.with_file_name("floe_example_rates.wasm")
}

/// Appends records until it is told to stop, so that there is input for each life, however slow the machine.
struct Endless {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

impl Endless {
    fn start(recording: &Path) -> Result<Endless> {
        let mut records = Records::new("orders", "rates");
        let mut file = Appender::create(recording)?;
        (0..4).try_for_each(|_| file.append(&records.next()))?;
        file.flush()?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                (0..20).try_for_each(|_| file.append(&records.next()))?;
                file.flush()?;
                std::thread::sleep(Duration::from_millis(10));
            }
            records.last().iter().try_for_each(|it| file.append(it))?;
            file.flush()
        });
        Ok(Endless { stop, thread })
    }

    fn finish(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the feed ends well")
    }
}

/// The rows that there must be, from the input alone: order, currency, amount, and the amount at home.
fn oracle(input: &Path) -> Result<BTreeSet<String>> {
    let mut rates: BTreeMap<String, BTreeMap<i64, i64>> = BTreeMap::new();
    let mut orders = Vec::new();
    for line in std::fs::read_to_string(input)?.lines().filter(|it| !it.is_empty()) {
        let record: Value = serde_json::from_str(line)?;
        let value: Value = serde_json::from_str(record["value"].as_str().context("a value")?)?;
        let ts = value["ts"].as_i64().context("a time")?;
        let currency = value["currency"].as_str().context("a currency")?.to_owned();
        match value["rate_micro"].as_i64() {
            Some(rate) => {
                rates.entry(currency).or_default().insert(ts, rate);
            }
            None if ts < END_MS => orders.push((ts, currency, value)),
            None => {}
        }
    }
    let row = |(ts, currency, order): &(i64, String, Value)| {
        let amount = order["amount_minor"].as_i64().unwrap_or_default();
        let rate = rates.get(currency).and_then(|it| it.range(..=ts).next_back());
        let home = rate.map(|it| amount * it.1 / 1_000_000);
        format!("{} {currency} {amount} {home:?}", order["order_id"])
    };
    Ok(orders.iter().map(row).collect())
}

/// Each row of the table against the oracle, and none twice.
fn compare(scene: &Scene<'_>, input: &Path) -> Result<usize> {
    let wanted = oracle(input)?;
    let rows = scene.rows()?;
    let mut found = BTreeSet::new();
    for row in &rows {
        let row: Value = serde_json::from_str(row)?;
        let currency = row["currency"].as_str().context("a currency")?;
        let text = format!(
            "{} {currency} {} {:?}",
            row["order_id"],
            row["amount_minor"],
            row["home_minor"].as_i64()
        );
        ensure!(wanted.contains(&text), "{text} is no row of the oracle");
        ensure!(found.insert(text), "{row} is there twice");
    }
    ensure!(found.len() == wanted.len(), "{} rows, not {}", found.len(), wanted.len());
    let priced = wanted.iter().filter(|it| !it.ends_with("None")).count();
    ensure!(priced > wanted.len() / 2, "only {priced} of {} have a rate", wanted.len());
    Ok(rows.len())
}

/// All of it run again merges the two sources as the run did.
fn replays(scene: &Scene<'_>, tasks: u64) -> Result<()> {
    let kept = json(scene, &["checkpoint", "list", "pipeline.toml", "--json"])?;
    let newest = kept.as_array().and_then(|it| it.last()).context("no checkpoint")?;
    let to = newest["epoch"].to_string();
    let arguments = ["replay", "pipeline.toml", "--checkpoint", "0", "--to", &to, "--json"];
    let report = json(scene, &arguments)?;
    ensure!(report["identical"] == true && report["tasks"] == tasks, "{report}");
    Ok(())
}

#[test]
fn orders_have_the_rates_of_their_time_wherever_it_dies() {
    check("sources::orders_have_the_rates", &[], |lab| {
        let mut scene = scene(lab, "two-sources", Place::Local)?;
        recorded(&mut scene, &format!("{INPUT}\nkey-by = [\"currency\"]\ntasks = 3"))?;
        let feed = Endless::start(&scene.recording())?;
        for (point, nth) in [
            // Some tasks of one source have captured, and those of the other have not.
            (CrashPoint::AfterCapture, 5),
            (CrashPoint::AfterPart, 2),
            (CrashPoint::AfterManifest, 2),
            (CrashPoint::AfterCommitSent, 1),
            (CrashPoint::AfterRestore, 1),
        ] {
            crash(&scene, point, nth).with_context(|| format!("{} {nth}", point.name()))?;
        }
        feed.finish()?;
        scene.run_until_end()?;
        compare(&scene, &scene.recording())?;
        replays(&scene, 7)?;
        // A bundle has both sources in it, and needs nothing else.
        must(
            &scene,
            0,
            &[],
            &["bundle", "pipeline.toml", "--checkpoint", "2", "--output", "b.floe"],
        )?;
        must(&scene, 0, &["identical"], &["replay", "b.floe"])?;
        scene.done();
        Ok(())
    });
}

/// Without a key, one task has all of both.
#[test]
fn two_topics_are_joined_in_one_task_under_kills() {
    check("sources::two_topics", &["FLOE_TEST_KAFKA"], |lab| {
        let scene = scene(lab, "two-topics", Place::Kafka)?;
        let broker = crate::lab::variable("FLOE_TEST_KAFKA")?;
        let topics = ["orders", "rates"].map(|it| format!("{}-{it}", scene.id));
        for topic in &topics {
            let mut command = Command::new(&lab.python);
            command.arg(root().join("tests/kill/kafka.py")).arg(&broker).arg(topic);
            let made = command.args(["create", "--partitions", "2"]).status()?;
            ensure!(made.success(), "kafka.py create: {made}");
        }
        let mut records = Records::new(&topics[0], &topics[1]);
        let mut text = String::new();
        (0..8_000).try_for_each(|_| writeln!(text, "{}", records.next()))?;
        records.last().iter().try_for_each(|it| writeln!(text, "{it}"))?;
        std::fs::write(scene.input(), text)?;
        let of = |topic| format!("kafka = \"{topic}\"\nbootstrap-servers = \"{broker}\"");
        write_pipeline(&scene, INPUT, [&of(&topics[0]), &of(&topics[1])])?;
        let mut feed = Feed::kafka(lab, &broker, &scene.input(), &scene.id, 4_000)?;
        let mut random = Random::from_environment();
        println!("FLOE_KILL_SEED={}", random.0);
        for life in 1..=3 {
            // Records of its own, of which it commits some before it dies at no moment in particular.
            feed.allow(life * 2_000)?;
            let mut process = scene.start(&["run"])?;
            process.until_commits(1)?;
            std::thread::sleep(Duration::from_millis(random.below(300)));
            ensure!(process.kill()?, "it ended by itself\n{}", process.last_words());
        }
        feed.finish()?;
        scene.run_until_end()?;
        compare(&scene, &scene.input())?;
        replays(&scene, 5)?;
        scene.done();
        Ok(())
    });
}

#[test]
fn the_example_prices_each_order() {
    check("sources::the_example", &[], |lab| {
        let scene = scene(lab, "example-rates", Place::Local)?;
        let example = root().join("examples/07-exchange-rates");
        for file in ["orders.jsonl", "rates.jsonl", "pipeline.toml"] {
            std::fs::copy(example.join(file), scene.folder.join(file))?;
        }
        std::fs::copy(module(lab), scene.folder.join("rates.wasm"))?;
        scene.run_until_end()?;
        let rows = |lines: &mut dyn Iterator<Item = &str>| -> Result<BTreeSet<String>> {
            let row = |line: &str| -> Result<String> {
                let row: Value = serde_json::from_str(line)?;
                Ok(["order_id", "currency", "amount_minor", "home_minor"]
                    .map(|it| row[it].to_string())
                    .join(" "))
            };
            lines.map(row).collect()
        };
        let found = scene.rows()?;
        let wanted = std::fs::read_to_string(example.join("expect.jsonl"))?;
        let wanted = rows(&mut wanted.lines())?;
        ensure!(found.len() == 60, "{} rows", found.len());
        ensure!(rows(&mut found.iter().map(String::as_str))? == wanted, "{found:?}");
        must(
            &scene,
            0,
            &["source orders", "⇉ pricing  (key-by currency)"],
            &["check", "pipeline.toml", "--graph"],
        )?;
        must(
            &scene,
            0,
            &["source rates<br>", "n1 ==>|\"key-by currency\"| n2"],
            &["check", "pipeline.toml", "--graph", "mermaid"],
        )?;
        scene.done();
        Ok(())
    });
}

/// The keys are parted among other numbers of tasks, and the command is killed at each of its steps: each order
/// has its rate, once, whatever was killed.
#[test]
fn keys_change_hands_wherever_it_dies() {
    check("sources::keys_change_hands", &[], |lab| {
        let mut scene = scene(lab, "rescaled", Place::Local)?;
        let mut tasks = 3;
        let mut records = Records::new("orders", "rates");
        let mut file = Appender::create(&scene.recording())?;
        let mut run = |scene: &mut Scene<'_>, tasks: u32, is_last: bool| -> Result<()> {
            (0..400).try_for_each(|_| file.append(&records.next()))?;
            if is_last {
                records.last().iter().try_for_each(|it| file.append(it))?;
            }
            file.flush()?;
            recorded(scene, &format!("{INPUT}\nkey-by = [\"currency\"]\ntasks = {tasks}"))?;
            scene.run_until_end()?;
            Ok(())
        };
        run(&mut scene, tasks, false)?;
        // Before and behind the claim, and around the manifest.
        let points = POINTS.iter().filter(|it| !it.ends_with("part"));
        for (point, wanted) in points.zip([5, 2, 1, 4]) {
            let number = wanted.to_string();
            let upgrade = ["upgrade", "--tasks", &number, "--apply"];
            let mut killed = scene.start_armed_with(&upgrade, point)?;
            let end = killed.wait(PATIENCE)?;
            ensure!(end == End::Signal(ABORTED), "{point}: {end:?}\n{}", killed.last_words());
            said(&scene, &upgrade, 0, &[])?;
            // Given once more it finds nothing to do; and a file that says another number is told the way.
            said(&scene, &upgrade, 0, &["nothing to do"])?;
            said(&scene, &["run", "--until-end"], 4, &["floe upgrade --apply parts it"])?;
            said(&scene, &["upgrade", "--rollback"], 4, &[&format!("--tasks pricing={tasks}")])?;
            tasks = wanted;
            run(&mut scene, tasks, *point == "after-manifest")?;
        }
        compare(&scene, &scene.recording())?;
        let kept = json(&scene, &["checkpoint", "list", "pipeline.toml", "--json"])?;
        let kept = kept.as_array().context("a list")?;
        let before = kept[kept.len() - 2]["epoch"].to_string();
        let report = json(&scene, &["replay", "pipeline.toml", "--checkpoint", &before, "--json"])?;
        ensure!(report["identical"] == true, "{report}");
        scene.done();
        Ok(())
    });
}

/// A table of two sources is held against one of them, and against both; a rewind takes both back.
#[test]
fn a_table_of_two_sources_is_verified_and_rewound() {
    check("sources::a_table_of_two_sources", &[], |lab| {
        let mut scene = scene(lab, "two-verified", Place::Local)?;
        let keyed = format!("{INPUT}\nkey-by = [\"currency\"]\ntasks = 2");
        let mut records = Records::new("orders", "rates");
        let mut lines: Vec<String> = (0..600).map(|_| records.next()).collect();
        lines.extend(records.last());
        for end in [200, 400, lines.len()] {
            std::fs::write(scene.recording(), lines[..end].join("\n") + "\n")?;
            recorded(&mut scene, &keyed)?;
            scene.run_until_end()?;
        }
        let verify = |more: &[&str], code: i32, words: &[&str]| {
            let arguments = ["verify", "pipeline.toml", "--key", "currency"];
            must(&scene, code, words, &[&arguments, more].concat())
        };
        let by = ["--sum", "amount_minor", "--distinct", "order_id"];
        let of = |source| [&by[..], &["--source", source]].concat();
        // The records at the end make no row: all others have theirs.
        let end = ["order_id=end  missing in the table", "orders/0 @ ", "differs: 1 of 12 keys"];
        verify(&of("orders"), 5, &end)?;
        verify(&of("prices"), 2, &["no source \"prices\"", "orders, rates"])?;
        verify(&by, 2, &["several sources", "--source NAME", "orders, rates"])?;
        verify(&["--recompute", "--distinct", "order_id"], 0, &["equal: 12 keys"])?;

        let main = crate::rewinds::rows(&scene, None)?;
        let back = |more: &[&str], code: i32, words: &[&str]| {
            let arguments = ["run", "pipeline.toml", "--until-end", "--branch"];
            must(&scene, code, words, &[&arguments, more].concat())
        };
        back(&["b", "--from-offset", "prices/0=0"], 2, &["there is no such partition"])?;
        back(&["b", "--from-checkpoint", "1"], 0, &[])?;
        ensure!(crate::rewinds::rows(&scene, Some("b"))? == main, "the branch is not what main is");
        ensure!(
            crate::rewinds::rows(&scene, None)? == main,
            "main saw what was done on the branch"
        );
        scene.done();
        Ok(())
    });
}

/// What a source is called, and which topics it has, decides what operators saw.
#[test]
fn sources_that_do_not_fit_are_refused() {
    check("sources::sources_that_do_not_fit", &[], |lab| {
        let mut scene = scene(lab, "refused-sources", Place::Local)?;
        let keyed = format!("{INPUT}\nkey-by = [\"currency\"]\ntasks = 2");
        let mut records = Records::new("orders", "rates");
        let mut lines: Vec<String> = (0..200).map(|_| records.next()).collect();
        lines.extend(records.last());
        std::fs::write(scene.recording(), lines.join("\n") + "\n")?;
        recorded(&mut scene, &keyed)?;
        scene.run_until_end()?;
        let good = std::fs::read_to_string(scene.pipeline())?;
        for (what, by, code, wanted) in [
            (INPUT, "", 2, "does not say which source it takes"),
            (INPUT, "input = [\"orders\"]", 2, "no operator takes source rates"),
            (INPUT, "input = [\"orders\", \"prices\"]", 2, "\"prices\" is no source"),
            ("name = \"rates\"", "name = \"orders\"", 2, "two sources are named \"orders\""),
            ("name = \"rates\"", "", 2, "of several sources each has a name"),
            ("topics = \"rates\"", "topics = \"orders\"", 2, "topic orders is read by source"),
            ("topics = \"rates\"", "topics = \"x\"", 2, "there are no records of x"),
            ("tasks = 2", "tasks = 3", 4, "key-by [currency] in 2 tasks"),
            (INPUT, "input = [\"rates\", \"orders\"]", 0, ""),
        ] {
            ensure!(good.contains(what), "{what} is not in\n{good}");
            std::fs::write(scene.pipeline(), good.replace(what, by))?;
            let mut process = scene.start(&["run", "--until-end"])?;
            let ended = process.wait(PATIENCE)?;
            let said = process.said();
            ensure!(ended == End::Code(code) && said.contains(wanted), "{by}: {ended:?}\n{said}");
        }
        // The other way round, orders would be decoded as rates.
        let swapped = good.replace("topics = \"rates\"", "topics = \"x\"");
        let swapped = swapped.replace("topics = \"orders\"", "topics = \"rates\"");
        std::fs::write(scene.pipeline(), swapped.replace("topics = \"x\"", "topics = \"orders\""))?;
        let mut process = scene.start(&["run", "--until-end"])?;
        let ended = process.wait(PATIENCE)?;
        ensure!(
            ended == End::Code(4) && process.said().contains("decoder: "),
            "{}",
            process.said()
        );
        scene.done();
        Ok(())
    });
}
