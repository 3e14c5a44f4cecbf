//! The register of savepoints: a second, small log that people write to, beside the one that owners write.
//!
//! Entries are numbered and put if absent, so none is lost, and none is found by listing. Asking and giving
//! up may be said by anybody, with or without an owner; neither changes what a manifest says.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use floe_core::committable::ManifestRef;
use floe_core::encoding::{DecodeError, Decoder, Encoder};
use floe_core::epoch::{EntryId, Epoch, Slot};
use floe_core::ports::{ObjectStore, Put};
use floe_core::{Error, ErrorKind, Result};

use crate::paths::Paths;

/// One line of the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterEntry {
    /// A person wants a savepoint, to stand in this slot of the log or behind it.
    Asked { from: Slot },
    /// This manifest is a savepoint: what the log no longer holds is found by it.
    Kept(ManifestRef),
    /// A person has no more use for it.
    GivenUp(ManifestRef),
}

/// What the register says, as far as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    next: Slot,
    asked_from: Option<Slot>,
    kept: BTreeMap<Slot, ManifestRef>,
    given_up: BTreeSet<Slot>,
}

const MAGIC: &[u8; 8] = b"floesvp\x01";
const ASKED: u8 = 1;
const KEPT: u8 = 2;
const GIVEN_UP: u8 = 3;

/// Attempts at one put while the store's answers are lost.
const ATTEMPTS_MAX: u32 = 8;

impl Default for Register {
    fn default() -> Self {
        Register {
            next: Slot::FIRST,
            asked_from: None,
            kept: BTreeMap::new(),
            given_up: BTreeSet::new(),
        }
    }
}

impl Register {
    pub async fn read(store: &dyn ObjectStore, pipeline: &str) -> Result<Register> {
        let mut register = Register::default();
        register.refresh(store, pipeline).await?;
        Ok(register)
    }

    /// Reads on from where the last reading ended.
    pub async fn refresh(&mut self, store: &dyn ObjectStore, pipeline: &str) -> Result<()> {
        let paths = Paths::of(pipeline)?;
        while let Some(bytes) = store.get(&paths.register(self.next)).await? {
            self.take(unseal(&paths, pipeline, self.next, &bytes)?);
        }
        Ok(())
    }

    /// Writes one more line. Repeating it is harmless: a line says the same twice.
    pub async fn append(
        &mut self,
        store: &dyn ObjectStore,
        pipeline: &str,
        entry: RegisterEntry,
    ) -> Result<()> {
        let paths = Paths::of(pipeline)?;
        let mut attempt = 0;
        loop {
            self.refresh(store, pipeline).await?;
            let path = paths.register(self.next);
            match store.put_if_absent(&path, seal(pipeline, self.next, entry)).await {
                Ok(Put::Created) => {
                    self.take(entry);
                    return Ok(());
                }
                // Somebody else's line, or ours whose answer was lost: read it, and say it once more.
                Ok(Put::Exists) => {}
                Err(error) if !matches!(error.kind, ErrorKind::Unknown | ErrorKind::Retry) => {
                    return Err(error);
                }
                Err(error) => {
                    attempt += 1;
                    if attempt == ATTEMPTS_MAX {
                        return Err(Error::retry(error.message));
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(20 << attempt)).await;
                }
            }
        }
    }

    fn take(&mut self, entry: RegisterEntry) {
        self.next = self.next.next();
        match entry {
            RegisterEntry::Asked { from } => self.asked_from = self.asked_from.max(Some(from)),
            RegisterEntry::Kept(manifest) => {
                self.kept.insert(manifest.slot, manifest);
            }
            RegisterEntry::GivenUp(manifest) => {
                self.given_up.insert(manifest.slot);
            }
        }
    }

    /// Does an asking wait, if `newest` is where the newest savepoint stands?
    pub fn asks(&self, newest: Option<Slot>) -> bool {
        self.asked_from.is_some_and(|from| newest.is_none_or(|it| it < from))
    }

    pub fn is_given_up(&self, slot: Slot) -> bool {
        self.given_up.contains(&slot)
    }

