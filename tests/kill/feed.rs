//! The input, handed out at a pace while floe is killed: a recording that grows, or records produced to Kafka.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::lab::{Lab, root};

/// It hands out no more than what was allowed, and that at its pace; `finish` allows all of it, at once.
pub(crate) enum Feed {
    Recording {
        allowed: Arc<AtomicU64>,
        thread: Option<JoinHandle<Result<()>>>,
    },
    /// What is allowed is said on its stdin; the end of it allows all.
    Kafka {
        child: Child,
        stdin: Option<ChildStdin>,
    },
}

const ALL: u64 = u64::MAX;

/// Among so many lines each partition comes, of inputs with few or many.
const FIRST_LINES_MAX: usize = 64;

impl Feed {
    pub(crate) fn recording(input: &Path, recording: &Path, per_second: u64) -> Result<Feed> {
        let lines = BufReader::new(File::open(input).context("open the input")?);
        // The partitions must be there when floe starts, as a topic's are.
        let mut writer = Appender::create(recording)?;
        let mut lines = lines.lines();
        let mut seen = Vec::new();
        for line in lines.by_ref().take(FIRST_LINES_MAX) {
            let line = line?;
            let end = line.find(",\"offset\"").unwrap_or(line.len());
            if !seen.iter().any(|it| *it == line[..end]) {
                seen.push(line[..end].to_owned());
            }
            writer.append(&line)?;
            if seen.len() == 4 {
                break;
            }
        }
        writer.flush()?;
        let allowed = Arc::new(AtomicU64::new(0));
        let thread = std::thread::spawn({
            let allowed = Arc::clone(&allowed);
            move || append_paced(lines, writer, &allowed, per_second)
        });
        Ok(Feed::Recording { allowed, thread: Some(thread) })
    }

    pub(crate) fn kafka(
        lab: &Lab,
        broker: &str,
        input: &Path,
        topic: &str,
        per_second: u64,
    ) -> Result<Feed> {
        let producer = |more: &[&str]| -> Command {
            let mut command = Command::new(&lab.python);
            command.arg(root().join("tests/kill/kafka.py"));
            command.arg(broker).arg(topic).args(more);
            command
        };
        let made = producer(&["create", "--partitions", "4"]).status().context("start kafka.py")?;
        ensure!(made.success(), "kafka.py create: {made}");
        let mut command = producer(&["produce", "--rate", &per_second.to_string()]);
        command.arg("--input").arg(input).stdin(Stdio::piped());
        let mut child = command.spawn().context("start kafka.py")?;
        let stdin = child.stdin.take();
        Ok(Feed::Kafka { child, stdin })
    }

    /// So many records of the input, counted from its begin, may be handed out.
    pub(crate) fn allow(&mut self, records: u64) -> Result<()> {
        match self {
            Feed::Recording { allowed, .. } => allowed.store(records, Ordering::SeqCst),
            Feed::Kafka { stdin, .. } => {
                let stdin = stdin.as_mut().context("a feed that is finished allows all")?;
                writeln!(stdin, "{records}").context("tell the producer")?;
            }
        }
        Ok(())
    }

    /// Hands out what is left, as fast as it can.
    pub(crate) fn finish(mut self) -> Result<()> {
        match &mut self {
            Feed::Recording { allowed, thread } => {
                allowed.store(ALL, Ordering::SeqCst);
                let thread = thread.take().context("a feed is finished once")?;
                match thread.join() {
                    Ok(done) => done,
                    Err(_) => bail!("the feed panicked"),
                }
            }
            Feed::Kafka { child, stdin } => {
                drop(stdin.take());
                let status = child.wait()?;
                ensure!(status.success(), "kafka.py produce: {status}");
                Ok(())
            }
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        match self {
            Feed::Recording { allowed, thread } => {
                allowed.store(ALL, Ordering::SeqCst);
                if let Some(thread) = thread.take() {
                    // The test has failed already; why the feed did too is of no use.
                    let _ = thread.join();
                }
            }
            Feed::Kafka { child, .. } => {
                // It may have ended: then there is nobody to kill.
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

fn append_paced(
    lines: impl Iterator<Item = std::io::Result<String>>,
    mut writer: Appender,
    allowed: &AtomicU64,
    per_second: u64,
) -> Result<()> {
    const TICK: Duration = Duration::from_millis(10);
    let per_tick = (per_second / 100).max(1);
    for (index, line) in (0_u64..).zip(lines) {
        let mut ticked = false;
        loop {
            let allowed = allowed.load(Ordering::Relaxed);
            let is_due = !index.is_multiple_of(per_tick) || ticked;
            if allowed == ALL || (index < allowed && is_due) {
                break;
            }
            writer.flush()?;
            std::thread::sleep(TICK);
            ticked = true;
        }
        writer.append(&line?)?;
    }
    writer.flush()
}

/// Appends whole lines, so that a reader never sees half of one: a write within a page of the file becomes
/// visible at once, and blank lines in a recording mean nothing, so they fill a page's rest.
pub(crate) struct Appender {
    file: File,
    /// Bytes in the file.
    len: usize,
    pending: Vec<u8>,
}

const PAGE: usize = 4096;

impl Appender {
    pub(crate) fn create(path: &Path) -> Result<Appender> {
        let file = OpenOptions::new().create(true).write(true).truncate(true).open(path);
        let file = file.with_context(|| format!("make {}", path.display()))?;
        Ok(Appender { file, len: 0, pending: Vec::new() })
    }

    pub(crate) fn append(&mut self, line: &str) -> Result<()> {
        let room = PAGE - (self.len + self.pending.len()) % PAGE;
        if line.len() + 1 > room {
            self.pending.resize(self.pending.len() + room, b'\n');
            self.flush()?;
        }
        self.pending.extend_from_slice(line.as_bytes());
        self.pending.push(b'\n');
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> Result<()> {
        self.file.write_all(&self.pending).context("append to the recording")?;
        self.len += self.pending.len();
        self.pending.clear();
        Ok(())
    }
}
