//! An operator is exchanged for another build of it, and the command is killed at each step: not a row is
//! lost or repeated, whatever was killed, upgraded or rolled back in between.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::lab::{Lab, check};
use crate::process::{End, PATIENCE};
use crate::scene::{Place, Scene};

/// The steps of an upgrade's one checkpoint.
const POINTS: &[&str] = &[
    "before-claim",
    "after-claim",
    "before-part",
    "after-part",
    "before-manifest",
    "after-manifest",
];

/// SIGABRT, by which a crash point ends the process.
const ABORTED: i32 = 6;

const RECORDS_EACH: usize = 400;

#[test]
fn killed_at_every_step() {
    check("upgrades::killed_at_every_step", &[], |lab| {
        let mut scene = Scene::new(lab, "upgrades", Place::Local)?;
        scene.make_input((RECORDS_EACH * (POINTS.len() + 3)) as u64, 7)?;
        let input = std::fs::read_to_string(scene.input())?;
        let mut lines = input.lines();
        let mut hand_out = |scene: &Scene<'_>| -> Result<()> {
            let mut file = OpenOptions::new().create(true).append(true).open(scene.recording())?;
            for line in lines.by_ref().take(RECORDS_EACH) {
                writeln!(file, "{line}")?;
            }
            Ok(())
        };
        hand_out(&scene)?;
        scene.write_pipeline()?;
        scene.run_until_end()?;

        for (number, point) in POINTS.iter().enumerate() {
            let module = build(lab, &scene, number)?;
            let named = format!("payments={}", module.display());
            let upgrade = ["upgrade", "--operator", &named, "--apply"];
            let mut killed = scene.start_armed_with(&upgrade, point)?;
            let end = killed.wait(PATIENCE)?;
            ensure!(end == End::Signal(ABORTED), "{point}: {end:?}\n{}", killed.last_words());
            said(&scene, &upgrade, 0, &[])?;
            // Given once more it finds nothing to do.
            said(&scene, &upgrade, 0, &["nothing to do"])?;

            // The file has the old module still, and is told the way forward.
            said(&scene, &["run", "--until-end"], 4, &["floe upgrade"])?;
            scene.settings.module = module;
            hand_out(&scene)?;
            scene.write_pipeline()?;
            scene.run_until_end()?;
        }

        // Back by the state that the new one tells, and on.
        said(&scene, &["upgrade", "--rollback"], 0, &["took the state"])?;
        scene.settings.module = build(lab, &scene, POINTS.len() - 2)?;
        hand_out(&scene)?;
        scene.write_pipeline()?;
        scene.run_until_end()?;
        let module = build(lab, &scene, 99)?;
        let named = format!("payments={}", module.display());
        said(
            &scene,
            &["upgrade", "--operator", &named, "--try", "3"],
            0,
            &["identical", "0 changed"],
        )?;
        said(&scene, &["upgrade", "--operator", &named, "--apply"], 0, &[])?;
        // Nothing ran: back to the bit.
        said(&scene, &["upgrade", "--rollback"], 0, &["to the bit"])?;
        hand_out(&scene)?;
        scene.run_until_end()?;
        scene.compare(&[])?;
        scene.done();
        Ok(())
    });
}

/// Another build of the payments operator: the same code, and another hash.
fn build(lab: &Lab, scene: &Scene<'_>, number: usize) -> Result<PathBuf> {
    let mut bytes = std::fs::read(&lab.payments).context("read the payments operator")?;
    // A custom section: id 0, its length, the length of its name, its name.
    let name = format!("build-{number:02}");
    bytes.extend([0, name.len() as u8 + 1, name.len() as u8]);
    bytes.extend(name.as_bytes());
    let path = scene.folder.join(format!("payments-{number}.wasm"));
    std::fs::write(&path, bytes)?;
    Ok(path)
}

fn said(scene: &Scene<'_>, arguments: &[&str], code: i32, words: &[&str]) -> Result<()> {
    let mut process = scene.start(arguments)?;
    let end = process.wait(PATIENCE)?;
    let said = process.said();
    ensure!(end == End::Code(code), "{arguments:?}: {end:?}\n{said}");
    for word in words {
        ensure!(said.contains(word), "{arguments:?}: {word:?} is not in what it said\n{said}");
    }
    Ok(())
}
