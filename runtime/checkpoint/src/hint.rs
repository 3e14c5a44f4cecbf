//! The hint: where a reader of the log may begin. Nothing depends on it: lost, stale or altered, the log
//! is read all the same, only slower.

use bytes::Bytes;
use floe_core::encoding::{Decoder, Encoder};
use floe_core::epoch::Slot;

/// What a sweep leaves for the next reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The first kept entry.
    pub first: Slot,
    /// The newest claim, which may stand below `first`.
    pub claim: Option<Slot>,
}

const MAGIC: &[u8; 8] = b"floehnt\x01";

impl Hint {
    pub fn encode(&self) -> Bytes {
        let mut e = Encoder::new();
        e.raw(MAGIC);
        e.u64(self.first.0);
        e.option(self.claim, |e, slot| e.u64(slot.0));
        let mut bytes = e.finish();
        let checksum = blake3::hash(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        bytes.into()
    }

    /// `None` for anything that no sweep wrote.
    pub fn decode(bytes: &[u8]) -> Option<Hint> {
        let (body, checksum) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
        if blake3::hash(body).as_bytes() != checksum {
            return None;
        }
        let mut d = Decoder::new(body);
        // An undecodable hint is as good as none, so its errors are dropped.
        if d.raw(MAGIC.len()).ok()? != MAGIC {
            return None;
        }
        let first = Slot(d.u64().ok()?);
        let claim = d.option(|d| d.u64()).ok()?.map(Slot);
        d.finish().ok()?;
        (first >= Slot::FIRST).then_some(Hint { first, claim })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_or_not_at_all() {
        for hint in [
            Hint { first: Slot(7), claim: Some(Slot(3)) },
            Hint { first: Slot(u64::MAX), claim: None },
        ] {
            let bytes = hint.encode();
            assert_eq!(Hint::decode(&bytes), Some(hint));
            for index in 0..bytes.len() {
                let mut altered = bytes.to_vec();
                altered[index] ^= 1;
                assert_eq!(Hint::decode(&altered), None, "byte {index}");
                assert_eq!(Hint::decode(&bytes[..index]), None, "{index} bytes");
            }
        }
    }
}
