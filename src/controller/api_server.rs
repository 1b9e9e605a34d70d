//! What holds for every request to the Kubernetes API: a deadline, a bound, a count, and patience that the server asks for.
//!
//! The client below has none of these: it waits for an answer for ever, and would wait as long as any `Retry-After` says.
//! Nothing is sent again here; who asked decides about that, by [`wait_after`].

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::RETRY_AFTER;
use axum::http::response::Parts;
use axum::http::{Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use tokio::time::{Instant, sleep_until, timeout};
use tower_service::Service;

use super::endings::{Endings, is_ending};
use super::metrics::Metrics;
use crate::limits::{
    API_DEADLINE, API_DENIED_WAIT, API_ERROR_WAIT, MAX_API_ANSWER, MAX_API_RETRY_AFTER,
    WATCH_DISTANCE,
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a request has no answer that is of use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// Nothing came in time.
    #[error("the API server did not answer within {} s", API_DEADLINE.as_secs())]
    Late,
    /// The server has too much to do.
    #[error("the API server answered {status} and asks to wait for {} s", after.as_secs())]
    Busy {
        /// Its status.
        status: StatusCode,
        /// How long it asks to wait, within our bound.
        after: Duration,
    },
    /// A name that came from outside has made another request of it than was meant.
    #[error("`{0}` is not the path of an object or a list; names have no `/` and no `?`")]
    Path(String),
}

/// A client with bounds.
#[derive(Clone)]
struct Bounded {
    client: Client,
    metrics: Arc<Metrics>,
    endings: Arc<Endings>,
    /// When the last watch of a path began.
    watches: Arc<Mutex<HashMap<String, Instant>>>,
}

/// What a request is about, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Subject {
    verb: &'static str,
    resource: &'static str,
}

/// Resources that the operator asks for, as metrics name them.
const RESOURCES: [&str; 10] = [
    "configmaps",
    "customresourcedefinitions",
    "events",
    "imagepushes",
    "jobs",
    "leases",
    "persistentvolumeclaims",
    "pods",
    "secrets",
    "serviceaccounts",
];

/// The same client, with bounds on each request. What answers say of namespaces that end is noted.
pub(crate) fn bounded(client: Client, metrics: Arc<Metrics>, endings: Arc<Endings>) -> Client {
    let namespace = client.default_namespace().to_owned();
    Client::new(Bounded { client, metrics, endings, watches: Arc::default() }, namespace)
}

/// How long to wait after a request that failed: as long as the server asks for; long where somebody has to change
/// permissions or policies first; else as after any failure, a bit more or less by `chance`.
pub(crate) fn wait_after(error: &kube::Error, chance: f64) -> Duration {
    let spread = 0.5 + chance;
    match error {
        kube::Error::Api(status) if is_denied(status.code) => API_DENIED_WAIT,
        _ => asked_wait(error).unwrap_or(Duration::ZERO).max(API_ERROR_WAIT.mul_f64(spread)),
    }
}

/// How long the server asks to wait.
pub(crate) fn asked_wait(error: &kube::Error) -> Option<Duration> {
    let kube::Error::Service(cause) = error else { return None };
    match cause.downcast_ref::<Refusal>()? {
        Refusal::Busy { after, .. } => Some(*after),
        Refusal::Late | Refusal::Path(_) => None,
    }
}

/// Statuses that the same request gets again until somebody changes something: 401 and 409 pass, and so do those that ask
/// to wait.
pub(crate) fn is_denied(code: u16) -> bool {
    (400..500).contains(&code) && !matches!(code, 401 | 408 | 409 | 429)
}

// === impl Bounded ===

impl Service<Request<Body>> for Bounded {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}

impl Bounded {
    async fn send(self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let subject = Subject::of(&request);
        if !is_plain(request.uri().path()) {
            return Err(Refusal::Path(request.uri().path().to_owned()).into());
        }
        let watches = subject.verb == "watch";
        let made_in = namespace_of(request.uri().path()).filter(|_| subject.verb == "create");
        let made_in = made_in.map(str::to_owned);
        if watches {
            self.wait_for_turn(request.uri().path()).await;
        }
        let exchange = async {
            let answer = self.client.send(request).await?;
            // A watch goes on for minutes, and who reads it bounds its silence.
            if watches {
                return Ok::<_, BoxError>(answer);
            }
            let (head, body) = whole(answer).await?;
            if let Some(namespace) = made_in {
                self.learn(&namespace, head.status, &body);
            }
            Ok(Response::from_parts(head, Body::from(body)))
        };
        let ended =
            timeout(API_DEADLINE, exchange).await.unwrap_or_else(|_| Err(Refusal::Late.into()));
        let code = ended.as_ref().map_or("none", |answer| code(answer.status()));
        self.metrics.api_request(subject.verb, subject.resource, code);
        let answer = ended?;
        match busy(&answer) {
            Some(refusal) => Err(refusal.into()),
            None => Ok(answer),
        }
    }

