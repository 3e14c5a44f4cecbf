//! A sampled epoch that comes out otherwise when it is run again: it is logged, counted, and may stop the
//! pipeline. Operators cannot be made to do so, so the records behind one are altered in their file.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::net::TcpListener;

use anyhow::{Context, Result, ensure};
use floe_tests::proxy::http;

use crate::lab::{Lab, check, wait_for};
use crate::process::{End, PATIENCE};
use crate::replay::must;
use crate::scene::{Place, Scene};

const RECORDS: u64 = 10;

fn lines(offsets: std::ops::Range<u64>, amount: u64) -> String {
    let line = |it: u64| {
        let value = format!(r#"{{"txn_id":"t-{it}","merchant_id":"m","amount_minor":{amount}}}"#);
        let line =
            serde_json::json!({ "partition": 0, "offset": it, "timestamp": 5, "value": value });
        format!("{line}\n")
    };
    offsets.map(line).collect()
}

/// The sum of the metrics whose lines begin so and have the label.
pub(crate) fn metric(port: u16, name: &str, label: &str) -> Result<u64> {
    // Nobody listens before the pipeline is ours.
    let Ok(text) = http::get(&format!("http://127.0.0.1:{port}/metrics")) else { return Ok(0) };
    let text = String::from_utf8(text)?;
    let found = text.lines().filter(|it| it.starts_with(name) && it.contains(label));
    let values = found.filter_map(|it| it.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(values.sum::<f64>() as u64)
}

fn diverge(lab: &Lab, on_divergence: &str) -> Result<()> {
    let mut scene = Scene::new(lab, &format!("diverged-{on_divergence}"), Place::Local)?;
    // An epoch ends when somebody asks for a savepoint, or with the run.
    scene.settings.interval = "1h";
    let first = lines(0..RECORDS, 5);
    std::fs::write(scene.recording(), &first)?;
    scene.write_pipeline()?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let more = format!(
        "\n[verify]\nsample = \"1 of 1 epochs\"\ncpu = \"100%\"\non-divergence = \"{on_divergence}\"\n\n[telemetry]\nlisten = \"127.0.0.1:{port}\"\n"
    );
    let mut pipeline = OpenOptions::new().append(true).open(scene.pipeline())?;
    pipeline.write_all(more.as_bytes())?;

    scene.run_until_end()?;
    let second = lines(RECORDS..2 * RECORDS, 5);
    OpenOptions::new().append(true).open(scene.recording())?.write_all(second.as_bytes())?;
    let mut process = scene.start(&["run"])?;
    // What a task took is counted from the pipeline's begin.
    let taken = wait_for(PATIENCE, || {
        ensure!(!process.has_ended()?, "it ended by itself\n{}", process.last_words());
        Ok(metric(port, "floe_records_total", "direction=\"in\"")? >= 2 * RECORDS)
    })?;
    ensure!(taken, "no records were taken\n{}", process.last_words());
    // In place, and as long as before: whoever reads on does not notice.
    let mut altered = OpenOptions::new().write(true).open(scene.recording())?;
    altered.seek(SeekFrom::Start(first.len() as u64))?;
    altered.write_all(lines(RECORDS..2 * RECORDS, 7).as_bytes())?;
    must(&scene, 0, &[], &["savepoint", "pipeline.toml"])?;

    let differs = wait_for(PATIENCE, || Ok(process.said().contains("it differs")))?;
    ensure!(differs, "{}", process.last_words());
    ensure!(process.said().contains("records 10..19 are not those"), "{}", process.last_words());
    match on_divergence {
        "stop" => match process.wait(PATIENCE)? {
            End::Code(5) => {}
            end => anyhow::bail!("it ended with {end:?}\n{}", process.last_words()),
        },
        _ => {
            let counted = wait_for(PATIENCE, || {
                Ok(metric(port, "floe_verified_epochs_total", "result=\"differs\"")? == 1)
            })?;
            ensure!(counted, "it is not counted");
            ensure!(process.kill()?, "it ended by itself\n{}", process.last_words());
        }
    }
    scene.done();
    Ok(())
}

#[test]
fn an_epoch_that_differs_is_told_and_may_stop_the_pipeline() {
    check("diverged::an_epoch_that_differs", &[], |lab| {
        diverge(lab, "log").context("log")?;
        diverge(lab, "stop").context("stop")
    });
}
