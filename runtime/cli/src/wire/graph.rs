//! Which outputs operators and sinks take: names resolved, columns compared.

use arrow_schema::SchemaRef;
use floe_core::exchange::KeyColumns;
use floe_core::graph::{self, Graph, GraphError, OperatorNode, Port, SinkNode, SourceNode, Taken};
use floe_core::ports::OperatorDescription;
use floe_core::{Error, Result};
use floe_pipeline::config::{OperatorSpec, PipelineSpec, SourceSpec, error_at};

use super::Module;

pub(super) fn node(
    operator: &OperatorSpec,
    name: &str,
    description: &OperatorDescription,
) -> OperatorNode {
    OperatorNode {
        name: name.to_owned(),
        outputs: description.outputs.iter().map(|it| it.0.clone()).collect(),
        input: operator.input.clone(),
        discard: operator.discard.clone(),
        keyed: operator.keyed.clone(),
    }
}

pub(super) fn graph(spec: &PipelineSpec, operators: &[OperatorNode]) -> Result<Graph> {
    let sink = |input: &Vec<String>| SinkNode { input: input.clone() };
    let sinks: Vec<SinkNode> = spec.sinks.iter().map(|it| sink(&it.input)).collect();
    Graph::new(&sources(spec), operators, &sinks).map_err(|error| placed(spec, error))
}

fn sources(spec: &PipelineSpec) -> Vec<SourceNode> {
    let node = |it: &SourceSpec| SourceNode { name: it.name.clone(), topics: it.topics() };
    spec.sources.iter().map(node).collect()
}

/// The columns of a `key-by` are there.
pub(super) fn check_key(
    spec: &PipelineSpec,
    index: usize,
    description: &OperatorDescription,
) -> Result<()> {
    let Some(keyed) = &spec.operators[index].keyed else { return Ok(()) };
    let found = KeyColumns::find(&description.input, &keyed.columns);
    found.map(drop).map_err(|error| {
        let (message, help) = error.message.split_once("\n→ ").unwrap_or((&error.message, ""));
        let at = format!("operator.{index}.key-by");
        placed(spec, GraphError { at, message: message.to_owned(), help: help.to_owned() })
    })
}

/// What the operator behind these takes.
pub(super) fn taken(spec: &PipelineSpec, before: &[OperatorNode], index: usize) -> Result<Taken> {
    let input = &spec.operators[index].input;
    graph::input(&sources(spec), before, index, input).map_err(|error| placed(spec, error))
}

/// With the line of the pipeline file, where it is still there.
fn placed(spec: &PipelineSpec, error: GraphError) -> Error {
    let text = std::fs::read_to_string(&spec.path).unwrap_or_default();
    error_at(&text, &spec.path, &error.at, error.message, error.help).into()
}

pub(super) fn schema_of(chain: &[Module], port: Port) -> Result<SchemaRef> {
    let from = &chain[port.operator];
    match from.factory.describe().outputs.get(port.output as usize) {
        Some((_, schema)) => Ok(SchemaRef::clone(schema)),
        None => Err(Error::invalid(format!("operator {} has no output", from.name))),
    }
}

/// "totals", or "totals.late" for an output behind the first.
fn name_of(chain: &[Module], port: Port) -> String {
    let from = &chain[port.operator];
    match from.factory.describe().outputs.get(port.output as usize) {
        Some((output, _)) if port.output > 0 => format!("{}.{output}", from.name),
        Some(_) | None => from.name.clone(),
    }
}

/// "totals.late", as a checkpoint has it.
pub(crate) fn port_name(chain: &[Module], port: Port) -> String {
    let from = &chain[port.operator];
    let output = from.factory.describe().outputs.get(port.output as usize);
    format!("{}.{}", from.name, output.map_or("", |it| it.0.as_str()))
}

/// Rows of several outputs in one table have the same columns.
pub(super) fn same_columns(chain: &[Module], first: Port, other: Port) -> Result<()> {
    let name = name_of(chain, first);
    fits(chain, other, &name, &schema_of(chain, first)?)
}

/// An operator behind another takes what that one emits, column by column.
pub(super) fn fits(chain: &[Module], port: Port, name: &str, input: &SchemaRef) -> Result<()> {
    let (output, before) = (schema_of(chain, port)?, name_of(chain, port));
    let mut wrong = Vec::new();
    for (index, wanted) in input.fields().iter().enumerate() {
        let column = wanted.name();
        match output.fields().get(index) {
            Some(found) if found.name() != column => {
                wrong.push(format!("  {column}   column {} is called {}", index + 1, found.name()));
            }
            Some(found) if found.data_type() != wanted.data_type() => wrong.push(format!(
                "  {column}   {before}: {}   {name}: {}",
                found.data_type(),
                wanted.data_type()
            )),
            Some(found) if found.is_nullable() && !wanted.is_nullable() => {
                wrong.push(format!("  {column}   {before}: nullable   {name}: required"));
            }
            Some(_) => {}
            None => wrong.push(format!("  {column}   {before}: absent")),
        }
    }
    for extra in output.fields().iter().skip(input.fields().len()) {
        wrong.push(format!("  {}   {name}: absent", extra.name()));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "operator {name} does not take what operator {before} emits, nothing was started\n{}",
        wrong.join("\n")
    )))
}
