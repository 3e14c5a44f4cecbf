//! Payments: five of them with a duplicate, and then many under fire.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::demo::Story;
use crate::demo::files::{Pipeline, Produced, Topic};
use crate::show;

const PARTITIONS: i32 = 4;
const MERCHANTS: u64 = 1_000;
/// As many of a hundred payments are sent twice.
const DUPLICATES_PERCENT: u64 = 7;

const NO_DEDUP: &str = "{ dedup = false }";
const DEDUP: &str = "{ dedup = true }";

#[derive(Clone)]
struct Payment {
    partition: i32,
    offset: i64,
    txn_id: String,
    merchant_id: String,
    amount_minor: i64,
}

/// One row of the table, and the record that it must come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    txn_id: String,
    merchant_id: String,
    amount_minor: i64,
    running_total: i64,
    partition: i64,
    offset: i64,
}

pub(super) fn tell_five(story: &mut Story, module: &Path) -> anyhow::Result<()> {
    println!("2. Five payments, txn-3 sent twice; running totals per merchant.\n");
    let payments: Vec<Payment> = [
        (0, "txn-1", "m-A", 1000),
        (1, "txn-2", "m-A", 500),
        (2, "txn-3", "m-B", 2000),
        (3, "txn-3", "m-B", 2000),
        (4, "txn-4", "m-A", 300),
    ]
    .map(|(offset, txn_id, merchant_id, amount_minor)| Payment {
        partition: 0,
        offset,
        txn_id: txn_id.to_owned(),
        merchant_id: merchant_id.to_owned(),
        amount_minor,
    })
    .into();
    let mut topic = Topic::create(story.dir.join("payments.jsonl"))?;
    topic.append(payments.iter().map(produced))?;
    for (id, config, what, expected) in [
        ("totals", NO_DEDUP, "without dedup", [("m-A", 1800), ("m-B", 4000)]),
        ("unique-totals", DEDUP, "with the ids in the state", [("m-A", 1800), ("m-B", 2000)]),
    ] {
        let pipeline = Pipeline {
            id,
            guarantee: "exactly-once",
            recording: "payments.jsonl",
            module,
            config,
            batch_records: 8192,
            interval: "10s",
        }
        .write(&story.dir)?;
        story.children.run(&["run", &pipeline.to_string_lossy(), "--until-end"])?;
        let mut totals: BTreeMap<String, i64> = BTreeMap::new();
        for row in rows(story, &pipeline)? {
            let most = totals.entry(row.merchant_id).or_default();
            *most = row.running_total.max(*most);
        }
        let shown: Vec<String> = totals.iter().map(|(it, total)| format!("{it} {total}")).collect();
        let holds = totals.iter().map(|(it, total)| (it.as_str(), *total)).eq(expected);
        story.check(holds, &format!("{what}: {}", shown.join(", ")));
    }
    Ok(())
}

pub(super) fn tell_many(
    story: &mut Story,
    module: &Path,
    records: u64,
    kills: u32,
) -> anyhow::Result<()> {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_nanos() as u64);
    let mut random = Random(seed);
    println!(
        "3. {} payments in {PARTITIONS} partitions, {DUPLICATES_PERCENT} % sent twice; kill -9 at {kills} random moments (seed {seed}).\n",
        show::grouped(records)
    );
    let payments = make(records, &mut random);
    let mut topic = Topic::create(story.dir.join("many.jsonl"))?;
    let pipeline = Pipeline {
        id: "many",
        guarantee: "exactly-once",
        recording: "many.jsonl",
        module,
        config: DEDUP,
        batch_records: 1024,
        interval: "50ms",
    }
    .write(&story.dir)?;
    let text = pipeline.to_string_lossy().into_owned();

    // Each run finds more in the topic than the one before, so that every kill hits a working process.
    let slices = kills as usize + 1;
    let slice_len = payments.len().div_ceil(slices).max(1);
    let mut slices = payments.chunks(slice_len);
    for number in 1..=kills {
        topic.append(slices.next().unwrap_or_default().iter().map(produced))?;
        let mut child = story.children.start(&["run", &text])?;
        let lives = Duration::from_millis(20 + random.below(480));
        std::thread::sleep(lives);
        let ended_before = child.try_wait()?.is_some();
        child.kill()?;
        child.wait()?;
        if ended_before {
            anyhow::bail!("run {number} ended by itself\n{}", story.children.last_words());
        }
        println!("    kill -9 after {}", show::duration(lives));
    }
    for slice in slices {
        topic.append(slice.iter().map(produced))?;
    }
    story.children.run(&["run", &text, "--until-end"])?;

    let mut found = rows(story, &pipeline)?;
    let mut expected = recompute(&payments);
    found.sort();
    expected.sort();
    let twice = found.windows(2).filter(|it| it[0].txn_id == it[1].txn_id).count();
    let different = difference(&found, &expected);
    println!(
        "    {} payments sent, {} of them unique; {} rows in the table",
        show::grouped(payments.len() as u64),
        show::grouped(expected.len() as u64),
        show::grouped(found.len() as u64)
    );
    for line in different.iter().take(5) {
        println!("    {line}");
    }
    story.check(
        different.is_empty() && twice == 0,
        &format!(
            "compared row by row with a plain recomputation: {} differ, {twice} twice",
            different.len()
        ),
    );
    Ok(())
}

