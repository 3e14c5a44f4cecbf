//! Nexmark: each query's rows against DuckDB's answer over the same events, in order and out of order, with
//! kills in the middle. Watermarks, windows, sessions and a join, by a real guest in the real program.

use std::fmt::Write as _;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::lab::{Lab, Random, check, root};
use crate::points::crash;
use crate::replay::must;
use crate::scene::{Place, Scene};
use floe_core::crash_point::CrashPoint;

const EVENTS: u64 = 6_000;
const EVENTS_PER_SECOND: u64 = 20_000;
const PARTITIONS: u64 = 2;
/// How far an event may lie behind the newest of its partition.
const OUT_OF_ORDER_MS: u64 = 2_000;
/// Between two events: with as many events as above, two minutes pass.
const STEP_MS: u64 = 20;

/// Over the events of one partition each, but for the first three, which are of single events.
const OF_PARTITIONS: [&str; 10] = ["q0", "q1", "q2", "q3", "q5", "q7", "q8", "q11", "q12", "q14"];
/// What these ask of an auction has bids in every partition, so they stand behind an exchange by it.
const OF_AUCTIONS: [&str; 4] = ["q4", "q17", "q18", "q19"];

#[test]
fn queries_over_events_in_order_are_as_duckdb_has_them() {
    check("nexmark::queries_over_events_in_order", &[], |lab| answer(lab, "in-order", false));
}

#[test]
fn queries_over_events_out_of_order_are_as_duckdb_has_them() {
    check("nexmark::queries_over_events_out_of_order", &[], |lab| answer(lab, "shuffled", true));
}

/// All queries are one pipeline, each with a table of its own: the events are read once.
fn answer(lab: &Lab, order: &str, shuffled: bool) -> Result<()> {
    let scene = Scene::new(lab, &format!("nexmark-{order}"), Place::Local)?;
    std::fs::write(scene.input(), events(shuffled)?).context("write the events")?;
    std::fs::write(scene.pipeline(), pipeline(&scene)?).context("write the pipeline file")?;
    let mut feed = scene.feed(EVENTS_PER_SECOND)?;
    // With windows open each time: their state comes out of the checkpoint.
    for (life, point) in (1..).zip([
        CrashPoint::AfterManifest,
        CrashPoint::BeforeCapture,
        // Some of the tables have the epoch.
        CrashPoint::AfterCommit,
        CrashPoint::AfterDataFileClose,
    ]) {
        feed.allow(life * EVENTS / 5)?;
        crash(&scene, point, 1).with_context(|| order.to_owned())?;
    }
    feed.finish()?;
    scene.run_until_end().with_context(|| order.to_owned())?;
    compare(&scene)?;
    scene.done();
    Ok(())
}

fn pipeline(scene: &Scene<'_>) -> Result<String> {
    let guest = scene.lab.payments.with_file_name("floe_example_nexmark.wasm");
    ensure!(guest.exists(), "{} is not built: cargo xtask test builds it", guest.display());
    let mut text = format!(
        r#"[pipeline]
id = "{}"
[source]
recording = "payments.jsonl"
columns = ["kind: string", "ts: long", "auction: long?", "bidder: long?", "price: long?", "person: long?", "state: string?", "seller: long?", "category: long?", "expires: long?", "extra: string?", "_partition: int"]
event-time = {{ field = "ts", out-of-order = "{OUT_OF_ORDER_MS}ms", idle-after = "30s" }}
[checkpoint]
store = "file://./checkpoints"
interval = "30ms"
[run]
batch-records = 256
[[operator]]
name = "events"
plugin = "project"
config = {{ columns = ["*"] }}
"#,
        scene.id
    );
    let query = |name: &str, input: &str| {
        format!(
            "[[operator]]\nname = \"{name}\"\nmodule = '{}'\ninput = \"{input}\"\nconfig = {{ query = \"{name}\" }}\n",
            guest.display()
        )
    };
    text.extend(OF_PARTITIONS.map(|it| query(it, "events")));
    text += BY_AUCTION;
    text.extend(OF_AUCTIONS.map(|it| query(it, "by-auction")));
    text += AVERAGES;
    for name in OF_PARTITIONS.into_iter().chain(OF_AUCTIONS) {
        let input = if name == "q4" { "averages" } else { name };
        write!(
            text,
            "[[sink]]\nname = \"{name}\"\ninput = \"{input}\"\niceberg = \"{}.{name}\"\ncatalog = {{ type = \"sql\", uri = \"sqlite://lake.db\", warehouse = \"file://./lake\" }}\n",
            scene.namespace()
        )?;
    }
    Ok(text)
}

