//! The schemas that values were written by: from a file, a registry, or as they were kept.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use floe_checkpoint::StoredSchemas;
use floe_core::ports::{KeptSchemas, ObjectStore, Source};
use floe_core::schema::{KnownSchemas, SchemaKind, WriterSchema, framed};
use floe_core::{Error, Records, Result, TopicPartition};
use floe_operator::Written;
use floe_pipeline::config::{Format, PipelineSpec, RegistrySpec, SchemaOrigin, SourceSpec};
use floe_source::registry::{Registry, RegistryConfig, Resolver, with_schemas};

/// How a source's values are decoded.
pub(super) fn format(
    source: &SourceSpec,
    known: &Arc<KnownSchemas>,
) -> Result<floe_operator::Format> {
    let written = |kind, origin: &SchemaOrigin| {
        Ok::<_, Error>(match origin {
            SchemaOrigin::Registry(_) => Written::Registered(Arc::clone(known)),
            SchemaOrigin::File(file) => Written::By(Arc::new(schema_file(kind, file)?)),
        })
    };
    Ok(match &source.format {
        Format::Json => floe_operator::Format::Json,
        Format::Raw => floe_operator::Format::Raw,
        Format::Avro(origin) => floe_operator::Format::Avro(written(SchemaKind::Avro, origin)?),
        Format::Protobuf { origin, message } => floe_operator::Format::Protobuf {
            written: written(SchemaKind::Protobuf, origin)?,
            message: message.clone(),
        },
    })
}

fn schema_file(kind: SchemaKind, file: &Path) -> Result<WriterSchema> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Error::invalid(format!("the schema {} cannot be read: {error}", file.display()))
    })?;
    Ok(WriterSchema { kind, text, references: Vec::new() })
}

pub(crate) fn registry(spec: &RegistrySpec) -> Result<Registry> {
    let read = |file: &Path| {
        std::fs::read(file)
            .map_err(|error| Error::invalid(format!("{} cannot be read: {error}", file.display())))
    };
    let identity = match (&spec.certificate, &spec.key) {
        (Some(certificate), Some(key)) => {
            let mut pem = read(certificate)?;
            pem.push(b'\n');
            pem.extend(read(key)?);
            Some(pem)
        }
        (Some(_) | None, _) => None,
    };
    Registry::new(RegistryConfig {
        urls: spec.urls.clone(),
        basic_auth: spec.basic_auth.as_ref().map(|it| it.expose().to_owned()),
        bearer_token: spec.bearer_token.as_ref().map(|it| it.expose().to_owned()),
        ca: spec.ca.as_deref().map(read).transpose()?,
        identity,
    })
}

fn resolver(
    spec: &PipelineSpec,
    registry_spec: &RegistrySpec,
    known: &Arc<KnownSchemas>,
) -> Result<Resolver> {
    Ok(Resolver {
        registry: registry(registry_spec)?,
        kept: Arc::new(StoredSchemas::of(super::store(spec)?, &spec.id)?),
        known: Arc::clone(known),
    })
}

/// The one of all sources.
fn registry_of(spec: &PipelineSpec) -> Option<&RegistrySpec> {
    spec.sources.iter().find_map(SourceSpec::registry)
}

/// Do values of this partition begin with the id of a schema?
fn names_schemas(sources: &[SourceSpec], task: &TopicPartition) -> bool {
    match sources {
        [one] => one.registry().is_some(),
        several => several
            .iter()
            .find(|it| it.topics().iter().any(|it| **it == *task.topic))
            .is_some_and(|it| it.registry().is_some()),
    }
}

/// A source that hands on what the decoder knows the schemas of.
pub(crate) fn resolved(
    spec: &PipelineSpec,
    known: &Arc<KnownSchemas>,
    source: Box<dyn Source>,
) -> Result<Box<dyn Source>> {
    match registry_of(spec) {
        None => Ok(source),
        Some(registry) => {
            let resolver = resolver(spec, registry, known)?;
            let sources = spec.sources.clone();
            let names_schemas = move |task: &TopicPartition| names_schemas(&sources, task);
            Ok(with_schemas(source, resolver, Box::new(names_schemas)))
        }
    }
}

/// Makes the schemas of these records known, as far as the registry has them.
pub(crate) async fn resolve(
    spec: &PipelineSpec,
    known: &Arc<KnownSchemas>,
    records: &[Records],
) -> Result<()> {
    let Some(registry) = registry_of(spec) else { return Ok(()) };
    let resolver = resolver(spec, registry, known)?;
    let mut asked = BTreeSet::new();
    for run in records.iter().filter(|it| names_schemas(&spec.sources, it.topic_partition())) {
        for record in run.iter() {
            let Some((id, _)) = record.value().and_then(framed) else { continue };
            if asked.insert(id) {
                let place = format!("{} @ {}", run.topic_partition(), record.offset());
                resolver.resolve(id, &place).await?;
            }
        }
    }
    Ok(())
}

/// What can be known before the first value, each with a name for people: the schema of the file, or the
/// newest of each topic where the registry has it under the usual subject.
pub(crate) async fn before_values(
    source: &SourceSpec,
) -> Result<Vec<(String, Option<WriterSchema>)>> {
    let (kind, origin) = match &source.format {
        Format::Json | Format::Raw => return Ok(Vec::new()),
        Format::Avro(origin) => (SchemaKind::Avro, origin),
        Format::Protobuf { origin, .. } => (SchemaKind::Protobuf, origin),
    };
    let registry_spec = match origin {
        SchemaOrigin::Registry(registry) => registry,
        SchemaOrigin::File(file) => {
            return Ok(vec![(file.display().to_string(), Some(schema_file(kind, file)?))]);
        }
    };
    let registry = registry(registry_spec)?;
    let topics = source.topics();
    let mut found = Vec::new();
    if topics.is_empty() {
        let name = format!("each value names its schema by an id; {} is asked", registry.place());
        found.push((name, None));
    }
    for topic in topics {
        let subject = format!("{topic}-value");
        let place = registry.place();
        found.push(match registry.newest(&subject).await? {
            Some((id, schema)) => {
                (format!("{subject} at {place}: its newest is schema {id}"), Some(schema))
            }
            None => (
                format!("{place} has no subject {subject}: each value names its schema by an id"),
                None,
            ),
        });
    }
    Ok(found)
}

/// Makes the schemas of a pipeline known as they were kept: a re-execution asks no registry. What an id meant to
/// the run is in the journal; an id that was unknown to it stays so.
pub(crate) async fn recall(
    store: &Arc<dyn ObjectStore>,
    pipeline: &str,
    known: &KnownSchemas,
) -> Result<()> {
    let kept = StoredSchemas::of(Arc::clone(store), pipeline)?;
    for id in kept.ids().await? {
        if let Some(schema) = kept.get(id).await? {
            known.put(id, Some(Arc::new(schema)));
        }
    }
    Ok(())
}
