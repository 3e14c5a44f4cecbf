//! The input, handed out at a pace while floe is killed: a recording that grows, or records produced to Kafka.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::lab::{Lab, root};

/// It hands out no more than what was allowed, and that at its pace; `finish` allows all of it, at once.
pub(crate) struct Feed {
    input: PathBuf,
    /// Lines of the input.
    records: u64,
    hand: Hand,
}

/// Who hands out.
enum Hand {
    Recording {
        allowed: Arc<AtomicU64>,
        thread: Option<JoinHandle<Result<u64>>>,
    },
    /// What is allowed is said on its stdin; the end of it allows all. Says how many it handed out.
    Kafka {
        child: Child,
        stdin: Option<ChildStdin>,
    },
}

/// In place of a number of records that are allowed.
const ALL: u64 = u64::MAX;
const STOPPED: u64 = u64::MAX - 1;
const ENDLESSLY: u64 = u64::MAX - 2;

/// What is handed out endlessly comes slowly from the middle of the input on: a record in so many
/// milliseconds is enough for an epoch, and the other half lasts.
const TRICKLE_MS: u64 = 50;
/// So long at the least it lasts, on a machine of any speed: longer than a test waits.
const LASTS_SECONDS_MIN: u64 = 240;

/// So many are handed out by a feed that is stopped at once, too: a test without records shows nothing.
const RECORDS_MIN: u64 = 400;

/// Among so many lines each partition comes, of inputs with few or many.
const FIRST_LINES_MAX: usize = 64;

impl Feed {
    pub(crate) fn recording(input: &Path, recording: &Path, per_second: u64) -> Result<Feed> {
        let records = count_lines(input)?;
        let lines = BufReader::new(File::open(input).context("open the input")?);
        // The partitions must be there when floe starts, as a topic's are.
        let mut writer = Appender::create(recording)?;
        let mut lines = lines.lines();
        let mut seen = Vec::new();
        let mut done = 0;
        for line in lines.by_ref().take(FIRST_LINES_MAX) {
            let line = line?;
            let end = line.find(",\"offset\"").unwrap_or(line.len());
            if !seen.iter().any(|it| *it == line[..end]) {
                seen.push(line[..end].to_owned());
            }
            writer.append(&line)?;
            done += 1;
            if seen.len() == 4 {
                break;
            }
        }
        writer.flush()?;
        let allowed = Arc::new(AtomicU64::new(0));
        let thread = std::thread::spawn({
            let allowed = Arc::clone(&allowed);
            let pace = Pace { per_second, slowly_from: records / 2 };
            move || append_paced(done, lines, writer, &allowed, pace)
        });
        let hand = Hand::Recording { allowed, thread: Some(thread) };
        Ok(Feed { input: input.to_owned(), records, hand })
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
        let records = count_lines(input)?;
        let mut command = producer(&["produce", "--rate", &per_second.to_string()]);
        command.args(["--slowly-from", &(records / 2).to_string()]);
        command.args(["--slowly-ms", &TRICKLE_MS.to_string()]);
        command.arg("--input").arg(input).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("start kafka.py")?;
        let stdin = child.stdin.take();
        Ok(Feed { input: input.to_owned(), records, hand: Hand::Kafka { child, stdin } })
    }

    /// So many records of the input, counted from its begin, may be handed out.
    pub(crate) fn allow(&mut self, records: u64) -> Result<()> {
        // Twice a share is more than there is at the end.
        ensure!(records <= 2 * self.records, "{records} of {} records", self.records);
        self.tell(records)
    }

    fn tell(&mut self, records: u64) -> Result<()> {
        match &mut self.hand {
            Hand::Recording { allowed, .. } => allowed.store(records, Ordering::SeqCst),
            Hand::Kafka { stdin, .. } => {
                let stdin = stdin.as_mut().context("a feed that is finished allows all")?;
                match records {
                    ENDLESSLY => writeln!(stdin, "endlessly"),
                    STOPPED => writeln!(stdin, "stop"),
                    _ => writeln!(stdin, "{records}"),
                }
                .context("tell the producer")?;
            }
        }
        Ok(())
    }

