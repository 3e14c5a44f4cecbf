//! Pipeline files with a mistake: exit code 2, the file's name, and what would be right.

use anyhow::{Result, ensure};

use crate::lab::check;
use crate::process::{End, PATIENCE};
use crate::scene::{Place, Scene};

/// What is replaced in a good file, by what, and what must be said.
const MISTAKES: &[(&str, &str, &[&str])] = &[
    ("interval = ", "intervall = ", &["intervall", "interval"]),
    ("interval = \"50ms\"", "interval = \"50 parsecs\"", &["parsecs", "10s"]),
    ("[pipeline]", "[pipelin]", &["pipelin", "pipeline"]),
    ("on-error = \"fail\"", "on-error = \"explode\"", &["explode", "skip"]),
    ("type = \"sql\"", "type = \"hive\"", &["hive"]),
    (".payments\"", "_payments\"", &["_payments", "namespace"]),
    ("recording = \"payments.jsonl\"", "recording = \"absent.jsonl\"", &["absent.jsonl"]),
    ("recording = \"payments.jsonl\"", "", &["source"]),
    ("partition-by = []", "partition-by = [\"bucket(x, merchant_id)\"]", &["bucket"]),
    ("partition-by = []", "partition-by = [\"identity(absent)\"]", &["absent"]),
    ("module = '", "module = '/nowhere", &["/nowhere"]),
    ("batch-records = 512", "batch-records = 0", &["too few"]),
    ("[run]", "[run", &["pipeline.toml"]),
    ("uri = \"sqlite://lake.db\"", "uri = \"${FLOE_KILL_UNSET}\"", &["FLOE_KILL_UNSET"]),
];

#[test]
fn each_mistake_is_named() {
    check("bad_files::each_mistake", &[], |lab| {
        let scene = Scene::new(lab, "bad-files", Place::Local)?;
        scene.make_input(50, 1)?;
        scene.feed(1)?.finish()?;
        scene.write_pipeline()?;
        let good = std::fs::read_to_string(scene.pipeline())?;
        let failed: Vec<String> = MISTAKES
            .iter()
            .filter_map(|(from, to, says)| {
                Some(format!("{to:?}: {:#}", one(&scene, &good, from, to, says).err()?))
            })
            .collect();
        ensure!(failed.is_empty(), "{} mistakes\n{}", failed.len(), failed.join("\n"));
        // The good one does run.
        scene.write_pipeline()?;
        scene.run_until_end()?;
        scene.compare(&[])?;
        scene.done();
        Ok(())
    });
}

fn one(scene: &Scene<'_>, good: &str, from: &str, to: &str, says: &[&str]) -> Result<()> {
    ensure!(good.contains(from), "{from:?} is not in the pipeline file");
    std::fs::write(scene.pipeline(), good.replacen(from, to, 1))?;
    for verb in ["run", "check"] {
        let mut process = scene.start(&[verb])?;
        let end = process.wait(PATIENCE)?;
        let said = process.said();
        ensure!(end == End::Code(2), "floe {verb} ended with {end:?}\n{said}");
        for word in says {
            ensure!(said.contains(word), "{word:?} is not in what floe {verb} said\n{said}");
        }
        ensure!(!said.contains("panicked"), "{said}");
    }
    Ok(())
}
