//! Writes the parts of a checkpoint: hashed and compressed on blocking threads, packed into few objects.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use floe_core::crash_point::{CrashPoint, hit};
use floe_core::epoch::{EntryId, Epoch};
use floe_core::manifest::{ObjectRef, TaskEntry};
use floe_core::ports::{ObjectStore, Put};
use floe_core::task::CapturedTask;
use floe_core::{Error, ErrorKind, Result};
use futures::stream::{FuturesOrdered, StreamExt};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::part::{EncodedPart, encode_part};
use crate::paths::{Paths, part_object};

/// A thousand small tasks are a few objects; an object is one put, and is read as a whole.
const OBJECT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Objects on their way at a time: they bound the memory that waits for the network.
const UPLOADS_MAX: usize = 4;

const ATTEMPTS_MAX: u32 = 6;

/// Writes the parts; when this returns, every object named is durable (I1).
///
/// The names hold the manifest's id, so the objects of an attempt that comes to nothing are named by
/// nobody, and are harmless.
pub async fn write_parts(
    store: &Arc<dyn ObjectStore>,
    pipeline: &str,
    epoch: Epoch,
    manifest: EntryId,
    tasks: Vec<CapturedTask>,
) -> Result<(Vec<ObjectRef>, Vec<TaskEntry>)> {
    let paths = Paths::of(pipeline)?;
    let threads = std::thread::available_parallelism().map_or(1, |it| it.get());
    let mut encoded =
        futures::stream::iter(tasks.into_iter().map(encode_on_a_thread)).buffered(threads);

    let mut entries = Vec::new();
    let mut objects = Vec::new();
    let mut uploads = FuturesOrdered::new();
    let mut packed: Vec<u8> = Vec::new();
    let mut object_count = 0;
    loop {
        let part = encoded.next().await.transpose()?;
        let full = match &part {
            Some((_, part)) => packed.len() + part.bytes.len() > OBJECT_BYTES_MAX,
            None => true,
        };
        if full && !packed.is_empty() {
            if uploads.len() == UPLOADS_MAX {
                objects.extend(uploads.next().await.transpose()?);
            }
            let path = part_object(epoch, manifest, object_count);
            uploads.push_back(upload(store, &paths, path, std::mem::take(&mut packed)));
            object_count += 1;
        }
        let Some((task, part)) = part else { break };
        entries.push(entry(&task, &part, object_count, packed.len())?);
        match packed.is_empty() {
            true => packed = part.bytes,
            false => packed.extend_from_slice(&part.bytes),
        }
    }
    while let Some(object) = uploads.next().await {
        objects.push(object?);
    }
    assert_eq!(objects.len(), object_count);
    Ok((objects, entries))
}

/// The task without its memory, and its part.
async fn encode_on_a_thread(task: CapturedTask) -> Result<(CapturedTask, EncodedPart)> {
    let encode = move || {
        let part = encode_part(&task).map_err(|error| {
            Error::retry(format!("compress the state of {}: {error}", task.task))
        })?;
        Ok((CapturedTask { operators: Vec::new(), ..task }, part))
    };
    on_a_thread(encode).await?
}

/// On a runtime of one thread, which a simulation uses, it is done at once: the order stays the seed's.
pub(crate) async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::retry(format!("a thread for checkpoints ended: {error}")))
}

fn entry(
    task: &CapturedTask,
    part: &EncodedPart,
    object: usize,
    start: usize,
) -> Result<TaskEntry> {
    let object = u32::try_from(object)
        .map_err(|_| Error::refused(format!("a checkpoint of {object} objects is too large")))?;
    Ok(TaskEntry {
        task: task.task.clone(),
        object,
        start: start as u64,
        len: part.bytes.len() as u64,
        state_hash: part.state_hash,
        next_offset: task.next_offset,
        virtual_time: task.virtual_time,
        watermark: task.watermark,
        records: task.records,
    })
}

async fn upload(
    store: &Arc<dyn ObjectStore>,
    paths: &Paths,
    path: String,
    bytes: Vec<u8>,
) -> Result<ObjectRef> {
    let bytes = Bytes::from(bytes);
    let hashed = bytes.clone();
    let hash = on_a_thread(move || *blake3::hash(&hashed).as_bytes()).await?;
    let whole = paths.object(&path)?;
    hit(CrashPoint::BeforePart);
    put_part(&**store, &whole, &bytes).await?;
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
