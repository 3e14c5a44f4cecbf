//! What an upgrade changes of a checkpoint, and what it carries on: the table must not see that it happened.

use crate::committable::{Committable, ManifestRef};
use crate::manifest::{CheckpointManifest, PipelineIdentity, SinkEntry};
use crate::protocol::identity::{Mismatch, NewPartitions, compare};

/// The operators, by their place, whose module or configuration differs. Any other difference stops an
/// upgrade as it stops a run.
pub fn changed_operators(
    checkpoint: &PipelineIdentity,
    now: &PipelineIdentity,
) -> Result<Vec<usize>, Vec<Mismatch>> {
    let others: Vec<Mismatch> = compare(checkpoint, now, NewPartitions::Fail, false)
        .into_iter()
        .filter(|it| !matches!(it, Mismatch::ModuleChanged { .. } | Mismatch::ConfigChanged { .. }))
        .collect();
    if !others.is_empty() {
        return Err(others);
    }
    let pairs = checkpoint.operators.iter().zip(&now.operators).enumerate();
    Ok(pairs
        .filter(|(_, (before, after))| {
            before.module_hash != after.module_hash || before.config_hash != after.config_hash
        })
        .map(|(index, _)| index)
        .collect())
}

/// The operators, by their place, that share their keys among another number of tasks than the checkpoint has.
/// With any other difference none is rescaled: one thing is changed at a time.
pub fn rescaled_operators(
    checkpoint: &PipelineIdentity,
    now: &PipelineIdentity,
) -> Result<Vec<usize>, Vec<Mismatch>> {
    let mut as_before = now.clone();
    let mut rescaled = Vec::new();
    let pairs = checkpoint.operators.iter().zip(&mut as_before.operators).enumerate();
    for (index, (before, after)) in pairs {
        if let (Some(before), Some(after)) = (&before.keyed, &mut after.keyed)
            && before.tasks != after.tasks
        {
            after.tasks = before.tasks;
            rescaled.push(index);
        }
    }
    let others = compare(checkpoint, &as_before, NewPartitions::Fail, false);
    match rescaled.is_empty() || others.is_empty() {
        true => Ok(rescaled),
        false => Err(others),
    }
}

/// The sinks of a checkpoint that follows `manifest` without a record between them: no rows, and the chain
/// of committables goes on where it was, so that the guard's next judgement finds its predecessor (I5).
pub fn carried_sinks(place: ManifestRef, manifest: &CheckpointManifest) -> Vec<SinkEntry> {
    let carried = |entry: &SinkEntry| SinkEntry {
        committable: Committable::EMPTY,
        predecessor: match entry.committable.is_empty() {
            true => entry.predecessor,
            false => Some(place),
        },
        ..entry.clone()
    };
    manifest.sinks.iter().map(carried).collect()
}

