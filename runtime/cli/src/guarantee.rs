//! The guarantee that a pipeline really has, and what it rests on, part by part.

use floe_pipeline::config::{
    CatalogKind, Guarantee, OnError, Origin, PipelineSpec, SinkSpec, SourceSpec, TableSpec,
    WriteMode,
};
use serde::Serialize;

/// What is promised, what each part adds to it, and what limits it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct HeldGuarantee {
    pub(crate) name: &'static str,
    pub(crate) rests_on: Vec<String>,
    /// What a person should know before trusting it; empty where nothing takes away from it.
    pub(crate) limits: Vec<String>,
}

pub(crate) fn held(spec: &PipelineSpec) -> HeldGuarantee {
    let source_text = |it: &SourceSpec| match &it.origin {
        Origin::Kafka { .. } => {
            "source: Kafka; any offset that retention keeps can be read again (read_committed)"
        }
        Origin::Recording { .. } => "source: a recording; every offset can be read again",
    };
    let mut sources: Vec<&str> = spec.sources.iter().map(source_text).collect();
    sources.sort_unstable();
    sources.dedup();
    let text_of = |sink: &SinkSpec| match (spec.guarantee, sink) {
        (Guarantee::ExactlyOnce, SinkSpec::Topic(_)) => {
            "sink: Kafka in transactions; records show after the checkpoint is complete, once, in order"
        }
        (Guarantee::ExactlyOnce, SinkSpec::Table(_)) => {
            "sink: Iceberg in two phases; rows show after the checkpoint is complete, once, in order"
        }
        (Guarantee::AtLeastOnce, _) => {
            "sink: Iceberg; rows show before the checkpoint is complete, so none is lost"
        }
        (Guarantee::AtMostOnce, _) => {
            "sink: Iceberg; rows show after the checkpoint is complete, and no commit is repeated"
        }
    };
    let mut rests_on: Vec<String> = sources.into_iter().map(str::to_owned).collect();
    if spec.sources.len() > 1 {
        rests_on.push(
            "sources: the positions of all of them, and the order in which they were merged, are in one checkpoint"
                .to_owned(),
        );
    }
    rests_on.push(
        "operators: memory and globals are captured together with the position; state is exact"
            .to_owned(),
    );
    let with_mode = |sink: &SinkSpec| match sink.table().map(|it| &it.mode) {
        Some(WriteMode::Upsert { key, .. }) => {
            format!("{}; a row replaces the one of its key ({})", text_of(sink), key.join(", "))
        }
        Some(WriteMode::OverwritePartition) => format!(
            "{}; a run is one epoch, and replaces the partitions that it has rows for",
            text_of(sink)
        ),
        Some(WriteMode::Append) | None => text_of(sink).to_owned(),
    };
    let mut sinks: Vec<String> = spec.sinks.iter().map(|it| with_mode(&it.spec)).collect();
    sinks.dedup();
    rests_on.extend(sinks);
    if spec.dead_letters.is_some() {
        rests_on
            .push("dead letters: committed with their epoch, under the same guarantee, in their own table or topic".to_owned());
    }
    HeldGuarantee { name: spec.guarantee.name(), rests_on, limits: limits(spec) }
}

fn limits(spec: &PipelineSpec) -> Vec<String> {
    let mut limits = Vec::new();
    match spec.guarantee {
        Guarantee::ExactlyOnce => {}
        // A row that comes again replaces itself.
        Guarantee::AtLeastOnce if spec.sinks.iter().all(|it| replaces(&it.spec)) => {}
        Guarantee::AtLeastOnce => limits.push(
            "sink: guarantee = \"at-least-once\" is asked for; after a crash the rows of the last epoch may come again"
                .to_owned(),
        ),
        Guarantee::AtMostOnce => limits.push(
            "sink: guarantee = \"at-most-once\" is asked for; after a crash the rows of the last epochs may be missing"
                .to_owned(),
        ),
    }
    for (index, operator) in spec.operators.iter().enumerate() {
        if operator.on_error == OnError::Skip {
            let name = operator.name.clone().unwrap_or_else(|| format!("{}", index + 1));
            limits.push(format!(
                "operator {name}: on-error = \"skip\" drops records that it rejects; \"dead-letter\" keeps them"
            ));
        }
    }
    if spec.checkpoint.store.starts_with("file://") {
        limits.push(
            "checkpoints: in local files; state is as safe as that disk, and another host cannot take over"
                .to_owned(),
        );
    }
    let sqlite = |it: &&TableSpec| {
        it.catalog.kind == CatalogKind::Sql && it.catalog.uri.expose().starts_with("sqlite:")
    };
    if spec.sinks.iter().filter_map(|it| it.spec.table()).any(|it| sqlite(&it)) {
        limits.push("catalog: sqlite; one host at a time".to_owned());
    }
    if spec.sinks.iter().any(|it| matches!(it.spec, SinkSpec::Topic(_))) {
        limits.push(
            "topic: consumers must read with isolation.level=read_committed; others see what was aborted"
                .to_owned(),
        );
    }
    let mut names: Vec<&str> = spec.sinks.iter().map(|it| it.spec.name()).collect();
    names.extend(spec.dead_letters.as_ref().map(|it| it.sink.name()));
    if let [others @ .., last] = &names[..]
        && !others.is_empty()
    {
        let ahead = if names.len() == 2 { "neither is" } else { "none is" };
        let others = others.join(", ");
        limits.push(format!(
            "{others} and {last} do not change at the same instant; {ahead} ahead of a checkpoint"
        ));
    }
    limits
}

fn replaces(sink: &SinkSpec) -> bool {
    sink.table().is_some_and(|it| matches!(it.mode, WriteMode::Upsert { .. }))
}
