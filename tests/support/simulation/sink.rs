//! The writer of the simulated sink: rows become data files, which the committable names.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use async_trait::async_trait;
use bytes::Bytes;
use floe_core::committable::Committable;
use floe_core::encoding::{Decoder, Encoder};
use floe_core::ports::SinkWriter;
use floe_core::{Epoch, Error, Result};

use crate::simulation::mutant::Mutant;
use crate::simulation::process::Process;
use crate::simulation::table::Row;
use crate::simulation::world::{Place, State};

pub struct SimWriter {
    pub process: Arc<Process>,
    pub table: &'static str,
    /// Of the epochs that are open: behind a keyed stage one task may be an epoch ahead of another.
    open: BTreeMap<Epoch, Vec<Row>>,
    files: u64,
}

/// Small enough that an epoch often has several.
const ROWS_PER_FILE: usize = 7;

impl SimWriter {
    pub fn new(process: &Arc<Process>, table: &'static str) -> SimWriter {
        SimWriter { process: Arc::clone(process), table, open: BTreeMap::new(), files: 0 }
    }
}

#[async_trait]
impl SinkWriter for SimWriter {
    async fn write(&mut self, epoch: Epoch, batch: RecordBatch) -> Result<()> {
        let is_keyed = self.process.world.with(|it| it.plan.keyed_tasks > 0);
        let open = self.open.keys().next().is_none_or(|it| *it == epoch || is_keyed);
        assert!(open, "the pipeline aligns epochs");
        self.open.entry(epoch).or_default().extend(rows_of(&batch));
        Ok(())
    }

    async fn prepare(&mut self, epoch: Epoch) -> Result<Committable> {
        let first = self.open.keys().next();
        assert!(first.is_none_or(|it| *it >= epoch), "rows of {first:?} in {epoch}");
        let rows = self.open.remove(&epoch).unwrap_or_default();
        if rows.is_empty() {
            return Ok(Committable::EMPTY);
        }
        let reused = self.process.world.with(|it| it.is(Mutant::FileNameReused));
        let mut names = Vec::new();
        for part in rows.chunks(ROWS_PER_FILE) {
            let name = match reused {
                true => format!("{}/0-0-{}.file", self.table, self.files),
                false => {
                    format!("{}/{}-{}-{}.file", self.table, epoch.0, self.process.pid, self.files)
                }
            };
            self.files += 1;
            let (part, file) = (part.to_vec(), name.clone());
            let write = move |state: &mut State| {
                state.files.insert(file, part);
                Ok(())
            };
            self.process.change(Place::Files, format!("write {name}"), write).await?;
            names.push(name);
        }
        let mut e = Encoder::new();
        e.list(&names, |e, name| e.string(name));
        Ok(Committable {
            rows: rows.len() as u64,
            file_count: names.len() as u32,
            file_bytes: 1,
            content: Bytes::from(e.finish()),
        })
    }

    fn abandon(&mut self) {
        if self.process.world.with(|it| it.is(Mutant::RowsNotAbandoned)) {
            return;
        }
        self.open.clear();
    }
}

/// The epoch that a file's name tells.
pub fn epoch_in(file: &str) -> Epoch {
    let name = file.rsplit('/').next().expect("a name has a last part");
    let epoch = name.split('-').next().and_then(|it| it.parse().ok());
    Epoch(epoch.expect("a name begins with its epoch"))
}

/// The data files that a committable names.
pub fn files_of(committable: &Committable) -> Result<Vec<String>> {
    let mut d = Decoder::new(&committable.content);
    let names = d.list(|d| d.string());
    names.map_err(|error| Error::corrupt(format!("a committable: {error}")))
}

pub(crate) fn rows_of(batch: &RecordBatch) -> Vec<Row> {
    let column = |name: &str| batch.column_by_name(name).expect("a column of this name");
    let partitions = column("partition").as_primitive::<Int32Type>();
    let offsets = column("offset").as_primitive::<Int64Type>();
    let value_columns: Vec<_> = ["key", "count", "sum", "draw"]
        .iter()
        .filter_map(|name| batch.column_by_name(name)?.as_primitive_opt::<Int64Type>())
        .collect();
    (0..batch.num_rows())
        .map(|row| Row {
            partition: partitions.value(row),
            offset: offsets.value(row),
            values: value_columns.iter().map(|it| it.value(row)).collect(),
        })
        .collect()
}
