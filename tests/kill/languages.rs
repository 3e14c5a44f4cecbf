//! Operators of every language through the real program: each epoch is run again in other ways, in other
//! processes, and every state and every row comes out the same.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::lab::{Lab, check, root};
use crate::recorded::epoch_by_epoch;
use crate::replay::{epochs, json};
use crate::scene::{Place, Scene};

/// Operators that drop what they saw before, one for each language, as `cargo xtask guests` builds them.
const LANGUAGES: [&str; 6] = ["c", "cpp", "go", "as", "zig", "js"];

const RECORDS: u64 = 6_000;
/// Before the process is killed.
const EPOCHS: u64 = 10;

/// 4 partitions; one in eight repeats an earlier id; one in a hundred is rejected.
pub(crate) fn clicks() -> String {
    let mut text = String::new();
    for number in 0..RECORDS {
        let id = match number {
            _ if number % 100 == 50 => String::new(),
            _ if number % 8 == 7 => format!("click-{}", number / 2),
            _ => format!("click-{number}"),
        };
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            r#"{{"partition":{},"offset":{},"timestamp":{},"value":"{{\"id\":\"{id}\",\"amount\":{}}}"}}"#,
            number % 4,
            number / 4,
            1_760_000_000_000 + number * 500,
            number % 97
        );
    }
    text
}

fn every_way(lab: &Lab, language: &str, module: PathBuf) -> Result<()> {
    let mut scene = Scene::new(lab, &format!("language-{language}"), Place::Local)?;
    scene.settings.module = match language {
        "js" => with_example(&scene, &module)?,
        _ => module,
    };
    scene.settings.on_error = "skip";
    // Go's takes long where the machine is slow or busy.
    scene.settings.operator = "limits = { compile-time = \"20m\" }".to_owned();
    scene.settings.keep = 1000;
    scene.settings.interval = "10ms";
    scene.settings.batch_records = 100;
    scene.settings.source =
        Some("recording = \"payments.jsonl\"\nevent-time = { out-of-order = \"5s\" }".to_owned());
    std::fs::write(scene.input(), clicks())?;
    scene.write_pipeline()?;
    let mut feed = scene.feed(1_000_000)?;
    epoch_by_epoch(&scene, &mut feed, RECORDS / 20, EPOCHS)?;
    feed.finish()?;
    scene.run_until_end()?;
    let last = epochs(&scene)?;
    ensure!(last > EPOCHS, "{last} epochs");
    let verified = json(&scene, &["verify-determinism", "pipeline.toml", "--json"])
        .with_context(|| format!("{language}, {last} epochs"))?;
    let ways = verified["ways"].as_array().context("no ways")?;
    ensure!(ways.len() >= 4 && ways.iter().all(|it| it["identical"] == true), "{verified}");
    ensure!(verified["records"] == RECORDS && verified["epochs"] == last, "{verified}");
    println!("{language}: {last} epochs in {} ways", ways.len());
    scene.done();
    Ok(())
}

/// The interpreter with the SDK's example in it.
fn with_example(scene: &Scene<'_>, interpreter: &Path) -> Result<PathBuf> {
    let script = std::fs::read_to_string(root().join("sdk/javascript/examples/dedup.js"))?;
    let module = floe_operator::with_script(&std::fs::read(interpreter)?, &script)?;
    let path = scene.folder.join("dedup_js.wasm");
    std::fs::write(&path, module)?;
    Ok(path)
}

#[test]
fn every_language_comes_out_the_same() {
    check("languages::every_language", &[], |lab| {
        for language in LANGUAGES {
            let file = match language {
                "js" => "javascript.wasm".to_owned(),
                _ => format!("dedup_{language}.wasm"),
            };
            let module = lab.payments.with_file_name(file);
            if !module.exists() {
                ensure!(std::env::var_os("CI").is_none(), "{} is not built", module.display());
                println!("skipped {language}: it is not built (cargo xtask guests)");
                continue;
            }
            every_way(lab, language, module)?;
        }
        Ok(())
    });
}
