//! Plugins: their cases in the real sandbox, and a pipeline of nothing else.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::lab::{check, root, variable};
use crate::readme::block;

#[test]
fn every_plugins_cases_pass_straight_and_restored() {
    check("no_code::every_plugins_cases", &[], |lab| {
        let mut folders: Vec<PathBuf> = std::fs::read_dir(root().join("plugins"))?
            .map(|it| it.map(|it| it.path()))
            .collect::<std::io::Result<_>>()?;
        folders.retain(|it| it.join("plugin.toml").is_file());
        let done = Command::new(&lab.floe).arg("test").args(&folders).output()?;
        let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
        ensure!(done.status.success(), "{said}");
        ensure!(said.matches('✓').count() >= folders.len(), "{said}");
        Ok(())
    });
}

/// That the command can fail: another row is expected than comes out.
#[test]
fn a_case_that_is_wrong_is_shown() {
    check("no_code::a_case_that_is_wrong", &[], |lab| {
        let folder = std::env::temp_dir().join(format!("floe-kill-{}-case", std::process::id()));
        std::fs::create_dir_all(folder.join("cases"))?;
        let text = std::fs::read_to_string(root().join("plugins/filter/cases/amounts.case"))?;
        std::fs::write(
            folder.join("cases/a.case"),
            text.replace("< {\"id\": \"e\"", "< {\"id\": \"x\""),
        )?;
        std::fs::copy(root().join("plugins/filter/plugin.toml"), folder.join("plugin.toml"))?;
        let done = Command::new(&lab.floe).arg("test").arg(&folder).output()?;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        ensure!(done.status.code() == Some(5), "{said}");
        ensure!(said.contains("line 12  expected") && said.contains("\"id\":\"x\""), "{said}");
        std::fs::remove_dir_all(&folder).context("remove the folder")
    });
}

/// S2 of the semantics, with the plugin: txn-3 comes twice and counts once. The commands are the README's.
#[test]
fn a_pipeline_of_plugins_counts_each_payment_once() {
    check("no_code::a_pipeline_of_plugins", &[], |lab| {
        let folder = std::env::temp_dir().join(format!("floe-kill-{}-plugins", std::process::id()));
        let example = folder.join("examples/02-no-code");
        std::fs::create_dir_all(&example)?;
        for file in ["pipeline.toml", "input.jsonl", "expect.jsonl"] {
            std::fs::copy(root().join("examples/02-no-code").join(file), example.join(file))?;
        }
        let commands = block("examples/02-no-code/README.md", "## Run it")?;
        let bin = lab.floe.parent().unwrap_or(Path::new("/"));
        let run = |commands: &str| -> Result<String> {
            let done = Command::new("bash")
                .args(["-euo", "pipefail", "-c", commands])
                .current_dir(&folder)
                .env("PATH", format!("{}:{}", bin.display(), variable("PATH")?))
                .output()?;
            let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
            ensure!(done.status.success(), "{said}");
            Ok(said)
        };
        let said = run(&commands)?;
        ensure!(said.contains("as expected"), "{said}");
        ensure!(said.contains("field amount_minor is missing"), "{said}");
        let rows = run("cd examples/02-no-code; floe rows pipeline.toml --json")?;
        let total = |merchant: &str| -> Result<f64> {
            let rows = rows.lines().filter(|it| it.contains(merchant));
            let amounts = rows.map(|it| -> Result<f64> {
                let row: serde_json::Value = serde_json::from_str(it)?;
                Ok(row["amount"].as_str().context("an amount")?.parse()?)
            });
            amounts.sum()
        };
        ensure!((total("m-A")?, total("m-B")?) == (18.0, 20.0), "{rows}");

        // A mistake in a plugin's configuration is said with its line.
        let path = example.join("pipeline.toml");
        let text = std::fs::read_to_string(&path)?;
        std::fs::write(&path, text.replace("window = \"48h\"", "window = \"48 hours\""))?;
        let done = Command::new(&lab.floe).arg("check").arg(&path).output()?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        ensure!(done.status.code() == Some(2), "{said}");
        ensure!(
            said.contains("pipeline.toml:19:") && said.contains("must be a duration"),
            "{said}"
        );
        std::fs::remove_dir_all(&folder).context("remove the folder")
    });
}
