//! Five orders are counted, and the process dies at the worst moment: after the row of offset 2 was
//! written, before its offset was recorded.

use std::path::Path;

use serde_json::{Value, json};

use crate::demo::Story;
use crate::demo::files::{Pipeline, Produced, Topic};
use crate::demo::naive::KILL_ME;

const COUNTER: &str = include_str!("counter.wat");
const ORDERS: i64 = 5;
/// The order at whose row the process dies.
const WORST: i64 = 2;

pub(super) fn tell(story: &mut Story) -> anyhow::Result<()> {
    println!(
        "1. Five orders are counted. The process dies after the row of offset 2, before its offset.\n"
    );
    let module = story.dir.join("counter.wat");
    std::fs::write(&module, COUNTER)?;
    naive(story, &module)?;
    PROMISES.iter().try_for_each(|promise| keep(story, &module, promise))
}

fn naive(story: &mut Story, module: &Path) -> anyhow::Result<()> {
    println!(
        "  A naive loop, state kept apart from offsets (a demonstration, not how floe works):"
    );
    let mut topic = Topic::create(story.dir.join("naive.jsonl"))?;
    topic.append((0..ORDERS).map(order))?;
    let pipeline = pipeline("naive", "naive.jsonl", module).write(&story.dir)?;
    let (pipeline_text, kept) = (pipeline.to_string_lossy(), story.dir.join("naive-kept"));
    let kept = kept.to_string_lossy();
    let args = ["demo-naive", &*pipeline_text, "--dir", &*kept];
    story.children.kill_at(&[&args[..], &["--die-after", "2"]].concat(), KILL_ME)?;
    story.children.run(&args)?;
    let rows = rows(story, &pipeline)?;
    let expected = [(0, 1), (1, 2), (2, 3), (2, 4), (3, 5), (4, 6)];
    story.check(
        rows == expected,
        "6 rows, count 6, offset 2 twice with counts 3 and 4: the naive loop is wrong, as it must be",
    );
    Ok(())
}

/// One guarantee: where the process dies, what that leaves behind, and what must be in the table after all.
struct Promise {
    guarantee: &'static str,
    dies: &'static str,
    left: &'static str,
    rows: &'static [(i64, i64)],
    says: &'static str,
}

const PROMISES: [Promise; 3] = [
    Promise {
        guarantee: "exactly-once",
        dies: "before-manifest",
        left: "died with the row of offset 2 in a data file, and no checkpoint of it",
        rows: &[(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)],
        says: "5 rows, counts 1 2 3 4 5: nothing twice, nothing lost",
    },
    Promise {
        guarantee: "at-least-once",
        dies: "before-manifest",
        left: "died with the row of offset 2 in the table, and no checkpoint of it",
        rows: &[(0, 1), (1, 2), (2, 3), (2, 3), (3, 4), (4, 5)],
        says: "6 rows, counts 1 2 3 3 4 5: one twice, none lost, and the count is exact",
    },
    Promise {
        guarantee: "at-most-once",
        dies: "before-commit",
        left: "died with offset 2 in the checkpoint, and its row not in the table",
        rows: &[(0, 1), (1, 2), (3, 4), (4, 5)],
        says: "4 rows, counts 1 2 4 5: one lost, none twice, and the count is exact",
    },
];

fn keep(story: &mut Story, module: &Path, promise: &Promise) -> anyhow::Result<()> {
    let Promise { guarantee, dies, left, rows: expected, says } = promise;
    println!("  floe, {guarantee}:");
    let recording = format!("{guarantee}.jsonl");
    let mut topic = Topic::create(story.dir.join(&recording))?;
    let id = format!("orders-{guarantee}");
    let of_orders = Pipeline { guarantee, ..pipeline(&id, &recording, module) };
    let pipeline = of_orders.write(&story.dir)?;
    let text = pipeline.to_string_lossy();
    let args = ["run", &*text, "--until-end"];
    topic.append((0..WORST).map(order))?;
    story.children.run(&args)?;
    topic.append((WORST..=WORST).map(order))?;
    story.children.crash(&args, dies)?;
    println!("    ({left})");
    topic.append((WORST + 1..ORDERS).map(order))?;
    story.children.run(&args)?;
    let rows = rows(story, &pipeline)?;
    story.check(rows == *expected, says);
    Ok(())
}

fn pipeline<'a>(id: &'a str, recording: &'a str, module: &'a Path) -> Pipeline<'a> {
    Pipeline {
        id,
        guarantee: "exactly-once",
        recording,
        module,
        config: "{}",
        batch_records: 1,
        interval: "10s",
    }
}

fn order(number: i64) -> Produced<'static> {
    Produced {
        partition: 0,
        offset: number,
        key: "orders",
        value: json!({ "order_id": format!("order-MUM-{}", 1000 + number) }),
    }
}

/// (offset, count) of each row, printed and in order.
fn rows(story: &Story, pipeline: &Path) -> anyhow::Result<Vec<(i64, i64)>> {
    let mut rows: Vec<(i64, i64, String)> = story
        .children
        .rows(pipeline)?
        .iter()
        .map(|row| {
            let number = |name: &str| row.get(name).and_then(Value::as_i64).unwrap_or(-1);
            let id = row.get("order_id").and_then(Value::as_str).unwrap_or_default();
            (number("offset"), number("count"), id.to_owned())
        })
        .collect();
    rows.sort();
    let mut before = None;
    for (offset, count, id) in &rows {
        let again = if before == Some(*offset) { "   ← again" } else { "" };
        println!("    offset {offset}  {id}  count {count}{again}");
        before = Some(*offset);
    }
    Ok(rows.into_iter().map(|(offset, count, _)| (offset, count)).collect())
}