const BY_AUCTION: &str = r#"[[operator]]
name = "by-auction"
plugin = "project"
input = "events"
key-by = ["auction"]
tasks = 2
config = { columns = ["*"] }
"#;

/// q4's second half: the winning bids' average of each category, over all that ended on a day.
const AVERAGES: &str = r#"[[operator]]
name = "averages"
plugin = "tumble"
input = "q4"
key-by = ["category"]
tasks = 2
config = { key = ["category"], time = "end", size = "1d", aggregates = ["count() as count", "sum(price) as sum", "avg(price) as average"] }
"#;

fn compare(scene: &Scene<'_>) -> Result<()> {
    let mut command = Command::new(&scene.lab.python);
    command.arg(root().join("tests/readers/nexmark.py")).arg(scene.input());
    for name in OF_PARTITIONS.into_iter().chain(OF_AUCTIONS) {
        let rows = scene.folder.join(format!("{name}.jsonl"));
        let said = must(scene, 0, &[], &["rows", "pipeline.toml", "--sink", name, "--json"])?;
        std::fs::write(&rows, said)?;
        command.arg(format!("{name}={}", rows.display()));
    }
    let out = command.output().context("start nexmark.py")?;
    let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    if !out.status.success() {
        bail!("{said}");
    }
    print!("{said}");
    Ok(())
}

/// As the benchmark has them: of 50 events 1 is a person, 3 are auctions, and 46 bids, most for one of the
/// newest auctions. Persons and auctions go to the partition of the person, bids to that of the bidder. The
/// last event of each partition, two days on, closes every window before it.
fn events(shuffled: bool) -> Result<String> {
    let mut random = Random(42);
    let mut text = String::new();
    let mut ends = [0u64; PARTITIONS as usize];
    let begin = 1_760_000_000_000;
    let mut auctions = 0u64;
    let mut push = |partition: u64, ts: u64, fields: &str| {
        let end = &mut ends[partition as usize];
        let value = format!("{{\\\"ts\\\":{ts},{}}}", fields.replace('"', "\\\""));
        let line = writeln!(
            text,
            "{{\"partition\":{partition},\"offset\":{end},\"timestamp\":{begin},\"value\":\"{value}\"}}"
        );
        *end += 1;
        line
    };
    for number in 0..EVENTS {
        // Now and then nothing happens for a while, or sessions would never end.
        let pause = number / 1_000 * 15_000;
        let late = if shuffled { random.below(OUT_OF_ORDER_MS) } else { 0 };
        let ts = begin + number * STEP_MS + pause - late;
        let person = random.below(60);
        match number % 50 {
            0 => {
                let state = ["OR", "ID", "CA", "NV", "WA"][random.below(5) as usize];
                let fields = format!(r#""kind":"person","person":{person},"state":"{state}""#);
                push(person % PARTITIONS, ts, &fields)?;
            }
            1..=3 => {
                let (category, expires) = (10 + random.below(3), ts + 2_000 + random.below(9_000));
                let fields = format!(
                    r#""kind":"auction","auction":{auctions},"seller":{person},"category":{category},"expires":{expires}"#
                );
                auctions += 1;
                push(person % PARTITIONS, ts, &fields)?;
            }
            _ => {
                let auction = auctions.saturating_sub(1 + random.below(20));
                let price = (100 + random.below(10_000)) * 10_u64.pow(random.below(5) as u32);
                let extra: String =
                    (0..8).map(|_| char::from(b'a' + random.below(5) as u8)).collect();
                let fields = format!(
                    r#""kind":"bid","auction":{auction},"bidder":{person},"price":{price},"extra":"{extra}""#
                );
                push(person % PARTITIONS, ts, &fields)?;
            }
        }
    }
    for partition in 0..PARTITIONS {
        push(partition, begin + 2 * 86_400_000, r#""kind":"end""#)?;
    }
    Ok(text)
}
