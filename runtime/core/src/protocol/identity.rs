//! Is this still the pipeline that the checkpoint was made by? Every difference is named.

use std::fmt;

use crate::manifest::{KeyedIdentity, PipelineIdentity};

/// A difference that stops a restore, with what a person can do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    Pipeline {
        checkpoint: String,
        now: String,
    },
    TopicGone {
        topic: String,
    },
    TopicAdded {
        topic: String,
    },
    /// Dropped and made anew: its offsets mean other records.
    TopicRecreated {
        topic: String,
        checkpoint: String,
        now: String,
    },
    PartitionsFewer {
        topic: String,
        checkpoint: u32,
        now: u32,
    },
    PartitionsMore {
        topic: String,
        checkpoint: u32,
        now: u32,
    },
    OperatorCount {
        checkpoint: usize,
        now: usize,
    },
    OperatorName {
        index: usize,
        checkpoint: String,
        now: String,
    },
    ModuleChanged {
        operator: String,
        checkpoint: String,
        now: String,
    },
    ConfigChanged {
        operator: String,
    },
    /// It takes other outputs than it did.
    InputChanged {
        operator: String,
        checkpoint: String,
        now: String,
    },
    /// Other columns, another number of tasks or another hash: the state of a key stands elsewhere.
    KeyChanged {
        operator: String,
        checkpoint: String,
        now: String,
    },
    GuaranteeChanged {
        checkpoint: String,
        now: String,
    },
    DecoderChanged {
        checkpoint: String,
        now: String,
    },
    EngineChanged {
        checkpoint: String,
        now: String,
    },
}

/// What `new-partitions` in `[source]` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewPartitions {
    Fail,
    /// Partitions that the checkpoint does not know begin at `start`.
    Start,
}

/// Compares. `settled` says that every completed epoch is committed: only then may the guarantee change.
pub fn compare(
    checkpoint: &PipelineIdentity,
    now: &PipelineIdentity,
    new_partitions: NewPartitions,
    settled: bool,
) -> Vec<Mismatch> {
    let mut found = Vec::new();
    if checkpoint.pipeline != now.pipeline {
        found.push(Mismatch::Pipeline {
            checkpoint: checkpoint.pipeline.clone(),
            now: now.pipeline.clone(),
        });
    }
    compare_topics(checkpoint, now, new_partitions, &mut found);
    compare_operators(checkpoint, now, &mut found);
    if checkpoint.guarantee != now.guarantee && !settled {
        found.push(Mismatch::GuaranteeChanged {
            checkpoint: checkpoint.guarantee.clone(),
            now: now.guarantee.clone(),
        });
    }
    if checkpoint.decoder != now.decoder {
        found.push(Mismatch::DecoderChanged {
            checkpoint: checkpoint.decoder.clone(),
            now: now.decoder.clone(),
        });
    }
    if engine_alone(&checkpoint.engine) != engine_alone(&now.engine) {
        found.push(Mismatch::EngineChanged {
            checkpoint: checkpoint.engine.clone(),
            now: now.engine.clone(),
        });
    }
    found
}

/// What stands behind it in an identity's engine: the stacks of operators that have another than the default,
/// as a JSON object. A replay needs them; a run may have others than the one before, as with any limit.
pub const STACKS: &str = "; limits.stack ";

fn engine_alone(engine: &str) -> &str {
    engine.split_once(STACKS).map_or(engine, |(alone, _)| alone)
}

fn compare_topics(
    checkpoint: &PipelineIdentity,
    now: &PipelineIdentity,
    new_partitions: NewPartitions,
    found: &mut Vec<Mismatch>,
) {
    for before in &checkpoint.topics {
        let topic = before.topic.clone();
        let Some(after) = now.topics.iter().find(|it| it.topic == before.topic) else {
            found.push(Mismatch::TopicGone { topic });
            continue;
        };
        if let (Some(old), Some(new)) = (&before.topic_id, &after.topic_id)
            && old != new
        {
            let (checkpoint, now) = (old.clone(), new.clone());
            found.push(Mismatch::TopicRecreated { topic, checkpoint, now });
        } else if after.partitions < before.partitions {
            let (checkpoint, now) = (before.partitions, after.partitions);
            found.push(Mismatch::PartitionsFewer { topic, checkpoint, now });
        } else if after.partitions > before.partitions && new_partitions == NewPartitions::Fail {
            let (checkpoint, now) = (before.partitions, after.partitions);
            found.push(Mismatch::PartitionsMore { topic, checkpoint, now });
        }
    }
    let known = |topic: &str| checkpoint.topics.iter().any(|it| it.topic == topic);
    if new_partitions == NewPartitions::Fail {
        for after in now.topics.iter().filter(|it| !known(&it.topic)) {
            found.push(Mismatch::TopicAdded { topic: after.topic.clone() });
        }
    }
}

