//! Operators that are broken or hostile: each ends as what it is, the host lives, in bounded time and memory,
//! nothing of it is seen in the table, and the right operator afterwards finishes exactly.

mod table;

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use self::table::{Case, Outcome, cases};
use crate::lab::{Lab, check, root};
use crate::process::{End, PATIENCE};
use crate::scene::{Place, Scene};

/// Of the processor, from a start to its end, whatever the module does.
const TIME_MAX: Duration = Duration::from_secs(10);
/// What an instance may have, by the pipeline file.
const GUEST_MIB: u64 = 64;
/// The host itself, its compiler with it, on top of that.
const HOST_MIB_MAX: u64 = 384;

const RECORDS: usize = 3;

#[test]
fn each_broken_operator_is_named() {
    check("hostile::each_broken_operator", &[], |lab| {
        let only = std::env::var("FLOE_KILL_MODULE").ok();
        let mut cases = cases();
        ensure!(cases.len() >= 50, "{} cases", cases.len());
        cases.retain(|it| only.as_ref().is_none_or(|name| it.name == name));
        let queue: Mutex<VecDeque<Case>> = Mutex::new(cases.into());
        let failed = Mutex::new(Vec::new());
        // Two at a time: one waits for the disk while the other works.
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    loop {
                        let next = queue.lock().expect("no one panics with it").pop_front();
                        let Some(case) = next else { break };
                        if let Err(error) = one(lab, &case) {
                            let text = format!("{}: {error:#}", case.name);
                            failed.lock().expect("no one panics with it").push(text);
                        }
                    }
                });
            }
        });
        let failed = failed.into_inner().expect("no one panics with it");
        if !failed.is_empty() {
            bail!(
                "{} cases\n\n{}\n(one alone: FLOE_KILL_MODULE=name)",
                failed.len(),
                failed.join("\n\n")
            );
        }
        Ok(())
    });
}

fn one(lab: &Lab, case: &Case) -> Result<()> {
    let mut scene = Scene::new(lab, &format!("module-{}", case.name), Place::Local)?;
    let hostile = scene.folder.join(format!("{}.wat", case.name));
    std::fs::write(&hostile, &case.module)?;
    scene.settings.module = hostile;
    // Half of them wait for the watchdog.
    scene.settings.operator = format!(
        "limits = {{ memory = \"{GUEST_MIB}MiB\", time-per-batch = \"100ms\"{} }}",
        case.limits
    );
    std::fs::write(scene.recording(), recording())?;
    scene.write_pipeline()?;

    let mut process = scene.start(&["run", "--until-end"])?;
    let end = process.wait(PATIENCE)?;
    let (took, said) = (process.processor_time(), process.said());
    let peak_mib = process.peak_mib();
    println!("{}: {end:?} in {:.2} s of CPU, {peak_mib} MiB", case.name, took.as_secs_f64());
    let expected = match case.outcome {
        Outcome::Works => End::Code(0),
        Outcome::Fails => End::Code(1),
        Outcome::Refused => End::Code(2),
    };
    ensure!(end == expected, "it ended with {end:?}\n{said}");
    ensure!(took <= TIME_MAX, "it took {took:?}\n{said}");
    ensure!(peak_mib <= GUEST_MIB + HOST_MIB_MAX, "it took {peak_mib} MiB\n{said}");
    ensure!(!said.contains("panicked"), "the host panicked\n{said}");
    let is_error = (case.outcome != Outcome::Works).then_some(&"error:");
    for word in case.says.iter().chain(is_error) {
        ensure!(said.contains(word), "{word:?} is not in what it said\n{said}");
    }
    if case.outcome != Outcome::Works {
        ensure!(said.len() < 2 << 20, "it said {} bytes", said.len());
        let is_there = scene.folder.join("lake.db").exists();
        ensure!(!is_there || scene.row_count()? == 0, "rows of it are in the table");
        // The right one in its place, with the limits that modules have.
        scene.settings.operator = String::new();
        scene.settings.module = root().join("runtime/cli/src/demo/counter.wat");
        scene.write_pipeline()?;
        scene.run_until_end().context("the right operator after it")?;
    }
    let rows = scene.rows()?;
    ensure!(rows == expected_rows(), "the rows are\n{}", rows.join("\n"));
    scene.done();
    Ok(())
}

fn recording() -> String {
    let line = |it: usize| {
        format!(
            r#"{{"partition":0,"offset":{it},"timestamp":{it},"value":"{{\"order_id\":\"o-{it}\"}}"}}"#
        ) + "\n"
    };
    (0..RECORDS).map(line).collect()
}

fn expected_rows() -> Vec<String> {
    let row = |it: usize| {
        let row = serde_json::json!({"offset": it, "order_id": format!("o-{it}"), "count": it + 1});
        row.to_string()
    };
    (0..RECORDS).map(row).collect()
}
