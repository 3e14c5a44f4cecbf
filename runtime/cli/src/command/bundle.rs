//! `floe bundle`: everything that a replay needs in one file, for somebody without Kafka, catalog or store.

use std::fmt::Write;
use std::sync::Arc;

use floe_checkpoint::StoredSchemas;
use floe_checkpoint::hint::Hint;
use floe_checkpoint::paths::Paths;
use floe_core::{Error, Result};
use floe_pipeline::config::units::show_bytes;
use floe_pipeline::config::{
    Format, LogFormat, Metering, NamedSink, OnError, OperatorSpec, PipelineSpec, SchemaOrigin,
    WriteMode, columns,
};
use floe_replay::Plan;
use floe_replay::bundle::BundleWriter;
use serde_json::Value;

use crate::args::BundleArgs;
use crate::replay::folder::TemporaryFolder;
use crate::replay::kept_rows;
use crate::replay::subject::{ABOUT, About, BUNDLE_VERSION, Subject};
use crate::terminal::Terminal;
use crate::{load, logging, show, wire};

use super::record::{chosen, redacted};

pub(crate) fn bundle(args: BundleArgs) -> anyhow::Result<()> {
    let terminal = Terminal::new();
    logging::start(LogFormat::Human, &terminal)?;
    let args = args.range;
    super::block_on(async move {
        let mut subject = Subject::open(&args.pipeline)?;
        let folder = TemporaryFolder::new()?;
        let input = folder.path().join("input.jsonl");
        let (plan, records) = chosen(&mut subject, &args, &input, &terminal).await?;
        let file = &args.output;
        let mut bundle = BundleWriter::create(file)?;
        let redacted = redacted(&args);
        bundle.add("README.txt", readme(&plan, records, &redacted).as_bytes())?;
        let secrets = load::environment_of(&args.pipeline)?;
        bundle.add("pipeline.toml", pipeline_text(&subject, &secrets)?.as_bytes())?;
        let about = About {
            version: BUNDLE_VERSION,
            from: first(&plan),
            to: last(&plan),
            redacted: args.redact.clone(),
        };
        bundle.add(ABOUT, &serde_json::to_vec_pretty(&about)?)?;
        for (index, operator) in subject.spec.operators.iter().enumerate() {
            bundle.add_file(&format!("operator-{index}.wasm"), &operator.module)?;
        }
        for source in &subject.spec.sources {
            if let Format::Avro(SchemaOrigin::File(file))
            | Format::Protobuf { origin: SchemaOrigin::File(file), .. } = &source.format
            {
                bundle.add_file(&schema_file(&source.name), file)?;
            }
        }
        add_checkpoints(&mut bundle, &subject, &plan).await?;
        bundle.add_file("input.jsonl", &input)?;
        // Redacted records make other rows, and those of the run would tell what was redacted.
        let lacking = match args.redact.is_empty() {
            true => add_rows(&mut bundle, &subject, &plan).await?,
            false => None,
        };
        bundle.finish()?;
        let bytes = std::fs::metadata(file).map_or(0, |it| it.len());
        println!(
            "{}: {}, epoch {} → {}, {} records",
            file.display(),
            show_bytes(bytes),
            first(&plan),
            last(&plan),
            show::grouped(records)
        );
        println!(
            "it holds raw records{redacted}, and checkpoints as they are: operators' memory with what they keep of records, and the least and greatest values of tables' columns; secrets of the pipeline file are not in it"
        );
        if let Some(why) = lacking {
            println!("it names no row of the run, only records, where rows differ: {why}");
        }
        println!("replay it anywhere:  floe replay {}", file.display());
        Ok(())
    })
}

/// One schema for all values of a source, where the pipeline file names one.
fn schema_file(source: &str) -> String {
    format!("schema-{source}.txt")
}

fn first(plan: &Plan) -> u64 {
    plan.begin.as_ref().map_or(0, |it| it.epoch.0)
}

