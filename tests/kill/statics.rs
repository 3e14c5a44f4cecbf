//! State that comes out otherwise is named as the operator's author knows it: the static variable of a Rust operator,
//! or the variable that points to where it stands in the heap.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::changed::{PIPELINE, lines, name_module};
use crate::lab::{check, root};
use crate::replay::must;
use crate::scene::{Place, Scene};

/// As `[profile.release] debug = "full"` builds it.
fn build(module: &Path) -> Result<()> {
    let script = root().join("tests/components/guest-rust-toolchain.sh");
    let source = root().join("tests/kill/guests/totals.rs");
    let command = format!(
        r#"lines=$("{}"); eval "$lines"
        "$GUEST_RUSTC" --edition 2024 --target "$GUEST_TARGET" --crate-type cdylib \
            -O -C debuginfo=2 -C panic=abort -o "{}" "{}""#,
        script.display(),
        module.display(),
        source.display()
    );
    let mut bash = Command::new("bash");
    bash.args(["-euc", &command]).current_dir(root());
    let done = bash.env_remove("RUSTFLAGS").output().context("start bash")?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// `i64.const` of a number between 2^20 and 2^27.
fn constant(mut number: i64) -> Vec<u8> {
    let mut bytes = vec![0x42];
    for _ in 0..3 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// The same operator, that takes the next number for this one.
fn with_next(module: &[u8], number: i64) -> Result<Vec<u8>> {
    let (from, to) = (constant(number), constant(number + 1));
    let mut places = (0..module.len()).filter(|at| module[*at..].starts_with(&from));
    let at = places.next().context("the number is not in the module")?;
    ensure!(places.next().is_none(), "the number is in the module twice");
    let mut other = module.to_vec();
    other[at..at + to.len()].copy_from_slice(&to);
    Ok(other)
}

#[test]
fn the_variable_that_differs_is_named() {
    check("statics::the_variable_that_differs", &[], |lab| {
        let built = Scene::new(lab, "statics", Place::Local)?;
        build(&built.folder.join("sum.wasm"))?;
        let plain = std::fs::read(built.folder.join("sum.wasm"))?;
        built.done();
        // The fields between `history` and its pointer are those of the standard library's Vec, whose names are not
        // ours to expect.
        for (number, named, ends) in [
            (7_777_777, ", variable TOTALS.marked.weight", ""),
            (8_888_888, ", the heap, 0x168 behind where variable TOTALS.history.", " points"),
        ] {
            let scene = Scene::new(lab, &format!("statics-{number}"), Place::Local)?;
            let module = scene.folder.join("sum.wasm");
            std::fs::write(&module, with_next(&plain, number)?)?;
            std::fs::write(scene.pipeline(), PIPELINE.replace("sum.wat", "sum.wasm"))?;
            for end in [40, 80] {
                std::fs::write(scene.folder.join("numbers.jsonl"), lines(0..end))?;
                must(&scene, 0, &[], &["run", "pipeline.toml", "--until-end"])?;
            }
            std::fs::write(&module, &plain)?;
            let log = scene.folder.join("checkpoints/changed/log");
            name_module(&log, *blake3::hash(&plain).as_bytes())?;
            let replay = ["replay", "pipeline.toml", "--checkpoint", "0", "--to", "2"];
            let words = ["epoch 2, numbers/1", "1 pages differ in 1 bytes", named];
            let said = must(&scene, 5, &words, &replay)?;
            let behind = said.split_once(named).and_then(|it| it.1.lines().next());
            let fields =
                behind.and_then(|it| it.strip_suffix(ends)).with_context(|| said.clone())?;
            let is_path = |it: &str| it.chars().all(|it| it.is_alphanumeric() || "_.".contains(it));
            ensure!(
                is_path(fields) && fields.is_empty() == ends.is_empty(),
                "{fields:?} in\n{said}"
            );
            scene.done();
        }
        Ok(())
    });
}
