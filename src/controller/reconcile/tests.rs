//! Looks at an object whose attempt has ended, with an API server that does what it is asked and doesn't always say so.

use std::pin::Pin;
use std::sync::Mutex;
use std::task;

use axum::body::Body;
use axum::http::{Request, Response};
use serde_json::{Value, json};

use super::*;
use crate::api::v1alpha1::ImagePushStatus;
use crate::controller::executor::{Record, Sweep};
use crate::controller::look::tests::context_of;
use crate::controller::resolve::Secrets;
use crate::error::{Error, Kind};
use crate::image::{Digest, MediaType};
use crate::limits::CLEANUP_PATIENCE;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It is refused with this status.
    Refused(u16),
    /// It is done, and answered with a 500.
    Lost,
    /// It is refused with 422 where the status has this field.
    Unknown(&'static str),
}

/// An API server with one object; clones are the same.
#[derive(Clone)]
struct Keeper(Arc<Mutex<Kept>>);

struct Kept {
    object: Value,
    version: u64,
    /// Requests with this method and this end of the path, so many of them.
    faults: Vec<(&'static str, &'static str, usize, Fault)>,
    /// Method and path, and the body.
    log: Vec<(String, Value)>,
}

impl tower_service::Service<Request<kube::client::Body>> for Keeper {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), Self::Error>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let kept = self.0.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(Body::new(body), 1 << 20).await.unwrap();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let (code, answer) =
                kept.lock().unwrap().serve(head.method.as_str(), head.uri.path(), body);
            let answer = Body::from(answer.to_string());
            Ok(Response::builder().status(code).body(answer).unwrap())
        })
    }
}

impl Kept {
    fn serve(&mut self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.log.push((format!("{method} {path}"), body.clone()));
        let fault = self.faults.iter_mut().find(|(of, end, times, fault)| {
            let has = |field: &str| !body["status"][field].is_null();
            let fits = !matches!(fault, Fault::Unknown(field) if !has(field));
            *of == method && path.ends_with(end) && *times > 0 && fits
        });
        let fault = fault.map(|(_, _, times, fault)| {
            *times -= 1;
            *fault
        });
        let refusal = |code: u16| {
            let reason = if code == 404 { "NotFound" } else { "Scripted" };
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "code": code, "reason": reason, "message": "scripted"})
        };
        match fault {
            Some(Fault::Refused(code)) => return (code, refusal(code)),
            Some(Fault::Unknown(_)) => return (422, refusal(422)),
            Some(Fault::Lost) | None => {}
        }
        let answer = match (method, path) {
            ("PATCH", path) if path.ends_with("/x/status") => {
                self.version += 1;
                self.object["status"] = body["status"].clone();
                self.object["metadata"]["resourceVersion"] = json!(self.version.to_string());
                self.object.clone()
            }
            ("GET", path) if path.ends_with("/x") => self.object.clone(),
            ("POST", _) => body,
            _ => return (404, refusal(404)),
        };
        if fault == Some(Fault::Lost) { (500, refusal(500)) } else { (200, answer) }
    }
}

impl Keeper {
    fn new(spec: &Value, status: &Value) -> Self {
        let side = |name: &str| json!({"reference": format!("docker://r.example/{name}:1")});
        let mut fields = json!({"source": side("a"), "destination": side("b")});
        fields.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let object = json!({
            "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
            "metadata": {"name": "x", "namespace": "n", "uid": "u", "generation": 1,
                "resourceVersion": "100"},
            "spec": fields, "status": status,
        });
        Self(Arc::new(Mutex::new(Kept { object, version: 100, faults: vec![], log: vec![] })))
    }

    fn fail(&self, method: &'static str, end: &'static str, times: usize, fault: Fault) {
        self.0.lock().unwrap().faults.push((method, end, times, fault));
    }

    fn object(&self) -> Arc<ImagePush> {
        Arc::new(serde_json::from_value(self.0.lock().unwrap().object.clone()).unwrap())
    }

    fn status(&self) -> ImagePushStatus {
        self.object().status.clone().unwrap()
    }

