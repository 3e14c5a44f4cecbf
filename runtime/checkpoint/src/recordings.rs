//! Recordings of epochs' input beside the checkpoints: for people, and no part of the protocol.
//!
//! A recording is put before its manifest is visible, and over what an attempt left that came to nothing:
//! whoever finds a manifest finds the recording that belongs to it, or none.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use floe_core::ports::ObjectStore;
use floe_core::{Epoch, Generation, Result};

use crate::paths::Paths;

pub struct Recordings {
    store: Arc<dyn ObjectStore>,
    paths: Paths,
    /// Those that are there; `None` before they were listed.
    known: Option<BTreeSet<(Epoch, Generation)>>,
}

impl Recordings {
    pub fn of(store: Arc<dyn ObjectStore>, pipeline: &str) -> Result<Recordings> {
        Ok(Recordings { store, paths: Paths::of(pipeline)?, known: None })
    }

    pub async fn put(&mut self, epoch: Epoch, generation: Generation, bytes: Bytes) -> Result<()> {
        if let Some(known) = &mut self.known {
            known.insert((epoch, generation));
        }
        self.store.put(&self.paths.recording(epoch, generation), bytes).await
    }

    /// `generation` is that of the epoch's manifest. `None`: the epoch was not recorded, or it was swept.
    pub async fn get(&self, epoch: Epoch, generation: Generation) -> Result<Option<Bytes>> {
        self.store.get(&self.paths.recording(epoch, generation)).await
    }

    /// Deletes those of the epochs before. Returns how many.
    pub async fn sweep(&mut self, before: Epoch) -> Result<u64> {
        let known = match &mut self.known {
            Some(known) => known,
            None => {
                let listed = self.store.list(&self.paths.recordings()).await?;
                let found = listed.iter().filter_map(|it| self.paths.recording_in(&it.path));
                self.known.insert(found.collect())
            }
        };
        let mut count = 0;
        while let Some((epoch, generation)) = known.first().copied().filter(|it| it.0 < before) {
            self.store.delete(&self.paths.recording(epoch, generation)).await?;
            known.pop_first();
            count += 1;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_successor_sweeps_what_it_did_not_write() {
        let store = crate::memory_store();
        let mut first = Recordings::of(store.clone(), "p").unwrap();
        for epoch in 1..=4 {
            first.put(Epoch(epoch), Generation(1), Bytes::from_static(b"x")).await.unwrap();
        }
        store.put("p/recordings/notes", Bytes::new()).await.unwrap();
        let mut second = Recordings::of(store.clone(), "p").unwrap();
        second.put(Epoch(4), Generation(2), Bytes::from_static(b"y")).await.unwrap();
        assert_eq!(second.sweep(Epoch(3)).await.unwrap(), 2);
        assert_eq!(second.get(Epoch(2), Generation(1)).await.unwrap(), None);
        second.put(Epoch(5), Generation(2), Bytes::from_static(b"z")).await.unwrap();
        assert_eq!(second.sweep(Epoch(5)).await.unwrap(), 3);
        assert_eq!(second.get(Epoch(5), Generation(2)).await.unwrap().unwrap(), "z");
        assert_eq!(store.list("p/recordings").await.unwrap().len(), 2);
    }
}
