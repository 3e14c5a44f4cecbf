//! A floe process: started, watched, killed, stopped; never left behind.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::lab::wait_for;

/// Longer than anything in these tests takes on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Process {
    child: Child,
    /// What it says on stderr.
    pub(crate) log: PathBuf,
    ended: Option<ExitStatus>,
    /// The most memory that it was seen to have while it was waited for.
    peak_kib: u64,
    /// Of the processor, as it was last seen.
    ticks: u64,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Code(i32),
    Signal(i32),
}

impl Process {
    pub(crate) fn start(mut command: Command, log: PathBuf) -> Result<Process> {
        let child = command.spawn().with_context(|| format!("start {command:?}"))?;
        Ok(Process { child, log, ended: None, peak_kib: 0, ticks: 0 })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: i32) -> Result<()> {
        assert!(self.ended.is_none(), "a number of a process that was waited for is nobody's");
        // SAFETY: kill takes numbers alone; the process is our child and was not waited for yet.
        match unsafe { libc::kill(self.child.id() as i32, signal) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()).context("send a signal"),
        }
    }

    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
        }
        Ok(self.ended.is_some())
    }

    /// SIGKILL. `false` when it had ended by itself.
    pub(crate) fn kill(&mut self) -> Result<bool> {
        if self.has_ended()? {
            return Ok(false);
        }
        self.child.kill()?;
        self.ended = Some(self.child.wait()?);
        Ok(true)
    }

    /// Until it has come; an error when the process ends before, or when it does not come.
    pub(crate) fn until(
        &mut self,
        what: &str,
        mut come: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        let there = wait_for(PATIENCE, || {
            ensure!(!self.has_ended()?, "it ended by itself before {what}\n{}", self.last_words());
            come()
        })?;
        ensure!(there, "{what}: not within {PATIENCE:?}\n{}", self.last_words());
        Ok(())
    }

    /// Until it has said that.
    pub(crate) fn until_says(&mut self, words: &str) -> Result<()> {
        let log = self.log.clone();
        self.until(words, || Ok(std::fs::read_to_string(&log)?.contains(words)))
    }

    /// Until this process itself has committed so often.
    pub(crate) fn until_commits(&mut self, count: usize) -> Result<()> {
        let log = self.log.clone();
        self.until(&format!("{count} commits"), || {
            Ok(std::fs::read_to_string(&log)?.matches("committed epoch=").count() >= count)
        })
    }

    pub(crate) fn wait(&mut self, limit: Duration) -> Result<End> {
        let begin = Instant::now();
        while !self.has_ended()? {
            if begin.elapsed() > limit {
                self.kill()?;
                bail!("floe did not end within {limit:?}\n{}", self.last_words());
            }
            self.look();
            std::thread::sleep(Duration::from_millis(2));
        }
        let status = self.ended.context("it ended")?;
        match (status.code(), status.signal()) {
            (Some(code), _) => Ok(End::Code(code)),
            (None, Some(signal)) => Ok(End::Signal(signal)),
            (None, None) => bail!("{status} is neither a code nor a signal"),
        }
    }

    /// The kernel keeps the peak, so a look every now and then misses only its last moments.
    fn look(&mut self) {
        self.peak_kib = self.peak_kib.max(self.memory_kib("VmHWM:"));
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        // Behind the name, which may hold anything: the 14th and 15th fields are its own time and the kernel's.
        let text = stat.unwrap_or_default();
        let fields = text.rsplit_once(") ").map_or("", |it| it.1).split(' ').skip(11).take(2);
        let ticks: u64 = fields.filter_map(|it| it.parse::<u64>().ok()).sum();
        self.ticks = self.ticks.max(ticks);
    }

    /// What it had taken of the processor when it was last seen while it was waited for.
    pub(crate) fn processor_time(&self) -> Duration {
        // A tick is a hundredth of a second on every Linux that we know.
        Duration::from_millis(10 * self.ticks)
    }

    /// The memory that it has now.
    pub(crate) fn resident_kib(&self) -> u64 {
        self.memory_kib("VmRSS:")
    }

    fn memory_kib(&self, what: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let text = status.unwrap_or_default();
        let line = text.lines().find_map(|it| it.strip_prefix(what));
        let kib = line.and_then(|it| it.trim().trim_end_matches(" kB").parse().ok());
        kib.unwrap_or(0)
    }

    /// The most memory while it was waited for.
    pub(crate) fn peak_mib(&self) -> u64 {
        self.peak_kib >> 10
    }

    pub(crate) fn said(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(crate) fn last_words(&self) -> String {
        let text = self.said();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A failed test may have left it stopped by SIGSTOP: SIGKILL ends it all the same.
        if let Err(error) = self.kill() {
            eprintln!("a floe process may be left: {error}");
        }
    }
}