/// Nothing ran since an upgrade: no record and no watermark lies between the checkpoint before it and the newest
/// one, and states are still those that the upgrade wrote as `upgraded`. Dead letters that were given back are at
/// no new place, and change a state.
pub fn nothing_ran_since(
    before: &CheckpointManifest,
    upgraded: &CheckpointManifest,
    newest: &CheckpointManifest,
) -> bool {
    let places = |it: &CheckpointManifest| -> Vec<_> {
        it.tasks
            .iter()
            .map(|it| (it.task.clone(), it.next_offset, it.virtual_time, it.watermark, it.records))
            .collect()
    };
    let states = |it: &CheckpointManifest| -> Vec<_> {
        it.tasks.iter().map(|it| (it.task.clone(), it.state_hash)).collect()
    };
    upgraded.predecessor.is_some_and(|it| it.id == before.id)
        && places(before) == places(newest)
        && states(upgraded) == states(newest)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::epoch::{EntryId, Epoch, Generation, Slot};
    use crate::event_time::EventTime;
    use crate::manifest::{KeyedIdentity, OperatorIdentity, PartRef, TaskEntry};
    use crate::position::{Offset, TopicPartition};

    fn operator(name: &str, module: u8, config: u8) -> OperatorIdentity {
        OperatorIdentity {
            name: name.into(),
            module_hash: [module; 32],
            config_hash: [config; 32],
            state_version: 1,
            inputs: Vec::new(),
            keyed: None,
        }
    }

    fn identity(operators: Vec<OperatorIdentity>) -> PipelineIdentity {
        PipelineIdentity {
            pipeline: "p".into(),
            guarantee: "exactly-once".into(),
            topics: Vec::new(),
            operators,
            decoder: "json-1".into(),
            engine: "e".into(),
            isa: "x86_64".into(),
        }
    }

    fn place(epoch: u64) -> ManifestRef {
        ManifestRef { slot: Slot(epoch + 1), id: EntryId([epoch as u8; 16]), epoch: Epoch(epoch) }
    }

    fn manifest(rows: u64) -> CheckpointManifest {
        CheckpointManifest {
            id: place(5).id,
            epoch: Epoch(5),
            generation: Generation(1),
            predecessor: Some(place(4)),
            identity: identity(vec![operator("a", 1, 1)]),
            objects: Vec::new(),
            tasks: vec![TaskEntry {
                task: TopicPartition::new("t", 0),
                head: PartRef { object: 0, start: 0, len: 0 },
                memories: Vec::new(),
                state_hash: [0; 32],
                next_offset: Offset(9),
                virtual_time: EventTime(9),
                watermark: EventTime(8),
                records: 9,
                in_flight_rows: 0,
            }],
            sinks: vec![SinkEntry {
                name: "sink".into(),
                table: "t".into(),
                table_uuid: [1; 16],
                committable: Committable {
                    rows,
                    file_count: 1,
                    file_bytes: 1,
                    content: Bytes::from_static(b"x"),
                },
                predecessor: Some(place(3)),
                committed: None,
            }],
            created_ms: 0,
            savepoint: false,
        }
    }

    #[test]
    fn modules_and_configurations_may_change_and_nothing_else() {
        let before = identity(vec![operator("a", 1, 1), operator("b", 1, 1), operator("c", 1, 1)]);
        let after = identity(vec![operator("a", 1, 1), operator("b", 2, 1), operator("c", 1, 2)]);
        assert_eq!(changed_operators(&before, &after), Ok(vec![1, 2]));
        assert_eq!(changed_operators(&before, &before), Ok(vec![]));
        let mut other = after.clone();
        other.engine = "f".into();
        assert!(matches!(
            changed_operators(&before, &other).unwrap_err()[..],
            [Mismatch::EngineChanged { .. }]
        ));
        let fewer = identity(vec![operator("a", 1, 1)]);
        assert!(changed_operators(&before, &fewer).is_err());
    }

    #[test]
    fn another_number_of_tasks_is_a_change_by_itself() {
        let keyed = |tasks, column: &str| {
            let mut all = identity(vec![operator("a", 1, 1), operator("b", 1, 1)]);
            let columns = vec![column.to_owned()];
            let partitioner = "h".to_owned();
            all.operators[1].keyed = Some(KeyedIdentity { columns, tasks, partitioner });
            all
        };
        let before = keyed(3, "k");
        assert_eq!(rescaled_operators(&before, &keyed(5, "k")), Ok(vec![1]));
        assert_eq!(rescaled_operators(&before, &before), Ok(vec![]));
        let mut module = keyed(5, "k");
        module.operators[0].module_hash = [2; 32];
        assert!(matches!(
            rescaled_operators(&before, &module).unwrap_err()[..],
            [Mismatch::ModuleChanged { .. }]
        ));
        // A module alone is not looked at here.
        module.operators[1].keyed = before.operators[1].keyed.clone();
        assert_eq!(rescaled_operators(&before, &module), Ok(vec![]));
        assert!(rescaled_operators(&before, &keyed(5, "other")).is_err());
    }

    #[test]
    fn the_chain_of_committables_goes_on_where_it_was() {
        for (rows, expected) in [(7, place(5)), (0, place(3))] {
            let carried = carried_sinks(place(5), &manifest(rows));
            assert!(carried[0].committable.is_empty());
            assert_eq!(carried[0].predecessor, Some(expected));
            assert_eq!((carried[0].table_uuid, carried[0].name.as_str()), ([1; 16], "sink"));
        }
    }

    #[test]
    fn whatever_ran_since_an_upgrade_is_seen() {
        let before = manifest(0);
        let mut upgraded = manifest(0);
        (upgraded.id, upgraded.predecessor) = (place(6).id, Some(place(5)));
        upgraded.tasks[0].state_hash = [1; 32];
        let newest = upgraded.clone();
        assert!(nothing_ran_since(&before, &upgraded, &newest));
        let mut watermark = newest.clone();
        watermark.tasks[0].watermark = EventTime(9);
        assert!(!nothing_ran_since(&before, &upgraded, &watermark));
        // A letter that was given back is at no new place.
        let mut letter = newest.clone();
        letter.tasks[0].state_hash = [2; 32];
        assert!(!nothing_ran_since(&before, &upgraded, &letter));
        // What the upgrade wrote is kept no more: the first that is may be of behind a letter.
        upgraded.predecessor = Some(place(6));
        assert!(!nothing_ran_since(&before, &upgraded, &newest));
    }
}
