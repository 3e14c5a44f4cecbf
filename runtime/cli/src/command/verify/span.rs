//! How far into the source the table reaches, and which epoch took a record.

use std::collections::BTreeMap;
use std::sync::Arc;

use floe_checkpoint::read_log;
use floe_core::manifest::CheckpointManifest;
use floe_core::{Error, Offset, Position, Result, TopicPartition};
use floe_pipeline::config::PipelineSpec;
use floe_sink::iceberg::TableAt;

use crate::wire;

/// What the table holds of the source.
pub(super) struct Span {
    pub(super) epoch: u64,
    pub(super) position: Position,
    /// Records of each partition up to there, where the checkpoint is kept.
    pub(super) records: Option<BTreeMap<TopicPartition, u64>>,
    pub(super) newest: Option<Arc<CheckpointManifest>>,
    /// All that are kept, oldest first.
    pub(super) manifests: Vec<Arc<CheckpointManifest>>,
    pub(super) epochs: Epochs,
}

/// Where known epochs end.
#[derive(Default)]
pub(super) struct Epochs(BTreeMap<u64, Position>);

impl Span {
    pub(super) async fn of(spec: &PipelineSpec, table: &str, at: &TableAt) -> Result<Span> {
        let log = match wire::store_to_read(spec)? {
            None => Default::default(),
            Some(store) => read_log(&*store, &spec.id).await?,
        };
        let mut epochs = Epochs::default();
        for (_, manifest) in log.manifests() {
            epochs.0.insert(manifest.epoch.0, manifest.position());
        }
        for commit in &at.epochs {
            epochs.0.insert(commit.epoch, commit.position.clone());
        }
        let appended = at.epochs.last().map(|it| it.epoch);
        let marked = at.marker.map(|it| it.epoch.0);
        let Some(epoch) = marked.max(appended) else {
            return Err(Error::invalid(format!(
                "{table} holds no epoch of pipeline {:?}{}",
                spec.id,
                at.snapshot.map_or_else(String::new, |it| format!(" at snapshot {it}"))
            )));
        };
        let Some(position) = epochs.0.get(&epoch).cloned() else {
            return Err(Error::refused(format!(
                "{table} holds epoch {epoch}, and neither its snapshots nor the checkpoints that are kept say where in the source that ends\n→ --snapshot with a newer one, or --against a file or a table"
            )));
        };
        let is_marked = |it: &Arc<CheckpointManifest>| {
            it.epoch.0 == epoch && at.marker.is_none_or(|at| at.epoch.0 < epoch || at.id == it.id)
        };
        let manifest = log.manifests().map(|it| it.1).find(|it| is_marked(it));
        let records = manifest
            .map(|it| it.tasks.iter().map(|task| (task.task.clone(), task.records)).collect());
        let told = at.epochs.iter().find(|it| it.epoch == epoch).map(|it| it.in_flight_rows);
        let in_flight = told.or_else(|| manifest.map(|it| it.in_flight_rows())).unwrap_or(0);
        if in_flight > 0 {
            return Err(Error::refused(format!(
                "{in_flight} rows were on their way when the barrier of epoch {epoch} overtook them: they are of records before its positions, and in {table} with the epoch behind it\n→ floe savepoint makes an epoch that overtakes nothing; or --snapshot with one whose summary has no floe.in-flight-rows"
            )));
        }
        let newest = log.newest_manifest().map(|it| Arc::clone(it.1));
        let manifests = log.manifests().map(|it| Arc::clone(it.1)).collect();
        Ok(Span { epoch, position, records, newest, manifests, epochs })
    }
}

impl Epochs {
    /// The first and the last epoch that may have taken the record: the same where both its ends are known.
    pub(super) fn of(&self, task: &TopicPartition, offset: i64) -> Option<(u64, u64)> {
        let is_behind = |it: &Position| it.0.get(task).is_some_and(|next| Offset(offset) < *next);
        let (last, _) = self.0.iter().find(|(_, position)| is_behind(position))?;
        let before = self.0.range(..last).next_back().map_or(0, |(epoch, _)| *epoch);
        Some((before + 1, *last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_in_the_epoch_that_ends_behind_it() {
        let task = TopicPartition::new("p", 0);
        let at = |it: i64| Position([(task.clone(), Offset(it))].into());
        let epochs = Epochs([(3, at(30)), (4, at(40)), (6, at(60))].into());
        assert_eq!(epochs.of(&task, 29), Some((1, 3)));
        assert_eq!(epochs.of(&task, 30), Some((4, 4)));
        assert_eq!(epochs.of(&task, 59), Some((5, 6)));
        assert_eq!(epochs.of(&task, 60), None);
        assert_eq!(epochs.of(&TopicPartition::new("p", 1), 0), None);
    }
}
