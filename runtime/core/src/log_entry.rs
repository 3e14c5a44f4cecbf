//! One entry of the log: a claim or a checkpoint manifest, framed with a magic, a length and a checksum.

use crate::encoding::{DecodeError, Decoder, Encoder};
use crate::epoch::{EntryId, Generation};
use crate::manifest::CheckpointManifest;

#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a log holds tens of entries, nearly all of them manifests"
)]
pub enum LogEntry {
    Claim(Claim),
    Manifest(CheckpointManifest),
}

/// A run's claim of the pipeline. From its slot on, every older generation is fenced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub id: EntryId,
    pub generation: Generation,
    pub pipeline: String,
    /// For people, and for taking over at once from a dead process of the same host.
    pub host: String,
    pub boot_id: String,
    pub pid: u32,
    pub started_ms: i64,
}

const MAGIC: &[u8; 8] = b"floelog\x01";
const CLAIM: u8 = 1;
const MANIFEST: u8 = 2;

impl LogEntry {
    pub fn id(&self) -> EntryId {
        match self {
            LogEntry::Claim(claim) => claim.id,
            LogEntry::Manifest(manifest) => manifest.id,
        }
    }

    pub fn generation(&self) -> Generation {
        match self {
            LogEntry::Claim(claim) => claim.generation,
            LogEntry::Manifest(manifest) => manifest.generation,
        }
    }

    /// The bytes without their checksum: who stores them appends it and checks it first on reading.
    pub fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::new();
        e.raw(MAGIC);
        match self {
            LogEntry::Claim(claim) => {
                e.u8(CLAIM);
                e.raw(&claim.id.0);
                e.varint(claim.generation.0);
                e.string(&claim.pipeline);
                e.string(&claim.host);
                e.string(&claim.boot_id);
                e.u32(claim.pid);
                e.signed(claim.started_ms);
            }
            LogEntry::Manifest(manifest) => {
                e.u8(MANIFEST);
                e.bytes(&manifest.encode());
            }
        }
        e.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<LogEntry, DecodeError> {
        let mut d = Decoder::new(bytes);
        if d.raw(MAGIC.len())? != MAGIC {
            return d.invalid("it is no log entry of this version");
        }
        let entry = match d.u8()? {
            CLAIM => LogEntry::Claim(Claim {
                id: EntryId(d.array()?),
                generation: Generation(d.varint()?),
                pipeline: d.string()?,
                host: d.string()?,
                boot_id: d.string()?,
                pid: d.u32()?,
                started_ms: d.signed()?,
            }),
            MANIFEST => LogEntry::Manifest(CheckpointManifest::decode(d.bytes()?)?),
            _ => return d.invalid("a log entry of an unknown kind"),
        };
        d.finish()?;
        Ok(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_come_back() {
        let claim = Claim {
            id: EntryId([1; 16]),
            generation: Generation(7),
            pipeline: "p".into(),
            host: "h".into(),
            boot_id: "b".into(),
            pid: 12,
            started_ms: 5,
        };
        for entry in [LogEntry::Claim(claim), LogEntry::Manifest(crate::manifest::tests::example())]
        {
            let bytes = entry.encode();
            assert_eq!(LogEntry::decode(&bytes).unwrap(), entry);
            for len in 0..bytes.len() {
                assert!(LogEntry::decode(&bytes[..len]).is_err(), "{len} bytes");
            }
        }
    }
}
