//! Where the re-execution begins: at the pipeline's beginning, or at the oldest kept checkpoint of which the table
//! has a snapshot.

use std::sync::Arc;

use floe_core::manifest::CheckpointManifest;
use floe_core::{Error, Result};
use floe_sink::iceberg::{EpochAt, TableAt};

use crate::command::verify::span::Span;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Base {
    /// 0 is the pipeline's beginning.
    pub(super) epoch: u64,
    /// What the table held then. `None`: nothing, at the pipeline's beginning.
    pub(super) snapshot: Option<i64>,
}

impl Base {
    pub(super) fn of(span: &Span, table: &TableAt) -> Result<Base> {
        let kept = Kept::of(&span.manifests, span.epoch)?;
        if kept.from_the_beginning {
            return Ok(Base { epoch: 0, snapshot: None });
        }
        kept.base(&table.epochs).ok_or_else(|| {
            Error::refused(format!(
                "of the epochs whose checkpoints are kept ({} to {}), the table has the snapshot of none but the last\n→ [checkpoint] keep says how many are kept, \"history.expire.min-snapshots-to-keep\" in [sink] properties how many snapshots; or --against a file or a table",
                kept.epochs.first().copied().unwrap_or(span.epoch),
                span.epoch
            ))
        })
    }
}

/// The checkpoints that the same operators made, one behind the other, up to the epoch that is looked at.
struct Kept {
    epochs: Vec<u64>,
    from_the_beginning: bool,
}

impl Kept {
    fn of(manifests: &[Arc<CheckpointManifest>], to: u64) -> Result<Kept> {
        let until: Vec<_> = manifests.iter().filter(|it| it.epoch.0 <= to).collect();
        let Some(last) = until.last().filter(|it| it.epoch.0 == to) else {
            return Err(Error::refused(format!(
                "the table holds epoch {to}, and its checkpoint is not kept any more, so nothing can be run again up to there\n→ --snapshot with a newer one, a larger [checkpoint] keep, or --against a file or a table"
            )));
        };
        let is_same = |it: &CheckpointManifest| {
            it.identity.operators == last.identity.operators
                && it.identity.decoder == last.identity.decoder
        };
        let same = until.iter().rev().take_while(|it| is_same(it)).count();
        let of_same = &until[until.len() - same..];
        Ok(Kept {
            epochs: of_same.iter().map(|it| it.epoch.0).collect(),
            from_the_beginning: same == until.len() && until[0].predecessor.is_none(),
        })
    }

    /// The oldest of which the table is known.
    fn base(&self, table: &[EpochAt]) -> Option<Base> {
        let before = &self.epochs[..self.epochs.len().saturating_sub(1)];
        before.iter().find_map(|epoch| {
            let at = table.iter().find(|it| it.epoch == *epoch)?;
            Some(Base { epoch: *epoch, snapshot: Some(at.snapshot) })
        })
    }
}

#[cfg(test)]
mod tests {
    use floe_core::Position;

    use super::*;

    #[test]
    fn the_oldest_epoch_with_a_snapshot_is_the_base() {
        let at = |epoch: u64| EpochAt {
            snapshot: 100 + epoch as i64,
            epoch,
            position: Position::default(),
            in_flight_rows: 0,
        };
        let kept = Kept { epochs: vec![4, 5, 6, 7], from_the_beginning: false };
        let base = |epochs: &[u64]| {
            let table: Vec<EpochAt> = epochs.iter().map(|it| at(*it)).collect();
            kept.base(&table).map(|it| it.epoch)
        };
        assert_eq!(base(&[2, 3, 5, 6, 7]), Some(5));
        assert_eq!(base(&[4, 7]), Some(4));
        assert_eq!(base(&[3, 7]), None);
        assert_eq!(kept.base(&[at(6)]), Some(Base { epoch: 6, snapshot: Some(106) }));
    }
}
