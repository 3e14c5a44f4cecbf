//! NOT how floe works: the loop that many write first, for the demo to set beside a pipeline.
//!
//! Rows go to the table, then the state is saved, then the offset is: three steps, each right by itself.
//! A process that dies between them leaves state and offset apart, and the next one counts twice.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use floe_checkpoint::{open_store, random_ids, read_parts, write_parts};
use floe_core::committable::{CommitRequest, GapRule, ManifestRef};
use floe_core::epoch::{EntryId, Epoch, Generation, Slot};
use floe_core::image::Capture;
use floe_core::in_flight::InFlight;
use floe_core::journal::Journal;
use floe_core::manifest::{CheckpointManifest, PipelineIdentity};
use floe_core::ports::{LogAnswer, LogView, Operator, SinkWriter, Source};
use floe_core::record::Records;
use floe_core::task::CapturedTask;
use floe_core::{Error, EventTime, Offset, Position, Result, TopicPartition};
use floe_pipeline::run::SinkWiring;

use crate::args::DemoNaiveArgs;
use crate::wire::Opened;
use crate::{load, wire};

/// Said on stdout when the row is in the table and its offset is not recorded: kill me now.
pub(super) const KILL_ME: &str = "the row is in the table, its offset is not recorded";

pub(crate) fn run(args: DemoNaiveArgs) -> anyhow::Result<()> {
    let spec = std::sync::Arc::new(load::pipeline(&args.pipeline)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async move {
        let (mut source, opened) = tokio::try_join!(wire::source(&spec), wire::open(&spec))?;
        let Opened { modules, decoding, mut sinks, .. } = opened;
        let sink = sinks.remove(0);
        let kept = Kept::at(&args.dir)?;
        let facts = wire::blocking(move || Ok((source.partitions()?, source))).await?;
        let (partitions, source) = facts;
        let task = partitions[0].topic_partition.clone();
        let factory = &modules.chain[0].factory;
        let operator = match kept.load_state(&spec.id).await? {
            None => factory.open(&task, 0)?,
            Some(captured) => factory.restore(&task, &captured.operators[0].1)?,
        };
        let offset = kept.load_offset()?;
        let mut naive = Naive { pipeline: spec.id.clone(), task, operator, sink, kept };
        naive.run(source, decoding.decoder.decoder(), offset, args.die_after).await?;
        Ok(())
    })
}

struct Naive {
    pipeline: String,
    task: TopicPartition,
    operator: Box<dyn Operator>,
    sink: SinkWiring,
    kept: Kept,
}

impl Naive {
    async fn run(
        &mut self,
        mut source: Box<dyn Source>,
        mut decoder: Box<dyn floe_core::ports::Decoder>,
        from: Offset,
        die_after: Option<i64>,
    ) -> Result<()> {
        let end = source.partitions()?.first().map_or(Offset(0), |it| it.end);
        source.assign(&Position([(self.task.clone(), from)].into()))?;
        let mut next = from;
        while next < end {
            for records in source.poll(Duration::from_millis(100), 1)? {
                next = records.next_offset();
                let rows = self.process(&mut decoder, &records)?;
                self.append(rows).await?;
                let captured = self.capture(next)?;
                self.kept.save_state(&self.pipeline, captured).await?;
                if die_after.map(Offset) == records.last_offset() {
                    println!("{KILL_ME}");
                    std::thread::sleep(Duration::from_secs(60));
                }
                self.kept.save_offset(next)?;
            }
        }
        Ok(())
    }

    fn process(
        &mut self,
        decoder: &mut Box<dyn floe_core::ports::Decoder>,
        records: &Records,
    ) -> Result<Vec<arrow_array::RecordBatch>> {
        let decoded = decoder.decode(records)?;
        let staged = self.operator.process(&decoded.batch, EventTime(0))?;
        Ok(staged.emitted.into_iter().map(|(_, rows)| rows).collect())
    }

