//! Values that were written by a schema: by one for all of them, or by that whose id each begins with.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::Arc;

use arrow_schema::Field;
use floe_core::schema::{
    FRAME_BYTES, Known, KnownSchemas, SchemaId, SchemaKind, SchemaUse, WriterSchema, framed,
};
use floe_core::{Error, Result};
use xxhash_rust::xxh3::xxh3_64;

use super::avro::AvroRows;
use super::cell::Cell;
use super::protobuf::ProtobufRows;

/// Where the schema of values is.
#[derive(Clone, Debug)]
pub enum Written {
    /// All of them by this one, and nothing is in front of them.
    By(Arc<WriterSchema>),
    /// By that whose id each begins with, in Confluent's wire format.
    Registered(Arc<KnownSchemas>),
}

/// Why a type does not become a column.
pub(super) type Mismatch = String;

/// A column, and what a schema has for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fit {
    pub column: String,
    /// The type in the schema; `None`: it has no such field.
    pub found: Option<String>,
    /// The type that the operator declares.
    pub wanted: String,
    pub wrong: Option<String>,
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.found.as_deref().unwrap_or("absent");
        write!(f, "{} (schema: {found}, operator: {})", self.column, self.wanted)
    }
}

/// What came of holding a schema against the columns.
pub(super) struct Resolved<R> {
    pub(super) fits: Vec<Fit>,
    /// Or why no value of this schema becomes a row.
    pub(super) rows: Result<R, String>,
}

impl<R> Resolved<R> {
    pub(super) fn new(fits: Vec<Fit>, make: impl FnOnce() -> R) -> Resolved<R> {
        let wrong: Vec<String> =
            fits.iter().filter(|it| it.wrong.is_some()).map(Fit::to_string).collect();
        let rows = match wrong.is_empty() {
            true => Ok(make()),
            false => Err(format!("it does not fit the operator's columns: {}", wrong.join("; "))),
        };
        Resolved { fits, rows }
    }
}

/// How values of one schema become rows.
enum Rows {
    Avro(AvroRows),
    Protobuf(ProtobufRows),
}

impl Rows {
    fn resolve(writer: &WriterSchema, columns: &Columns) -> Result<Resolved<Rows>, String> {
        let Resolved { fits, rows } = match columns.kind {
            SchemaKind::Avro => {
                let Resolved { fits, rows } = AvroRows::resolve(writer, &columns.fields)?;
                Resolved { fits, rows: rows.map(Rows::Avro) }
            }
            SchemaKind::Protobuf => {
                let message = columns.message.as_deref();
                let resolved =
                    ProtobufRows::resolve(writer, &columns.fields, message, columns.framed)?;
                Resolved { fits: resolved.fits, rows: resolved.rows.map(Rows::Protobuf) }
            }
            SchemaKind::Json => {
                return Err(format!("{} has no reader", columns.kind));
            }
        };
        Ok(Resolved { fits, rows })
    }

    fn read<'a>(&self, value: &'a [u8], cells: &mut Vec<Cell<'a>>) -> Result<(), String> {
        match self {
            Rows::Avro(rows) => rows.read(value, cells),
            Rows::Protobuf(rows) => rows.read(value, cells),
        }
    }
}

/// What values become.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    pub(super) kind: SchemaKind,
    pub(super) fields: Vec<Field>,
    /// Of a schema with several, where values do not say which.
    pub(super) message: Option<String>,
    /// Values begin with an id.
    pub(super) framed: bool,
}

/// Holds a schema against the columns, without a value.
pub(super) fn fits(writer: &WriterSchema, columns: &Columns) -> Result<Vec<Fit>, String> {
    Rows::resolve(writer, columns).map(|it| it.fits)
}

fn rows_of(writer: &WriterSchema, columns: &Columns) -> Result<Rows, String> {
    Rows::resolve(writer, columns)?.rows
}

pub(super) struct ValueReader {
    columns: Columns,
    origin: Origin,
    /// What the ids in the values of one call meant.
    used: Vec<SchemaUse>,
    /// In a re-execution: what they meant to the run.
    recalled: BTreeMap<SchemaId, Option<u64>>,
}

enum Origin {
    Bare(Rows),
    Registered { known: Arc<KnownSchemas>, resolved: BTreeMap<SchemaId, ById> },
}

struct ById {
    hash: u64,
    rows: Result<Rows, String>,
}

