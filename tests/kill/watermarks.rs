//! Watermarks in the real program: an operator that stops at one, and a partition that falls silent.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::lab::{check, wait_for};
use crate::process::{End, PATIENCE};
use crate::scene::{Place, Scene};

const COUNTER: &str = include_str!("../../runtime/cli/src/demo/counter.wat");
const BEGIN: i64 = 1_760_000_000_000;

#[test]
fn an_operator_that_stops_at_a_watermark_stops_the_pipeline() {
    check("watermarks::an_operator_that_stops", &[], |lab| {
        let mut scene = Scene::new(lab, "stops-at-a-watermark", Place::Local)?;
        let module = COUNTER.trim_end().strip_suffix(')').context("a module in text")?;
        let module = format!(
            "{module}\n  (func (export \"floe_v1_watermark\") (param i64) (result i32) unreachable))"
        );
        scene.settings.module = scene.folder.join("stops.wat");
        std::fs::write(&scene.settings.module, module)?;
        let mut text = String::new();
        for offset in 0..9 {
            let value = format!(r#"{{\"order_id\":\"o-{offset}\"}}"#);
            writeln!(
                text,
                r#"{{"partition":0,"offset":{offset},"timestamp":{},"value":"{value}"}}"#,
                BEGIN + offset
            )?;
        }
        std::fs::write(scene.recording(), text)?;
        // A record would be passed over; a watermark is none.
        scene.settings.on_error = "skip";
        scene.settings.source =
            Some("recording = \"payments.jsonl\"\nevent-time = { out-of-order = \"1ms\" }".into());
        scene.write_pipeline()?;
        let mut process = scene.start(&["run", "--until-end"])?;
        ensure!(process.wait(PATIENCE)? == End::Code(1), "{}", process.last_words());
        let said = process.said();
        let place = format!("watermark {} ms of payments/0 stopped operator", BEGIN + 7);
        for words in [&*place, "on-error does not go past it", "unreachable"] {
            ensure!(said.contains(words), "{words:?} is not in\n{said}");
        }
        // Told no watermark, the same operator comes to the end.
        scene.settings.source = Some("recording = \"payments.jsonl\"".into());
        scene.write_pipeline()?;
        scene.run_until_end()?;
        ensure!(scene.row_count()? == 9, "{} rows", scene.row_count()?);
        scene.done();
        Ok(())
    });
}

/// Partition 1 ends early. Its window is closed once it is idle, by the watermark of partition 0.
#[test]
fn a_silent_partition_follows_the_others() {
    check("watermarks::a_silent_partition", &[], |lab| {
        let mut scene = Scene::new(lab, "silent-partition", Place::Local)?;
        scene.settings.module = lab.payments.with_file_name("floe_example_nexmark.wasm");
        scene.settings.interval = "50ms";
        scene.settings.operator = "config = { query = \"q12\" }".into();
        scene.settings.source = Some(
            "recording = \"payments.jsonl\"\nevent-time = { field = \"ts\", idle-after = \"200ms\" }"
                .into(),
        );
        scene.write_pipeline()?;
        let text = bids(1, [1, 2, 3].into_iter())? + &bids(0, 0..200)?;
        std::fs::write(scene.recording(), text)?;
        let mut process = scene.start(&["run"])?;
        // Partition 0 must not be silent itself, so it goes on.
        let mut second = 200;
        let closed = wait_for(PATIENCE, || {
            append(&scene.recording(), &bids(0, second..second + 1)?)?;
            second += 1;
            std::thread::sleep(Duration::from_millis(50));
            if second % 20 != 0 {
                return Ok(false);
            }
            // The table is not there at once.
            Ok(scene.rows().is_ok_and(|rows| rows.iter().any(|it| it.contains("\"partition\":1"))))
        })?;
        ensure!(closed, "the window of partition 1 stays open\n{}", process.last_words());
        ensure!(process.kill()?, "it ended by itself\n{}", process.last_words());
        let rows = scene.rows()?;
        let of_silent: Vec<_> = rows.iter().filter(|it| it.contains("\"partition\":1")).collect();
        ensure!(of_silent.len() == 1 && of_silent[0].contains("\"count\":3"), "{of_silent:?}");
        scene.done();
        Ok(())
    });
}

/// One bid of bidder 5 a second, by the seconds named.
fn bids(partition: u64, seconds: impl Iterator<Item = i64>) -> Result<String> {
    let mut text = String::new();
    for (number, second) in seconds.enumerate() {
        // The offsets of partition 0 are its seconds.
        let offset = if partition == 0 { second } else { number as i64 };
        let ts = BEGIN + second * 1_000;
        let value =
            format!(r#"{{\"kind\":\"bid\",\"ts\":{ts},\"auction\":1,\"bidder\":5,\"price\":9}}"#);
        writeln!(
            text,
            r#"{{"partition":{partition},"offset":{offset},"timestamp":{ts},"value":"{value}"}}"#
        )?;
    }
    Ok(text)
}

fn append(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new().append(true).open(path)?;
    file.write_all(text.as_bytes()).context("append to the recording")
}