    /// Something was to be made in a namespace: either that takes new things, or it says that it ends.
    fn learn(&self, namespace: &str, status: StatusCode, body: &[u8]) {
        if status.is_success() {
            self.endings.forget(namespace);
        } else if says_ending(status, body) {
            self.endings.note(namespace);
        }
    }

    /// A watch that ends as soon as it begins is no reason to ask faster.
    async fn wait_for_turn(&self, path: &str) {
        let turn = {
            let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let turn = watches.get(path).map_or(now, |last| (*last + WATCH_DISTANCE).max(now));
            watches.insert(path.to_owned(), turn);
            turn
        };
        sleep_until(turn).await;
    }
}

/// Reads the body, so that the deadline is for all of it.
async fn whole(answer: Response<Body>) -> Result<(Parts, Bytes), BoxError> {
    let (head, body) = answer.into_parts();
    let body = axum::body::to_bytes(axum::body::Body::new(body), MAX_API_ANSWER).await?;
    Ok((head, body))
}

fn says_ending(status: StatusCode, body: &[u8]) -> bool {
    status == StatusCode::FORBIDDEN && serde_json::from_slice(body).is_ok_and(|it| is_ending(&it))
}

fn busy(answer: &Response<Body>) -> Option<Refusal> {
    let status = answer.status();
    let asks = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    let told = answer.headers().get(RETRY_AFTER).filter(|_| asks)?.to_str().ok()?;
    // Kubernetes sends seconds, never a date.
    let after = Duration::from_secs(told.trim().parse().ok()?).min(MAX_API_RETRY_AFTER);
    Some(Refusal::Busy { status, after })
}

/// A status as a label: the few that mean something to an operator, and classes of the rest.
fn code(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200..=299 => "2xx",
        401 => "401",
        403 => "403",
        404 => "404",
        409 => "409",
        422 => "422",
        429 => "429",
        400..=499 => "4xx",
        503 => "503",
        500..=599 => "5xx",
        _ => "other",
    }
}

// === impl Subject ===

impl Subject {
    fn of(request: &Request<Body>) -> Self {
        let uri = request.uri();
        let parts = resource_and_below(uri.path());
        let (resource, named) = parts.map_or(("other", false), |(resource, named)| {
            let known = RESOURCES.into_iter().find(|known| *known == resource);
            (known.unwrap_or("other"), named)
        });
        // Only lists are watched here. What else says so does it by a name that holds a query.
        let asks = uri.query().is_some_and(|query| query.split('&').any(|it| it == "watch=true"));
        let watches = asks && !named;
        let verb = match request.method().as_str() {
            "GET" if watches => "watch",
            "GET" if named => "get",
            "GET" => "list",
            "POST" => "create",
            "PUT" => "update",
            "PATCH" => "patch",
            "DELETE" => "delete",
            _ => "other",
        };
        Self { verb, resource }
    }
}

/// Whether each part of a path is something. The client below makes paths of names as they are: an empty part is a name that
/// was all query, and servers on the way may take `..` for the folder above.
fn is_plain(path: &str) -> bool {
    let mut parts = path.split('/').skip(1);
    parts.all(|part| !matches!(part, "" | "." | "..") && !part.contains('%'))
}

/// The namespace that a path is in.
fn namespace_of(path: &str) -> Option<&str> {
    let (_, below) = path.split_once("/namespaces/")?;
    below.split('/').next()
}

