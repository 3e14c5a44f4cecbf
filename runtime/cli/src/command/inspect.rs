//! `floe inspect`: what a module needs and offers, as the runtime sees it.

use std::io::Write;

use floe_operator::{ColumnInspection, Engine, Inspection, Limits};
use floe_pipeline::config::units::show_bytes;

use crate::args::InspectArgs;
use crate::wire;

pub(crate) fn inspect(args: InspectArgs) -> anyhow::Result<()> {
    let engine = Engine::new(Some(wire::module_cache()))?;
    let module = wire::load_module(&engine, &args.module, &Limits::default())?;
    let found = module.inspection();
    if args.json { super::print_json(&found) } else { Ok(print(&found)?) }
}

fn print(found: &Inspection) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{} {}  ABI {}  state version {}",
        found.name, found.version, found.abi_version, found.state_version
    )?;
    writeln!(out, "  module   blake3 {}", found.hash)?;
    let most =
        found.memory_max_bytes.map_or(String::new(), |it| format!(", at most {}", show_bytes(it)));
    writeln!(
        out,
        "           {}, {} functions; memory from {}{most}",
        show_bytes(found.bytes),
        found.functions,
        show_bytes(found.memory_min_bytes)
    )?;
    let start = if found.start_function { "; a start function" } else { "" };
    writeln!(out, "  state    memory and {} mutable globals{start}", found.mutable_globals)?;
    writeln!(out, "  takes")?;
    columns(&mut out, &found.input)?;
    for output in &found.outputs {
        writeln!(out, "  emits    {}", output.name)?;
        columns(&mut out, &output.columns)?;
    }
    writeln!(out, "  imports  {}", or_nothing(&found.imports))?;
    writeln!(out, "  exports  {}", or_nothing(&found.exports))
}

fn columns(out: &mut impl Write, columns: &[ColumnInspection]) -> std::io::Result<()> {
    let width = columns.iter().map(|it| it.name.chars().count()).max().unwrap_or(0);
    for column in columns {
        let null = if column.nullable { ", may be null" } else { "" };
        writeln!(out, "           {:width$}  {}{null}", column.name, column.r#type)?;
    }
    Ok(())
}

fn or_nothing(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}