fn compare_operators(
    checkpoint: &PipelineIdentity,
    now: &PipelineIdentity,
    found: &mut Vec<Mismatch>,
) {
    if checkpoint.operators.len() != now.operators.len() {
        found.push(Mismatch::OperatorCount {
            checkpoint: checkpoint.operators.len(),
            now: now.operators.len(),
        });
        return;
    }
    for (index, (before, after)) in checkpoint.operators.iter().zip(&now.operators).enumerate() {
        if before.name != after.name {
            found.push(Mismatch::OperatorName {
                index,
                checkpoint: before.name.clone(),
                now: after.name.clone(),
            });
        } else if before.module_hash != after.module_hash {
            found.push(Mismatch::ModuleChanged {
                operator: before.name.clone(),
                checkpoint: short_hex(&before.module_hash),
                now: short_hex(&after.module_hash),
            });
        } else if before.config_hash != after.config_hash {
            found.push(Mismatch::ConfigChanged { operator: before.name.clone() });
        }
        let operator = before.name.clone();
        if before.name == after.name && before.inputs != after.inputs {
            let (checkpoint, now) = (inputs(&before.inputs), inputs(&after.inputs));
            found.push(Mismatch::InputChanged { operator: operator.clone(), checkpoint, now });
        }
        if before.name == after.name && before.keyed != after.keyed {
            let (checkpoint, now) = (keyed(before.keyed.as_ref()), keyed(after.keyed.as_ref()));
            found.push(Mismatch::KeyChanged { operator, checkpoint, now });
        }
    }
}

fn inputs(inputs: &[String]) -> String {
    match inputs.is_empty() {
        true => "the operator before it".to_owned(),
        false => inputs.join(", "),
    }
}

fn keyed(keyed: Option<&KeyedIdentity>) -> String {
    match keyed {
        None => "none".to_owned(),
        Some(it) => {
            format!("[{}] in {} tasks by {}", it.columns.join(", "), it.tasks, it.partitioner)
        }
    }
}