    /// Two phases are nothing worth if nobody binds them to the offset.
    async fn append(&mut self, rows: Vec<arrow_array::RecordBatch>) -> Result<()> {
        let facts = self.sink.committer.observe(None).await?;
        let predecessor = facts.marker.map(|it| it.manifest);
        let number = predecessor.map_or(1, |it| it.slot.0 + 1);
        let writer: &mut dyn SinkWriter = self.sink.writer.as_mut();
        for batch in rows {
            writer.write(Epoch(number), batch).await?;
        }
        let committable = writer.prepare(Epoch(number)).await?;
        let request = CommitRequest {
            pipeline: self.pipeline.clone(),
            sink: self.sink.name.clone(),
            table_uuid: self.sink.table_uuid,
            manifest: ManifestRef { slot: Slot(number), id: random_id(), epoch: Epoch(number) },
            predecessor,
            gap: GapRule::Refuse,
            earlier: Vec::new(),
            committable,
            information: Vec::new(),
        };
        self.sink.committer.commit(&request, &NoLog).await.map(|_| ())
    }

    fn capture(&mut self, next_offset: Offset) -> Result<CapturedTask> {
        Ok(CapturedTask {
            task: self.task.clone(),
            operators: vec![("counter".to_owned(), self.operator.capture(Capture::Whole)?)],
            journal: Journal::default(),
            next_offset,
            virtual_time: EventTime(0),
            watermark: EventTime::MIN,
            records: 0,
            in_flight: InFlight::default(),
        })
    }
}

fn random_id() -> EntryId {
    random_ids()()
}

/// The naive loop keeps no log, so it cannot ask one.
struct NoLog;

#[async_trait]
impl LogView for NoLog {
    async fn find(&self, _: &ManifestRef) -> Result<LogAnswer> {
        Ok(LogAnswer::Known)
    }
}

/// The state in one file, the offset in another.
struct Kept {
    folder: PathBuf,
}

impl Kept {
    fn at(folder: &Path) -> Result<Kept> {
        std::fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
        Ok(Kept { folder: folder.to_owned() })
    }

    async fn save_state(&self, pipeline: &str, captured: CapturedTask) -> Result<()> {
        let id = random_id();
        let store = open_store(&self.folder.to_string_lossy(), &Default::default())?;
        let (objects, tasks) = write_parts(&store, pipeline, Epoch(1), id, vec![captured]).await?;
        let manifest = CheckpointManifest {
            id,
            epoch: Epoch(1),
            generation: Generation(1),
            predecessor: None,
            identity: nobody(pipeline),
            objects,
            tasks,
            sinks: Vec::new(),
            created_ms: 0,
            savepoint: false,
        };
        self.write("state", &manifest.encode())
    }

    async fn load_state(&self, pipeline: &str) -> Result<Option<CapturedTask>> {
        let Some(bytes) = self.read("state")? else { return Ok(None) };
        let manifest = CheckpointManifest::decode(&bytes)
            .map_err(|error| Error::corrupt(format!("the demo's state: {error}")))?;
        let store = open_store(&self.folder.to_string_lossy(), &Default::default())?;
        Ok(read_parts(&*store, pipeline, &manifest).await?.pop())
    }

    fn save_offset(&self, next: Offset) -> Result<()> {
        self.write("offset", next.to_string().as_bytes())
    }

    fn load_offset(&self) -> Result<Offset> {
        let text = self.read("offset")?.unwrap_or_else(|| b"0".to_vec());
        let offset = String::from_utf8_lossy(&text).parse();
        offset.map(Offset).map_err(|error| Error::corrupt(format!("the demo's offset: {error}")))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.folder.join(name);
        let new = self.folder.join(format!("{name}.new"));
        std::fs::write(&new, bytes)
            .and_then(|()| std::fs::rename(&new, &path))
            .map_err(|error| failed(&path, &error))
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.folder.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&path, &error)),
        }
    }
}

fn nobody(pipeline: &str) -> PipelineIdentity {
    PipelineIdentity {
        pipeline: pipeline.to_owned(),
        guarantee: "none".to_owned(),
        topics: Vec::new(),
        operators: Vec::new(),
        decoder: String::new(),
        engine: String::new(),
        isa: String::new(),
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::retry(format!("{}: {error}", path.display()))
}
