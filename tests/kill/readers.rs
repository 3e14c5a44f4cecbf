//! The readers themselves: could they not tell a wrong table, no test here would mean anything.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::lab::{check, root};
use crate::scene::{Place, Scene};

#[test]
fn they_tell_broken_tables_from_right_ones() {
    check("readers::they_tell_broken_tables", &[], |lab| {
        let script = root().join("tests/readers/selftest.py");
        let out = Command::new(&lab.python).arg(script).output().context("start selftest.py")?;
        let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        ensure!(out.status.success(), "{}\n{said}", out.status);
        Ok(())
    });
}

/// The same on a table that floe wrote: one digit of the input is changed behind its back.
#[test]
fn a_changed_record_is_found() {
    check("readers::a_changed_record", &[], |lab| {
        let scene = Scene::new(lab, "changed-record", Place::Local)?;
        scene.make_input(2_000, 5)?;
        scene.write_pipeline()?;
        scene.feed(1)?.finish()?;
        scene.run_until_end()?;
        scene.compare(&[])?;
        let text = std::fs::read_to_string(scene.input())?;
        let lines: Vec<String> = text.lines().enumerate().map(|it| changed(it.0, it.1)).collect();
        std::fs::write(scene.input(), lines.join("\n"))?;
        let found = scene.compare(&[]).map(|it| it.rows);
        let differs = matches!(&found, Err(error) if error.to_string().contains("DIFFERS"));
        ensure!(differs, "the change is not found: {found:?}");
        scene.done();
        Ok(())
    });
}

/// The record in the middle pays one more.
fn changed(number: usize, line: &str) -> String {
    match number {
        1_000 => line.replacen("amount_minor\\\":", "amount_minor\\\":1", 1).replace(":1-", ":-1"),
        _ => line.to_owned(),
    }
}

/// So that the helper does what it says.
#[test]
fn a_change_is_one() -> Result<()> {
    let line = r#"{"value":"{\"amount_minor\":-5}"}"#;
    ensure!(changed(1_000, line) == r#"{"value":"{\"amount_minor\":-15}"}"#);
    ensure!(changed(7, line) == line);
    Ok(())
}
