//! `floe align`: the snapshots at which the tables of several pipelines tell the same moment of event time.
//!
//! Each pipeline's watermark is in its checkpoints and in the summaries of its snapshots; an epoch without rows
//! has no snapshot, and its checkpoint says that the one before is as far.

use std::path::Path;

use floe_checkpoint::read_log;
use floe_core::manifest::CheckpointManifest;
use floe_core::protocol::align::{Moment, TableMoments, align as decide, newest_common};
use floe_core::protocol::guarantee::Guarantee;
use floe_core::protocol::rewind::{TableHistory, snapshot_at};
use floe_core::{Error, EventTime, Result};
use floe_pipeline::config::{PipelineSpec, TableSpec};
use serde::Serialize;

use crate::args::AlignArgs;
use crate::{load, show, wire};

#[derive(Serialize)]
struct AlignView {
    aligned: bool,
    at_ms: Option<i64>,
    tables: Vec<TableView>,
}

#[derive(Serialize)]
struct TableView {
    pipeline: String,
    table: String,
    /// The one to read; where they are not aligned, the newest.
    snapshot: Option<i64>,
    watermark_ms: Option<i64>,
}

pub(crate) fn align(args: AlignArgs) -> anyhow::Result<()> {
    let specs = args.pipelines.iter().map(|it| read(it));
    let specs = specs.collect::<anyhow::Result<Vec<PipelineSpec>>>()?;
    super::block_on(async move {
        let mut tables = Vec::new();
        for spec in &specs {
            tables.extend(moments(spec).await?);
        }
        let period = args.every.map(|it| i64::try_from(it.as_millis()).unwrap_or(i64::MAX));
        let at = args.at.or_else(|| newest_common(&tables, period));
        let found = at.and_then(|it| decide(&tables, it));
        let view = view(&tables, at, found);
        match args.json {
            true => super::print_json(&view)?,
            false => print(&view),
        }
        if view.aligned { Ok(()) } else { Err(behind(&view).into()) }
    })
}

fn read(file: &Path) -> anyhow::Result<PipelineSpec> {
    let spec = load::pipeline(file)?;
    if spec.sinks.iter().all(|it| it.spec.table().is_none()) {
        let text = format!("{}: no sink is a table: a topic has no snapshots", file.display());
        return Err(Error::invalid(text).into());
    }
    Ok(spec)
}

/// What each table of a pipeline has, and up to when.
async fn moments(spec: &PipelineSpec) -> Result<Vec<TableMoments>> {
    // Before the tables: what a checkpoint says is in one is then in what is read of it.
    let kept: Vec<_> = match wire::store_to_read(spec)? {
        None => Vec::new(),
        Some(store) => {
            let reading = read_log(&*store, &spec.id).await?;
            reading.manifests().map(|(place, it)| (place, it.clone())).collect()
        }
    };
    if kept.is_empty() {
        // It never came to a checkpoint, and perhaps there is no table yet.
        let names = spec.sinks.iter().filter_map(|it| it.spec.table());
        let none = |it: &TableSpec| TableMoments {
            pipeline: spec.id.clone(),
            table: it.table.clone(),
            moments: Vec::new(),
        };
        return Ok(names.map(none).collect());
    }
    let mut tables = Vec::new();
    for history in wire::table_histories(spec).await? {
        if spec.sinks.iter().all(|it| it.name != history.sink) {
            // The dead letters: nobody waits for them.
            continue;
        }
        let said = history.watermarks.iter();
        let mut moments: Vec<Moment> = said
            .map(|(watermark, id)| Moment { watermark: *watermark, snapshot: Some(*id) })
            .collect();
        for (place, manifest) in &kept {
            let snapshot = match spec.guarantee {
                // It has no markers; but a table's commit comes before its checkpoint.
                Guarantee::AtLeastOnce => Some(history.head),
                Guarantee::ExactlyOnce | Guarantee::AtMostOnce => {
                    snapshot_at(*place, manifest, &history)
                }
            };
            let watermark = watermark(manifest);
            moments.extend(
                watermark.zip(snapshot).map(|(watermark, snapshot)| Moment { watermark, snapshot }),
            );
        }
        let TableHistory { table, .. } = history;
        tables.push(TableMoments { pipeline: spec.id.clone(), table, moments });
    }
    Ok(tables)
}

fn watermark(manifest: &CheckpointManifest) -> Option<EventTime> {
    manifest.tasks.iter().map(|it| it.watermark).min().and_then(EventTime::begun)
}

fn view(tables: &[TableMoments], at: Option<EventTime>, found: Option<Vec<Moment>>) -> AlignView {
    let aligned = found.is_some();
    let shown: Vec<Option<Moment>> = match found {
        Some(found) => found.into_iter().map(Some).collect(),
        None => tables.iter().map(TableMoments::newest).collect(),
    };
    let tables = tables.iter().zip(shown).map(|(it, moment)| TableView {
        pipeline: it.pipeline.clone(),
        table: it.table.clone(),
        snapshot: moment.and_then(|it| it.snapshot),
        watermark_ms: moment.map(|it| it.watermark.0),
    });
    AlignView { aligned, at_ms: at.map(|it| it.0), tables: tables.collect() }
}

fn print(view: &AlignView) {
    let Some(at) = view.at_ms.filter(|_| view.aligned) else { return };
    println!("all up to {} is in", show::time(at));
    for it in &view.tables {
        let watermark = it.watermark_ms.map_or("–".to_owned(), show::time);
        match it.snapshot {
            Some(id) => println!("  {}  snapshot {id}  watermark {watermark}", it.table),
            None => println!("  {}  which has no rows  watermark {watermark}", it.table),
        }
    }
}

fn behind(view: &AlignView) -> Error {
    let mut text = match view.at_ms {
        Some(at) => format!("not all tables are whole up to {}:", show::time(at)),
        None => "not all tables have a watermark:".to_owned(),
    };
    for it in &view.tables {
        if it.watermark_ms.is_none_or(|watermark| view.at_ms.is_none_or(|at| watermark < at)) {
            let watermark = it.watermark_ms.map(show::time);
            let known = watermark.map_or("has none yet".to_owned(), |it| format!("is at {it}"));
            text += &format!("\n{} of {} {known}", it.table, it.pipeline);
        }
    }
    if view.at_ms.is_none() {
        text += "\n→ a pipeline has one with event-time in [source], once each partition had a record or is idle";
    }
    Error::retry(text + "\n→ nothing is to be done with any of them; ask again")
}