/// A payment that is sent again has an offset of its own, in the partition of its merchant.
fn make(records: u64, random: &mut Random) -> Vec<Payment> {
    let mut payments: Vec<Payment> = Vec::new();
    let mut ends = [0; PARTITIONS as usize];
    for number in 0..records {
        let again = !payments.is_empty() && random.below(100) < DUPLICATES_PERCENT;
        let mut payment = if again {
            payments[random.below(payments.len() as u64) as usize].clone()
        } else {
            let merchant = random.below(MERCHANTS);
            Payment {
                partition: (merchant % PARTITIONS as u64) as i32,
                offset: 0,
                txn_id: format!("txn-{number}"),
                merchant_id: format!("m-{merchant}"),
                amount_minor: random.below(1_000_000) as i64,
            }
        };
        let end = &mut ends[payment.partition as usize];
        payment.offset = *end;
        *end += 1;
        payments.push(payment);
    }
    payments
}

fn produced(payment: &Payment) -> Produced<'_> {
    Produced {
        partition: payment.partition,
        offset: payment.offset,
        key: &payment.merchant_id,
        value: json!({
            "txn_id": payment.txn_id,
            "merchant_id": payment.merchant_id,
            "amount_minor": payment.amount_minor,
        }),
    }
}

/// What the operator does, without a runtime.
fn recompute(payments: &[Payment]) -> Vec<Row> {
    let mut seen = BTreeSet::new();
    let mut totals: BTreeMap<&str, i64> = BTreeMap::new();
    let mut rows = Vec::new();
    for payment in payments {
        if seen.insert(&payment.txn_id) {
            let total = totals.entry(&payment.merchant_id).or_default();
            *total += payment.amount_minor;
            rows.push(Row {
                txn_id: payment.txn_id.clone(),
                merchant_id: payment.merchant_id.clone(),
                amount_minor: payment.amount_minor,
                running_total: *total,
                partition: i64::from(payment.partition),
                offset: payment.offset,
            });
        }
    }
    rows
}

fn difference(found: &[Row], expected: &[Row]) -> Vec<String> {
    let found: BTreeSet<&Row> = found.iter().collect();
    let wanted: BTreeSet<&Row> = expected.iter().collect();
    let show = |what: &str, row: &Row| {
        format!(
            "{what}: many/{} @ {}: {} {} {} → {}",
            row.partition,
            row.offset,
            row.txn_id,
            row.merchant_id,
            row.amount_minor,
            row.running_total
        )
    };
    let missing = wanted.difference(&found).map(|it| show("missing", it));
    missing.chain(found.difference(&wanted).map(|it| show("not expected", it))).collect()
}

fn rows(story: &Story, pipeline: &Path) -> anyhow::Result<Vec<Row>> {
    let rows = story.children.rows(pipeline)?;
    let row = |row: &Value| {
        let number = |name: &str| row.get(name).and_then(Value::as_i64).unwrap_or(i64::MIN);
        let text =
            |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Row {
            txn_id: text("txn_id"),
            merchant_id: text("merchant_id"),
            amount_minor: number("amount_minor"),
            running_total: number("running_total"),
            partition: number("kafka_partition"),
            offset: number("kafka_offset"),
        }
    };
    Ok(rows.iter().map(row).collect())
}

/// splitmix64: the printed seed makes the same payments and the same moments again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
