//! The HTTP listener: health and metrics.
//!
//! `GET /health` answers 200 as soon as the server takes statements, `GET
//! /metrics` gives every counter in Prometheus' text format. Both read and
//! change nothing; there is no other route.

pub mod metrics;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use metrics::{MetricsSource, ServerMetrics, render};

/// What the routes read.
#[derive(Clone)]
pub struct HttpState {
    pub server: Arc<ServerMetrics>,
    pub engine: Arc<dyn MetricsSource>,
}

impl std::fmt::Debug for HttpState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpState").finish_non_exhaustive()
    }
}

/// Serves requests until `shutdown` is cancelled.
pub async fn serve(listener: TcpListener, state: HttpState, shutdown: CancellationToken) {
    let routes = Router::new()
        .route("/health", get(health))
        .route("/metrics", get(metrics_page))
        .with_state(state);
    let served =
        axum::serve(listener, routes).with_graceful_shutdown(shutdown.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the HTTP listener has failed");
    }
}

async fn health(State(state): State<HttpState>) -> Response {
    let body = serde_json::json!({
        "status": "serving",
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": state.server.uptime().as_secs(),
        "connections": state.server.connections(),
    });
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

async fn metrics_page(State(state): State<HttpState>) -> Response {
    match render(&state.server, &state.engine.engine_metrics()) {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
