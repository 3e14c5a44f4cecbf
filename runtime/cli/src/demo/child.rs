//! The processes that the demo starts, kills, and asks.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context;

pub(super) struct Children {
    exe: PathBuf,
    /// Everything that the children say on stderr.
    log: PathBuf,
}

impl Children {
    pub(super) fn new(dir: &Path) -> anyhow::Result<Children> {
        let exe = std::env::current_exe().context("find this program")?;
        Ok(Children { exe, log: dir.join("floe.log") })
    }

    fn command(&self, args: &[&str]) -> anyhow::Result<Command> {
        let log: File = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.exe);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        Ok(command)
    }

    /// Runs to the end, which must be a good one. Gives what it printed.
    pub(super) fn run(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = self.command(args)?.output()?;
        if !output.status.success() {
            anyhow::bail!(
                "floe {} ended with {}\n{}",
                args.join(" "),
                output.status,
                self.last_words()
            );
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Runs until the crash point, which must be reached.
    pub(super) fn crash(&self, args: &[&str], point: &str) -> anyhow::Result<()> {
        let output = self.command(args)?.env("FLOE_CRASH_AT", point).output()?;
        if output.status.code().is_some() {
            anyhow::bail!("floe {} did not come to {point}\n{}", args.join(" "), self.last_words());
        }
        Ok(())
    }

    pub(super) fn start(&self, args: &[&str]) -> anyhow::Result<Child> {
        Ok(self.command(args)?.spawn()?)
    }

    /// Waits until the child prints this line, then kills it. (`Child::kill` is SIGKILL.)
    pub(super) fn kill_at(&self, args: &[&str], line: &str) -> anyhow::Result<()> {
        let mut child = self.start(args)?;
        let stdout = child.stdout.take().context("a child's stdout is piped")?;
        let said = BufReader::new(stdout).lines().any(|it| it.is_ok_and(|it| it == line));
        child.kill()?;
        child.wait()?;
        if !said {
            anyhow::bail!("floe {} ended too early\n{}", args.join(" "), self.last_words());
        }
        Ok(())
    }

    /// The rows of a pipeline's table, as JSON objects.
    pub(super) fn rows(&self, pipeline: &Path) -> anyhow::Result<Vec<serde_json::Value>> {
        let text = self.run(&["rows", &pipeline.to_string_lossy(), "--json"])?;
        text.lines().map(|it| Ok(serde_json::from_str(it)?)).collect()
    }

    pub(super) fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}
