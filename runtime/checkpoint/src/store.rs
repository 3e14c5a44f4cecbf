//! The port `ObjectStore` over the crate object_store: files with fsync, S3, GCS, Azure, and memory.

use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use floe_core::ports::{Listed, ObjectStore, Put};
use floe_core::{Error, Result};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, PutOptions, PutPayload};

/// A put that takes longer than this for its size has lost its answer. 1 MiB/s is slower than any
/// link on which checkpoints make sense.
const PUT_PATIENCE: Duration = Duration::from_secs(30);
const PUT_BYTES_PER_SECOND_MIN: u64 = 1024 * 1024;

/// Every object at `prefix` in one store of the crate object_store.
pub(crate) struct Store {
    pub(crate) inner: Arc<dyn object_store::ObjectStore>,
    /// Without a slash at either end; empty for the root.
    pub(crate) prefix: String,
    /// For people: the URL and the endpoint.
    pub(crate) place: String,
    /// Never to appear in a message.
    pub(crate) secrets: Vec<String>,
    /// The folder on this machine, for `file://`.
    pub(crate) folder: Option<PathBuf>,
}

/// For tests and simulations: what it holds is gone with it.
pub fn memory_store() -> Arc<dyn ObjectStore> {
    Arc::new(Store {
        inner: Arc::new(object_store::memory::InMemory::new()),
        prefix: String::new(),
        place: "memory".into(),
        secrets: Vec::new(),
        folder: None,
    })
}

#[async_trait]
impl ObjectStore for Store {
    async fn put_if_absent(&self, path: &str, bytes: Bytes) -> Result<Put> {
        match self.put_opts(path, bytes, PutMode::Create).await {
            Ok(()) => Ok(Put::Created),
            Err(Failed::Exists) => {
                self.harden(path).await?;
                Ok(Put::Exists)
            }
            Err(Failed::Other(error)) => Err(error),
        }
    }

    async fn put(&self, path: &str, bytes: Bytes) -> Result<()> {
        match self.put_opts(path, bytes, PutMode::Overwrite).await {
            Ok(()) => Ok(()),
            Err(Failed::Exists) => {
                Err(Error::retry(format!("write {path} in {}: a conflicting write", self.place)))
            }
            Err(Failed::Other(error)) => Err(error),
        }
    }

    async fn get(&self, path: &str) -> Result<Option<Bytes>> {
        let location = self.location(path)?;
        let read = async { self.inner.get(&location).await?.bytes().await };
        match read.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { source, .. }) => match no_such_bucket(&*source) {
                true => Err(Error::invalid(self.message("read", path, &source.to_string()))),
                false => Ok(None),
            },
            Err(error) if denied(&error) => {
                Err(Error::invalid(self.message("read", path, &error.to_string())))
            }
            Err(error) => Err(Error::retry(self.message("read", path, &error.to_string()))),
        }
    }

    async fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let location = self.location(folder)?;
        let below = match self.prefix.is_empty() {
            true => String::new(),
            false => format!("{}/", self.prefix),
        };
        let listed = self.inner.list(Some(&location)).try_collect::<Vec<_>>().await;
        let listed = listed
            .map_err(|error| Error::retry(self.message("list", folder, &error.to_string())))?;
        let inside = |path: &Path| path.as_ref().strip_prefix(&below).map(str::to_owned);
        Ok(listed
            .into_iter()
            .filter_map(|it| Some(Listed { path: inside(&it.location)?, bytes: it.size }))
            .collect())
    }

    fn may_be_away(&self) -> bool {
        self.folder.is_none()
    }

    async fn delete(&self, path: &str) -> Result<()> {
        match self.inner.delete(&self.location(path)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) if denied(&error) => {
                Err(Error::invalid(self.message("delete", path, &error.to_string())))
            }
            Err(error) => Err(Error::retry(self.message("delete", path, &error.to_string()))),
        }
    }
}

enum Failed {
    Exists,
    Other(Error),
}

