//! Keeps what a source hands out until its epoch is complete: the recording of each epoch, compressed.
//!
//! Invariant: what `take` gives is every record between two positions, or an error says why it is not.

use std::io::{BufRead, BufReader};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use floe_core::ports::{PartitionFacts, Source, StartAt};
use floe_core::{Error, Offset, Position, Records, Result, TopicPartition};

use super::write_line;

/// Runs of records that wait to be compressed: some 5 MB. Then the source waits.
const RUNS_WAITING_MAX: usize = 4;

/// zstd-1 keeps up with any source: 0.3 µs for a record of 250 bytes.
const ZSTD_LEVEL: i32 = 1;

/// A source that is listened to, and what was heard. An epoch of more than `epoch_bytes_max`, compressed, is
/// not kept.
pub fn keep(source: Box<dyn Source>, epoch_bytes_max: u64) -> (Box<dyn Source>, Keeper) {
    let (sender, heard) = sync_channel(RUNS_WAITING_MAX);
    let listening = move || listen(&heard, Kept { epoch_bytes_max, ..Kept::default() });
    std::thread::Builder::new()
        .name("floe-recording".to_owned())
        .spawn(listening)
        .expect("the system has a thread left for the recording");
    let keeper = Keeper(sender.clone());
    (Box::new(Tap { source, heard: sender }), keeper)
}

/// The lines of what `Keeper::take` gave, newline included.
pub fn lines(compressed: &[u8], mut each: impl FnMut(&mut Vec<u8>) -> Result<()>) -> Result<()> {
    if compressed.is_empty() {
        return Ok(());
    }
    let damaged = |it: std::io::Error| Error::corrupt(format!("a kept recording: {it}"));
    let frames = zstd::stream::read::Decoder::new(compressed).map_err(damaged)?;
    let (mut lines, mut line) = (BufReader::new(frames), Vec::new());
    loop {
        line.clear();
        match lines.read_until(b'\n', &mut line).map_err(damaged)? {
            0 => return Ok(()),
            _ => each(&mut line)?,
        }
    }
}

/// Asks for what was heard.
#[derive(Clone)]
pub struct Keeper(SyncSender<Heard>);

impl Keeper {
    /// The records that came since the one before this, up to these positions. Blocks while they are
    /// compressed.
    pub fn take(&self, until: Position) -> Result<Vec<u8>> {
        let gone = |_| Error::retry("the thread that records has ended");
        let (answer, taken) = sync_channel(1);
        self.0.send(Heard::Take { until, answer }).map_err(|_| gone(()))?;
        taken.recv().map_err(|_| gone(()))?
    }
}

enum Heard {
    Assigned(Position),
    Records(Records),
    Take { until: Position, answer: SyncSender<Result<Vec<u8>>> },
}

struct Tap {
    source: Box<dyn Source>,
    heard: SyncSender<Heard>,
}

impl Tap {
    fn tell(&self, heard: Heard) {
        // A thread that is gone is said by `take`; the pipeline goes on without a recording.
        let _ = self.heard.send(heard);
    }
}

impl Source for Tap {
    fn partitions(&mut self) -> Result<Vec<PartitionFacts>> {
        self.source.partitions()
    }

    fn resolve_start(&mut self, partitions: &[TopicPartition], start: StartAt) -> Result<Position> {
        self.source.resolve_start(partitions, start)
    }

    fn assign(&mut self, position: &Position) -> Result<()> {
        self.source.assign(position)?;
        self.tell(Heard::Assigned(position.clone()));
        Ok(())
    }

    fn poll(&mut self, timeout: Duration, records_max: usize) -> Result<Vec<Records>> {
        let runs = self.source.poll(timeout, records_max)?;
        runs.iter().for_each(|it| self.tell(Heard::Records(it.clone())));
        Ok(runs)
    }

    fn report(&mut self, committed: &Position) -> Result<()> {
        self.source.report(committed)
    }
}