    fn asked(&self, start: &str, end: &str) -> usize {
        let log = &self.0.lock().unwrap().log;
        log.iter().filter(|(what, _)| what.starts_with(start) && what.ends_with(end)).count()
    }

    /// The reasons of the events, once they have been written.
    async fn events(&self) -> Vec<String> {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let log = &self.0.lock().unwrap().log;
        let events = log.iter().filter(|(what, _)| what.ends_with("/events"));
        events.map(|(_, body)| body["reason"].as_str().unwrap().to_owned()).collect()
    }
}

fn context(server: &Keeper) -> Arc<Context> {
    context_of(kube::Client::new(server.clone(), "n"))
}

/// The attempt for what the object asks for has ended like this.
fn end(context: &Context, object: &ImagePush, outcome: Outcome) {
    let mut record = Record::new(&digests::work(object));
    record.outcome = Some(outcome);
    context.attempts.recall("u");
    context.attempts.update("u", |memory| {
        memory.attempt = Some(record);
        memory.destination.clone_from(&object.spec.destination.reference);
    });
}

fn pushed() -> Outcome {
    Outcome::Pushed(Box::new(Pushed {
        source: crate::engine::SourceImage {
            digest: Digest::of(b"source"),
            media_type: MediaType::OCI_MANIFEST,
            platforms: vec![],
        },
        digest: Digest::of(b"destination"),
        media_type: MediaType::OCI_MANIFEST,
        size_bytes: Some(7),
        manifests: vec![],
        blobs: crate::engine::BlobCounts::default(),
        bytes_sent: 7,
        already_present: false,
        replaced: None,
        beside: None,
    }))
}

fn failed(kind: Kind) -> Outcome {
    Outcome::Failed(Failure::from(&Error::new(kind, "it broke")))
}

fn ready(status: &ImagePushStatus) -> (&str, &str) {
    let ready = conditions::find(&status.conditions, READY).unwrap();
    (&ready.status, &ready.reason)
}