fn last(plan: &Plan) -> u64 {
    plan.epochs.last().map_or(first(plan), |it| it.epoch.0)
}

/// The log's entries and the objects that they name, where the pipeline file of the bundle expects them.
async fn add_checkpoints(bundle: &mut BundleWriter, subject: &Subject, plan: &Plan) -> Result<()> {
    let log = floe_checkpoint::read_log(&*subject.store, &plan.pipeline).await?;
    let paths = Paths::of(&plan.pipeline)?;
    let (from, to) = (first(plan), last(plan));
    let inside = |epoch: u64| from <= epoch && epoch <= to;
    let slots: Vec<_> =
        log.manifests().filter(|(at, _)| inside(at.epoch.0)).map(|(at, _)| at.slot).collect();
    let (Some(first_slot), Some(last_slot)) = (slots.first(), slots.last()) else { return Ok(()) };
    // From its beginning, a pipeline's log begins with the claim before the first checkpoint.
    let first_slot = if from == 0 { log.first_kept() } else { *first_slot };
    let hint = Hint { first: first_slot, claim: None };
    bundle.add(&format!("checkpoints/{}", paths.hint()), &hint.encode())?;
    let mut names: Vec<String> = Vec::new();
    for (slot, _) in &log.entries {
        if first_slot <= *slot && slot <= last_slot {
            names.push(paths.entry(*slot));
        }
    }
    let manifests = plan.begin.iter().chain(plan.epochs.iter().map(|it| &it.manifest));
    for object in manifests.flat_map(|it| &it.objects) {
        names.push(paths.object(&object.path)?);
    }
    let schemas = StoredSchemas::of(Arc::clone(&subject.store), &plan.pipeline)?;
    names.extend(schemas.ids().await?.into_iter().map(|it| paths.schema(it)));
    names.sort();
    names.dedup();
    for name in names {
        let bytes = subject.store.get(&name).await?.ok_or_else(|| {
            Error::refused(format!(
                "{name} is gone from the store: the checkpoint was swept meanwhile"
            ))
        })?;
        bundle.add(&format!("checkpoints/{name}"), &bytes)?;
    }
    Ok(())
}

/// What the epochs left in tables, so that a row that differs is named without them. Gives why there is none, where
/// a table is away.
async fn add_rows(
    bundle: &mut BundleWriter,
    subject: &Subject,
    plan: &Plan,
) -> Result<Option<String>> {
    for planned in &plan.epochs {
        for (number, sink) in subject.spec.sinks.iter().enumerate() {
            let entry = planned.manifest.sinks.iter().find(|it| it.name == sink.name);
            let Some((table, entry)) = sink.spec.table().zip(entry) else { continue };
            let batches = match wire::epoch_rows(table, entry).await {
                Ok(batches) => batches,
                // The bundle is of use without them.
                Err(error) => return Ok(Some(error.message)),
            };
            if let Some(bytes) = kept_rows::write(&batches)? {
                bundle.add(&kept_rows::name_in_bundle(planned.epoch.0, number), &bytes)?;
            }
        }
    }
    Ok(None)
}

fn readme(plan: &Plan, records: u64, redacted: &str) -> String {
    format!(
        "Checkpoints {} to {} of pipeline {}, with {records} records.\n\nThis file holds raw records{redacted}, and checkpoints as they are: the operators' memory, which keeps what they took from records, and the least and greatest values of tables' columns.\nSecrets of the pipeline file (catalog, store, Kafka) are not in it.\n\nReplay it:  floe replay FILE\n",
        first(plan),
        last(plan),
        plan.pipeline
    )
}

