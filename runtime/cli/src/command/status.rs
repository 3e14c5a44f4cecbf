//! `floe status`: where a pipeline stands, from its log, its table, its source, and itself if it listens.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use floe_checkpoint::{
    CheckpointSummary, LogReading, OwnerIdentity, list_checkpoints, process_alive, read_log,
};
use floe_core::Result;
use floe_core::manifest::CheckpointManifest;
use floe_core::ports::{PartitionFacts, TableFacts};
use floe_pipeline::config::{NamedSink, PipelineSpec};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::args::PipelineArgs;
use crate::telemetry::facts::wall_ms;
use crate::{load, show, wire};

#[derive(Serialize)]
struct StatusView {
    pipeline: String,
    guarantee: &'static str,
    owner: Option<OwnerView>,
    checkpoint: Option<CheckpointSummary>,
    partitions: Vec<PartitionView>,
    lag_records: Option<u64>,
    table: TableView,
    /// Of the sinks behind the first.
    more_tables: Vec<TableView>,
    /// What could not be reached, and why.
    unreachable: Vec<String>,
    /// The running process's own status, if it listens.
    live: Option<serde_json::Value>,
}

#[derive(Serialize)]
struct OwnerView {
    generation: u64,
    host: String,
    pid: u32,
    started_ms: i64,
    /// `None`: another host's process cannot be seen from here.
    running: Option<bool>,
}

#[derive(Serialize)]
struct PartitionView {
    partition: String,
    next_offset: Option<i64>,
    earliest: i64,
    end: i64,
    lag: u64,
}

#[derive(Serialize)]
struct TableView {
    sink: String,
    table: String,
    catalog: String,
    table_uuid: Option<String>,
    /// The newest epoch in the table.
    epoch: Option<u64>,
    marker: Option<String>,
}

pub(crate) fn status(args: PipelineArgs) -> anyhow::Result<()> {
    let spec = Arc::new(load::pipeline(&args.pipeline)?);
    super::block_on(async move {
        let status = look(&spec).await?;
        if args.json { super::print_json(&status) } else { Ok(print(&spec, &status)?) }
    })
}

async fn look(spec: &Arc<PipelineSpec>) -> Result<StatusView> {
    let (log, checkpoint) = match wire::store_to_read(spec)? {
        None => (LogReading::default(), None),
        Some(store) => {
            (read_log(&*store, &spec.id).await?, list_checkpoints(&*store, &spec.id).await?.pop())
        }
    };
    let newest = log.newest_manifest();
    let (partitions, tables, live) = tokio::join!(
        look_at_source(spec),
        look_at_tables(spec, newest.map(|(_, manifest)| &**manifest)),
        look_at_process(spec.telemetry.listen)
    );
    let mut unreachable = Vec::new();
    let facts = partitions.unwrap_or_else(|error| {
        unreachable.push(error.to_string());
        Vec::new()
    });
    let mut tables: Vec<TableView> = tables
        .into_iter()
        .zip(&spec.sinks)
        .map(|(facts, sink)| {
            let facts = facts.unwrap_or_else(|error| {
                unreachable.push(error.to_string());
                None
            });
            TableView::of(sink, facts.as_ref())
        })
        .collect();
    let more_tables = tables.split_off(1);
    let position: BTreeMap<_, _> =
        newest.map(|(_, manifest)| manifest.position().0).unwrap_or_default();
    let partitions: Vec<PartitionView> = facts
        .into_iter()
        .map(|facts| {
            let next = position.get(&facts.topic_partition).copied();
            let from = next.unwrap_or(facts.earliest);
            PartitionView {
                partition: facts.topic_partition.to_string(),
                next_offset: next.map(|it| it.0),
                earliest: facts.earliest.0,
                end: facts.end.0,
                lag: (facts.end.0 - from.0).max(0) as u64,
            }
        })
        .collect();
    Ok(StatusView {
        pipeline: spec.id.clone(),
        guarantee: spec.guarantee.name(),
        owner: owner(&log),
        checkpoint,
        lag_records: (!partitions.is_empty()).then(|| partitions.iter().map(|it| it.lag).sum()),
        partitions,
        table: tables.remove(0),
        more_tables,
        unreachable,
        live,
    })
}

fn owner(log: &LogReading) -> Option<OwnerView> {
    let (_, claim) = log.newest_claim()?;
    let us = OwnerIdentity::of_this_process(wall_ms());
    let running =
        (claim.host == us.host).then(|| claim.boot_id == us.boot_id && process_alive(claim.pid));
    Some(OwnerView {
        generation: claim.generation.0,
        host: claim.host.clone(),
        pid: claim.pid,
        started_ms: claim.started_ms,
        running,
    })
}

