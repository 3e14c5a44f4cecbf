//! Records one by one: what each makes an operator emit, reject and write.
//!
//! A batch's memory depends on its bounds (an input region grows with the batch), so this runs beside the
//! batch, on instances of its own, and decides nothing.

use arrow_array::RecordBatch;
use floe_core::chain::{self, ChainStop};
use floe_core::graph::{Outlet, Wires};
use floe_core::image::{Capture, OperatorImage};
use floe_core::ports::{Decoder, Operator};
use floe_core::{EventTime, Offset, Record, Records, Result, TopicPartition};

use crate::compare::differing;
use crate::merge::Origin;
use crate::task::{Calls, Link, SinkRows, Watch, restore};

/// Records that are looked at one by one.
#[derive(Clone, Copy, Debug)]
pub struct Examine {
    /// The first and the last.
    pub offsets: (Offset, Offset),
    pub detail: Detail,
    /// Core dumps are made of the last of them: of the operator that it stops, or of each.
    pub cores: bool,
    /// Called before each of them: a debugger stops there.
    pub before: Option<fn(Offset)>,
}

/// What is taken down of each record; all but rows takes an image of the whole state a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    Rows,
    Pages,
    /// The images before and behind it are kept, too.
    Images,
}

/// What one record did.
pub struct Stepped {
    pub offset: Offset,
    pub timestamp: EventTime,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub emitted: Vec<SinkRows>,
    /// Rows for the next stage, which takes them by key.
    pub passed: Vec<RecordBatch>,
    /// Of a task behind a stage: the task of the record that its rows were made from.
    pub from: Option<TopicPartition>,
    /// (operator, reason).
    pub rejected: Vec<(String, String)>,
    /// The operator that it stops, and how.
    pub stopped: Option<(String, String)>,
    /// (operator, numbers of the 4 KiB pages that differ afterwards).
    pub dirty: Vec<(String, Vec<usize>)>,
    /// Over the chain; none where calls are not metered.
    pub fuel: Option<u64>,
    pub images: Option<(Images, Images)>,
    /// (operator, core dump).
    pub cores: Vec<(String, Vec<u8>)>,
}

type Images = Vec<(String, OperatorImage)>;

/// The records of `examined` one by one; those before them as one batch.
pub(crate) fn step(
    (links, wires): (&[Link], &Wires),
    task: &TopicPartition,
    images: &[(String, OperatorImage)],
    decoder: &mut dyn Decoder,
    records: &Records,
    examine: Examine,
    now: EventTime,
) -> Result<Vec<Stepped>> {
    let instances = restore(links, task, images)?;
    let before = images.to_vec();
    let mut stepping = Stepping { links, wires, task, instances, before, examine };
    let first = records.iter().take_while(|it| it.offset() < examine.offsets.0).count();
    let end = records.iter().take_while(|it| it.offset() <= examine.offsets.1).count();
    if first > 0 && stepping.take(&records.slice(0..first), decoder, now)?.stopped.is_some() {
        // Which of them stops an operator is not known: behind the newest checkpoint nobody looked yet. What
        // it leaves behind is the state of the record before.
        let detail = std::mem::replace(&mut stepping.examine.detail, Detail::Pages);
        for record in 0..first {
            stepping.take(&records.slice(record..record + 1), decoder, now)?;
        }
        stepping.examine.detail = detail;
    }
    let one = |it: usize| {
        let record = records.slice(it..it + 1);
        if let (Some(before), Some(offset)) = (examine.before, record.first_offset()) {
            before(offset);
        }
        stepping.take(&record, decoder, now)
    };
    (first..end).map(one).collect()
}

struct Stepping<'a> {
    links: &'a [Link],
    wires: &'a Wires,
    task: &'a TopicPartition,
    instances: Vec<Box<dyn Operator>>,
    /// Of the begin, and behind each record where pages are looked at.
    before: Images,
    examine: Examine,
}