fn listen(heard: &Receiver<Heard>, mut kept: Kept) {
    for heard in heard {
        match heard {
            Heard::Assigned(position) => kept.assigned(position),
            Heard::Records(records) => kept.add(&records),
            Heard::Take { until, answer } => {
                // Nobody waits for it any more when the run has ended.
                let _ = answer.send(kept.take(until));
            }
        }
    }
}

#[derive(Default)]
struct Kept {
    epoch_bytes_max: u64,
    /// Behind what was heard.
    heard: Position,
    /// Up to here it was taken.
    taken: Position,
    /// Before this, something is missing.
    whole_from: Position,
    runs: Vec<Run>,
    bytes: u64,
    /// Too much came: no more is kept until the next `take`.
    overflowed: bool,
    failed: Option<String>,
}

/// Compressed lines of one partition.
struct Run {
    task: TopicPartition,
    first: Offset,
    next: Offset,
    frame: Vec<u8>,
}

impl Kept {
    /// The source reads from here on, again or for the first time.
    fn assigned(&mut self, position: Position) {
        self.let_go();
        self.overflowed = false;
        self.whole_from = Position::default();
        self.taken = position.clone();
        self.heard = position;
    }

    fn let_go(&mut self) {
        self.runs.clear();
        self.bytes = 0;
    }

    fn add(&mut self, records: &Records) {
        let task = records.topic_partition();
        let heard = self.heard.0.entry(task.clone()).or_insert(records.next_offset());
        *heard = records.next_offset().max(*heard);
        let Some(first) = records.first_offset().filter(|_| !self.overflowed) else { return };
        let mut text = Vec::with_capacity(records.byte_len() * 3 / 2 + records.len() * 96);
        records.iter().for_each(|it| write_line(&mut text, task, &it));
        match zstd::bulk::compress(&text, ZSTD_LEVEL) {
            Ok(frame) => {
                self.bytes += frame.len() as u64;
                let next = records.next_offset();
                self.runs.push(Run { task: task.clone(), first, next, frame });
            }
            Err(error) => self.failed = Some(error.to_string()),
        }
        if self.bytes > self.epoch_bytes_max || self.failed.is_some() {
            self.let_go();
            self.overflowed = true;
        }
    }

    fn take(&mut self, until: Position) -> Result<Vec<u8>> {
        let taken = std::mem::replace(&mut self.taken, until);
        if std::mem::take(&mut self.overflowed) {
            self.whole_from = self.heard.clone();
            return Err(match self.failed.take() {
                Some(error) => Error::retry(format!("it could not be compressed: {error}")),
                None => Error::refused(format!(
                    "its records are more than {} bytes compressed\n  → epoch-max in [recording], or a shorter interval in [checkpoint]",
                    self.epoch_bytes_max
                )),
            });
        }
        let mut epoch = Vec::new();
        self.runs.retain(|run| {
            let inside = self.taken.0.get(&run.task).is_some_and(|until| run.next <= *until);
            if inside {
                epoch.extend_from_slice(&run.frame);
                self.bytes -= run.frame.len() as u64;
            }
            !inside
        });
        for (task, until) in &self.taken.0 {
            let offset = |position: &Position| position.0.get(task).copied();
            let begin = offset(&taken).or(offset(&self.whole_from));
            let whole = offset(&self.whole_from).is_none_or(|it| begin.is_some_and(|b| b >= it))
                && offset(&self.heard).is_some_and(|heard| heard >= *until)
                // A run across the barrier is in no epoch.
                && !self.runs.iter().any(|it| it.task == *task && it.first < *until);
            if !whole {
                return Err(Error::refused(format!(
                    "not all of {task} up to {until} was heard: the source went back, or the epoch before was too large"
                )));
            }
        }
        Ok(epoch)
    }
}

#[cfg(test)]
mod tests {
    use floe_core::EventTime;

    use super::*;

    /// Hands out one run a poll.
    struct Runs(Vec<Records>);

    impl Source for Runs {
        fn partitions(&mut self) -> Result<Vec<PartitionFacts>> {
            Ok(Vec::new())
        }

