//! The operator's small HTTP server: `/livez`, `/readyz` and `/metrics`.
//!
//! Alive means that the event loop turns, not that the API server can be reached: an outage there must not restart every
//! operator. Ready means that the objects have been listed once, or that another operator leads.

mod server;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use self::server::Bounds;
use super::metrics::Metrics;
use crate::error::{Error, Kind, Result};
use crate::limits::{HEARTBEAT_PERIOD, HEARTBEAT_TIMEOUT};

/// What the probes tell.
#[derive(Clone)]
pub(crate) struct Health {
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) metrics: Arc<Metrics>,
}

/// Whether this operator does what it is there for.
#[derive(Debug)]
pub(crate) struct Readiness {
    follows: AtomicBool,
    /// Lists of objects that are still to come.
    unlisted: AtomicUsize,
}

/// When the event loop was last seen to turn.
#[derive(Debug)]
pub(crate) struct Pulse(Mutex<Instant>);

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
        if let Some(listener) = listener {
            server::serve(listener, router(health), Bounds::default(), over).await;
        }
        Ok(())
    })
}

fn router(health: Health) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn livez(State(health): State<Health>) -> Response {
    if health.pulse.is_felt() {
        return "ok".into_response();
    }
    (StatusCode::INTERNAL_SERVER_ERROR, "the event loop hangs").into_response()
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

// === impl Pulse ===

impl Default for Pulse {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl Pulse {
    /// Beats for as long as this is polled.
    pub(crate) async fn beat(&self) -> Infallible {
        let mut ticks = interval(HEARTBEAT_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
    }

    fn is_felt(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < HEARTBEAT_TIMEOUT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_hangs_is_not_alive() {
        let pulse = Pulse::default();
        let hour = std::time::Duration::from_hours(1);
        let never = tokio::time::timeout(hour, pulse.beat()).await;
        assert!(never.is_err() && pulse.is_felt(), "it beats while it is polled");
        tokio::time::sleep(HEARTBEAT_TIMEOUT.checked_sub(HEARTBEAT_PERIOD).unwrap()).await;
        assert!(pulse.is_felt());
        tokio::time::sleep(HEARTBEAT_PERIOD).await;
        assert!(!pulse.is_felt(), "nobody polls it");
    }

    #[test]
    fn a_follower_is_ready_and_a_leader_once_all_is_listed() {
        let readiness = Readiness::new(2);
        assert!(!readiness.is_ready());
        readiness.follow();
        assert!(readiness.is_ready());
        readiness.lead();
        assert!(!readiness.is_ready());
        readiness.listed();
        assert!(!readiness.is_ready());
        readiness.listed();
        assert!(readiness.is_ready());
    }
}
