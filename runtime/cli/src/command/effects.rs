//! `floe effects`: has done what a pipeline's intents ask for.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use clap::Args as ClapArgs;
use floe_core::Error;
use floe_effects::{EffectsConfig, Summary};
use floe_pipeline::config::LogFormat;

use crate::terminal::Terminal;
use crate::{logging, show, signals};

#[derive(ClapArgs)]
pub(crate) struct EffectsArgs {
    /// The topic of intents, written by a pipeline with intents = true in [sink]
    #[arg(long)]
    pub(crate) intents: String,
    /// The topic for what came of them
    #[arg(long)]
    pub(crate) outcomes: String,
    /// Where intents are posted to
    #[arg(long)]
    pub(crate) url: String,
    /// host:port, several with commas; FLOE_KAFKA unless named
    #[arg(long)]
    pub(crate) bootstrap_servers: Option<String>,
    /// Workers of one group share the partitions; floe-effects-{intents} unless named
    #[arg(long)]
    pub(crate) group: Option<String>,
    /// Seconds that one request may take
    #[arg(long, default_value_t = 10)]
    pub(crate) timeout: u64,
    /// A librdkafka property, name=value
    #[arg(long = "property", value_name = "NAME=VALUE")]
    pub(crate) properties: Vec<String>,
    /// End when every intent that is there has its outcome
    #[arg(long)]
    pub(crate) until_end: bool,
    /// Print the summary as JSON, and log as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

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