/// A pipeline file with what a replay needs, and neither catalog, store nor broker.
fn pipeline_text(subject: &Subject, secrets: &[(String, String)]) -> Result<String> {
    let spec: &PipelineSpec = &subject.spec;
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(text, "[pipeline]\nid = {}", quoted(&spec.id));
    for source in &spec.sources {
        let format = match &source.format {
            Format::Json => "format = \"json\"".to_owned(),
            Format::Raw => "format = \"raw\"".to_owned(),
            Format::Avro(origin) => {
                format!("format = \"avro\"\n{}", schema_text(origin, &source.name))
            }
            Format::Protobuf { origin, message } => {
                let message = message.as_ref().map(|it| format!("\nmessage = {}", quoted(it)));
                let schema = schema_text(origin, &source.name);
                format!("format = \"protobuf\"\n{schema}{}", message.unwrap_or_default())
            }
        };
        let tombstones = if source.tombstone_rows { "\ntombstones = \"row\"" } else { "" };
        let _ = match spec.sources.len() {
            1 => writeln!(text, "\n[source]"),
            _ => write!(text, "\n[[source]]\n{}", list("topics", &source.topics())),
        };
        let _ = writeln!(
            text,
            "name = {}\nrecording = \"input.jsonl\"\n{format}{tombstones}",
            quoted(&source.name)
        );
        if let Some(columns) = &source.columns {
            text.push_str(&list("columns", &columns::texts(columns)));
        }
    }
    for (index, operator) in spec.operators.iter().enumerate() {
        let name = &subject.links[index].name;
        let _ = write!(
            text,
            "\n[[operator]]\nname = {}\nmodule = \"operator-{index}.wasm\"\non-error = \"{}\"\nconfig = {}\n",
            quoted(name),
            on_error(operator.on_error),
            config(operator, secrets)?
        );
        let _ = write!(
            text,
            "{}{}{}",
            list("input", &operator.input),
            list("discard", &operator.discard),
            operator.keyed.as_ref().map_or_else(String::new, |it| {
                format!("{}tasks = {}\n", list("key-by", &it.columns), it.tasks)
            })
        );
        text.push_str(&limits(operator));
    }
    let catalog = "{ type = \"sql\", uri = \"sqlite://none.db\", warehouse = \"file://./none\" }";
    text.push_str("\n# A replay opens no table.\n");
    for (number, sink) in spec.sinks.iter().enumerate() {
        let table = match sink.spec.table() {
            Some(table) => table.table.clone(),
            None => format!("none.none{number}"),
        };
        let (name, table, input) = (quoted(&sink.name), quoted(&table), list("input", &sink.input));
        let _ = write!(
            text,
            "[[sink]]\nname = {name}\niceberg = {table}\n{input}catalog = {catalog}\nbranch = \"sink-{number}\"\n{}\n",
            upsert(sink)
        );
    }
    text.push_str("[checkpoint]\nstore = \"file://./checkpoints\"\n");
    if let Some(dead_letters) = &spec.dead_letters {
        let _ = write!(
            text,
            "\n[dead-letters]\niceberg = {}\n",
            quoted(dead_letters.sink.table().map_or("none.letters", |it| it.table.as_str()))
        );
    }
    Ok(text)
}

/// Rows that replace each other are counted and compared otherwise.
fn upsert(sink: &NamedSink) -> String {
    match sink.spec.table().map(|it| &it.mode) {
        Some(WriteMode::Upsert { key, op_column }) => {
            let column = op_column.as_ref().map(|it| format!("op-column = {}\n", quoted(it)));
            format!(
                "mode = \"upsert\"\n{}{}",
                list("key", key),
                column.as_deref().unwrap_or_default()
            )
        }
        Some(WriteMode::Append | WriteMode::OverwritePartition) | None => String::new(),
    }
}

/// The schemas that a registry told are in the bundle's checkpoints.
fn schema_text(origin: &SchemaOrigin, source: &str) -> String {
    match origin {
        SchemaOrigin::File(_) => format!("schema = {}", quoted(&schema_file(source))),
        SchemaOrigin::Registry(_) => "schema-registry = { url = \"http://none\" }".to_owned(),
    }
}