/// The resource of `/api/v1/…` or `/apis/GROUP/VERSION/…`, and whether one object of it is meant.
fn resource_and_below(path: &str) -> Option<(&str, bool)> {
    let mut parts = path.split('/').skip(1);
    let skipped = if parts.next()? == "api" { 1 } else { 2 };
    let mut rest = parts.skip(skipped).peekable();
    if rest.peek() == Some(&"namespaces") {
        rest.nth(1)?;
    }
    let resource = rest.next()?;
    Some((resource, rest.next().is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(method: &str, uri: &str) -> (&'static str, &'static str) {
        let request = Request::builder().method(method).uri(uri).body(Body::empty()).unwrap();
        let Subject { verb, resource } = Subject::of(&request);
        (verb, resource)
    }

    #[test]
    fn a_request_is_told_by_verb_and_resource() {
        let group = "/apis/imagepush.dev/v1alpha1";
        let cases = [
            ("GET", format!("{group}/imagepushes?limit=500"), ("list", "imagepushes")),
            ("GET", format!("{group}/imagepushes?watch=true&x=1"), ("watch", "imagepushes")),
            ("GET", format!("{group}/namespaces/n/imagepushes"), ("list", "imagepushes")),
            (
                "PATCH",
                format!("{group}/namespaces/n/imagepushes/a/status"),
                ("patch", "imagepushes"),
            ),
            ("GET", "/api/v1/namespaces/n/secrets/s".into(), ("get", "secrets")),
            ("GET", "/api/v1/namespaces/n/pods?labelSelector=x".into(), ("list", "pods")),
            ("GET", "/api/v1/namespaces/n/nodes/made-up".into(), ("get", "other")),
            ("POST", "/apis/events.k8s.io/v1/namespaces/n/events".into(), ("create", "events")),
            (
                "PUT",
                "/apis/coordination.k8s.io/v1/namespaces/n/leases/l".into(),
                ("update", "leases"),
            ),
            ("GET", "/version".into(), ("get", "other")),
        ];
        for (method, uri, expected) in cases {
            let found = subject(method, &uri);
            // What isn't about a resource is of no interest.
            assert_eq!(found.1, expected.1, "{uri}");
            assert!(found.0 == expected.0 || found.1 == "other", "{uri}: {found:?}");
        }
    }

    /// A permission that is missing is told by its resource.
    #[test]
    fn whatever_the_chart_grants_has_a_name() {
        let templates = [
            include_str!("../../charts/imagepush/templates/controller_role.yaml"),
            include_str!("../../charts/imagepush/templates/election_role.yaml"),
            include_str!("../../charts/imagepush/templates/impersonation.yaml"),
        ];
        let rules = templates.into_iter().flat_map(str::lines).filter_map(|line| {
            line.trim().strip_prefix("resources: [").or(line.trim().strip_prefix("- resources: ["))
        });
        // What stands in braces is the template's.
        let words = |rule: &'static str| {
            let plain: Vec<&str> =
                rule.split("{{").map(|part| part.rsplit("}}").next().unwrap_or("")).collect();
            plain.concat()
        };
        let granted: Vec<String> = rules
            .flat_map(|rule| {
                let names = words(rule).replace(']', "");
                names.split(", ").map(str::to_owned).collect::<Vec<_>>()
            })
            .collect();
        assert!(granted.len() > 12, "{granted:?}");
        for resource in granted {
            let resource = resource.split('/').next().unwrap();
            let uri = format!("/apis/group/v1/namespaces/n/{resource}/x");
            assert_eq!(subject("GET", &uri), ("get", resource));
        }
    }

    #[test]
    fn waits_are_as_long_as_asked_for_within_bounds() {
        let api = |code| {
            kube::Error::Api(kube::core::Status { code, ..kube::core::Status::default() }.boxed())
        };
        let busy = |seconds: u64| {
            let answer = Response::builder().status(429).header("Retry-After", seconds.to_string());
            let refusal = busy(&answer.body(Body::empty()).unwrap()).unwrap();
            kube::Error::Service(refusal.into())
        };
        let seconds = |error: &kube::Error, chance| wait_after(error, chance).as_secs();
        for code in [400, 403, 404, 422] {
            assert_eq!(seconds(&api(code), 0.0), 600, "{code}");
        }
        for code in [401, 409, 429, 500, 503] {
            assert_eq!([seconds(&api(code), 0.0), seconds(&api(code), 1.0)], [15, 45], "{code}");
        }
        assert_eq!(seconds(&busy(1), 0.0), 15);
        assert_eq!(seconds(&busy(50), 0.0), 50);
        assert_eq!(seconds(&busy(99_999), 1.0), 60);
        assert_eq!(seconds(&kube::Error::Service(Refusal::Late.into()), 0.0), 15);
    }

    #[test]
    fn only_what_asks_to_wait_is_busy() {
        let answer = |status: u16, after: Option<&str>| {
            let mut answer = Response::builder().status(status);
            if let Some(after) = after {
                answer = answer.header("Retry-After", after);
            }
            busy(&answer.body(Body::empty()).unwrap()).is_some()
        };
        assert!(answer(429, Some("1")) && answer(503, Some(" 7 ")));
        assert!(!answer(200, Some("1")) && !answer(500, Some("1")));
        assert!(!answer(429, None) && !answer(429, Some("soon")) && !answer(429, Some("-1")));
    }
}
