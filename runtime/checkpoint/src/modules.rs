//! The modules that checkpoints were made by, by their hash: an older checkpoint can be shown, tried again and
//! gone back to although the file has been built anew since.

use bytes::Bytes;
use floe_core::ports::ObjectStore;
use floe_core::{Error, Result};

use crate::paths::Paths;

/// What checkpoints name a module by.
pub fn module_hash(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// Keeps a module. Its name is its content, so that keeping it again is harmless, and so is dying in between.
pub async fn keep_module(store: &dyn ObjectStore, pipeline: &str, bytes: Bytes) -> Result<()> {
    let path = Paths::of(pipeline)?.module(&module_hash(&bytes));
    store.put_if_absent(&path, bytes).await.map(|_| ())
}

/// A module that was kept. `None`: it was not, as before floe kept them.
pub async fn read_module(
    store: &dyn ObjectStore,
    pipeline: &str,
    hash: &[u8; 32],
) -> Result<Option<Bytes>> {
    let path = Paths::of(pipeline)?.module(hash);
    let Some(bytes) = store.get(&path).await? else { return Ok(None) };
    if module_hash(&bytes) != *hash {
        return Err(Error::corrupt(format!(
            "{path} is damaged: it is not the module that its name says\n  → delete it, and name the module's file: floe upgrade --old NAME=FILE"
        )));
    }
    Ok(Some(bytes))
}