fn short_hex(hash: &[u8; 32]) -> String {
    hash[..6].iter().map(|it| format!("{it:02x}")).collect::<String>() + "…"
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mismatch::Pipeline { checkpoint, now } => write!(
                f,
                "pipeline id: the checkpoint is of {checkpoint:?}, the file says {now:?} → set id back, or use another [checkpoint] store"
            ),
            Mismatch::TopicGone { topic } => {
                write!(
                    f,
                    "topic {topic}: in the checkpoint, but not there now → restore the topic, or start a new pipeline id"
                )
            }
            Mismatch::TopicAdded { topic } => {
                write!(
                    f,
                    "topic {topic}: not in the checkpoint → new-partitions = \"start\" in [source] takes it in"
                )
            }
            Mismatch::TopicRecreated { topic, checkpoint, now } => write!(
                f,
                "topic {topic}: was dropped and made anew (id {checkpoint} in the checkpoint, {now} now), its offsets mean other records → start a new pipeline id"
            ),
            Mismatch::PartitionsFewer { topic, checkpoint, now } => write!(
                f,
                "topic {topic}: {checkpoint} partitions in the checkpoint, {now} now → it was made anew; start a new pipeline id"
            ),
            Mismatch::PartitionsMore { topic, checkpoint, now } => write!(
                f,
                "topic {topic}: {checkpoint} partitions in the checkpoint, {now} now: keys may have moved, and state stays where it was → new-partitions = \"start\" in [source] if the operators keep no state by key; floe upgrade --partitions {now} --apply if they keep it by the records' keys"
            ),
            Mismatch::OperatorCount { checkpoint, now } => {
                write!(
                    f,
                    "operators: {checkpoint} in the checkpoint, {now} in the file → restore the chain, or start a new pipeline id"
                )
            }
            Mismatch::OperatorName { index, checkpoint, now } => {
                write!(
                    f,
                    "operator {index}: {checkpoint:?} in the checkpoint, {now:?} in the file → set the name back"
                )
            }
            Mismatch::ModuleChanged { operator, checkpoint, now } => write!(
                f,
                "operator {operator}: module {checkpoint} in the checkpoint, {now} in the file; its memory cannot be given to other code → floe upgrade tries the new module on the last epochs (--try 10) and gives it the operator's state (--apply); or run the old module"
            ),
            Mismatch::ConfigChanged { operator } => {
                write!(
                    f,
                    "operator {operator}: config differs from the checkpoint's, and open is not called on a restore → floe upgrade gives the operator's state to one that is opened with the new config; or set config back"
                )
            }
            Mismatch::InputChanged { operator, checkpoint, now } => write!(
                f,
                "operator {operator}: took {checkpoint} in the checkpoint, takes {now} in the file → set input back, or start a new pipeline id"
            ),
            Mismatch::KeyChanged { operator, checkpoint, now } => write!(
                f,
                "operator {operator}: key-by {checkpoint} in the checkpoint, {now} in the file; the state of a key would stand in another task → floe upgrade --apply parts it among another number of tasks; else set key-by and tasks back, or start a new pipeline id"
            ),
            Mismatch::GuaranteeChanged { checkpoint, now } => write!(
                f,
                "guarantee: {checkpoint} in the checkpoint, {now} in the file, and its last epoch is not settled → run once with {checkpoint} until it is committed"
            ),
            Mismatch::DecoderChanged { checkpoint, now } => {
                write!(
                    f,
                    "decoder: {checkpoint} in the checkpoint, {now} now → set format back, or start a new pipeline id"
                )
            }
            Mismatch::EngineChanged { checkpoint, now } => write!(
                f,
                "engine: {checkpoint} in the checkpoint, {now} now → use the floe that made the checkpoint"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{OperatorIdentity, TopicIdentity};

    fn identity() -> PipelineIdentity {
        PipelineIdentity {
            pipeline: "p".into(),
            guarantee: "exactly-once".into(),
            topics: vec![TopicIdentity {
                topic: "t".into(),
                topic_id: Some("a".into()),
                partitions: 4,
            }],
            operators: vec![OperatorIdentity {
                name: "o".into(),
                module_hash: [1; 32],
                config_hash: [2; 32],
                state_version: 1,
                inputs: Vec::new(),
                keyed: None,
            }],
            decoder: "json-1".into(),
            engine: "e".into(),
            isa: "x86_64".into(),
        }
    }

    #[test]
    fn each_difference_is_named_once() {
        type Change = fn(&mut PipelineIdentity);
        let key = |tasks| KeyedIdentity {
            columns: vec!["m".into()],
            tasks,
            partitioner: "floe-hash-1".into(),
        };
        let mut of_four = identity();
        of_four.operators[0].keyed = Some(key(4));
        let mut of_five = identity();
        of_five.operators[0].keyed = Some(key(5));
        let found = compare(&of_four, &of_five, NewPartitions::Fail, false);
        assert!(found[0].to_string().contains("[m] in 4 tasks"), "{}", found[0]);
        let cases: [(&str, Change); 14] = [
            ("pipeline id", |it| it.pipeline = "q".into()),
            ("topic t: in the checkpoint", |it| it.topics[0].topic = "u".into()),
            ("made anew", |it| it.topics[0].topic_id = Some("b".into())),
            ("3 now", |it| it.topics[0].partitions = 3),
            ("5 now", |it| it.topics[0].partitions = 5),
            ("operators: 1", |it| it.operators.clear()),
            ("operator 0", |it| it.operators[0].name = "x".into()),
            ("module", |it| it.operators[0].module_hash = [9; 32]),
            ("takes a.late in the file", |it| it.operators[0].inputs = vec!["a.late".into()]),
            ("config differs", |it| it.operators[0].config_hash = [9; 32]),
            ("guarantee", |it| it.guarantee = "at-least-once".into()),
            ("decoder", |it| it.decoder = "raw-1".into()),
            ("engine", |it| it.engine = "f".into()),
            ("", |it| it.isa = "aarch64".into()),
        ];
        for (expected, change) in cases {
            let mut now = identity();
            change(&mut now);
            let found = compare(&identity(), &now, NewPartitions::Fail, false);
            let text = found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
            assert!(text.contains(expected), "{expected}: {text}");
            assert_eq!(found.is_empty(), expected.is_empty(), "{text}");
        }
    }

    #[test]
    fn what_may_change_may_change() {
        let mut now = identity();
        now.topics[0].partitions = 6;
        assert_eq!(compare(&identity(), &now, NewPartitions::Start, false), []);
        let mut now = identity();
        now.guarantee = "at-most-once".into();
        assert_eq!(compare(&identity(), &now, NewPartitions::Fail, true), []);
        let mut now = identity();
        now.topics[0].topic_id = None;
        assert_eq!(
            compare(&identity(), &now, NewPartitions::Fail, true),
            [],
            "an unknown id is no difference"
        );
    }
}
