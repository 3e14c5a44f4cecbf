//! Packs parts into few objects, and uploads each when it is full.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use floe_core::crash_point::{CrashPoint, hit};
use floe_core::epoch::{EntryId, Epoch};
use floe_core::manifest::ObjectRef;
use floe_core::ports::{ObjectStore, Put};
use floe_core::{Error, ErrorKind, Result};
use futures::stream::{FuturesOrdered, StreamExt};

use crate::chain::ObjectNumber;
use crate::compressor::{Compressor, Compressors};
use crate::paths::{Paths, part_object};
use crate::write::{OBJECT_BYTES, on_a_thread};

/// Objects on their way at a time: they bound the memory that waits for the network.
const UPLOADS_MAX: usize = 2;

/// Such a part is one of several, of which each may have 4 MiB of pages.
const LARGE_PART_BYTES: usize = 1 << 20;

/// Each as patient as the store is.
const ATTEMPTS_MAX: u32 = 3;

pub(crate) struct Packer {
    store: Arc<dyn ObjectStore>,
    paths: Paths,
    epoch: Epoch,
    manifest: EntryId,
    first: ObjectNumber,
    count: usize,
    packed: Vec<u8>,
    compressors: Compressors,
    uploads: FuturesOrdered<Pin<Box<dyn Future<Output = Result<ObjectRef>> + Send>>>,
    objects: Vec<ObjectRef>,
}

impl Packer {
    /// `first` is the number of the first object that it writes.
    pub(crate) fn new(
        store: &Arc<dyn ObjectStore>,
        paths: Paths,
        epoch: Epoch,
        manifest: EntryId,
        first: ObjectNumber,
    ) -> Packer {
        Packer {
            store: Arc::clone(store),
            paths,
            epoch,
            manifest,
            first,
            count: 0,
            packed: Vec::new(),
            compressors: Compressors::default(),
            uploads: FuturesOrdered::new(),
            objects: Vec::new(),
        }
    }

    /// Where those are that `add_pressed` takes.
    pub(crate) fn compressors(&self) -> Compressors {
        self.compressors.clone()
    }

    /// Puts the part that was pressed behind the others, as `add` does.
    pub(crate) async fn add_pressed(
        &mut self,
        pressed: Compressor,
    ) -> Result<(ObjectNumber, u64, u64)> {
        let place = self.add(pressed.part()).await?;
        self.compressors.give_back(pressed);
        Ok(place)
    }

    /// Puts a part behind the others. Returns where it is: object, start, length.
    pub(crate) async fn add(&mut self, part: &[u8]) -> Result<(ObjectNumber, u64, u64)> {
        if !self.packed.is_empty() && self.packed.len() + part.len() > OBJECT_BYTES {
            self.upload().await?;
        }
        let start = self.packed.len() as u64;
        let wanted = self.packed.len() + part.len();
        if self.packed.capacity() < wanted {
            // Of large parts an object is filled for sure, and nothing of it is moved while it grows. Else twice
            // as much as before, as ever.
            let large = self.count > 0 || part.len() >= LARGE_PART_BYTES;
            let grown = if large { OBJECT_BYTES } else { OBJECT_BYTES.min(2 * self.packed.len()) };
            let capacity = wanted.max(grown);
            self.packed.reserve_exact(capacity - self.packed.len());
        }
        self.packed.extend_from_slice(part);
        Ok((ObjectNumber(self.first.0 + self.count as u64), start, part.len() as u64))
    }

    async fn upload(&mut self) -> Result<()> {
        while self.uploads.len() >= UPLOADS_MAX {
            self.objects.extend(self.uploads.next().await.transpose()?);
        }
        let path = part_object(self.epoch, self.manifest, self.count);
        let bytes = std::mem::take(&mut self.packed);
        let uploaded = upload(Arc::clone(&self.store), self.paths.clone(), path, bytes);
        self.uploads.push_back(Box::pin(uploaded));
        self.count += 1;
        Ok(())
    }

    /// When this returns, every object is durable.
    pub(crate) async fn finish(mut self) -> Result<BTreeMap<ObjectNumber, ObjectRef>> {
        if !self.packed.is_empty() {
            self.upload().await?;
        }
        while let Some(object) = self.uploads.next().await {
            self.objects.push(object?);
        }
        assert_eq!(self.objects.len(), self.count);
        Ok((self.first.0..).map(ObjectNumber).zip(self.objects).collect())
    }
}

async fn upload(
    store: Arc<dyn ObjectStore>,
    paths: Paths,
    path: String,
    bytes: Vec<u8>,
) -> Result<ObjectRef> {
    let bytes = Bytes::from(bytes);
    let hashed = bytes.clone();
    let hash = on_a_thread(move || *blake3::hash(&hashed).as_bytes()).await?;
    let whole = paths.object(&path)?;
    hit(CrashPoint::BeforePart);
    put_part(&*store, &whole, &bytes).await?;
    hit(CrashPoint::AfterPart);
    Ok(ObjectRef { path, len: bytes.len() as u64, hash })
}

/// Puts until the store says that it is there. Nobody else uses the name, so what exists is our own
/// earlier attempt, and is read back to be sure.
async fn put_part(store: &dyn ObjectStore, path: &str, bytes: &Bytes) -> Result<()> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let error = match store.put_if_absent(path, bytes.clone()).await {
            Ok(Put::Created) => return Ok(()),
            Ok(Put::Exists) => match store.get(path).await {
                Ok(Some(found)) if found == *bytes => return Ok(()),
                Ok(Some(_)) => {
                    return Err(Error::corrupt(format!("{path} exists with other content")));
                }
                Ok(None) => Error::retry(format!("{path} exists and cannot be read")),
                Err(error) => error,
            },
            Err(error) => error,
        };
        if !matches!(error.kind, ErrorKind::Unknown | ErrorKind::Retry) {
            return Err(error);
        }
        if attempt == ATTEMPTS_MAX {
            // Whether this object is there does not matter: no manifest names it.
            return Err(Error::retry(error.message));
        }
        tracing::warn!(path, error = %error, attempt, "a part was not written, trying again");
        tokio::time::sleep(Duration::from_millis(50 << attempt)).await;
    }
}
