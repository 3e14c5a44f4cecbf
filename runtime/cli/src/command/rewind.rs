//! `floe run --from-…`: a pipeline that begins at positions of the past, beside the one that goes on, on a
//! branch of its table; or a new one.
//!
//! On a branch it is a pipeline of its own, `ID-BRANCH`: it has its own log, marker and consumer group, and the
//! pipeline it was taken from is neither fenced nor changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use floe_checkpoint::{read_log, read_parts};
use floe_core::manifest::CheckpointManifest;
use floe_core::ports::{PartitionFacts, Source, StartAt};
use floe_core::protocol::guarantee::Guarantee;
use floe_core::protocol::rewind::{branch_point, set_back};
use floe_core::task::CapturedTask;
use floe_core::{Epoch, Error, Offset, Position, Result, TopicPartition};
use floe_pipeline::config::{PipelineSpec, SinkSpec};
use floe_pipeline::rewind::{begin_at, begin_with};
use floe_pipeline::run::{RunConfig, Wiring};

use crate::args::RewindArgs;
use crate::wire::{self, Opened};

/// Where a run begins that has no checkpoint yet.
pub(super) struct Rewind {
    position: Position,
    partitions: Vec<PartitionFacts>,
    from: From,
}

enum From {
    Opened,
    Checkpoint {
        manifest: Arc<CheckpointManifest>,
        tasks: Vec<CapturedTask>,
        /// In the order of the sinks' tables.
        snapshots: Vec<Option<i64>>,
    },
}

/// The pipeline that a run is of: the file's own, or the one beside it on a branch.
pub(super) fn spec_of(file: &Arc<PipelineSpec>, args: &RewindArgs) -> Result<Arc<PipelineSpec>> {
    let dead_letters = file.dead_letters.iter().map(|it| &it.sink);
    let sinks = file.sinks.iter().map(|it| &it.spec).chain(dead_letters);
    for topic in sinks.filter(|_| args.is_asked() || args.branch.is_some()) {
        let SinkSpec::Topic(topic) = topic else { continue };
        if topic.intents {
            return Err(Error::refused(format!(
                "topic {} is of command intents: what they cause would be caused again\n  → take that sink out to go back",
                topic.topic
            )));
        }
        if args.branch.is_some() {
            return Err(Error::refused(format!(
                "topic {} has no branches: its records would come again\n  → take that sink out of a copy of the file",
                topic.topic
            )));
        }
    }
    let Some(branch) = &args.branch else { return Ok(Arc::clone(file)) };
    let fits = |it: char| it.is_ascii_alphanumeric() || it == '-' || it == '_';
    if branch.is_empty() || branch == "main" || !branch.chars().all(fits) {
        return Err(Error::invalid(format!(
            "--branch {branch:?} cannot be a branch beside main: letters, digits, '-' and '_'"
        )));
    }
    if file.guarantee != Guarantee::ExactlyOnce {
        return Err(Error::refused(format!(
            "under {} no snapshot says which checkpoint it belongs to, so no branch can begin at one",
            file.guarantee.name()
        )));
    }
    let mut spec = file.as_ref().clone();
    spec.id = format!("{}-{branch}", file.id);
    // The file's own run has it.
    spec.telemetry.listen = None;
    let dead_letters = spec.dead_letters.iter_mut().map(|it| &mut it.sink);
    for sink in spec.sinks.iter_mut().map(|it| &mut it.spec).chain(dead_letters) {
        if let SinkSpec::Table(table) = sink {
            table.branch.clone_from(branch);
        }
    }
    Ok(Arc::new(spec))
}

/// Everything that can be wrong is found here, before the claim.
pub(super) async fn look(
    file: &PipelineSpec,
    spec: &PipelineSpec,
    args: &RewindArgs,
    source: Box<dyn Source>,
    opened: &Opened,
) -> Result<(Box<dyn Source>, Option<Rewind>)> {
    let (is_asked, branch) = (args.is_asked(), args.branch.as_deref());
    if !is_asked && branch.is_none() {
        // A plain start reads the log once, behind its claim.
        return Ok((source, None));
    }
    let newest = newest_epoch(spec).await?;
    match (newest, branch) {
        (Some(_), _) if !is_asked => return Ok((source, None)),
        (None, Some(branch)) if !is_asked => {
            return Err(Error::invalid(format!(
                "pipeline {:?} has no checkpoint: where does branch {branch:?} begin?\n→ --from-checkpoint N, --from-offset TOPIC/PARTITION=N or --from-timestamp TIME",
                spec.id
            )));
        }
        (Some(epoch), None) => {
            return Err(Error::refused(format!(
                "{} has epochs up to {epoch} of pipeline {:?}: going back would repeat their rows\n  → to a branch, beside it: --branch NAME\n  → to a new table: another [pipeline] id and another table in [sink]",
                names(spec),
                spec.id
            )));
        }
        (Some(epoch), Some(branch)) => {
            return Err(Error::refused(format!(
                "branch {branch:?} has begun already: pipeline {:?} has checkpoints up to epoch {epoch}\n  → go on with it: --branch {branch}, without --from-…; or another branch",
                spec.id
            )));
        }
        (None, _) => {}
    }
    let graph = opened.modules.graph.clone();
    let starts: Vec<StartAt> = match args.from_timestamp {
        Some(time) => vec![StartAt::Timestamp(time); spec.sources.len()],
        None => spec.sources.iter().map(|it| it.start).collect(),
    };
    let (source, partitions, times) = wire::blocking(move || {
        let mut source = source;
        let partitions = source.partitions()?;
        let mut times = Position::default();
        for (number, start) in starts.into_iter().enumerate() {
            let of = partitions.iter().map(|it| &it.topic_partition);
            let of: Vec<TopicPartition> =
                of.filter(|it| graph.source_of(it) == Some(number)).cloned().collect();
            times.0.extend(source.resolve_start(&of, start)?.0);
        }
        Ok((source, partitions, times))
    })
    .await?;
    let chosen = args.offsets(&partitions)?;
    let (position, from) = match branch {
        None => {
            refuse_marked(opened).await?;
            let mut position = times;
            position.0.extend(chosen);
            (position, From::Opened)
        }
        Some(branch) => {
            let (position, from) = beside(file, args.from_checkpoint.map(Epoch)).await?;
            let mut back = chosen;
            if args.from_timestamp.is_some() {
                for (task, offset) in times.0 {
                    // A time behind the checkpoint's place takes nothing back.
                    let at = position.0.get(&task).copied();
                    back.entry(task).or_insert(at.map_or(offset, |it| it.min(offset)));
                }
            }
            let From::Checkpoint { manifest, .. } = &from else {
                unreachable!("a branch begins at a checkpoint")
            };
            let position = set_back(&position, &back, manifest.epoch)?;
            tracing::info!(
                branch,
                checkpoint = manifest.epoch.0,
                "begins beside pipeline {:?}",
                file.id
            );
            (position, from)
        }
    };
    check_range(&partitions, &position)?;
    Ok((source, Some(Rewind { position, partitions, from })))
}

