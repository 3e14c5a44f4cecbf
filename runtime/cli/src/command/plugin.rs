//! `floe plugin`: the ready-made operators that are here.

use std::io::Write;

use floe_operator::{Engine, Inspection, Limits};
use serde::Serialize;

use crate::args::{PluginDescribeArgs, PluginListArgs};
use crate::plugin::{self, About, Missing, Plugin};
use crate::{show, wire};

#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    about: About,
    file: String,
    sha256: String,
    blake3: String,
}

pub(crate) fn list(args: PluginListArgs) -> anyhow::Result<()> {
    let engine = Engine::new(Some(wire::module_cache()))?;
    let listed = plugin::list()?
        .into_iter()
        .map(|it| look(&engine, it))
        .collect::<anyhow::Result<Vec<_>>>()?;
    if args.json {
        return super::print_json(&listed);
    }
    let rows: Vec<Vec<String>> = listed
        .iter()
        .map(|it| {
            let about = &it.about;
            let hash = format!("{}…", &it.sha256[..12]);
            vec![about.name.clone(), about.version.clone(), hash, about.summary.clone()]
        })
        .collect();
    write!(
        std::io::stdout(),
        "{}",
        show::table(&["plugin", "version", "sha256", "what it does"], &rows)
    )?;
    Ok(())
}

pub(crate) fn describe(args: PluginDescribeArgs) -> anyhow::Result<()> {
    let found = plugin::find(&args.name).map_err(|missing| match missing {
        Missing::Unknown { message, help } => {
            floe_core::Error::invalid(format!("{message}\n→ {help}"))
        }
        Missing::Broken(error) => error,
    })?;
    let listed = look(&Engine::new(Some(wire::module_cache()))?, found)?;
    if args.json {
        return super::print_json(&listed);
    }
    let mut out = std::io::stdout().lock();
    let About { name, version, abi, summary, state, example, config } = &listed.about;
    writeln!(out, "{name} {version}  ABI {abi}: {summary}")?;
    writeln!(out, "  file     {}", listed.file)?;
    writeln!(out, "           sha256 {}", listed.sha256)?;
    writeln!(out, "           blake3 {}", listed.blake3)?;
    writeln!(out, "  state    {state}")?;
    writeln!(out, "  config")?;
    let required = config["required"].as_array().cloned().unwrap_or_default();
    for (key, schema) in config["properties"].as_object().into_iter().flatten() {
        let mut what = schema["type"].as_str().unwrap_or("any").to_owned();
        if let Some(choices) = schema["enum"].as_array() {
            let choices: Vec<&str> = choices.iter().filter_map(|it| it.as_str()).collect();
            what = choices.join(" | ");
        }
        let must = if required.iter().any(|it| it == key) { ", required" } else { "" };
        let description = schema["description"].as_str().unwrap_or_default();
        writeln!(out, "    {key:14} {what}{must}: {description}")?;
    }
    writeln!(out, "  example\n    [[operator]]\n    plugin = {name:?}")?;
    example.lines().try_for_each(|it| writeln!(out, "    {it}"))?;
    Ok(())
}

fn look(engine: &std::sync::Arc<Engine>, plugin: Plugin) -> anyhow::Result<Listed> {
    let module = wire::load_module(engine, &plugin.module, &Limits::default())?;
    let Inspection { sha256, hash, .. } = module.inspection();
    let file = plugin.module.display().to_string();
    Ok(Listed { about: plugin.about, file, sha256, blake3: hash })
}
