//! A source that hands on records when the schemas that their values name are known, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use floe_core::ports::{PartitionFacts, Source, StartAt};
use floe_core::schema::{Known, KnownSchemas, SchemaId, framed};
use floe_core::{Error, Position, Records, Result, TopicPartition};
use tokio::sync::mpsc::UnboundedSender;

use super::resolve::Resolver;

/// After so long an id that the registry did not have is asked for again.
const UNKNOWN_FOR: Duration = Duration::from_secs(30);

/// Asks on the runtime that this is called in; records wait meanwhile, barriers do not.
/// `names_schemas` says of which partitions values begin with an id.
pub fn with_schemas(
    source: Box<dyn Source>,
    resolver: Resolver,
    names_schemas: NamesSchemas,
) -> Box<dyn Source> {
    let known = Arc::clone(&resolver.known);
    let (ask, mut asked) = tokio::sync::mpsc::unbounded_channel::<(SchemaId, String)>();
    let (answer, answers) = mpsc::channel();
    tokio::spawn(async move {
        while let Some((id, place)) = asked.recv().await {
            let resolved = resolver.resolve(id, &place).await.map(|()| id);
            if answer.send(resolved).is_err() {
                return;
            }
        }
    });
    Box::new(WithSchemas {
        source,
        names_schemas,
        known,
        ask,
        answers,
        held: Vec::new(),
        awaited: BTreeSet::new(),
        unknown_since: BTreeMap::new(),
    })
}

pub(super) type NamesSchemas = Box<dyn Fn(&TopicPartition) -> bool + Send>;

struct WithSchemas {
    source: Box<dyn Source>,
    names_schemas: NamesSchemas,
    known: Arc<KnownSchemas>,
    ask: UnboundedSender<(SchemaId, String)>,
    answers: Receiver<Result<SchemaId>>,
    /// What waits for schemas.
    held: Vec<Records>,
    awaited: BTreeSet<SchemaId>,
    unknown_since: BTreeMap<SchemaId, Instant>,
}

impl WithSchemas {
    /// Asks for what is not known of these records.
    fn look(&mut self, records: &Records) -> Result<()> {
        if !(self.names_schemas)(records.topic_partition()) {
            return Ok(());
        }
        let mut last = None;
        for record in records.iter() {
            let Some((id, _)) = record.value().and_then(framed) else { continue };
            if last == Some(id) {
                continue;
            }
            last = Some(id);
            let again = match self.known.get(id) {
                Known::Schema(_) => false,
                Known::NotAsked => true,
                Known::Unknown => {
                    self.unknown_since.get(&id).is_none_or(|it| it.elapsed() > UNKNOWN_FOR)
                }
            };
            if again && self.awaited.insert(id) {
                let place = format!("{} @ {}", records.topic_partition(), record.offset());
                self.ask.send((id, place)).map_err(|_| gone())?;
            }
        }
        Ok(())
    }

    /// Takes answers until all are there or the time is over.
    fn wait(&mut self, timeout: Duration) -> Result<()> {
        let begin = Instant::now();
        while !self.awaited.is_empty() {
            let left = timeout.saturating_sub(begin.elapsed());
            match self.answers.recv_timeout(left) {
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
                Ok(resolved) => {
                    let id = resolved?;
                    self.awaited.remove(&id);
                    if self.known.get(id) == Known::Unknown {
                        tracing::warn!("schema {id} is unknown to the registry");
                        self.unknown_since.insert(id, Instant::now());
                    }
                }
            }
        }
        Ok(())
    }
}

fn gone() -> Error {
    Error::retry("who asks the schema registry has ended")
}

impl Source for WithSchemas {
    fn partitions(&mut self) -> Result<Vec<PartitionFacts>> {
        self.source.partitions()
    }

    fn resolve_start(&mut self, partitions: &[TopicPartition], start: StartAt) -> Result<Position> {
        self.source.resolve_start(partitions, start)
    }

    fn assign(&mut self, position: &Position) -> Result<()> {
        self.held.clear();
        self.source.assign(position)
    }

    fn poll(&mut self, timeout: Duration, records_max: usize) -> Result<Vec<Records>> {
        if self.held.is_empty() {
            self.held = self.source.poll(timeout, records_max)?;
            let held = std::mem::take(&mut self.held);
            let looked = held.iter().try_for_each(|it| self.look(it));
            self.held = held;
            looked?;
        }
        self.wait(timeout)?;
        match self.awaited.is_empty() {
            true => Ok(std::mem::take(&mut self.held)),
            false => Ok(Vec::new()),
        }
    }

    fn report(&mut self, committed: &Position) -> Result<()> {
        self.source.report(committed)
    }
}
