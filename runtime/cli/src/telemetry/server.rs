//! The listener: metrics for a machine, health for an orchestrator, and a page for people.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use floe_core::{Error, Result};
use tokio::net::TcpListener;

use crate::telemetry::facts::Watched;
use crate::telemetry::metrics::Metrics;

/// One file, no outside resources: it works where there is no internet.
const PAGE: &str = include_str!("page.html");
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone)]
struct Shared {
    watched: Watched,
    metrics: Arc<Metrics>,
}

pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        Error::invalid(format!(
            "cannot listen on {address}: {error}\n→ choose another listen in [telemetry]"
        ))
    })
}

/// Serves until it is aborted.
pub(crate) async fn serve(listener: TcpListener, watched: Watched, metrics: Arc<Metrics>) {
    let router = Router::new()
        .route("/", get(|| async { ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], PAGE) }))
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics_text))
        .route("/status.json", get(status_json))
        .with_state(Shared { watched, metrics });
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!("the status page is gone: {error}");
    }
}

async fn ready(State(shared): State<Shared>) -> Response {
    match shared.watched.status.ready.load(Ordering::Relaxed) {
        0 => (StatusCode::SERVICE_UNAVAILABLE, "not ready: not restored and reading\n")
            .into_response(),
        _ => "ready\n".into_response(),
    }
}

async fn metrics_text(State(shared): State<Shared>) -> Response {
    shared.metrics.observe(&shared.watched.status);
    match shared.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn status_json(State(shared): State<Shared>) -> Response {
    match serde_json::to_string(&shared.watched.view()) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