impl Stepping<'_> {
    fn take(
        &mut self,
        records: &Records,
        decoder: &mut dyn Decoder,
        now: EventTime,
    ) -> Result<Stepped> {
        let mut stepped = Stepped::of(records.get(0));
        let last = records.last_offset();
        let cored = self.examine.cores && last == Some(self.examine.offsets.1);
        let decoded = decoder.decode(records)?;
        for row in &decoded.rejected {
            // A stage that only parts rows by key has no operator.
            let name = self.links.first().map_or_else(String::new, |it| it.name.to_string());
            stepped.rejected.push((name, row.reason.clone()));
        }
        let mut refused = Refused(Vec::new());
        let mut calls = Calls {
            links: self.links,
            instances: &mut self.instances,
            now,
            records: Some(records),
            rows: decoded.rows.as_deref(),
            dead_letters: 0,
            epoch: 0,
            watch: &mut refused,
        };
        let made = chain::process(&mut calls, self.wires, decoded.batch);
        stepped.rejected.extend(refused.0);
        match made {
            Ok(made) => {
                for (outlet, batch) in made {
                    match outlet {
                        Outlet::Sink(sink) => {
                            stepped.emitted.push(SinkRows { sink, call: 0, origin: None, batch });
                        }
                        Outlet::Next => stepped.passed.push(batch),
                    }
                }
                stepped.fuel = self.instances.iter().map(|it| it.last_fuel()).sum();
                if cored {
                    let all = self.links.iter().zip(&mut self.instances);
                    let dumps = all.filter_map(|(link, it)| Some((&link.name, it.core_dump()?)));
                    stepped.cores = dumps.map(|(name, it)| (name.to_string(), it)).collect();
                }
                if self.examine.detail == Detail::Rows {
                    return Ok(stepped);
                }
                let mut after = Vec::with_capacity(self.links.len());
                for (link, instance) in self.links.iter().zip(&mut self.instances) {
                    after.push((link.name.to_string(), instance.capture(Capture::Whole)?));
                }
                stepped.dirty = dirty(&self.before, &after);
                let before = std::mem::replace(&mut self.before, after);
                if self.examine.detail == Detail::Images {
                    stepped.images = Some((before, self.before.clone()));
                }
            }
            Err(ChainStop::Refused(error)) => return Err(error),
            Err(ChainStop::Operator { link, error }) => {
                let name = self.links[link].name.to_string();
                if cored {
                    let dump = self.instances[link].core_dump();
                    stepped.cores = dump.map(|it| (name.clone(), it)).into_iter().collect();
                }
                stepped.stopped = Some((name, error.message));
                self.instances = restore(self.links, self.task, &self.before)?;
            }
        }
        Ok(stepped)
    }
}

impl Default for Stepped {
    fn default() -> Stepped {
        Stepped {
            offset: Offset(0),
            timestamp: EventTime::MIN,
            key: None,
            value: None,
            emitted: Vec::new(),
            passed: Vec::new(),
            from: None,
            rejected: Vec::new(),
            stopped: None,
            dirty: Vec::new(),
            fuel: None,
            images: None,
            cores: Vec::new(),
        }
    }
}

impl Stepped {
    /// Of rows that a task of an earlier stage made from a record.
    pub(crate) fn behind(origin: &Origin) -> Stepped {
        let from = Some(origin.task.clone());
        Stepped { offset: origin.first, from, ..Stepped::default() }
    }

    fn of(record: Record<'_>) -> Stepped {
        Stepped {
            offset: record.offset(),
            timestamp: record.timestamp(),
            key: record.key().map(<[u8]>::to_vec),
            value: record.value().map(<[u8]>::to_vec),
            ..Stepped::default()
        }
    }
}

struct Refused(Vec<(String, String)>);

impl Watch for Refused {
    fn refused(&mut self, _: u64, _: Option<Record<'_>>, operator: &str, why: &str) {
        self.0.push((operator.to_owned(), why.to_owned()));
    }
}

pub(crate) fn dirty(
    before: &[(String, OperatorImage)],
    after: &[(String, OperatorImage)],
) -> Vec<(String, Vec<usize>)> {
    before
        .iter()
        .zip(after)
        .map(|((name, before), (_, after))| {
            let written = differing(&before.memory, &after.memory);
            (name.clone(), written.map(|it| it.0 as usize).collect())
        })
        .collect()
}
