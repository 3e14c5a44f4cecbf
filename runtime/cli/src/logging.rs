//! Logs go to stderr: for people, or one JSON object a line. `FLOE_LOG` chooses the level.

use floe_core::{Error, Result};
use floe_pipeline::config::LogFormat;
use tracing_subscriber::EnvFilter;

use crate::terminal::Terminal;

/// Ours speak at `info`; other crates' info is their own inner life.
const DEFAULT: &str = "warn,floe=info,floe_core=info,floe_source=info,floe_operator=info,\
                       floe_sink=info,floe_checkpoint=info,floe_pipeline=info,guest=info";

pub(crate) fn start(format: LogFormat, terminal: &Terminal) -> Result<()> {
    let filter = match std::env::var("FLOE_LOG") {
        Err(_) => EnvFilter::new(DEFAULT),
        Ok(text) => EnvFilter::try_new(&text).map_err(|error| {
            Error::invalid(format!(
                "FLOE_LOG={text:?} cannot be read: {error}\n→ info, debug, or floe_sink=debug"
            ))
        })?,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(terminal.clone());
    match format {
        LogFormat::Human => builder.with_ansi(terminal.is_terminal()).with_target(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).with_span_list(false).init(),
    }
    Ok(())
}
