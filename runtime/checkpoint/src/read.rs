//! Reads the parts of a checkpoint, and hands out only what is verified.

use std::collections::BTreeMap;

use bytes::Bytes;
use floe_core::manifest::{CheckpointManifest, ObjectRef, TaskEntry};
use floe_core::ports::ObjectStore;
use floe_core::position::TopicPartition;
use floe_core::task::CapturedTask;
use floe_core::{Error, Result};
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::part::decode_part;
use crate::paths::Paths;
use crate::write::on_a_thread;

/// Objects in memory at a time while restoring.
const DOWNLOADS_MAX: usize = 2;

/// Reads every task of a checkpoint, in the manifest's order.
///
/// An object that is missing, torn or altered, and a part that is not what the manifest says, is an error
/// of kind `Corrupt` with the object's path.
pub async fn read_parts(
    store: &dyn ObjectStore,
    pipeline: &str,
    manifest: &CheckpointManifest,
) -> Result<Vec<CapturedTask>> {
    let paths = Paths::of(pipeline)?;
    let mut wanted: Vec<Vec<TaskEntry>> = vec![Vec::new(); manifest.objects.len()];
    for entry in &manifest.tasks {
        let Some(of_object) = wanted.get_mut(entry.object as usize) else {
            return Err(Error::corrupt(format!(
                "the manifest of epoch {} names no object {}",
                manifest.epoch, entry.object
            )));
        };
        of_object.push(entry.clone());
    }
    let objects: Vec<(ObjectRef, Vec<TaskEntry>)> =
        manifest.objects.iter().cloned().zip(wanted).collect();
    let read = stream::iter(objects)
        .map(|(object, entries)| read_object(store, &paths, object, entries))
        .buffered(DOWNLOADS_MAX);
    let mut tasks: Vec<CapturedTask> = read.try_concat().await?;
    let order: BTreeMap<&TopicPartition, usize> =
        manifest.tasks.iter().enumerate().map(|(index, it)| (&it.task, index)).collect();
    tasks.sort_by_key(|it| order.get(&it.task).copied());
    assert_eq!(tasks.len(), manifest.tasks.len());
    Ok(tasks)
}

async fn read_object(
    store: &dyn ObjectStore,
    paths: &Paths,
    object: ObjectRef,
    entries: Vec<TaskEntry>,
) -> Result<Vec<CapturedTask>> {
    let path = paths.object(&object.path)?;
    let Some(bytes) = store.get(&path).await? else {
        return Err(damaged(&path, "it is missing"));
    };
    if bytes.len() as u64 != object.len {
        let what = format!("it has {} bytes, {} were written", bytes.len(), object.len);
        return Err(damaged(&path, &what));
    }
    let hashed = bytes.clone();
    let hash = on_a_thread(move || *blake3::hash(&hashed).as_bytes()).await?;
    if hash != object.hash {
        return Err(damaged(&path, "its content is not what was written: the hash differs"));
    }
    let threads = std::thread::available_parallelism().map_or(1, |it| it.get());
    stream::iter(entries)
        .map(|entry| read_task(path.clone(), bytes.clone(), entry))
        .buffered(threads)
        .try_collect()
        .await
}

async fn read_task(path: String, object: Bytes, entry: TaskEntry) -> Result<CapturedTask> {
    let end = entry.start.checked_add(entry.len).filter(|it| *it <= object.len() as u64);
    let Some(end) = end else {
        return Err(damaged(&path, &format!("the part of {} is outside of it", entry.task)));
    };
    let part = object.slice(entry.start as usize..end as usize);
    on_a_thread(move || {
        let (task, state_hash) = decode_part(&part)
            .map_err(|error| damaged(&path, &format!("the part of {}: {error}", entry.task)))?;
        let agrees = task.task == entry.task
            && task.next_offset == entry.next_offset
            && task.virtual_time == entry.virtual_time
            && task.watermark == entry.watermark
            && task.records == entry.records;
        match (agrees, state_hash == entry.state_hash) {
            (true, true) => Ok(task),
            (false, _) => Err(damaged(
                &path,
                &format!("the part of {} is not the one that the manifest names", entry.task),
            )),
            (true, false) => {
                Err(damaged(&path, &format!("the state hash of {} differs", entry.task)))
            }
        }
    })
    .await?
}

fn damaged(path: &str, why: &str) -> Error {
    Error::corrupt(format!(
        "{path} is damaged: {why}\n  → restore the object from a backup of the store, or start from another checkpoint; nothing was changed"
    ))
}