/// The object has been pushed by an earlier operator.
fn done(reference: &str) -> Value {
    json!({
        "observedGeneration": 1, "lastPushTime": "2026-01-01T00:00:00Z",
        "observedSpecDigest": "sha256:0",
        "artifact": {"digest": Digest::of(b"destination").to_string(), "mediaType": "x",
            "reference": reference, "sizeBytes": 7},
        "source": {"reference": "docker://r.example/a:1", "digest": Digest::of(b"source").to_string()},
        "conditions": [{"type": "Ready", "status": "True", "reason": "PushSucceeded",
            "message": "", "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    })
}

/// Where a look is.
fn place() -> Place {
    Tracer::default().begin("look", None, []).place()
}

/// The write is done, and only its answer is lost: the next look finds it there.
#[tokio::test]
async fn an_end_whose_write_is_not_answered_is_told_once() {
    let none = json!({"observedGeneration": -1});
    for (outcome, expected, events) in [
        (failed(Kind::Timeout), ("False", "Timeout"), vec!["Timeout", "RetryScheduled"]),
        (pushed(), ("True", "PushSucceeded"), vec!["PushSucceeded"]),
    ] {
        let server = Keeper::new(&json!({"runPolicy": "Once"}), &none);
        let access = digests::access(&server.object(), &resolve::fingerprint(&Secrets::default()));
        server.0.lock().unwrap().object["status"]["observedAccessDigest"] = json!(access);
        let context = context(&server);
        end(&context, &server.object(), outcome);
        server.fail("PATCH", "/x/status", 1, Fault::Lost);
        assert!(reconcile(server.object(), context.clone(), place()).await.is_err());
        assert!(context.attempts.recall("u").attempt.is_some(), "nobody knows whether it is told");
        reconcile(server.object(), context.clone(), place()).await.unwrap();
        let status = server.status();
        assert_eq!(ready(&status), expected);
        assert_eq!((status.history.len(), status.history[0].count), (1, 1));
        assert_eq!(status.retry.map_or(1, |retry| retry.count), 1);
        assert!(context.attempts.recall("u").attempt.is_none());
        assert_eq!(server.asked("PATCH", "/x/status"), 1);
        assert_eq!(server.events().await, events);
    }
    // Where it was not done, it is told by the next look.
    let server = Keeper::new(&json!({"runPolicy": "Once"}), &none);
    let context = context(&server);
    end(&context, &server.object(), pushed());
    server.fail("PATCH", "/x/status", 1, Fault::Refused(503));
    assert!(reconcile(server.object(), context.clone(), place()).await.is_err());
    reconcile(server.object(), context.clone(), place()).await.unwrap();
    assert_eq!(ready(&server.status()), ("True", "PushSucceeded"));
    assert_eq!(server.events().await, ["PushSucceeded"]);
}

/// What the next decision needs is kept as long as the definition takes it.
#[tokio::test]
async fn of_a_status_that_is_refused_what_was_pushed_is_kept() {
    let reference = "docker://r.example/b:1";
    for (refused, kept) in [("history", true), ("artifact", false)] {
        let server = Keeper::new(&json!({"runPolicy": "Once"}), &done(reference));
        let context = context(&server);
        end(&context, &server.object(), failed(Kind::AccessDenied));
        server.fail("PATCH", "/x/status", usize::MAX, Fault::Unknown(refused));
        reconcile(server.object(), context.clone(), place()).await.unwrap();
        let status = server.status();
        assert_eq!(ready(&status), ("False", "AccessDenied"), "{refused}");
        let digest = Digest::of(b"destination");
        let found = crate::controller::delivery::known(&server.object(), "sha256:0");
        let (source, destination) = (Some(Digest::of(b"source")), Some(digest));
        let known = crate::controller::delivery::Known { source, destination };
        assert_eq!(found == known, kept, "{refused}: {found:?}");
    }
}

/// What the definition does not take is not sent to it again and again.
#[tokio::test]
async fn a_status_of_which_a_part_was_taken_is_written_once() {
    let server = Keeper::new(&json!({"interval": "1h"}), &json!({"observedGeneration": -1}));
    let context = context(&server);
    server.fail("PATCH", "/x/status", usize::MAX, Fault::Unknown("source"));
    let mut writes = vec![];
    for _ in 0..4 {
        let mut again = pushed();
        if let Outcome::Pushed(pushed) = &mut again {
            pushed.already_present = true;
        }
        end(&context, &server.object(), again);
        reconcile(server.object(), context.clone(), place()).await.unwrap();
        writes.push(server.asked("PATCH", "/x/status"));
    }
    assert_eq!(writes[3], writes[1], "{writes:?}");
    // Somebody has taken it away: it is written anew.
    {
        let mut kept = server.0.lock().unwrap();
        kept.version += 1;
        kept.object["metadata"]["resourceVersion"] = json!(kept.version.to_string());
        kept.object["status"] = json!({"observedGeneration": -1});
    }
    end(&context, &server.object(), pushed());
    reconcile(server.object(), context.clone(), place()).await.unwrap();
    assert_eq!(ready(&server.status()), ("True", "PushSucceeded"));
}

/// The image is there, and so much has to be told, whatever becomes of the ConfigMap; and that is tried again.
#[tokio::test]
async fn an_api_server_that_takes_no_configmap_keeps_no_status_from_being_written() {
    let output = json!({"configMapKeyRef": {"name": "digest", "key": "d"}});
    let spec = json!({"runPolicy": "Once", "digestOutput": output});
    let server = Keeper::new(&spec, &json!({"observedGeneration": -1}));
    let context = context(&server);
    server.fail("POST", "/configmaps", 3, Fault::Refused(500));
    for count in 1..=3 {
        end(&context, &server.object(), pushed());
        reconcile(server.object(), context.clone(), place()).await.unwrap();
        let status = server.status();
        assert_eq!(ready(&status), ("False", "DigestOutputFailed"));
        assert!(conditions::is_true(&status.conditions, "Reconciling"));
        let artifact = status.artifact.unwrap();
        assert_eq!(artifact.digest, Digest::of(b"destination").to_string());
        let retry = status.retry.unwrap();
        assert_eq!((retry.count, retry.next_retry_time.is_some()), (count, true));
        assert!(context.attempts.recall("u").attempt.is_none());
    }
    end(&context, &server.object(), pushed());
    reconcile(server.object(), context.clone(), place()).await.unwrap();
    assert_eq!(ready(&server.status()), ("True", "PushSucceeded"));
    assert_eq!(server.status().retry, None);
}

/// Right after a start, an object of a namespace that is listed later may have its image there.
#[tokio::test]
async fn a_tag_stays_until_it_is_known_who_has_use_for_it() {
    let policy = json!({"deletionPolicy": "Delete", "runPolicy": "Once"});
    let server = Keeper::new(&policy, &done("docker://r.example/b:1"));
    {
        let metadata = &mut server.0.lock().unwrap().object["metadata"];
        metadata["deletionTimestamp"] = json!(Timestamp::now().to_string());
        metadata["finalizers"] = json!(["imagepush.dev/cleanup"]);
    }
    let context = Arc::into_inner(context(&server)).unwrap();
    let context = Arc::new(Context { claims: Claims::new(1), ..context });
    context.attempts.recall("u");
    context.attempts.update("u", |memory| memory.sweep = Sweep::Done);
    let looked = reconcile(server.object(), context.clone(), place()).await.unwrap();
    assert_eq!(looked, Action::requeue(claims::UNKNOWN));
    assert_eq!(server.asked("GET", ""), 0, "nothing is prepared");
}

/// Trying has an end, of which who looks at events or at metrics hears.
#[tokio::test(start_paused = true)]
async fn a_clean_up_that_is_given_up_is_told_and_counted() {
    let destination =
        json!({"reference": "docker://r.example/b:1", "secretRef": {"name": "missing"}});
    let spec = json!({"deletionPolicy": "Delete", "runPolicy": "Once", "destination": destination});
    let server = Keeper::new(&spec, &done("docker://r.example/b:1"));
    {
        let metadata = &mut server.0.lock().unwrap().object["metadata"];
        metadata["deletionTimestamp"] = json!(Timestamp::now().to_string());
        metadata["finalizers"] = json!(["imagepush.dev/cleanup"]);
    }
    let context = context(&server);
    context.attempts.recall("u");
    context.attempts.update("u", |memory| memory.sweep = Sweep::Done);
    reconcile(server.object(), context.clone(), place()).await.unwrap();
    tokio::time::sleep(CLEANUP_PATIENCE + Duration::from_mins(1)).await;
    assert!(server.asked("GET", "/secrets/missing") > 15, "it is tried again and again");
    reconcile(server.object(), context.clone(), place()).await.unwrap();
    assert_eq!(server.events().await, ["DeletionSkipped"]);
    let text = context.metrics.text().unwrap();
    assert!(text.contains("imagepush_removal_total{outcome=\"given_up\"} 1\n"), "{text}");
}

/// After a start, what an earlier operator has done comes up for its check at any time within the interval; what has never
/// been done, at once.
#[tokio::test]
async fn checks_are_spread_over_the_interval_after_a_start() {
    let server = Keeper::new(&json!({"interval": "1h"}), &done("docker://r.example/b:1"));
    let (context, object, now) = (context(&server), server.object(), Timestamp::now());
    let mut tenths = [0; 10];
    for _ in 0..300 {
        let next = schedule(&object, &Memory::default(), &context, "u", chance(), now).unwrap();
        let wait = next.duration_since(now).as_secs();
        tenths[usize::try_from(wait * 10 / 3601).unwrap()] += 1;
    }
    assert!(tenths.iter().all(|count| (8..80).contains(count)), "{tenths:?}");
    let fresh = Keeper::new(&json!({"interval": "1h"}), &json!({"observedGeneration": -1}));
    assert_eq!(schedule(&fresh.object(), &Memory::default(), &context, "u", chance(), now), None);
}
