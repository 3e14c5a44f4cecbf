//! A store that is asked again while it does not answer: an outage of minutes is waited for.
//!
//! Only an owner is patient. A start says within seconds that the store cannot be reached, and a local
//! folder without room is no outage.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use floe_core::ports::{Listed, ObjectStore, Put};
use floe_core::{Error, ErrorKind, Result};
use tokio::time::Instant;

/// Between two attempts, doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

pub(crate) struct PatientStore {
    inner: Arc<dyn ObjectStore>,
    patience: Duration,
    /// Requests that were asked again.
    retries: Arc<AtomicU64>,
}

impl PatientStore {
    pub(crate) fn over(
        inner: Arc<dyn ObjectStore>,
        patience: Duration,
        retries: &Arc<AtomicU64>,
    ) -> Arc<dyn ObjectStore> {
        if !inner.may_be_away() {
            return inner;
        }
        Arc::new(PatientStore { inner, patience, retries: Arc::clone(retries) })
    }

    async fn until_answered<T, F: Future<Output = Result<T>>>(
        &self,
        path: &str,
        attempt: impl Fn() -> F,
    ) -> Result<T> {
        let started = Instant::now();
        let mut pause = PAUSE_MIN;
        loop {
            let error = match attempt().await {
                Err(error) if matches!(error.kind, ErrorKind::Retry | ErrorKind::Unknown) => error,
                done => return done,
            };
            if started.elapsed() >= self.patience {
                return Err(error);
            }
            self.retries.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(path, error = %error, "the store does not answer, asking again in {pause:?}");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

#[async_trait]
impl ObjectStore for PatientStore {
    /// What exists after an attempt without an answer may be that attempt's: who asked looks at it.
    async fn put_if_absent(&self, path: &str, bytes: Bytes) -> Result<Put> {
        let in_doubt = AtomicBool::new(false);
        let put = self.until_answered(path, || async {
            let put = self.inner.put_if_absent(path, bytes.clone()).await;
            in_doubt.fetch_or(put.is_err(), Ordering::Relaxed);
            put
        });
        match put.await? {
            Put::Exists if in_doubt.into_inner() => Err(Error::unknown(format!(
                "write {path}: it exists after an attempt without an answer"
            ))),
            put => Ok(put),
        }
    }

    async fn put(&self, path: &str, bytes: Bytes) -> Result<()> {
        self.until_answered(path, || self.inner.put(path, bytes.clone())).await
    }

    async fn get(&self, path: &str) -> Result<Option<Bytes>> {
        self.until_answered(path, || self.inner.get(path)).await
    }

    async fn delete(&self, path: &str) -> Result<()> {
        self.until_answered(path, || self.inner.delete(path)).await
    }

    async fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        self.until_answered(folder, || self.inner.list(folder)).await
    }
}
