//! Looks that fail in every way, with an API server that takes each status.

use std::pin::Pin;
use std::task::{self, Poll};

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use futures::channel::mpsc;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::access::Network;
use crate::controller::api_server::Refusal;
use crate::controller::claims::Claims;
use crate::controller::decide::Outcome;
use crate::controller::events;
use crate::controller::executor::{Attempts, Counters, Executor, Order};
use crate::controller::lease::Leadership;
use crate::controller::metrics::{Metrics, ObjectMetrics};
use crate::controller::removal::Removals;
use crate::controller::resources::Applier;
use crate::telemetry::Tracer;

/// Takes what is written.
#[derive(Clone, Default)]
pub(in crate::controller) struct Server(Arc<Mutex<Vec<Value>>>);

impl tower_service::Service<Request<kube::client::Body>> for Server {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let written = self.0.clone();
        Box::pin(async move {
            let body = axum::body::to_bytes(Body::new(request.into_body()), 1 << 20).await.unwrap();
            written.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
            Ok(Response::new(Body::from(serde_json::to_vec(&*object()).unwrap())))
        })
    }
}

struct Idle;

#[async_trait]
impl Executor for Idle {
    async fn attempt(&self, _: &Order, _: Arc<Counters>, _: &CancellationToken) -> Option<Outcome> {
        Some(Outcome::Cancelled)
    }
}

fn object() -> Arc<ImagePush> {
    let side = |name: &str| json!({"reference": format!("docker://r.example/{name}:1")});
    let object = json!({
        "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
        "metadata": {"name": "x", "namespace": "n", "uid": "u", "generation": 3},
        "spec": {"source": side("a"), "destination": side("b"), "runPolicy": "Once"},
    });
    Arc::new(serde_json::from_value(object).unwrap())
}

pub(in crate::controller) fn context(server: &Server) -> Arc<Context> {
    context_of(kube::Client::new(server.clone(), "n"))
}

/// An operator with this client, which has an object `u` and metrics of each object.
pub(in crate::controller) fn context_of(client: kube::Client) -> Arc<Context> {
    let metrics = Metrics::with(ObjectMetrics::On, &Network::default());
    let attempts = Attempts::new(Arc::new(Idle), metrics.clone(), mpsc::channel(1).0);
    attempts.recall("u");
    let (recorder, events) = events::recorder(client.clone(), metrics.clone(), "test");
    tokio::spawn(events);
    Arc::new(Context {
        applier: Arc::new(Applier::new(client.clone(), None, Leadership::undisputed())),
        client,
        removals: Arc::new(Removals::new(mpsc::channel(1).0)),
        prunings: Arc::new(Removals::new(mpsc::channel(1).0)),
        claims: Claims::new(0),
        attempts: Arc::new(attempts),
        metrics,
        recorder: Arc::new(recorder),
        newcomers: Arc::default(),
        panics: InARow::default(),
        denials: InARow::default(),
        endings: Arc::default(),
        network: Network::default(),
        jobs: Arc::default(),
        timeout: Duration::from_mins(1),
        leadership: Leadership::undisputed(),
        tracer: Tracer::default(),
        stopping: CancellationToken::new(),
    })
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_told_counted_and_repeated_ever_later() {
    let server = Server::default();
    let context = context(&server);
    let mut waits = vec![];
    for _ in 0..9 {
        let looked = guarded(object(), context.clone(), async { panic!("on purpose") }).await;
        let error = looked.unwrap_err();
        assert_eq!(error.to_string(), "the look panicked: on purpose");
        waits.push(error.wait().as_secs());
    }
    assert_eq!(waits, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
    let written = server.0.lock().unwrap()[0]["status"].clone();
    let found: Vec<String> = written["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| format!("{}={} {}", it["type"], it["status"], it["reason"]).replace('"', ""))
        .collect();
    assert_eq!(found, ["Ready=False InternalError", "Reconciling=True ProgressingWithRetry"]);
    assert!(context.attempts.recall("u").written.is_some());
    let text = context.metrics.text().unwrap();
    assert!(text.contains("imagepush_reconcile_errors_total{cause=\"panic\"} 9"), "{text}");

    // A look that goes well begins anew.
    guarded(object(), context.clone(), async { Ok(Action::await_change()) }).await.unwrap();
    let looked = guarded(object(), context, async { panic!("again") }).await;
    assert_eq!(looked.unwrap_err().wait().as_secs(), 30);
}

#[test]
fn failures_have_a_word_each() {
    let api = |code| {
        let status = kube::core::Status { code, ..kube::core::Status::default() };
        LookError::Api(kube::Error::Api(status.boxed()))
    };
    let words = [403, 429, 422, 500].map(|code| api(code).word());
    assert_eq!(words, ["denied", "busy", "refused", "failed"]);
    let closed = LookError::Api(kube::Error::Service("closed".into()));
    assert_eq!(closed.word(), "unreachable");
    // What the API server sends when it has too much to do is no status of its own.
    let (status, after) = (StatusCode::TOO_MANY_REQUESTS, Duration::from_secs(1));
    let busy = LookError::Api(kube::Error::Service(Refusal::Busy { status, after }.into()));
    assert_eq!(busy.word(), "busy");
}