async fn look_at_source(spec: &PipelineSpec) -> Result<Vec<PartitionFacts>> {
    let mut source = wire::source(spec).await?;
    wire::blocking(move || source.partitions()).await
}

/// `None`: there is no such table yet.
/// What each sink's table holds, in their order.
async fn look_at_tables(
    spec: &Arc<PipelineSpec>,
    newest: Option<&CheckpointManifest>,
) -> Vec<Result<Option<TableFacts>>> {
    let mut all = Vec::new();
    for (number, sink) in spec.sinks.iter().enumerate() {
        let committed = newest.and_then(|it| it.sink(&sink.name)).and_then(|it| it.committed);
        all.push(wire::observe(spec, number, committed.as_ref()).await);
    }
    all
}

impl TableView {
    fn of(sink: &NamedSink, facts: Option<&TableFacts>) -> TableView {
        let marker = facts.and_then(|it| it.marker.as_ref());
        TableView {
            sink: sink.name.clone(),
            table: sink.spec.name().to_owned(),
            catalog: wire::sink_text(&sink.spec),
            table_uuid: facts.map(|it| show::hex(&it.table_uuid)),
            epoch: marker.map(|it| it.manifest.epoch.0),
            marker: marker.map(ToString::to_string),
        }
    }
}

/// The running process's `/status.json`. Nobody listening is an answer too.
async fn look_at_process(listen: Option<SocketAddr>) -> Option<serde_json::Value> {
    let answer = tokio::time::timeout(Duration::from_secs(1), get_status(listen?)).await;
    answer.ok()?.ok()
}

async fn get_status(address: SocketAddr) -> anyhow::Result<serde_json::Value> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let request = format!("GET /status.json HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let text = String::from_utf8(answer)?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok(serde_json::from_str(body)?)
}

fn print(spec: &PipelineSpec, status: &StatusView) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let state = match &status.owner {
        None => "never ran".to_owned(),
        Some(owner) => {
            let state = match owner.running {
                Some(true) => "running",
                Some(false) => "not running",
                None => "last owner on another host",
            };
            format!(
                "{state}: generation {}, {} pid {}, started {}",
                owner.generation,
                owner.host,
                owner.pid,
                show::time(owner.started_ms)
            )
        }
    };
    writeln!(out, "{}  {state}", status.pipeline)?;
    writeln!(out, "  guarantee   {}", status.guarantee)?;
    match &status.checkpoint {
        None => writeln!(out, "  checkpoint  none in {}", spec.checkpoint.store)?,
        Some(it) => writeln!(
            out,
            "  checkpoint  epoch {}, made {} ({} ago), {} records so far  {}",
            it.epoch,
            show::time(it.created_ms),
            show::seconds((wall_ms() - it.created_ms) as f64 / 1e3),
            show::grouped(it.records),
            spec.checkpoint.store
        )?,
    }
    for table in std::iter::once(&status.table).chain(&status.more_tables) {
        let held = match (table.epoch, &table.table_uuid) {
            (Some(epoch), _) => format!("holds epoch {epoch}"),
            (None, Some(_)) => "holds nothing of this pipeline".to_owned(),
            (None, None) => "is not there yet".to_owned(),
        };
        writeln!(out, "  table       {} {held}  ({})", table.table, table.catalog)?;
    }
    if let Some(lag) = status.lag_records {
        writeln!(out, "  lag         {} records", show::grouped(lag))?;
    }
    if let Some(live) = &status.live {
        let number = |key: &str| live.get(key).and_then(serde_json::Value::as_f64).unwrap_or(0.0);
        writeln!(
            out,
            "  now         {} rec/s, commit {} ago",
            show::count(number("records_per_second") as u64),
            show::seconds(number("commit_age_seconds"))
        )?;
    }
    for text in &status.unreachable {
        writeln!(out, "  unreachable {}", text.replace('\n', "\n              "))?;
    }
    if !status.partitions.is_empty() {
        let rows: Vec<Vec<String>> = status
            .partitions
            .iter()
            .map(|it| {
                vec![
                    it.partition.clone(),
                    it.next_offset.map_or("–".to_owned(), |it| it.to_string()),
                    it.earliest.to_string(),
                    it.end.to_string(),
                    show::grouped(it.lag),
                ]
            })
            .collect();
        let header = ["partition", "next offset", "earliest", "end", "lag"];
        write!(out, "\n{}", show::table(&header, &rows))?;
    }
    Ok(())
}
