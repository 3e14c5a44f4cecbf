//! An upgrade: a checkpoint's state given to other code, as a checkpoint of its own behind it in the log.
//!
//! It is one entry by a new owner, like any other: until its manifest is visible nothing has happened, and
//! from then on nothing is left to do.

use std::sync::Arc;

use floe_core::committable::ManifestRef;
use floe_core::image::{Capture, OperatorImage};
use floe_core::journal::Journal;
use floe_core::manifest::{CheckpointManifest, PipelineIdentity};
use floe_core::ports::{CheckpointDraft, CheckpointLog, OperatorFactory};
use floe_core::protocol::upgrade::carried_sinks;
use floe_core::task::CapturedTask;
use floe_core::{Error, Result, TopicPartition};
use xxhash_rust::xxh3::Xxh3;

/// One operator of the chain, and who takes its place.
#[derive(Clone)]
pub struct OperatorChange {
    /// Its place among the operators.
    pub index: usize,
    pub name: String,
    pub new: Arc<dyn OperatorFactory>,
    pub state: StateFrom,
}

/// Where the new operator's state comes from.
#[derive(Clone)]
pub enum StateFrom {
    /// What the old one tells of its image.
    Export(Arc<dyn OperatorFactory>),
    /// Nowhere: it begins as in a new pipeline.
    Fresh,
}

impl OperatorChange {
    /// The image of the new operator that goes on for the old one's.
    pub fn convert(&self, task: &TopicPartition, image: &OperatorImage) -> Result<OperatorImage> {
        let seed = seed(image);
        let mut operator = match &self.state {
            StateFrom::Export(old) => {
                let told = old.restore(task, image)?.export().map_err(|error| {
                    error.context(format!("export the state of {} for {task}", old.describe().name))
                })?;
                self.new.import(task, seed, &told)?
            }
            StateFrom::Fresh => self.new.open(task, seed)?,
        };
        operator.capture(Capture::Whole)
    }
}

/// The random numbers go on by themselves: those that were drawn before are not drawn again.
fn seed(image: &OperatorImage) -> u64 {
    let mut hash = Xxh3::new();
    image.rng_state.iter().for_each(|it| hash.update(&it.to_le_bytes()));
    hash.digest()
}

/// The tasks of a checkpoint with the new operators in their places.
pub fn convert(tasks: Vec<CapturedTask>, changes: &[OperatorChange]) -> Result<Vec<CapturedTask>> {
    tasks
        .into_iter()
        .map(|mut task| {
            for change in changes {
                // A task has the operators of its stage.
                let of = task.operators.iter_mut().find(|it| it.0 == change.name);
                if let Some((_, image)) = of {
                    *image = change.convert(&task.task, image)?;
                }
            }
            Ok(task)
        })
        .collect()
}

/// Rows on their way are laid out as the old operators took them, and parted among the old tasks.
pub fn refuse_in_flight(newest: &CheckpointManifest) -> Result<()> {
    match newest.in_flight_rows() {
        0 => Ok(()),
        rows => Err(Error::refused(format!(
            "checkpoint {} has {rows} rows on their way to tasks behind key-by, which its barrier overtook\n→ start the pipeline as it was and stop it with SIGTERM, or ask for floe savepoint while it runs: neither leaves rows on their way; then upgrade",
            newest.epoch
        ))),
    }
}

/// Writes the tasks as the checkpoint that follows the newest one, with no record between them.
pub async fn complete(
    log: &mut dyn CheckpointLog,
    newest: (ManifestRef, &CheckpointManifest),
    identity: PipelineIdentity,
    tasks: Vec<CapturedTask>,
    created_ms: i64,
) -> Result<(ManifestRef, Arc<CheckpointManifest>)> {
    let (place, manifest) = newest;
    refuse_in_flight(manifest)?;
    let tasks = tasks
        .into_iter()
        // No step leads from the checkpoint before to this one.
        .map(|task| CapturedTask { journal: Journal::default(), ..task })
        .collect();
    let draft = CheckpointDraft {
        epoch: manifest.epoch.next(),
        identity,
        tasks,
        sinks: carried_sinks(place, manifest),
        created_ms,
        savepoint: false,
    };
    log.complete(draft).await
}
