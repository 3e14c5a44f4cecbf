//! The schemas that a pipeline's values were written with, by their id: kept for good, so that a checkpoint's
//! journal can be run again without the registry.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use floe_core::ports::{KeptSchemas, ObjectStore, Put};
use floe_core::schema::{SchemaId, WriterSchema};
use floe_core::{Error, Result};

use crate::paths::Paths;

pub struct StoredSchemas {
    store: Arc<dyn ObjectStore>,
    paths: Paths,
}

impl StoredSchemas {
    pub fn of(store: Arc<dyn ObjectStore>, pipeline: &str) -> Result<StoredSchemas> {
        Ok(StoredSchemas { store, paths: Paths::of(pipeline)? })
    }

    /// All that are kept, for who runs epochs again: which of them an epoch used is in its journal.
    pub async fn ids(&self) -> Result<Vec<SchemaId>> {
        let listed = self.store.list(&self.paths.schemas()).await?;
        let mut ids: Vec<SchemaId> =
            listed.iter().filter_map(|it| self.paths.schema_in(&it.path)).collect();
        ids.sort_unstable();
        Ok(ids)
    }
}

const CHECKSUM_BYTES: usize = 32;

#[async_trait]
impl KeptSchemas for StoredSchemas {
    async fn get(&self, id: SchemaId) -> Result<Option<WriterSchema>> {
        let path = self.paths.schema(id);
        let Some(bytes) = self.store.get(&path).await? else { return Ok(None) };
        let damaged = |what: &str| {
            Error::corrupt(format!(
                "{path} is damaged: {what}\n  → restore the object from a backup of the store; nothing was changed"
            ))
        };
        let (body, checksum) = bytes
            .len()
            .checked_sub(CHECKSUM_BYTES)
            .and_then(|at| bytes.split_at_checked(at))
            .ok_or_else(|| damaged("it is too short"))?;
        if blake3::hash(body).as_bytes() != checksum {
            return Err(damaged("its checksum is wrong"));
        }
        WriterSchema::decode(body).map(Some).map_err(|it| damaged(&it.to_string()))
    }

    async fn keep(&self, id: SchemaId, schema: &WriterSchema) -> Result<()> {
        let mut bytes = schema.encode();
        let checksum = blake3::hash(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        let path = self.paths.schema(id);
        match self.store.put_if_absent(&path, Bytes::from(bytes)).await? {
            Put::Created => Ok(()),
            // Another run's, or ours whose answer was lost.
            Put::Exists => match self.get(id).await? {
                Some(kept) if kept == *schema => Ok(()),
                Some(_) | None => Err(Error::refused(format!(
                    "schema {id} was kept with another text in {path}\n  → ids mean one schema for ever: is it another registry, or one that was made anew?"
                ))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use floe_core::schema::SchemaKind;

    use super::*;

    fn schema(text: &str) -> WriterSchema {
        WriterSchema { kind: SchemaKind::Avro, text: text.into(), references: Vec::new() }
    }

    #[tokio::test]
    async fn an_id_keeps_its_first_schema() {
        let store = crate::memory_store();
        let schemas = StoredSchemas::of(Arc::clone(&store), "p").unwrap();
        assert_eq!(schemas.get(SchemaId(7)).await.unwrap(), None);
        schemas.keep(SchemaId(7), &schema("a")).await.unwrap();
        schemas.keep(SchemaId(7), &schema("a")).await.unwrap();
        assert_eq!(schemas.get(SchemaId(7)).await.unwrap(), Some(schema("a")));
        store.put("p/schemas/notes", Bytes::new()).await.unwrap();
        assert_eq!(schemas.ids().await.unwrap(), [SchemaId(7)]);
        let refused = schemas.keep(SchemaId(7), &schema("b")).await.unwrap_err();
        assert_eq!(refused.kind, floe_core::ErrorKind::Refused);
        let bytes = store.get("p/schemas/7").await.unwrap().unwrap();
        for index in 0..bytes.len() {
            let mut altered = bytes.to_vec();
            altered[index] ^= 1;
            store.put("p/schemas/7", altered.into()).await.unwrap();
            assert!(schemas.get(SchemaId(7)).await.is_err(), "byte {index}");
        }
    }
}
