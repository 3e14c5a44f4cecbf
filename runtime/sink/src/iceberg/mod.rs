//! The Iceberg sink: Parquet files at the barrier, one guarded commit an epoch.

mod config;
mod storage;
mod vending;
mod connect;
mod renew;
mod partition;
mod schema;
mod table;
mod rows;
mod names;
mod split;
mod dictionary;
mod writer;
mod upsert;
mod committable;
mod facts;
mod guard;
mod entry;
mod counts;
mod delta;
mod overwrite;
mod update;
mod commit;
mod swap;
mod outcome;
mod publish;
mod branch;
mod evolve;
mod evolving;
mod upkeep;
mod rewrite;
mod orphans;
mod error;
mod read;
mod stream;
mod stored;
mod partitioning;

pub use branch::{begin_branch, table_history};
pub use committable::takes_rows_out;
pub use config::{
    CatalogConfig, CatalogKind, SchemaEvolution, TableConfig, UpsertConfig, WriteMode,
};
pub use connect::connect;
pub use evolve::fix_table;
pub use orphans::sweep_table;
pub use partitioning::Partitioning;
pub use publish::{Published, publish};
pub use read::{TableCommit, read_commits, read_epoch_rows, read_rows};
pub use schema::Mismatch;
pub use stored::StoredRows;
pub use stream::{EpochAt, RowStream, TableAt};
pub use table::{IcebergSink, Looked};