    pub(crate) fn is_known(&self, slot: Slot) -> bool {
        self.kept.contains_key(&slot) || self.is_given_up(slot)
    }

    /// Every savepoint that was ever written down, those given up included.
    pub(crate) fn all(&self) -> impl Iterator<Item = ManifestRef> + '_ {
        self.kept.values().copied()
    }
}

fn seal(pipeline: &str, number: Slot, entry: RegisterEntry) -> Bytes {
    let mut e = Encoder::new();
    e.raw(MAGIC);
    let (kind, manifest) = match entry {
        RegisterEntry::Asked { from } => {
            let nobody = ManifestRef { slot: from, id: EntryId([0; 16]), epoch: Epoch(0) };
            (ASKED, nobody)
        }
        RegisterEntry::Kept(manifest) => (KEPT, manifest),
        RegisterEntry::GivenUp(manifest) => (GIVEN_UP, manifest),
    };
    e.u8(kind);
    e.varint(manifest.slot.0);
    e.raw(&manifest.id.0);
    e.varint(manifest.epoch.0);
    let mut bytes = e.finish();
    let checksum = checksum(pipeline, number, &bytes);
    bytes.extend_from_slice(checksum.as_bytes());
    bytes.into()
}

fn unseal(paths: &Paths, pipeline: &str, number: Slot, bytes: &[u8]) -> Result<RegisterEntry> {
    let refuse = |why: &str| {
        Error::corrupt(format!(
            "{} is damaged: {why}\n  → restore the object from a backup of the store; nothing was changed",
            paths.register(number)
        ))
    };
    let Some((body, stored)) =
        bytes.len().checked_sub(32).and_then(|at| bytes.split_at_checked(at))
    else {
        return Err(refuse("it is too short"));
    };
    if checksum(pipeline, number, body).as_bytes() != stored {
        return Err(refuse("its checksum is wrong"));
    }
    decode(body).map_err(|error| refuse(&error.to_string()))
}

fn decode(body: &[u8]) -> Result<RegisterEntry, DecodeError> {
    let mut d = Decoder::new(body);
    if d.raw(MAGIC.len())? != MAGIC {
        return d.invalid("it is no entry of a register of this version");
    }
    let kind = d.u8()?;
    let slot = Slot(d.varint()?);
    let manifest = ManifestRef { slot, id: EntryId(d.array()?), epoch: Epoch(d.varint()?) };
    d.finish()?;
    match kind {
        ASKED => Ok(RegisterEntry::Asked { from: slot }),
        KEPT => Ok(RegisterEntry::Kept(manifest)),
        GIVEN_UP => Ok(RegisterEntry::GivenUp(manifest)),
        _ => Decoder::new(&[]).invalid("an entry of an unknown kind"),
    }
}

fn checksum(pipeline: &str, number: Slot, body: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(body);
    hasher.update(&number.0.to_le_bytes());
    hasher.update(pipeline.as_bytes());
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_or_are_refused() {
        let paths = Paths::of("p").unwrap();
        let manifest = ManifestRef { slot: Slot(7), id: EntryId([3; 16]), epoch: Epoch(5) };
        for entry in [
            RegisterEntry::Asked { from: Slot(9) },
            RegisterEntry::Kept(manifest),
            RegisterEntry::GivenUp(manifest),
        ] {
            let bytes = seal("p", Slot(2), entry);
            assert_eq!(unseal(&paths, "p", Slot(2), &bytes).unwrap(), entry);
            assert!(unseal(&paths, "p", Slot(3), &bytes).is_err(), "in another's place");
            assert!(unseal(&paths, "q", Slot(2), &bytes).is_err(), "of another pipeline");
            for index in 0..bytes.len() {
                let mut altered = bytes.to_vec();
                altered[index] ^= 1;
                assert!(unseal(&paths, "p", Slot(2), &altered).is_err(), "byte {index}");
                assert!(unseal(&paths, "p", Slot(2), &bytes[..index]).is_err(), "{index} bytes");
            }
        }
    }
}