    /// At its pace until `stop`, which comes before the input's end on a machine of any speed.
    pub(crate) fn allow_endlessly(&mut self) -> Result<()> {
        let lasts = self.records / 2 * TRICKLE_MS / 1000;
        ensure!(
            lasts >= LASTS_SECONDS_MIN,
            "{} records may run dry before a slow machine is done: make more",
            self.records
        );
        self.tell(ENDLESSLY)
    }

    /// Hands out what is left, as fast as it can.
    pub(crate) fn finish(mut self) -> Result<()> {
        if let Hand::Recording { allowed, .. } = &self.hand {
            allowed.store(ALL, Ordering::SeqCst);
        }
        let records = self.hand.wait()?;
        ensure!(records == self.records, "{records} of {} are handed out", self.records);
        Ok(())
    }

    /// Hands out no more than the first some hundred, and cuts the input off behind what was handed out.
    /// Gives the number of records.
    pub(crate) fn stop(mut self) -> Result<u64> {
        self.tell(STOPPED)?;
        let records = self.hand.wait()?;
        ensure!(records < self.records, "it ran dry: all {records} records are handed out");
        let text = std::fs::read_to_string(&self.input)?;
        let lines = text.split_inclusive('\n').take(records as usize);
        std::fs::write(&self.input, lines.collect::<String>()).context("cut the input off")?;
        Ok(records)
    }
}

impl Hand {
    /// Until it is done; how many records it has handed out.
    fn wait(&mut self) -> Result<u64> {
        match self {
            Hand::Recording { thread, .. } => {
                let thread = thread.take().context("a feed is finished once")?;
                match thread.join() {
                    Ok(done) => done,
                    Err(_) => bail!("the feed panicked"),
                }
            }
            Hand::Kafka { child, stdin } => {
                drop(stdin.take());
                let mut said = String::new();
                child
                    .stdout
                    .take()
                    .context("a feed is finished once")?
                    .read_to_string(&mut said)?;
                let status = child.wait()?;
                ensure!(status.success(), "kafka.py produce: {status}");
                said.trim().parse().with_context(|| format!("kafka.py produce said {said:?}"))
            }
        }
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        match self {
            Hand::Recording { allowed, thread } => {
                allowed.store(STOPPED, Ordering::SeqCst);
                if let Some(thread) = thread.take() {
                    // The test has failed already; why the feed did too is of no use.
                    let _ = thread.join();
                }
            }
            Hand::Kafka { child, .. } => {
                // It may have ended: then there is nobody to kill.
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

fn count_lines(input: &Path) -> Result<u64> {
    let text = std::fs::read(input).with_context(|| format!("read {}", input.display()))?;
    Ok(text.iter().filter(|it| **it == b'\n').count() as u64)
}

struct Pace {
    per_second: u64,
    /// Where endless handing out becomes slow.
    slowly_from: u64,
}

/// The lines behind those that are done. Gives how many of the input are handed out.
fn append_paced(
    mut done: u64,
    lines: impl Iterator<Item = std::io::Result<String>>,
    mut writer: Appender,
    allowed: &AtomicU64,
    pace: Pace,
) -> Result<u64> {
    const TICK: Duration = Duration::from_millis(10);
    let per_tick = (pace.per_second / 100).max(1);
    for line in lines {
        let mut ticks = 0;
        loop {
            let wait = match allowed.load(Ordering::Relaxed) {
                ALL => 0,
                STOPPED if done >= RECORDS_MIN => {
                    writer.flush()?;
                    return Ok(done);
                }
                STOPPED => 0,
                ENDLESSLY if done >= pace.slowly_from => TRICKLE_MS / 10,
                allowed if done >= allowed => u64::MAX,
                _ => u64::from(done.is_multiple_of(per_tick)),
            };
            if ticks >= wait {
                break;
            }
            writer.flush()?;
            std::thread::sleep(TICK);
            ticks += 1;
        }
        writer.append(&line?)?;
        done += 1;
    }
    writer.flush()?;
    Ok(done)
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
