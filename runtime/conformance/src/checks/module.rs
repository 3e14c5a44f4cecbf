//! What the module says of itself (A2, A5–A9).

use std::sync::Arc;

use floe_operator::{Engine, Limits, Module};

use super::{made, not_shown, outputs};
use crate::lab::{Shown, ensure};
use crate::report::Check;
use crate::schema::{difference, expected};

/// The checks, and whether the module is the conformance operator at all.
pub(super) fn described(
    engine: &Arc<Engine>,
    path: &str,
    bytes: &[u8],
    module: &Arc<Module>,
) -> (Vec<Check>, bool) {
    let input = columns(module);
    let output = match difference(&module.outputs()[0].1, &expected()) {
        Some(what) => Err(format!("output 0: {what}")),
        None => Ok(()),
    };
    let is_the_operator = input.is_ok() && output.is_ok();
    let checks = vec![
        made(&["A2", "watermark"], "it exports floe_v1_watermark", watermark(module)),
        made(&["A5"], "name, version and state version", says(module)),
        made(&["A5"], "a second output", second(module)),
        made(&["A6", "A7", "A8"], "the columns of its input", input),
        made(&["A6", "A7"], "the columns of its output", output),
        made(&["A9"], "another instance says the same", again(engine, path, bytes, module)),
    ];
    (checks, is_the_operator)
}

fn watermark(module: &Module) -> Shown<()> {
    match module.inspection().exports.iter().any(|it| it == "floe_v1_watermark") {
        true => Ok(()),
        false => not_shown("it exports no floe_v1_watermark"),
    }
}

fn says(module: &Module) -> Shown<()> {
    let said = module.inspection();
    ensure(said.name == "conformance", || format!("its name is {:?}", said.name))?;
    ensure(!said.version.is_empty(), || "it has no version".to_owned())?;
    ensure(said.state_version == 7, || {
        format!("its state version is {}, not 7", said.state_version)
    })
}

fn second(module: &Module) -> Shown<()> {
    if outputs(module) < 2 {
        return not_shown("it declares one output");
    }
    let (name, schema) = &module.outputs()[1];
    let fields: Vec<_> = schema.fields().iter().map(|it| it.name().as_str()).collect();
    ensure(name == "second" && fields == ["text"], || format!("output 1 is {name} {fields:?}"))
}

fn columns(module: &Module) -> Shown<()> {
    match difference(module.input(), &expected()) {
        Some(what) => Err(format!("input: {what}")),
        None => Ok(()),
    }
}

fn again(engine: &Arc<Engine>, path: &str, bytes: &[u8], module: &Module) -> Shown<()> {
    let other = engine.load(path, bytes, &Limits::default()).map_err(|it| it.message)?;
    let is_same = other.input() == module.input()
        && other.outputs() == module.outputs()
        && other.inspection().version == module.inspection().version;
    ensure(is_same, || "the description differs".to_owned())
}