        fn resolve_start(&mut self, _: &[TopicPartition], _: StartAt) -> Result<Position> {
            Ok(Position::default())
        }

        fn assign(&mut self, _: &Position) -> Result<()> {
            Ok(())
        }

        fn poll(&mut self, _: Duration, _: usize) -> Result<Vec<Records>> {
            Ok(vec![self.0.remove(0)])
        }

        fn report(&mut self, _: &Position) -> Result<()> {
            Ok(())
        }
    }

    fn run(partition: i32, offsets: std::ops::Range<i64>) -> Records {
        let mut records = Records::new(TopicPartition::new("t", partition), Offset(offsets.end));
        for offset in offsets {
            records.push(Offset(offset), EventTime(5), None, Some(b"a \"value\""));
        }
        records
    }

    fn position(offsets: &[i64]) -> Position {
        let task = |it: usize| TopicPartition::new("t", it as i32);
        Position(offsets.iter().enumerate().map(|(it, at)| (task(it), Offset(*at))).collect())
    }

    /// Partition and offset of each line.
    fn taken(keeper: &Keeper, until: &[i64]) -> Result<Vec<(i32, i64)>> {
        let mut found = Vec::new();
        lines(&keeper.take(position(until))?, |line| {
            let text = std::str::from_utf8(line).unwrap();
            let number = |name: &str| {
                let (_, rest) = text.split_once(name).unwrap();
                rest.split(',').next().unwrap().parse::<i64>().unwrap()
            };
            found.push((number("\"partition\":") as i32, number("\"offset\":")));
            Ok(())
        })?;
        found.sort_unstable();
        Ok(found)
    }

    #[test]
    fn an_epoch_is_given_whole_or_not_at_all() {
        let runs = vec![
            run(0, 0..2),
            run(1, 7..8),
            run(0, 2..4),
            run(0, 4..5),
            run(0, 5..6),
            run(0, 4..6),
        ];
        let (mut source, keeper) = keep(Box::new(Runs(runs)), 1 << 20);
        let poll = |source: &mut Box<dyn Source>| {
            source.poll(Duration::ZERO, 10).unwrap();
        };
        source.assign(&position(&[0, 7])).unwrap();
        (0..3).for_each(|_| poll(&mut source));
        // The last run is behind the barrier.
        assert_eq!(taken(&keeper, &[2, 8]).unwrap(), [(0, 0), (0, 1), (1, 7)]);
        assert_eq!(taken(&keeper, &[4, 8]).unwrap(), [(0, 2), (0, 3)]);
        assert_eq!(taken(&keeper, &[4, 8]).unwrap(), []);
        // What was not heard yet, and what was heard before the source went back.
        let wanting = taken(&keeper, &[5, 8]).unwrap_err();
        assert!(wanting.message.contains("t/0 up to 5"), "{wanting}");
        (0..2).for_each(|_| poll(&mut source));
        source.assign(&position(&[4, 8])).unwrap();
        assert!(taken(&keeper, &[6, 8]).is_err());
        source.assign(&position(&[4, 8])).unwrap();
        poll(&mut source);
        assert_eq!(taken(&keeper, &[6, 8]).unwrap(), [(0, 4), (0, 5)]);
    }

    /// After an epoch that was too large, the next whole one is kept again.
    #[test]
    fn an_epoch_that_is_too_large_is_passed_over() {
        let runs = vec![run(0, 0..9000), run(0, 9000..9001), run(0, 9001..9002)];
        let (mut source, keeper) = keep(Box::new(Runs(runs)), 1000);
        source.assign(&position(&[0])).unwrap();
        (0..2).for_each(|_| drop(source.poll(Duration::ZERO, 1).unwrap()));
        let refused = taken(&keeper, &[9000]).unwrap_err();
        assert!(refused.message.contains("more than 1000 bytes"), "{refused}");
        // Its record was let go with the others.
        assert!(taken(&keeper, &[9001]).is_err());
        source.poll(Duration::ZERO, 1).unwrap();
        assert_eq!(taken(&keeper, &[9002]).unwrap(), [(0, 9001)]);
    }
}