/// `key = ["…"]` and a line's end; nothing for an empty list.
fn list(key: &str, texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|it| quoted(it)).collect();
    if texts.is_empty() { String::new() } else { format!("{key} = [{}]\n", texts.join(", ")) }
}

fn on_error(on_error: OnError) -> &'static str {
    match on_error {
        OnError::Fail => "fail",
        OnError::Skip => "skip",
        OnError::DeadLetter => "dead-letter",
    }
}

fn limits(operator: &OperatorSpec) -> String {
    let limits = &operator.limits;
    let numbers = [
        ("memory", limits.memory_bytes),
        ("table-elements", limits.table_elements),
        ("stack", limits.stack_bytes),
        ("fuel-per-batch", limits.fuel_per_batch),
        ("fuel-per-record", limits.fuel_per_record),
        ("output-per-batch", limits.output_per_batch_bytes),
        ("module-size", limits.module_bytes),
    ];
    let set: Vec<String> = numbers
        .iter()
        .filter_map(|(name, value)| {
            let value = (*value)?;
            // Sizes are texts with their unit.
            let is_size = ["memory", "stack", "output-per-batch", "module-size"].contains(name);
            Some(if is_size {
                format!("{name} = \"{value}B\"")
            } else {
                format!("{name} = {value}")
            })
        })
        .collect();
    let set = set.into_iter().chain(metering(operator)).collect::<Vec<_>>();
    if set.is_empty() { String::new() } else { format!("limits = {{ {} }}\n", set.join(", ")) }
}

fn metering(operator: &OperatorSpec) -> impl Iterator<Item = String> {
    let metering = operator.limits.metering.map(|it| match it {
        Metering::Time => "metering = \"time\"".to_owned(),
        Metering::Fuel => "metering = \"fuel\"".to_owned(),
    });
    let time = operator.limits.time_per_batch;
    metering.into_iter().chain(time.map(|it| format!("time-per-batch = \"{}ms\"", it.as_millis())))
}

/// The configuration with what came from the environment taken out again.
fn config(operator: &OperatorSpec, secrets: &[(String, String)]) -> Result<String> {
    let mut value: Value = serde_json::from_str(&operator.config)
        .map_err(|error| Error::invalid(format!("the configuration of an operator: {error}")))?;
    hide(&mut value, secrets);
    Ok(toml_of(&value))
}

fn hide(value: &mut Value, secrets: &[(String, String)]) {
    match value {
        Value::String(text) => {
            for (name, secret) in secrets.iter().filter(|it| !it.1.is_empty()) {
                *text = text.replace(secret.as_str(), &format!("${{{name}:-removed}}"));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|it| hide(it, secrets)),
        Value::Object(fields) => fields.values_mut().for_each(|it| hide(it, secrets)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// JSON that came from TOML as TOML again.
fn toml_of(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, it)| format!("{} = {}", quoted(name), toml_of(it)))
                .collect();
            format!("{{ {} }}", fields.join(", "))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(toml_of).collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => quoted(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// JSON's escapes are TOML's too, but for DEL, which TOML wants escaped.
fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string().replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_from_the_environment_goes_back_to_it() {
        let operator = OperatorSpec {
            name: None,
            module: "a.wasm".into(),
            plugin: None,
            config: r#"{"list":[1,2.5,true],"url":"https://u:hunter2@h/\u007f"}"#.into(),
            on_error: OnError::Fail,
            input: Vec::new(),
            discard: Vec::new(),
            keyed: None,
            limits: floe_pipeline::config::LimitsSpec::default(),
        };
        let secrets = [("PASSWORD".to_owned(), "hunter2".to_owned())];
        assert_eq!(
            config(&operator, &secrets).unwrap(),
            r#"{ "list" = [1, 2.5, true], "url" = "https://u:${PASSWORD:-removed}@h/\u007f" }"#
        );
    }
}
