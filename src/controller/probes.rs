//! The operator's small HTTP server: `/livez`, `/readyz` and `/metrics`.
//!
//! Alive means that the event loop turns, not that the API server can be reached: an outage there must not restart every
//! operator. Ready means that the objects have been listed once, or that another operator leads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use crate::error::{Error, Kind, Result};

/// What the probes tell.
#[derive(Clone)]
pub(crate) struct Health {
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) metrics: Arc<Metrics>,
}

/// Whether this operator does what it is there for.
#[derive(Debug)]
pub(crate) struct Readiness {
    follows: AtomicBool,
    /// Lists of objects that are still to come.
    unlisted: AtomicUsize,
}

/// Starts to listen; what it returns serves until `over`.
pub(crate) async fn serve(
    listen: Option<SocketAddr>,
    health: Health,
    over: CancellationToken,
) -> Result<impl Future<Output = Result<()>> + Send> {
    let failed = |cause: std::io::Error| {
        Error::new(Kind::InvalidOptions, format!("cannot serve probes and metrics: {cause}"))
    };
    let listener = match listen {
        Some(address) => Some(TcpListener::bind(address).await.map_err(failed)?),
        None => None,
    };
    Ok(async move {
        let Some(listener) = listener else { return Ok(()) };
        let server = axum::serve(listener, router(health));
        server.with_graceful_shutdown(over.cancelled_owned()).await.map_err(failed)
    })
}

fn router(health: Health) -> Router {
    Router::new()
        // That this is answered at all shows that the event loop turns.
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn readyz(State(health): State<Health>) -> Response {
    if health.readiness.is_ready() {
        return "ok".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "the objects have not been listed yet").into_response()
}

async fn metrics(State(health): State<Health>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match health.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, kind)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

// === impl Readiness ===

impl Readiness {
    /// Of an operator that is to list the objects of so many watches.
    pub(crate) fn new(watches: usize) -> Self {
        Self { follows: AtomicBool::new(false), unlisted: AtomicUsize::new(watches) }
    }

    /// Another operator leads; this one is there in case that ends.
    pub(crate) fn follow(&self) {
        self.follows.store(true, Ordering::Relaxed);
    }

    /// This operator works.
    pub(crate) fn lead(&self) {
        self.follows.store(false, Ordering::Relaxed);
    }

    /// One more watch has listed its objects.
    pub(crate) fn listed(&self) {
        self.unlisted.fetch_sub(1, Ordering::Relaxed);
    }

    fn is_ready(&self) -> bool {
        self.follows.load(Ordering::Relaxed) || self.unlisted.load(Ordering::Relaxed) == 0
    }
}