impl Store {
    fn location(&self, path: &str) -> Result<Path> {
        let whole = match self.prefix.is_empty() {
            true => path.to_owned(),
            false => format!("{}/{path}", self.prefix),
        };
        Path::parse(&whole)
            .map_err(|error| Error::invalid(format!("object name {whole:?}: {error}")))
    }

    async fn put_opts(&self, path: &str, bytes: Bytes, mode: PutMode) -> Result<(), Failed> {
        let location = self.location(path).map_err(Failed::Other)?;
        let patience =
            PUT_PATIENCE + Duration::from_secs(bytes.len() as u64 / PUT_BYTES_PER_SECOND_MIN);
        let options = PutOptions { mode, ..PutOptions::default() };
        let put = self.inner.put_opts(&location, PutPayload::from_bytes(bytes), options);
        let outcome = match tokio::time::timeout(patience, put).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let late = format!("no answer within {} s", patience.as_secs());
                return Err(Failed::Other(Error::unknown(self.message("write", path, &late))));
            }
        };
        match outcome {
            Ok(_) => Ok(()),
            // 409 is among these where two conditional puts meet: who gets it looks at what is there.
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. },
            ) => Err(Failed::Exists),
            Err(error) if denied(&error) => {
                Err(Failed::Other(Error::invalid(self.message("write", path, &error.to_string()))))
            }
            // A put that failed in any other way may have been applied.
            Err(error) => {
                Err(Failed::Other(Error::unknown(self.message("write", path, &error.to_string()))))
            }
        }
    }

    /// Another writer's file may be linked and its folder not yet on disk: what exists must be durable
    /// before somebody builds on it.
    async fn harden(&self, path: &str) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let file = folder.join(path);
        let parent = file.parent().unwrap_or(folder).to_owned();
        let synced = tokio::task::spawn_blocking(move || sync_folder(&parent)).await;
        match synced {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Error::unknown(self.message("sync", path, &error.to_string()))),
            Err(error) => Err(Error::unknown(self.message("sync", path, &error.to_string()))),
        }
    }

    fn message(&self, verb: &str, path: &str, cause: &str) -> String {
        format!("{verb} {path} in {}: {}", self.place, redact(cause, &self.secrets))
    }
}

pub(crate) fn sync_folder(folder: &FsPath) -> std::io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

fn denied(error: &object_store::Error) -> bool {
    match error {
        object_store::Error::PermissionDenied { .. }
        | object_store::Error::Unauthenticated { .. }
        | object_store::Error::InvalidPath { .. }
        | object_store::Error::NotSupported { .. }
        | object_store::Error::NotImplemented { .. }
        | object_store::Error::UnknownConfigurationKey { .. } => true,
        // A put into a bucket that is not there.
        object_store::Error::NotFound { source, .. } => no_such_bucket(&**source),
        _ => false,
    }
}

fn no_such_bucket(source: &(dyn std::error::Error + 'static)) -> bool {
    let text = source.to_string();
    ["NoSuchBucket", "ContainerNotFound", "bucket does not exist"]
        .iter()
        .any(|it| text.contains(it))
}

/// Takes secrets out, and the query of every URL: signatures stand there.
fn redact(cause: &str, secrets: &[String]) -> String {
    let mut text = cause.to_owned();
    for secret in secrets.iter().filter(|it| !it.is_empty()) {
        text = text.replace(secret.as_str(), "…");
    }
    let mut clean = String::with_capacity(text.len());
    for word in text.split_inclusive(char::is_whitespace) {
        match (word.contains("://"), word.split_once('?')) {
            (true, Some((url, query))) => {
                clean.push_str(url);
                clean.push_str("?…");
                let kept = query.trim_end_matches(|it: char| !it.is_alphanumeric()).len();
                clean.push_str(&query[kept..]);
            }
            _ => clean.push_str(word),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_queries_are_taken_out() {
        let secrets = vec!["hunter2".to_owned()];
        assert_eq!(redact("key hunter2 is wrong", &secrets), "key … is wrong");
        let clean = redact("error for url (http://h/c/o?sig=abc&se=1) again", &secrets);
        assert!(!clean.contains("sig"), "{clean}");
        assert!(clean.ends_with(" again"), "{clean}");
    }
}
