//! The Iceberg sink: Parquet files at the barrier, one guarded commit an epoch.

mod config;
mod storage;
mod connect;
mod partition;
mod schema;
mod table;
mod rows;
mod split;
mod dictionary;
mod writer;
mod committable;
mod facts;
mod guard;
mod commit;
mod outcome;
mod upkeep;
mod rewrite;
mod error;
mod read;

pub use config::{CatalogConfig, CatalogKind, TableConfig};
pub use connect::connect;
pub use read::{TableCommit, read_commits, read_rows};
pub use schema::Mismatch;
pub use table::IcebergSink;