impl Rewind {
    /// The branches, then the log's first checkpoint. A process that dies between them is started again with
    /// the same words.
    pub(super) async fn write(
        self,
        spec: &PipelineSpec,
        config: &RunConfig,
        wiring: &mut Wiring,
    ) -> Result<()> {
        let Rewind { position, partitions, from } = self;
        if !wiring.log.manifests().is_empty() {
            return Err(Error::retry("somebody began the pipeline meanwhile; start it again"));
        }
        for (task, offset) in &position.0 {
            tracing::info!("{task} begins at offset {offset}");
        }
        match from {
            From::Opened => begin_at(config, wiring, &partitions, &position).await?,
            From::Checkpoint { manifest, tasks, snapshots } => {
                wire::begin_branches(spec, &snapshots).await?;
                begin_with(config, wiring, &manifest, tasks, &position).await?
            }
        };
        Ok(())
    }
}

async fn newest_epoch(spec: &PipelineSpec) -> Result<Option<Epoch>> {
    let Some(store) = wire::store_to_read(spec)? else { return Ok(None) };
    Ok(read_log(&*store, &spec.id).await?.newest_manifest().map(|it| it.0.epoch))
}

/// The state and the place of a checkpoint of the file's own pipeline.
async fn beside(file: &PipelineSpec, wanted: Option<Epoch>) -> Result<(Position, From)> {
    let none = || {
        Error::invalid(format!(
            "pipeline {:?} has no checkpoint that a branch could begin at",
            file.id
        ))
    };
    let store = wire::store_to_read(file)?.ok_or_else(none)?;
    let reading = read_log(&*store, &file.id).await?;
    let kept: Vec<_> = reading.manifests().map(|(at, it)| (at, Arc::clone(it))).collect();
    if kept.is_empty() {
        return Err(none());
    }
    let point = branch_point(&kept, &wire::table_histories(file).await?, wanted)?;
    let tasks = read_parts(&*store, &file.id, &point.manifest).await?;
    let position = point.manifest.position();
    let (manifest, snapshots) = (point.manifest, point.snapshots);
    Ok((position, From::Checkpoint { manifest, tasks, snapshots }))
}

/// A table that has the pipeline's epochs is none for a log that begins anew.
async fn refuse_marked(opened: &Opened) -> Result<()> {
    for sink in opened.sinks.iter().chain(&opened.dead_letters) {
        if let Some(marker) = sink.committer.observe(None).await?.marker {
            return Err(Error::refused(format!(
                "{} has epochs up to {} of this pipeline, and there are no checkpoints of it\n  → another [pipeline] id and another table in [sink]",
                sink.table, marker.manifest.epoch
            )));
        }
    }
    Ok(())
}

fn check_range(partitions: &[PartitionFacts], position: &Position) -> Result<()> {
    for facts in partitions {
        let Some(offset) = position.0.get(&facts.topic_partition) else { continue };
        if *offset < facts.earliest || *offset > facts.end {
            return Err(Error::refused(format!(
                "{}: offset {offset} is not there, offsets {}..{} are",
                facts.topic_partition, facts.earliest, facts.end
            )));
        }
    }
    Ok(())
}

fn names(spec: &PipelineSpec) -> String {
    spec.sinks.iter().map(|it| it.spec.name()).collect::<Vec<_>>().join(", ")
}

impl RewindArgs {
    fn is_asked(&self) -> bool {
        !self.from_offset.is_empty()
            || self.from_timestamp.is_some()
            || self.from_checkpoint.is_some()
    }

    fn offsets(&self, partitions: &[PartitionFacts]) -> Result<BTreeMap<TopicPartition, Offset>> {
        let mut offsets = BTreeMap::new();
        for (task, offset) in &self.from_offset {
            if partitions.iter().all(|it| it.topic_partition != *task) {
                return Err(Error::invalid(format!(
                    "--from-offset {task}: there is no such partition"
                )));
            }
            if offsets.insert(task.clone(), *offset).is_some() {
                return Err(Error::invalid(format!("--from-offset names {task} twice")));
            }
        }
        Ok(offsets)
    }
}
