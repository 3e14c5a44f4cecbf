//! Every object of a real checkpoint store, damaged in every way: floe refuses and names it, and the table holds
//! nothing but rows of complete checkpoints, each once; or the table is exactly right.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::lab::check;
use crate::moments::names;
use crate::process::{End, PATIENCE};
use crate::scene::{Place, Scene};

const RECORDS: u64 = 10_000;

/// What is done to an object; the second is another one of its kind.
type Damage = fn(&mut Vec<u8>, &[u8]) -> bool;

const DAMAGES: &[(&str, Damage)] = &[
    ("a bit flipped", |it, _| {
        let middle = it.len() / 2;
        it[middle] ^= 0x10;
        true
    }),
    ("a block zeroed", |it, _| {
        let middle = it.len() / 2;
        let end = it.len().min(middle + 512);
        it[middle..end].fill(0);
        true
    }),
    ("cut off", |it, _| {
        it.truncate(it.len() / 2);
        true
    }),
    ("empty", |it, _| {
        it.clear();
        true
    }),
    ("another's content", |it, other| {
        *it = other.to_vec();
        true
    }),
    ("deleted", |_, _| false),
];

/// Sqlite's own log holds what is not in the catalog's file yet.
const KEPT: &[&str] = &["checkpoints", "lake", "lake.db", "lake.db-wal"];

#[test]
fn a_damaged_object_is_named_or_does_no_harm() {
    check("corruption::a_damaged_object", &[], |lab| {
        let mut scene = Scene::new(lab, "corruption", Place::Local)?;
        scene.settings.interval = "60ms";
        scene.settings.keep = 2;
        scene.make_input(RECORDS, 61)?;
        scene.write_pipeline()?;
        // Several epochs, so that the newest checkpoint is built upon older ones; the last is not committed.
        let feed = scene.feed_endlessly(3_000)?;
        let mut process = scene.start_armed("after-manifest:4")?;
        let end = process.wait(PATIENCE)?;
        let died = end == End::Signal(libc::SIGABRT);
        ensure!(died, "it ended with {end:?}\n{}", process.last_words());
        feed.stop()?;

        let good = scene.folder.join("good");
        copy(&scene.folder, &good, KEPT)?;
        let [_, _, metadata, _] = scene.watched()?;
        let table_before = names(&metadata);
        scene.run_until_end()?;
        scene.compare(&[])?;
        let rows = sorted(scene.rows()?);
        let objects = files(&good.join("checkpoints"))?;
        ensure!((6..=24).contains(&objects.len()), "{} objects", objects.len());
        let (mut refused, mut harmless) = (0, 0);
        for object in &objects {
            for (what, damage) in DAMAGES {
                restore(&scene.folder, &good)?;
                let name = object.strip_prefix(&good).context("it is below")?;
                let mut bytes = std::fs::read(object)?;
                let other =
                    objects.iter().find(|it| *it != object && it.parent() == object.parent());
                let other = std::fs::read(other.unwrap_or(object))?;
                let victim = scene.folder.join(name);
                match damage(&mut bytes, &other) {
                    true => std::fs::write(&victim, &bytes)?,
                    false => std::fs::remove_file(&victim)?,
                }
                let mut process = scene.start(&["run", "--until-end"])?;
                let (end, said) = (process.wait(PATIENCE)?, process.said());
                let place = format!("{}: {what}", name.display());
                ensure!(!said.contains("panicked"), "{place}\n{said}");
                match end {
                    End::Code(0) => {
                        ensure!(sorted(scene.rows()?) == rows, "{place}: other rows");
                        harmless += 1;
                    }
                    End::Code(1 | 4) => {
                        let file = name.file_name().unwrap_or_default().to_string_lossy();
                        ensure!(said.contains(&*file), "{place} is not named\n{said}");
                        // What complete checkpoints carry may be committed before their state is read.
                        let untouched = names(&metadata) == table_before;
                        let fine = untouched || is_within(&sorted(scene.rows()?), &rows);
                        ensure!(fine, "{place}: the table is wrong");
                        refused += 1;
                    }
                    End::Code(_) | End::Signal(_) => {
                        bail!("{place}: it ended with {end:?}\n{said}")
                    }
                }
            }
        }
        println!("{} objects: {refused} refused by name, {harmless} without harm", objects.len());
        // At the least what the newest checkpoint is made of: its manifest, its part, and what that builds upon.
        ensure!(refused >= 3 * DAMAGES.len(), "{refused} refused, {harmless} without harm");
        scene.done();
        Ok(())
    });
}

/// Both are sorted; each row may come several times.
fn is_within(some: &[String], all: &[String]) -> bool {
    let mut all = all.iter();
    some.iter().all(|row| all.any(|it| it == row))
}

/// Files of a table are read side by side.
fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort();
    rows
}

/// As it was when the process died.
fn restore(folder: &Path, good: &Path) -> Result<()> {
    for name in ["checkpoints", "lake"] {
        std::fs::remove_dir_all(folder.join(name))?;
    }
    for name in ["lake.db", "lake.db-wal", "lake.db-shm"] {
        // The last two are there while a process has the catalog open, and after it was killed.
        let _ = std::fs::remove_file(folder.join(name));
    }
    copy(good, folder, KEPT)
}

fn copy(from: &Path, to: &Path, names: &[&str]) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for name in names.iter().filter(|it| from.join(it).exists()) {
        for file in files(&from.join(name))? {
            let target = to.join(file.strip_prefix(from)?);
            std::fs::create_dir_all(target.parent().context("it has a folder")?)?;
            std::fs::copy(&file, &target)?;
        }
    }
    Ok(())
}

/// All files below a folder, or the file itself.
fn files(at: &Path) -> Result<Vec<PathBuf>> {
    if at.is_file() {
        return Ok(vec![at.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(at).with_context(|| format!("read {}", at.display()))? {
        found.extend(files(&entry?.path())?);
    }
    found.sort();
    Ok(found)
}
