//! Which catalog, which table. Properties have Iceberg's own (Java) spellings.

use std::collections::BTreeMap;
use std::fmt;

#[derive(Clone)]
pub struct CatalogConfig {
    pub kind: CatalogKind,
    /// A SQL catalog keeps tables of several catalogs apart by this name.
    pub name: String,
    /// `sqlite://…`, `postgres://…` or `http(s)://…`.
    pub uri: String,
    pub warehouse: Option<String>,
    /// `s3.endpoint`, `credential`, `token`, `oauth2-server-uri`, …
    pub properties: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogKind {
    Sql,
    Rest,
}

/// Secrets may stand in the uri and in the properties: neither is shown.
impl fmt::Debug for CatalogConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&String> = self.properties.keys().collect();
        f.debug_struct("CatalogConfig")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .field("place", &self.place())
            .field("properties", &keys)
            .finish_non_exhaustive()
    }
}

impl CatalogConfig {
    /// The catalog for messages: its uri without user and password.
    pub fn place(&self) -> String {
        match (self.uri.split_once("://"), self.uri.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
            _ => self.uri.clone(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct TableConfig {
    /// `namespace.table`; the namespace may have several levels.
    pub table: String,
    pub create: bool,
    /// `day(ts)`, `bucket(16, merchant_id)`, `truncate(4, name)`, a plain column, …
    pub partition_by: Vec<String>,
    pub branch: String,
    pub mode: WriteMode,
    pub schema_evolution: SchemaEvolution,
    pub properties: BTreeMap<String, String>,
}

/// What becomes of a table whose columns are not what will be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaEvolution {
    /// Columns are added and numbers widened, where that is all that is missing.
    Additive,
    /// It stays as it is.
    None,
}

/// What an epoch's rows are to the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteMode {
    /// More rows.
    Append,
    /// The newest version of their keys' rows.
    Upsert(UpsertConfig),
    /// All that the partitions have in which there are some.
    OverwritePartition,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpsertConfig {
    pub key: Vec<String>,
    /// The column that says whether a row is deleted; it is not stored. `None`: `_op` where there is one.
    pub op_column: Option<String>,
}
