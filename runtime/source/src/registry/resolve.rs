//! What an id means: from what was kept and from the registry, waited for while it is away.
//!
//! Invariant: an id is known to decoders only when its schema is kept for good, so that whoever runs the
//! epoch again needs no registry.

use std::sync::Arc;
use std::time::Duration;

use floe_core::ports::KeptSchemas;
use floe_core::schema::{KnownSchemas, SchemaId, SchemaKind, WriterSchema};
use floe_core::{Error, ErrorKind, Result};

use super::client::Registry;

/// Between two attempts, doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

pub struct Resolver {
    pub registry: Registry,
    pub kept: Arc<dyn KeptSchemas>,
    pub known: Arc<KnownSchemas>,
}

impl Resolver {
    /// Makes the id known, or known to be unknown. Waits as long as it takes; `place` is a record that begins
    /// with it.
    pub async fn resolve(&self, id: SchemaId, place: &str) -> Result<()> {
        let mut pause = PAUSE_MIN;
        loop {
            let error = match self.attempt(id).await {
                Err(error) if matches!(error.kind, ErrorKind::Retry | ErrorKind::Unknown) => error,
                Err(error) => {
                    return Err(error.context(format_args!("schema {id} of {place}")));
                }
                Ok(schema) => {
                    self.known.put(id, schema.map(Arc::new));
                    return Ok(());
                }
            };
            tracing::warn!(
                "schema {id} of {place} cannot be had, asking again in {pause:?}: {error}"
            );
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn attempt(&self, id: SchemaId) -> Result<Option<WriterSchema>> {
        let kept = self.kept.get(id).await?;
        match (kept, self.registry.schema(id).await) {
            (Some(kept), Ok(Some(found))) if same(&kept, &found) => Ok(Some(kept)),
            (Some(_), Ok(Some(_))) => Err(Error::refused(format!(
                "schema {id} at {} is another text than the one that this pipeline decoded by so far\n  → ids mean one schema for ever: is it another registry, or one that was made anew? Name the old one, or begin a new pipeline",
                self.registry.place()
            ))),
            // Deleted since: the values that were written by it are still there.
            (Some(kept), Ok(None)) => Ok(Some(kept)),
            (Some(kept), Err(error)) if error.kind == ErrorKind::Retry => {
                tracing::warn!("schema {id} is decoded by as it was kept: {error}");
                Ok(Some(kept))
            }
            (Some(_) | None, Err(error)) => Err(error),
            (None, Ok(None)) => Ok(None),
            (None, Ok(Some(found))) => {
                self.kept.keep(id, &found).await?;
                Ok(Some(found))
            }
        }
    }
}

/// A registry may write an Avro schema, which is JSON, with other spaces.
fn same(kept: &WriterSchema, found: &WriterSchema) -> bool {
    let value = |it: &WriterSchema| serde_json::from_str::<serde_json::Value>(&it.text).ok();
    let alike =
        kept.kind == SchemaKind::Avro && value(kept).is_some_and(|it| Some(it) == value(found));
    *kept == *found || (alike && kept.kind == found.kind && kept.references == found.references)
}
