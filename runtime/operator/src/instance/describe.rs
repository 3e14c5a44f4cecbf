//! What a module says of itself (A5), and of itself with a configuration (A27).

use std::sync::Arc;

use arrow_schema::{Schema, SchemaRef};
use floe_core::rng::OperatorRng;
use floe_core::{Error, ErrorKind, Result};
use wasmtime::InstancePre;

use super::Instance;
use crate::abi;
use crate::engine::Engine;
use crate::host::Host;
use crate::limits::Limits;
use crate::memory::{Checked, GuestMemory, Violation, violation};
use crate::module::Module;
use crate::schema::read_schema;

#[derive(Debug, PartialEq)]
pub(crate) struct Said {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) state_version: u32,
    pub(crate) input: SchemaRef,
    pub(crate) outputs: Vec<(String, SchemaRef)>,
}

/// Asks the module, in an instance that is dropped afterwards. Of one that is to be configured first, name
/// and versions are asked.
pub(crate) fn describe(
    engine: &Arc<Engine>,
    pre: &InstancePre<Host>,
    path: &str,
    limits: &Limits,
    configurable: bool,
) -> Result<Said> {
    let rng = OperatorRng::from_seed(0);
    let mut instance = Instance::new(engine, pre, path, Vec::new(), limits, rng, &[])?;
    instance.begin(0);
    let of_module = |error: Error| match error.kind {
        ErrorKind::Operator => Error::invalid(format!("module {path}: {}", error.message)),
        // The machine's fault is not the module's.
        _ => error,
    };
    instance.initialize().map_err(of_module)?;
    let at = instance.description().map_err(of_module)?;
    let memory = GuestMemory(instance.memory.data(&instance.store));
    let said = if configurable { read_names(memory, at) } else { read_description(memory, at) };
    said.map_err(|broken| refused(path, broken))
}

/// Asks the module what it takes and emits with this configuration (A27), in an instance that is dropped
/// afterwards.
pub(crate) fn describe_configured(
    module: &Module,
    pre: &InstancePre<Host>,
    name: &str,
    limits: &Limits,
    config: &str,
    upstream: Option<&Schema>,
) -> Result<Said> {
    let rng = OperatorRng::from_seed(0);
    let mut instance = Instance::new(&module.engine, pre, name, Vec::new(), limits, rng, &[])?;
    instance.begin(0);
    instance.initialize()?;
    // What the operator says of its configuration stands by itself; its backtrace helps nobody who wrote one.
    let failed = |error: Error| {
        let said: Vec<&str> =
            error.message.lines().filter(|it| !it.trim_start().starts_with("at ")).collect();
        let said = said.join("\n");
        let said = said.strip_prefix("configure: ").unwrap_or(&said);
        Error::invalid(format!("operator {name}: {said}"))
    };
    instance.configure(config, upstream).map_err(failed)?;
    instance.begin(0);
    let at = instance.description().map_err(failed)?;
    let memory = GuestMemory(instance.memory.data(&instance.store));
    read_description(memory, at).map_err(|broken| refused(name, broken))
}

fn refused(name: &str, broken: Violation) -> Error {
    Error::invalid(format!("module {name} is refused: its description: {}", broken.0))
}

/// The description of a module that is not configured yet: it has no columns.
fn read_names(memory: GuestMemory<'_>, at: u64) -> Checked<Said> {
    if memory.u32(at + 20)? != 0 || memory.u32(at + 24)? != 0 {
        return violation("it has columns before floe_v1_configure was called (A27)");
    }
    let name = described_text(memory, at)?;
    if name.is_empty() {
        return violation("it has no name");
    }
    Ok(Said {
        name,
        version: described_text(memory, at + 8)?,
        state_version: memory.u32(at + 16)?,
        input: Arc::new(Schema::empty()),
        outputs: Vec::new(),
    })
}

/// A pointer and a length, one behind the other.
fn described_text(memory: GuestMemory<'_>, at: u64) -> Checked<String> {
    let (pointer, len) = (memory.u32(at)?, memory.u32(at + 4)?);
    Ok(memory.text(u64::from(pointer), u64::from(len), 256)?.to_owned())
}

pub(crate) fn read_description(memory: GuestMemory<'_>, at: u64) -> Checked<Said> {
    let name = described_text(memory, at)?;
    if name.is_empty() {
        return violation("it has no name");
    }
    let count = memory.u32(at + 24)?;
    if !(1..=abi::OUTPUTS_MAX).contains(&count) {
        return violation(format!("{count} outputs, and there must be 1 to {}", abi::OUTPUTS_MAX));
    }
    let first = u64::from(memory.u32(at + 28)?);
    let outputs = (0..u64::from(count))
        .map(|index| {
            let output = first + 12 * index;
            let schema = read_schema(memory, u64::from(memory.u32(output + 8)?))?;
            Ok((described_text(memory, output)?, schema))
        })
        .collect::<Checked<Vec<(String, SchemaRef)>>>()?;
    for (index, (name, _)) in outputs.iter().enumerate() {
        if name.is_empty() {
            return violation(format!("output {index} has no name"));
        }
        if outputs[..index].iter().any(|(it, _)| it == name) {
            return violation(format!("two outputs are named {name:?}"));
        }
    }
    Ok(Said {
        name,
        version: described_text(memory, at + 8)?,
        state_version: memory.u32(at + 16)?,
        input: read_schema(memory, u64::from(memory.u32(at + 20)?))?,
        outputs,
    })
}
