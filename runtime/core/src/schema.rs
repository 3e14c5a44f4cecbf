//! The schemas that values were written with, and which id means which of them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use crate::encoding::{DecodeError, Decoder, Encoder};

/// The number by which a registry knows a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SchemaId(pub u32);

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaKind {
    Avro,
    Protobuf,
    Json,
}

impl fmt::Display for SchemaKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SchemaKind::Avro => "Avro",
            SchemaKind::Protobuf => "Protobuf",
            SchemaKind::Json => "JSON",
        })
    }
}

/// A schema as its author wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriterSchema {
    pub kind: SchemaKind,
    pub text: String,
    /// What it refers to, each by the name that it does so; what others need comes before them.
    pub references: Vec<(String, String)>,
}

/// What an id meant where values were decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaUse {
    pub id: SchemaId,
    /// xxh3 of the schema's bytes. `None`: nobody knew the id.
    pub hash: Option<u64>,
}

/// The version of the bytes below.
const VERSION: u8 = 1;

impl WriterSchema {
    pub fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::new();
        e.u8(VERSION);
        e.u8(match self.kind {
            SchemaKind::Avro => 1,
            SchemaKind::Protobuf => 2,
            SchemaKind::Json => 3,
        });
        e.string(&self.text);
        e.list(&self.references, |e, (name, text)| {
            e.string(name);
            e.string(text);
        });
        e.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<WriterSchema, DecodeError> {
        let mut d = Decoder::new(bytes);
        if d.u8()? != VERSION {
            return d.invalid("a schema of an unknown version");
        }
        let kind = match d.u8()? {
            1 => SchemaKind::Avro,
            2 => SchemaKind::Protobuf,
            3 => SchemaKind::Json,
            _ => return d.invalid("a schema of an unknown kind"),
        };
        let text = d.string()?;
        let references = d.list(|d| Ok((d.string()?, d.string()?)))?;
        d.finish()?;
        Ok(WriterSchema { kind, text, references })
    }
}

/// A zero byte, then the id, big-endian: Confluent's wire format.
pub const FRAME_BYTES: usize = 5;

/// The id that a value begins with, and what is behind it.
pub fn framed(value: &[u8]) -> Option<(SchemaId, &[u8])> {
    let (head, rest) = value.split_first_chunk::<FRAME_BYTES>()?;
    let [0, a, b, c, d] = *head else { return None };
    Some((SchemaId(u32::from_be_bytes([a, b, c, d])), rest))
}

/// What is known of ids: filled by who asks the registry before records are handed on, read by decoders.
#[derive(Debug, Default)]
pub struct KnownSchemas {
    known: RwLock<BTreeMap<SchemaId, Option<Arc<WriterSchema>>>>,
}

/// What became of asking for an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    Schema(Arc<WriterSchema>),
    /// The registry does not have it.
    Unknown,
    NotAsked,
}

impl KnownSchemas {
    pub fn get(&self, id: SchemaId) -> Known {
        match self.known.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            Some(Some(schema)) => Known::Schema(Arc::clone(schema)),
            Some(None) => Known::Unknown,
            None => Known::NotAsked,
        }
    }

    /// `None`: the registry does not have it. What is known once stays.
    pub fn put(&self, id: SchemaId, schema: Option<Arc<WriterSchema>>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let entry = known.entry(id).or_default();
        if entry.is_none() {
            *entry = schema;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_comes_back_or_is_refused() {
        let schema = WriterSchema {
            kind: SchemaKind::Protobuf,
            text: "import \"a.proto\";".into(),
            references: vec![("a.proto".into(), "message A {}".into())],
        };
        let bytes = schema.encode();
        assert_eq!(WriterSchema::decode(&bytes).unwrap(), schema);
        for end in 0..bytes.len() {
            assert!(WriterSchema::decode(&bytes[..end]).is_err(), "{end} bytes");
        }
    }

    #[test]
    fn a_frame_is_five_bytes() {
        assert_eq!(framed(&[0, 0, 0, 1, 2, 9]), Some((SchemaId(258), &[9][..])));
        assert_eq!(framed(&[0, 0, 0, 1]), None);
        assert_eq!(framed(&[1, 0, 0, 1, 2, 9]), None);
    }

    #[test]
    fn what_is_known_stays() {
        let known = KnownSchemas::default();
        let schema = |text: &str| WriterSchema {
            kind: SchemaKind::Avro,
            text: text.into(),
            references: vec![],
        };
        assert_eq!(known.get(SchemaId(1)), Known::NotAsked);
        known.put(SchemaId(1), None);
        assert_eq!(known.get(SchemaId(1)), Known::Unknown);
        known.put(SchemaId(1), Some(Arc::new(schema("a"))));
        known.put(SchemaId(1), None);
        known.put(SchemaId(1), Some(Arc::new(schema("b"))));
        assert_eq!(known.get(SchemaId(1)), Known::Schema(Arc::new(schema("a"))));
    }
}
