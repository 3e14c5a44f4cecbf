//! The second phase: judge by the marker, then publish, each epoch once and in order.

use std::sync::Arc;

use async_trait::async_trait;
use floe_core::committable::{AppendRequest, CommitOutcome, CommitRequest, CommittedSnapshot};
use floe_core::ports::{Committer, LogAnswer, LogView, MarkerSnapshot, TableFacts};
use floe_core::protocol::judge::{BaseFacts, Marker, Refusal, Verdict, asks_log, judge};
use floe_core::protocol::orphans::{OrphansFound, SinkLog};
use floe_core::{Error, Result};
use tokio::sync::Mutex;

use super::config::{BRANCH, TopicConfig, TopicIdentity};
use super::marker;
use super::outbox::{Outbox, decode_segments};
use super::publish::Session;

pub(super) struct KafkaCommitter {
    config: TopicConfig,
    identity: TopicIdentity,
    outbox: Arc<Outbox>,
    /// One at a time: commits come in order.
    session: Mutex<Option<Session>>,
}

impl KafkaCommitter {
    pub(super) fn new(config: TopicConfig, identity: TopicIdentity, outbox: Arc<Outbox>) -> Self {
        KafkaCommitter { config, identity, outbox, session: Mutex::new(None) }
    }

    fn base(&self, marker: Option<Marker>) -> BaseFacts {
        BaseFacts { table_uuid: self.identity.0, property: marker, summary: None, unreadable: None }
    }

    fn refused(&self, verdict: Verdict, request: &CommitRequest) -> Error {
        let (topic, epoch) = (&self.config.topic, request.manifest.epoch);
        match verdict {
            Verdict::Commit | Verdict::Already | Verdict::Within { .. } => {
                Error::retry("a verdict that refuses nothing")
            }
            Verdict::Fenced { by } => Error::fenced(
                Some(by),
                format!(
                    "fenced: generation {by} has published to topic {topic}; this process stops writing"
                ),
            ),
            Verdict::Gap { marker } => Error::refused(format!(
                "topic {topic} holds epoch {}, and epochs before {epoch} are missing in between: nothing was published\n  → were checkpoints removed by hand? restore them",
                marker.epoch
            )),
            Verdict::Refuse(Refusal::OtherTable { .. }) => Error::refused(format!(
                "topic {topic} is not the one that the checkpoints belong to: it was deleted and made anew\n  → start anew with another [pipeline] id"
            )),
            Verdict::Refuse(Refusal::MarkerLost { predecessor }) => Error::refused(format!(
                "epoch {} was published to topic {topic}, and topic {} does not know of it\n  → restore the topic of markers, or start anew with another [pipeline] id",
                predecessor.epoch,
                self.config.marker_topic()
            )),
            Verdict::Refuse(Refusal::ForeignMarker { marker }) => Error::refused(format!(
                "topic {topic} holds epoch {} of another log: another checkpoint store, or a copy of this one, publishes under [pipeline] id {:?}\n  → use the store that made it, or another id",
                marker.epoch, self.config.pipeline
            )),
            Verdict::Refuse(Refusal::UnreadableMarker { text }) => Error::refused(format!(
                "topic {} holds no marker that this floe can read: {text:?}",
                self.config.marker_topic()
            )),
        }
    }

    fn outcome(&self, request: &CommitRequest, already: bool) -> CommitOutcome {
        // A topic has no snapshots; the epoch stands for the order.
        let number = request.manifest.epoch.0 as i64;
        let snapshot = CommittedSnapshot {
            manifest: request.manifest,
            snapshot_id: number,
            sequence_number: number,
        };
        CommitOutcome { snapshot, already }
    }
}

#[async_trait]
impl Committer for KafkaCommitter {
    /// Fences nobody: a transaction still in the air is settled when the commit opens its session.
    async fn observe(&self, _expected: Option<&CommittedSnapshot>) -> Result<TableFacts> {
        let marker = marker::read(&self.config).await?;
        Ok(TableFacts {
            table: self.config.topic.clone(),
            table_uuid: self.identity.0,
            marker_snapshot: match marker {
                None => MarkerSnapshot::NoMarker,
                Some(_) => MarkerSnapshot::Found,
            },
            marker,
            appended: None,
        })
    }

    async fn commit(&self, request: &CommitRequest, log: &dyn LogView) -> Result<CommitOutcome> {
        assert!(!request.committable.is_empty(), "an epoch without rows publishes nothing");
        if !request.earlier.is_empty() {
            // A transaction an epoch; one that was published is found by its marker.
            let (last, earlier) = {
                let mut each = request.one_by_one();
                (each.pop().expect("a commit has a last epoch"), each)
            };
            for one in &earlier {
                self.commit(one, log).await?;
            }
            return self.commit(&last, log).await;
        }
        let segments = decode_segments(&request.committable.content)?;
        let mut held = self.session.lock().await;
        // Taken out: after an error it is dropped, and the next attempt asks the cluster anew.
        let session = match held.take() {
            Some(session) => session,
            None => {
                let config = self.config.clone();
                blocking(move || Session::open(&config)).await?
            }
        };
        let base = self.base(session.marker.clone());
        let answer = match asks_log(&base, request) {
            None => LogAnswer::Known,
            Some(manifest) => log.find(&manifest).await?,
        };
        match judge(&base, request, answer) {
            Verdict::Commit => {}
            Verdict::Already => {
                *held = Some(session);
                self.outbox.delete(&segments).await;
                return Ok(self.outcome(request, true));
            }
            verdict => return Err(self.refused(verdict, request)),
        }
        let marker = Marker {
            table_uuid: request.table_uuid,
            branch: BRANCH.to_owned(),
            first_epoch: request.manifest.epoch,
            manifest: request.manifest,
            predecessor: request.predecessor,
        };
        let (config, outbox) = (self.config.clone(), Arc::clone(&self.outbox));
        let (to_send, runtime) = (segments.clone(), tokio::runtime::Handle::current());
        let session = blocking(move || {
            let mut session = session;
            // One segment in memory at a time.
            let read = to_send.iter().map(|it| runtime.block_on(outbox.get(it)));
            session.publish(&config, read, marker)?;
            Ok(session)
        })
        .await?;
        *held = Some(session);
        self.outbox.delete(&segments).await;
        Ok(self.outcome(request, false))
    }

    async fn append(&self, request: &AppendRequest) -> Result<i64> {
        Err(Error::refused(format!(
            "topic {}: epoch {} is to be published ahead of its checkpoint, and a topic takes each epoch once\n  → guarantee = \"exactly-once\" in [pipeline]",
            self.config.topic, request.epoch
        )))
    }

    async fn maintain(&self) -> Result<()> {
        Ok(())
    }

    async fn sweep(&self, log: &SinkLog) -> Result<OrphansFound> {
        self.outbox.sweep(log, false).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(Error::retry("the thread that published ended early")),
    }
}
