//! What a run shows of itself: the progress line, the metrics, and the page.

pub(crate) mod facts;
pub(crate) mod metrics;
pub(crate) mod progress;
pub(crate) mod sampler;
pub(crate) mod server;
