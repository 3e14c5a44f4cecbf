//! Upserts: an epoch's rows, collapsed to the last of each key, become equality deletes and data files.
//!
//! A delete takes out rows of earlier snapshots alone, never those beside it in its own: so no snapshot
//! holds two rows of a key, and an epoch that is committed again changes nothing.

mod check;
mod key;
mod operation;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::SchemaRef;
use arrow_select::filter::filter_record_batch;
use arrow_select::interleave::interleave_record_batch;
use async_trait::async_trait;
use floe_core::committable::Committable;
use floe_core::ports::SinkWriter;
use floe_core::{Epoch, Error, Result};
use iceberg::spec::{DataFile, DataFileFormat, PartitionSpecRef};
use iceberg::table::Table;
use iceberg::writer::base_writer::equality_delete_writer::{
    EqualityDeleteFileWriterBuilder, EqualityDeleteWriterConfig,
};
use iceberg::writer::file_writer::ParquetWriterBuilder;
use iceberg::writer::file_writer::location_generator::{
    DefaultFileNameGenerator, DefaultLocationGenerator,
};
use iceberg::writer::file_writer::rolling_writer::RollingFileWriterBuilder;
use iceberg::writer::{IcebergWriter as _, IcebergWriterBuilder};

use super::committable::encode;
use super::config::UpsertConfig;
use super::delta::BySpec;
use super::names::Names;
use super::split::Splitter;
use super::writer::{Making, OpenEpoch, failed};
pub(super) use check::{check_config, check_table, specs_in_use};
use key::{KeySchema, key_of};
pub(super) use operation::{Operation, stored_rows};

/// Rows held beyond twice the number of keys before versions that are no longer the last are dropped.
const SUPERSEDED_ROWS_MAX: usize = 262_144;
/// Rows put together at a time when an epoch is closed.
const CHUNK_ROWS: usize = 65_536;

pub(super) struct UpsertWriter {
    making: Making,
    operation: Option<Operation>,
    keys: KeySchema,
    /// The partition specs that rows of the table have: deletes reach rows of their own spec alone.
    specs: Vec<PartitionSpecRef>,
    open: BTreeMap<Epoch, Gathered>,
}

/// An epoch's rows in memory: which one is the last of its key is known when the epoch closes.
#[derive(Default)]
struct Gathered {
    batches: Vec<RecordBatch>,
    /// For each batch, which of its rows say that their key is gone.
    deleted: Vec<BooleanArray>,
    held_rows: usize,
    /// For each key the place of its newest row: batch and row.
    newest: HashMap<Box<[u8]>, (usize, usize)>,
}

impl UpsertWriter {
    pub(super) fn new(
        table: Table,
        rows: &SchemaRef,
        config: &UpsertConfig,
        spec_ids: &[i32],
        names: Names,
    ) -> Result<UpsertWriter> {
        let metadata = table.metadata();
        let specs = spec_ids
            .iter()
            .map(|it| metadata.partition_spec_by_id(*it).cloned())
            .collect::<Option<Vec<PartitionSpecRef>>>()
            .ok_or_else(|| Error::retry("the table's partition specs changed meanwhile"))?;
        Ok(UpsertWriter {
            keys: KeySchema::new(metadata.current_schema(), &config.key)?,
            operation: Operation::find(rows, config)?,
            making: Making::new(table, rows.clone(), names)?,
            specs,
            open: BTreeMap::new(),
        })
    }

    async fn close(&self, epoch: Epoch, gathered: Gathered) -> Result<Committable> {
        let places = gathered.places();
        let batches: Vec<&RecordBatch> = gathered.batches.iter().collect();
        let mut data = OpenEpoch::default();
        let mut kept = 0;
        for chunk in places.chunks(CHUNK_ROWS) {
            let rows = interleave_record_batch(&batches, chunk).map_err(unexpected)?;
            let stays: BooleanArray = chunk
                .iter()
                .map(|(batch, row)| Some(!gathered.deleted[*batch].value(*row)))
                .collect();
            let rows = filter_record_batch(&rows, &stays).map_err(unexpected)?;
            kept += rows.num_rows() as u64;
            data = self.making.add(epoch, data, rows).await?;
        }
        let data = self.making.close(epoch, data).await?;
        let deletes = self.delete_files(epoch, &gathered, &places).await?;
        let count = |files: &[DataFile]| files.iter().map(DataFile::record_count).sum::<u64>();
        // I1: what the checkpoint will name holds the last row of each key, and deletes what was before it.
        assert_eq!(count(&data), kept, "rows in the files of epoch {epoch}");
        for files in deletes.values() {
            assert_eq!(count(files), places.len() as u64, "keys in the deletes of epoch {epoch}");
        }
        let all = || data.iter().chain(deletes.values().flatten());
        Ok(Committable {
            rows: places.len() as u64,
            file_count: all().count() as u32,
            file_bytes: all().map(DataFile::file_size_in_bytes).sum(),
            content: encode(&self.making.table, data.clone(), deletes.clone())?,
        })
    }