impl ValueReader {
    pub(super) fn new(columns: Columns, written: &Written) -> Result<ValueReader> {
        let origin = match written {
            Written::By(writer) => Origin::Bare(
                rows_of(writer, &columns)
                    .map_err(|it| Error::invalid(format!("the schema in [source]: {it}")))?,
            ),
            Written::Registered(known) => {
                Origin::Registered { known: Arc::clone(known), resolved: BTreeMap::new() }
            }
        };
        Ok(ValueReader { columns, origin, used: Vec::new(), recalled: BTreeMap::new() })
    }

    /// The uses since this was asked last.
    pub(super) fn take_used(&mut self) -> Vec<SchemaUse> {
        std::mem::take(&mut self.used)
    }

    pub(super) fn recall(&mut self, schema: SchemaUse) -> Result<()> {
        self.recalled.insert(schema.id, schema.hash);
        Ok(())
    }

    /// Leaves the cells in the order of the columns, or says why the record is rejected. An error is none of
    /// the record's: nobody asked for its schema.
    pub(super) fn read<'a>(
        &mut self,
        value: Option<&'a [u8]>,
        cells: &mut Vec<Cell<'a>>,
    ) -> Result<Result<(), String>> {
        let Some(value) = value else {
            return Ok(Err("it is a tombstone: it has no value".to_owned()));
        };
        if let Origin::Bare(rows) = &self.origin {
            return Ok(rows.read(value, cells));
        }
        let Some((id, rest)) = framed(value) else { return Ok(Err(no_frame(value))) };
        // Values mostly come by the schema of the last one.
        if self.used.last().is_none_or(|it| it.id != id) {
            self.use_schema(id)?;
        }
        let Origin::Registered { resolved, .. } = &self.origin else {
            unreachable!("looked at above")
        };
        let is_known = self.used.iter().any(|it| it.id == id && it.hash.is_some());
        Ok(match resolved.get(&id).filter(|_| is_known) {
            None => Err(format!("schema {id} is unknown to the registry")),
            Some(ById { rows: Err(why), .. }) => Err(format!("schema {id}: {why}")),
            Some(ById { rows: Ok(rows), .. }) => rows.read(rest, cells),
        })
    }

    /// Makes it the last of those that were used.
    fn use_schema(&mut self, id: SchemaId) -> Result<()> {
        if let Some(at) = self.used.iter().position(|it| it.id == id) {
            let schema = self.used.remove(at);
            self.used.push(schema);
            return Ok(());
        }
        let hash = match self.recalled.get(&id) {
            Some(None) => None,
            Some(Some(hash)) => Some(self.resolve(id, Some(*hash))?),
            None => match self.known(id) {
                Known::Unknown => None,
                Known::Schema(_) | Known::NotAsked => Some(self.resolve(id, None)?),
            },
        };
        self.used.push(SchemaUse { id, hash });
        Ok(())
    }

    fn known(&self, id: SchemaId) -> Known {
        match &self.origin {
            Origin::Registered { known, .. } => known.get(id),
            Origin::Bare(_) => Known::NotAsked,
        }
    }

    fn resolve(&mut self, id: SchemaId, recalled: Option<u64>) -> Result<u64> {
        let Origin::Registered { known, resolved } = &mut self.origin else {
            unreachable!("bare values have no id")
        };
        let hash = match resolved.entry(id) {
            Entry::Occupied(made) => made.get().hash,
            Entry::Vacant(place) => {
                let Known::Schema(writer) = known.get(id) else {
                    return Err(Error::refused(format!(
                        "schema {id} is not among those that were kept beside the checkpoints, and a re-execution asks no registry"
                    )));
                };
                let hash = xxh3_64(&writer.encode());
                place.insert(ById { hash, rows: rows_of(&writer, &self.columns) });
                hash
            }
        };
        match recalled.is_none_or(|it| it == hash) {
            true => Ok(hash),
            false => Err(Error::corrupt(format!(
                "schema {id} as it was kept beside the checkpoints is not the one that the run decoded by"
            ))),
        }
    }
}

fn no_frame(value: &[u8]) -> String {
    let begin: Vec<String> = value.iter().take(FRAME_BYTES).map(|it| format!("{it:02x}")).collect();
    format!(
        "the value does not begin with the id of a schema (a zero byte and four more), but with {}",
        if begin.is_empty() { "nothing".to_owned() } else { begin.join(" ") }
    )
}
