//! A table at one snapshot, read batch by batch: what it is of a pipeline, and chosen columns of its rows.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use floe_core::committable::ManifestRef;
use floe_core::protocol::judge::Marker;
use floe_core::{Error, Offset, Position, Result, TopicPartition};
use futures::TryStreamExt;
use futures::stream::BoxStream;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{PartitionSpec, Schema, SnapshotRef, TableMetadata};
use iceberg::table::Table;

use super::config::{CatalogConfig, TableConfig};
use super::connect::connect;
use super::error::read_failed;
use super::facts::{ancestors, epoch_in};
use super::table::identifier;

/// A table as it is at a snapshot, taken from one version of its metadata.
#[derive(Clone)]
pub struct TableAt {
    pub columns: SchemaRef,
    /// `None`: nothing was ever written to the branch.
    pub snapshot: Option<i64>,
    /// The newest manifest that the table says it holds; at an older snapshot, the newest one up to that.
    pub marker: Option<ManifestRef>,
    /// The snapshots of the pipeline's sink up to there, as far as they are kept, oldest first.
    pub epochs: Vec<EpochAt>,
    table: Table,
}

/// What a snapshot's summary says of the epochs in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochAt {
    pub snapshot: i64,
    pub epoch: u64,
    /// Where the source went on behind the epoch.
    pub position: Position,
    /// Of records before there, on their way when the epoch's barrier overtook them: not in the table yet.
    pub in_flight_rows: u64,
}

impl TableAt {
    /// Without a snapshot, the head of the branch that the configuration names.
    pub async fn look(
        catalog: &CatalogConfig,
        config: &TableConfig,
        (pipeline, sink): (&str, &str),
        snapshot: Option<i64>,
    ) -> Result<TableAt> {
        let ident = identifier(&config.table)?;
        let loaded = connect(catalog).await?.load_table(&ident).await;
        let table = loaded.map_err(|error| read_failed(&format!("load table {ident}"), &error))?;
        let metadata = table.metadata();
        let head = match snapshot {
            None => ancestors(metadata, &config.branch).next(),
            Some(id) => Some(known_snapshot(metadata, &config.table, id)?),
        };
        let key = Marker::key(pipeline, sink, &config.branch);
        let (mut epochs, mut newest) = (Vec::new(), None);
        let parents = std::iter::successors(head.clone(), |it| {
            metadata.snapshot_by_id(it.parent_snapshot_id()?).cloned()
        });
        for snapshot in parents {
            let summary = &snapshot.summary().additional_properties;
            if let Some(text) = summary.get(&key) {
                newest = newest.or_else(|| Marker::parse(text));
            }
            epochs.extend(epoch_of(&snapshot, pipeline));
        }
        epochs.reverse();
        let property = metadata.properties().get(&key).and_then(|it| Marker::parse(it));
        let marker = match (property, newest) {
            // The property is of now, and a snapshot that was asked for may be of before.
            (Some(property), None) if snapshot.is_none() => Some(property),
            (Some(property), Some(newest)) if snapshot.is_none() => {
                Some(if newest.manifest.slot > property.manifest.slot { newest } else { property })
            }
            (_, newest) => newest,
        };
        let columns = schema_to_arrow_schema(metadata.current_schema())
            .map_err(|error| read_failed(&format!("read the columns of {ident}"), &error))?;
        Ok(TableAt {
            columns: columns.into(),
            snapshot: head.map(|it| it.snapshot_id()),
            marker: marker.map(|it| it.manifest),
            epochs,
            table,
        })
    }

    pub(super) fn schema(&self) -> &Schema {
        self.table.metadata().current_schema()
    }

    pub(super) fn partition_spec(&self) -> &PartitionSpec {
        self.table.metadata().default_partition_spec()
    }

    /// These columns of all rows, in any order of rows.
    pub async fn rows(&self, columns: &[String]) -> Result<RowStream> {
        let name = self.table.identifier().to_string();
        let Some(snapshot) = self.snapshot else { return Ok(RowStream { name, stream: None }) };
        let failed = |error: iceberg::Error| read_failed(&format!("read table {name}"), &error);
        let scan = self.table.scan().snapshot_id(snapshot).select(columns.iter().cloned());
        let rows = scan.build().map_err(failed)?.to_arrow().await.map_err(failed)?;
        Ok(RowStream { name, stream: Some(rows) })
    }
}

fn known_snapshot(metadata: &TableMetadata, table: &str, id: i64) -> Result<SnapshotRef> {
    metadata.snapshot_by_id(id).cloned().ok_or_else(|| {
        let newest = metadata.current_snapshot().map(|it| it.snapshot_id());
        let newest = newest.map_or("it has none".to_owned(), |it| format!("its newest is {it}"));
        Error::invalid(format!(
            "{table} has no snapshot {id}; {newest}\n→ it may have been expired: \"history.expire.min-snapshots-to-keep\" in [sink] properties says how many stay"
        ))
    })
}

fn epoch_of(snapshot: &SnapshotRef, pipeline: &str) -> Option<EpochAt> {
    let summary = &snapshot.summary().additional_properties;
    let epoch = epoch_in(summary, pipeline)?;
    let position = summary.get("floe.positions").and_then(|it| position(it))?;
    let in_flight = summary.get("floe.in-flight-rows").and_then(|it| it.parse().ok());
    let in_flight_rows = in_flight.unwrap_or(0);
    Some(EpochAt { snapshot: snapshot.snapshot_id(), epoch, position, in_flight_rows })
}

/// "payments/0:17,payments/1:12".
fn position(text: &str) -> Option<Position> {
    let part = |it: &str| {
        let (task, offset) = it.rsplit_once(':')?;
        Some((TopicPartition::parse(task)?, Offset(offset.parse().ok()?)))
    };
    text.split(',').filter(|it| !it.is_empty()).map(part).collect::<Option<_>>().map(Position)
}

pub struct RowStream {
    name: String,
    stream: Option<BoxStream<'static, iceberg::Result<RecordBatch>>>,
}

impl RowStream {
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        let next = stream.try_next().await;
        next.map_err(|error| read_failed(&format!("read table {}", self.name), &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_summaries_have_them() {
        let two = position("a:b/0:17,p/1:0").unwrap();
        assert_eq!(two.0.get(&TopicPartition::new("a:b", 0)), Some(&Offset(17)));
        assert_eq!(two.0.get(&TopicPartition::new("p", 1)), Some(&Offset(0)));
        assert_eq!(position(""), Some(Position::default()));
        assert_eq!(position("p/x:1"), None);
    }
}
