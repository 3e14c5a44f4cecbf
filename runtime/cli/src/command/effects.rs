//! `floe effects`: has done what a pipeline's intents ask for.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use floe_core::Error;
use floe_effects::{EffectsConfig, Summary};
use floe_pipeline::config::LogFormat;

use crate::args::EffectsArgs;
use crate::terminal::Terminal;
use crate::{logging, show, signals};

pub(crate) fn effects(args: EffectsArgs) -> anyhow::Result<()> {
    let format = if args.json { LogFormat::Json } else { LogFormat::Human };
    logging::start(format, &Terminal::new())?;
    let is_json = args.json;
    let config = config(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the async runtime")?;
    let done = runtime.block_on(async {
        let stop = signals::stop_on_signals()
            .map_err(|error| Error::retry(format!("cannot listen for signals: {error}")))?;
        floe_effects::run(config, stop).await
    });
    runtime.shutdown_background();
    let summary = done?;
    if is_json {
        return super::print_json(&summary);
    }
    let Summary { done, refused, known } = summary;
    println!(
        "done: {} intents done, {} refused, {} had an outcome already",
        show::grouped(done),
        show::grouped(refused),
        show::grouped(known)
    );
    Ok(())
}

fn config(args: EffectsArgs) -> Result<EffectsConfig, Error> {
    let bootstrap_servers = args
        .bootstrap_servers
        .or_else(|| std::env::var("FLOE_KAFKA").ok())
        .ok_or_else(|| Error::invalid("no Kafka server is named\n→ --bootstrap-servers host:9092, or FLOE_KAFKA=host:9092"))?;
    let property = |text: &String| {
        text.split_once('=')
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .ok_or_else(|| Error::invalid(format!("--property {text:?} is no NAME=VALUE")))
    };
    Ok(EffectsConfig {
        group: args.group.unwrap_or_else(|| format!("floe-effects-{}", args.intents)),
        properties: args.properties.iter().map(property).collect::<Result<BTreeMap<_, _>, _>>()?,
        bootstrap_servers,
        intents: args.intents,
        outcomes: args.outcomes,
        url: args.url,
        timeout: Duration::from_secs(args.timeout),
        until_end: args.until_end,
    })
}