    /// One file, or a few, for each partition of each spec.
    async fn delete_files(
        &self,
        epoch: Epoch,
        gathered: &Gathered,
        places: &[(usize, usize)],
    ) -> Result<BySpec> {
        let keys: Vec<RecordBatch> = gathered
            .batches
            .iter()
            .map(|it| self.keys.project(it))
            .collect::<Result<Vec<RecordBatch>>>()?;
        let keys: Vec<&RecordBatch> = keys.iter().collect();
        let keys = interleave_record_batch(&keys, places).map_err(unexpected)?;
        let mut by_spec = BySpec::new();
        for spec in &self.specs {
            let builder = self.delete_builder(epoch)?;
            let parts = match spec.is_unpartitioned() {
                true => vec![(None, keys.clone())],
                false => {
                    let splitter = Splitter::new(Arc::clone(&self.keys.schema), Arc::clone(spec));
                    let parts = splitter.and_then(|it| it.split(&keys)).map_err(failed)?;
                    parts.into_iter().map(|(partition, rows)| (Some(partition), rows)).collect()
                }
            };
            let mut files = Vec::new();
            for (partition, rows) in parts {
                let mut writer = builder.build(partition).await.map_err(failed)?;
                writer.write(rows).await.map_err(failed)?;
                files.extend(writer.close().await.map_err(failed)?);
            }
            by_spec.insert(spec.spec_id(), files);
        }
        Ok(by_spec)
    }

    fn delete_builder(
        &self,
        epoch: Epoch,
    ) -> Result<
        EqualityDeleteFileWriterBuilder<
            ParquetWriterBuilder,
            DefaultLocationGenerator,
            DefaultFileNameGenerator,
        >,
    > {
        let schema = &self.keys.schema;
        let config = EqualityDeleteWriterConfig::new(self.keys.ids.clone(), Arc::clone(schema))
            .map_err(failed)?;
        let names = DefaultFileNameGenerator::new(
            self.making.names.of_attempt(epoch),
            Some("deletes".to_owned()),
            DataFileFormat::Parquet,
        );
        let rolling = RollingFileWriterBuilder::new(
            ParquetWriterBuilder::new(self.making.properties.clone(), Arc::clone(schema)),
            self.making.target_file_bytes,
            self.making.table.file_io().clone(),
            DefaultLocationGenerator::new(self.making.table.metadata()).map_err(failed)?,
            names,
        );
        Ok(EqualityDeleteFileWriterBuilder::new(rolling, config))
    }
}

impl Gathered {
    fn add(&mut self, batch: RecordBatch, deleted: BooleanArray, keys: &KeySchema) -> Result<()> {
        let number = self.batches.len();
        let columns = keys.bytes(&batch)?;
        let mut key = Vec::new();
        for row in 0..batch.num_rows() {
            key_of(&columns, row, &mut key);
            match self.newest.get_mut(key.as_slice()) {
                Some(place) => *place = (number, row),
                None => {
                    self.newest.insert(key.as_slice().into(), (number, row));
                }
            }
        }
        self.held_rows += batch.num_rows();
        self.batches.push(batch);
        self.deleted.push(deleted);
        if self.held_rows > 2 * self.newest.len() + SUPERSEDED_ROWS_MAX {
            self.drop_superseded()?;
        }
        Ok(())
    }

    /// The newest row of each key, in the order in which they came.
    fn places(&self) -> Vec<(usize, usize)> {
        let mut places: Vec<(usize, usize)> = self.newest.values().copied().collect();
        places.sort_unstable();
        places
    }

    fn drop_superseded(&mut self) -> Result<()> {
        let places = self.places();
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        let rows = interleave_record_batch(&batches, &places).map_err(unexpected)?;
        let deleted: BooleanArray =
            places.iter().map(|(batch, row)| Some(self.deleted[*batch].value(*row))).collect();
        let now: HashMap<(usize, usize), usize> =
            places.iter().enumerate().map(|(index, place)| (*place, index)).collect();
        for place in self.newest.values_mut() {
            *place = (0, now[place]);
        }
        self.held_rows = rows.num_rows();
        self.batches = vec![rows];
        self.deleted = vec![deleted];
        Ok(())
    }
}

fn unexpected(error: arrow_schema::ArrowError) -> Error {
    Error::invalid(format!("rows of an epoch do not fit together: {error}"))
}

#[async_trait]
impl SinkWriter for UpsertWriter {
    async fn write(&mut self, epoch: Epoch, batch: RecordBatch) -> Result<()> {
        let deleted = match &self.operation {
            Some(operation) => operation.deleted(&batch)?,
            None => BooleanArray::from(vec![false; batch.num_rows()]),
        };
        let rows = self.making.caster.cast(&batch)?;
        self.open.entry(epoch).or_default().add(rows, deleted, &self.keys)
    }

    async fn prepare(&mut self, epoch: Epoch) -> Result<Committable> {
        match self.open.remove(&epoch) {
            Some(gathered) if !gathered.newest.is_empty() => self.close(epoch, gathered).await,
            Some(_) | None => Ok(Committable::EMPTY),
        }
    }

    fn abandon(&mut self) {
        self.open.clear();
    }
}
