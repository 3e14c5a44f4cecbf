//! Sources and how their records are decoded; several of them as one.

use std::path::Path;
use std::sync::Arc;

use arrow_schema::{Field, Schema, SchemaRef};
use floe_core::ports::{DecoderFactory, Source};
use floe_core::schema::KnownSchemas;
use floe_core::{Error, Result};
use floe_operator::{InputDecoder, SeveralDecoders, SourceDecoder};
use floe_pipeline::config::{Origin, PipelineSpec, SourceSpec, Topics};
use floe_source::{KafkaConfig, KafkaSource, Member, RecordingSource, SeveralSources};

use super::{Modules, blocking, schemas};

/// Each source's records become the columns of the operator that takes them.
pub(crate) fn decoding(spec: &PipelineSpec, modules: &Modules) -> Result<Decoding> {
    let known: Arc<KnownSchemas> = Arc::default();
    let of = |(source, reader): (&SourceSpec, &usize)| -> Result<SourceDecoder> {
        let decoder = source_decoder(source, modules, *reader, &known)?;
        let (name, topics) = (source.name.clone(), source.topics());
        Ok(SourceDecoder { name, topics, decoder: Arc::new(decoder) })
    };
    let all = spec.sources.iter().zip(&modules.graph.readers).map(of);
    let mut all = all.collect::<Result<Vec<_>>>()?;
    let decoder = match all.len() {
        1 => all.remove(0).decoder,
        _ => Arc::new(SeveralDecoders::new(all)),
    };
    Ok(Decoding { decoder, known })
}

/// The decoder of a pipeline, with what it knows of schemas.
pub(crate) struct Decoding {
    pub(crate) decoder: Arc<dyn DecoderFactory>,
    pub(crate) known: Arc<KnownSchemas>,
}

/// Of one source, for the operator that takes its records.
pub(crate) fn source_decoder(
    source: &SourceSpec,
    modules: &Modules,
    reader: usize,
    known: &Arc<KnownSchemas>,
) -> Result<InputDecoder> {
    let input = Arc::clone(&modules.chain[reader].factory.describe().input);
    decoder_to(source, input, known)
}

/// Of one source, to these columns.
pub(crate) fn decoder_to(
    source: &SourceSpec,
    columns: SchemaRef,
    known: &Arc<KnownSchemas>,
) -> Result<InputDecoder> {
    let format = schemas::format(source, known)?;
    let decoder = InputDecoder::new(format, columns)?.of_source(&source.name);
    Ok(match source.tombstone_rows {
        true => decoder.with_tombstone_rows(),
        false => decoder,
    })
}

/// Connects all sources, as one.
pub(crate) async fn source(spec: &PipelineSpec) -> Result<Box<dyn Source>> {
    let (id, sources) = (spec.id.clone(), spec.sources.clone());
    blocking(move || -> Result<Box<dyn Source>> {
        let mut members = Vec::new();
        for source in &sources {
            let connected = connect(&id, source).map_err(|error| match sources.len() {
                1 => error,
                _ => error.context(format!("source {}", source.name)),
            })?;
            members.push(Member { source: connected, topics: source.topics() });
        }
        match members.len() {
            1 => Ok(members.remove(0).source),
            _ => Ok(Box::new(SeveralSources::new(members))),
        }
    })
    .await
}

fn connect(pipeline: &str, source: &SourceSpec) -> Result<Box<dyn Source>> {
    match &source.origin {
        Origin::Recording { file, .. } => {
            let topic = recording_topic(file);
            Ok(Box::new(RecordingSource::open(file, &topic)?))
        }
        Origin::Kafka { topics, bootstrap_servers, properties } => {
            let topics = match topics {
                Topics::Named(names) => floe_source::Topics::Names(names.clone()),
                Topics::Pattern(pattern) => floe_source::Topics::Pattern(pattern.clone()),
            };
            let mut config =
                KafkaConfig::new(bootstrap_servers.clone(), topics, pipeline.to_owned());
            config.properties = properties.expose().clone();
            Ok(Box::new(KafkaSource::connect(config)?))
        }
    }
}

/// The topic of a recording's lines that name none: the file's name without its ending.
pub(crate) fn recording_topic(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The columns that rows of several sources have together. One that not all of them have may be null.
pub(super) fn columns_of_all(said: &[&SchemaRef], of: usize) -> Result<Option<SchemaRef>> {
    if said.len() < of {
        return match said.is_empty() {
            true => Ok(None),
            false => Err(Error::invalid(
                "one source says its columns and another that the same operator takes does not\n→ columns = [...] in each [[source]], or in none",
            )),
        };
    }
    let mut all: Vec<Field> = Vec::new();
    for schema in said {
        for field in schema.fields() {
            match all.iter_mut().find(|it| it.name() == field.name()) {
                None => all.push(field.as_ref().clone()),
                Some(found) if found.data_type() == field.data_type() => {
                    found.set_nullable(found.is_nullable() || field.is_nullable());
                }
                Some(found) => {
                    return Err(Error::invalid(format!(
                        "column {:?} is {} in one source and {} in another, and one operator takes both\n→ give them the same type in columns of [[source]], or bring one of them into form by an operator of its own",
                        field.name(),
                        found.data_type(),
                        field.data_type()
                    )));
                }
            }
        }
    }
    let everywhere = |name: &str| said.iter().all(|schema| schema.column_with_name(name).is_some());
    let field = |it: Field| {
        let nullable = it.is_nullable() || !everywhere(it.name());
        it.with_nullable(nullable)
    };
    let fields: Vec<Field> = all.into_iter().map(field).collect();
    Ok(Some(Arc::new(Schema::new(fields))))
}
