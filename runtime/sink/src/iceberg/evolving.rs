//! A writer to a table that lacks columns: they are there before the first row is taken.
//!
//! The change is a step of its own, ahead of the first epoch that needs it: data files name columns by ids
//! that the table gave them. A process that dies behind it leaves columns that nobody filled yet.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use floe_core::committable::Committable;
use floe_core::ports::SinkWriter;
use floe_core::{Epoch, Error, Result};
use iceberg::table::Table;
use iceberg::{Catalog, TableIdent};

use super::evolve::change_table;
use super::update::Updater;

/// The writer of a table that has the columns.
pub(super) type WriterOf = Box<dyn Fn(Table) -> Result<Box<dyn SinkWriter>> + Send + Sync>;

pub(super) struct EvolvingWriter {
    pub(super) catalog: Arc<dyn Catalog>,
    pub(super) updater: Arc<Updater>,
    pub(super) ident: TableIdent,
    pub(super) table_uuid: uuid::Uuid,
    /// What is stored of the operator's rows.
    pub(super) stored: SchemaRef,
    pub(super) writer_of: WriterOf,
    /// From `begin` on.
    pub(super) writer: Option<Box<dyn SinkWriter>>,
}

impl EvolvingWriter {
    fn writer(&mut self) -> &mut dyn SinkWriter {
        self.writer.as_deref_mut().expect("begin comes before the first row")
    }
}

#[async_trait]
impl SinkWriter for EvolvingWriter {
    async fn begin(&mut self) -> Result<()> {
        if self.writer.is_some() {
            return Ok(());
        }
        let (catalog, ident) = (self.catalog.as_ref(), &self.ident);
        let (table, changes) = change_table(catalog, &self.updater, ident, &self.stored).await?;
        if table.metadata().uuid() != self.table_uuid {
            return Err(Error::refused(format!(
                "table {ident} was dropped and made anew while this process started\n  → start it again"
            )));
        }
        for change in changes {
            tracing::info!(table = %ident, "changed the table: {change}");
        }
        self.writer = Some((self.writer_of)(table)?);
        Ok(())
    }

    async fn write(&mut self, epoch: Epoch, batch: RecordBatch) -> Result<()> {
        self.writer().write(epoch, batch).await
    }

    async fn prepare(&mut self, epoch: Epoch) -> Result<Committable> {
        self.writer().prepare(epoch).await
    }

    fn abandon(&mut self) {
        if let Some(writer) = &mut self.writer {
            writer.abandon();
        }
    }
}
