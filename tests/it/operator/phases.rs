//! The real program is told to end, or is killed, at each phase of its work; the next one finishes what it has left.
//!
//! A phase is a request that gets no answer: from the API server, by a proxy before it, or from a registry in this process.
//! Whatever the phase: who is told to end does so in time and leaves nothing open; and the next operator needs nobody's help,
//! and sends no blob again that is there.

mod kills;
mod scene;

use std::sync::Arc;
use std::time::Instant;

use axum::http::Method;
use axum::http::request::Parts;
use futures::StreamExt as _;
use rustix::process::Signal;
use tokio::sync::Notify;

use self::scene::{Image, Scene, holds};
use super::jobs::{jobs, make_pod, next_job, run_pod};
use super::turns::Process;
use super::*;
use crate::support::api_proxy::{Counts, Moment};

/// What a pod is given to end, less what Kubernetes needs of it.
const GRACE: Duration = Duration::from_secs(28);

/// Runs at the same time.
const PARALLEL: usize = 14;

const TAG: &str = "/v2/app/manifests/copy";
const UPLOADS: &str = "/v2/app/blobs/uploads/";

/// By what the program is held up.
enum Gate {
    /// A request to the API server.
    Api(Moment, Counts),
    /// The n-th request of this kind to the destination's registry.
    Destination(&'static str, &'static str, usize, Act),
    /// The first of this kind to the source's.
    Source(&'static str, &'static str),
    /// The source ends in the middle of a blob.
    Blob,
    /// The status that would tell of the end.
    LastStatus,
    /// By nothing: all is done.
    Idle,
    /// Its Job is under way.
    Job,
    /// The object is deleted, and the registry asked what it has.
    Removal,
}

/// The phases, and whether an attempt runs in the operator by then.
fn phases() -> Vec<(&'static str, Gate, bool)> {
    use Gate::{Api, Blob, Destination, Idle, Job, LastStatus, Removal, Source};
    use Moment::{After, Before};
    let to = |method, path, nth| Destination(method, path, nth, Act::Stall);
    vec![
        ("before it has the lease", Api(Before, is_lease), false),
        ("before it has seen the object", Api(Before, is_list), false),
        ("while it reads a Secret", Api(Before, is_secret), false),
        ("before the first status", Api(Before, is_status), false),
        ("before it knows of the first status", Api(After, is_status), false),
        ("while it gets a token", to("GET", "/token", 1), true),
        ("while it looks the source up", Source("GET", "/v2/app/manifests/"), true),
        ("while it looks the destination up", to("HEAD", TAG, 1), true),
        ("before its first upload", to("POST", UPLOADS, 1), true),
        ("in the middle of a blob", Blob, true),
        ("between two blobs", to("PUT", UPLOADS, 2), true),
        (
            "after a blob of which it does not know",
            Destination("PUT", UPLOADS, 1, Act::KeepAnswer),
            true,
        ),
        ("before the first manifest", to("PUT", "/v2/app/manifests/sha256", 1), true),
        ("between two manifests", to("PUT", "/v2/app/manifests/sha256", 2), true),
        ("before the tag", to("PUT", TAG, 1), true),
        (
            "after a tag of which it does not know",
            Destination("PUT", TAG, 1, Act::KeepAnswer),
            true,
        ),
        ("before the last status", LastStatus, false),
        ("while nothing is to be done", Idle, false),
        ("before it has made a Job", Api(Before, is_job), false),
        ("before it knows of its Job", Api(After, is_job), false),
        ("while its Job is under way", Job, false),
        ("while it cleans up", Removal, false),
    ]
}

fn is_lease(head: &Parts) -> bool {
    head.uri.path().contains("/leases")
}

fn is_list(head: &Parts) -> bool {
    head.method == Method::GET && head.uri.path().ends_with("/imagepushes")
}

fn is_secret(head: &Parts) -> bool {
    head.uri.path().ends_with("/secrets/login")
}

fn is_status(head: &Parts) -> bool {
    head.method == Method::PATCH && head.uri.path().ends_with("/status")
}

fn is_job(head: &Parts) -> bool {
    head.method == Method::POST && head.uri.path().ends_with("/jobs")
}

fn is_ready(object: &Value) -> bool {
    condition(object, "Ready")["status"] == "True"
}

impl Gate {
    /// What the object wants beside a push.
    fn more(&self) -> Value {
        match self {
            Self::Job => json!({"executor": "Job"}),
            Self::Api(_, counts) if std::ptr::fn_addr_eq(*counts, is_job as Counts) => {
                json!({"executor": "Job"})
            }
            Self::Removal => json!({"deletionPolicy": "Delete"}),
            _ => json!({}),
        }
    }

    fn close(&self, scene: &Scene, image: &Image) {
        let rule = |method, path: &str, act| Rule::each(method, path, act);
        match self {
            Self::Api(moment, counts) => scene.proxy.keep_next_back(*moment, *counts),
            Self::Destination(method, path, nth, act) => {
                scene.destination.add_rule(rule(*method, path, act.clone()).nth(*nth));
            }
            Self::Source(method, path) => {
                scene.source.add_rule(rule(*method, path, Act::Stall).nth(1));
            }
            Self::Blob => {
                let path = format!("/v2/app/blobs/{}", image.large);
                scene.source.add_rule(rule("GET", &path, Act::StallBody(2 << 20)).nth(1));
            }
            Self::LastStatus | Self::Idle | Self::Job | Self::Removal => {}
        }
    }

    /// Waits until the program is there.
    async fn reached(&self, scene: &Scene) {
        let asked = |registry: &Registry, method: &str, path: &str, count: usize| {
            let of_it = |seen: &&crate::support::registry::Seen| {
                seen.method == method && seen.path.contains(path)
            };
            registry.seen().iter().filter(of_it).count() >= count
        };
        match self {
            Self::Api(..) => scene.proxy.has_kept_back().await,
            Self::Destination(method, path, nth, _) => {
                holds(path, || asked(&scene.destination, method, path, *nth)).await;
            }
            Self::Source(method, path) => {
                holds(path, || asked(&scene.source, method, path, 1)).await;
            }
            Self::Blob => {
                let taken = || {
                    ["POST", "PATCH", "PUT"].map(|it| scene.destination.bytes_taken(it, UPLOADS))
                };
                holds("a part of the blob", || taken().iter().sum::<usize>() > 0).await;
            }
            Self::LastStatus => {
                let go_on = Arc::new(Notify::new());
                scene.destination.add_rule(Rule::each("PUT", TAG, Act::Hold(go_on.clone())).nth(1));
                holds(TAG, || asked(&scene.destination, "PUT", TAG, 1)).await;
                scene.proxy.keep_next_back(Moment::Before, is_status);
                go_on.notify_one();
                scene.proxy.has_kept_back().await;
            }
            Self::Idle => drop(scene.until("web", is_ready).await),
            Self::Job => drop(next_job(&scene.hands, None).await),
            Self::Removal => {
                scene.until("web", is_ready).await;
                scene.destination.take_log();
                scene.destination.add_rule(Rule::each("HEAD", TAG, Act::Stall).nth(1));
                scene.delete("web").await;
                holds(TAG, || asked(&scene.destination, "HEAD", TAG, 1)).await;
            }
        }
    }
}

/// One phase, one signal.
async fn run(name: &str, gate: &Gate, attempt: bool, signal: Signal, image: &Image, token: &str) {
    let scene = Scene::new(image, token).await;
    gate.close(&scene, image);
    let more = gate.more();
    let mut wanted = json!({"runPolicy": "Once"});
    wanted.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    // Before the program is there, so that what it lists first has it.
    scene.make("web", &wanted).await;
    let one = scene.start();
    let reached = tokio::time::timeout(PATIENCE, gate.reached(&scene)).await;
    assert!(reached.is_ok(), "{name}: never reached; {:#}", scene.get("web").await);
    let told = Instant::now();
    one.signal(signal);
    let code = one.code().await;
    if signal == Signal::TERM {
        assert_eq!(code, Some(0), "{name}");
        assert!(told.elapsed() < GRACE, "{name}: {:?}", told.elapsed());
        assert_eq!(scene.destination.open_sessions(), 0, "{name}");
        if attempt {
            is_interrupted(name, &scene.get("web").await);
        }
    } else {
        assert_eq!(code, None, "{name}");
        scene.shorten_lease().await;
    }
    assert_eq!(scene.litter(), [""; 0], "{name} {signal:?}");
    let left = scene.destination.open_sessions();
    let next = scene.start();
    if more["executor"] == "Job" {
        play_pod(&scene).await;
    }
    if matches!(gate, Gate::Removal) {
        scene.until("web", Value::is_null).await;
        assert_eq!(scene.destination.tags().len(), 0, "{name}");
    } else {
        // A request makes another Job, and who has found that one works already.
        if more["executor"].is_null() {
            scene.look("web").await;
        }
        is_done(&format!("{name} {signal:?}"), &scene, image).await;
    }
    assert!(scene.destination.open_sessions() <= left, "{name}: only what was left is open");
    end(next, &scene, name).await;
}

fn is_interrupted(name: &str, object: &Value) {
    let reconciling = condition(object, "Reconciling");
    assert_eq!(reconciling["reason"], "ProgressingWithRetry", "{name}: {object:#}");
    let message = "interrupted by shutdown; the push begins anew when an operator runs again";
    assert_eq!(reconciling["message"], message, "{name}: {object:#}");
}

/// Runs the only Job as the cluster would.
async fn play_pod(scene: &Scene) {
    let job = next_job(&scene.hands, None).await;
    let folder = tempfile::tempdir().unwrap();
    let state = run_pod(&scene.hands, &job, folder.path()).await;
    assert_eq!(state["terminated"]["exitCode"], 0, "{state}");
    make_pod(&scene.hands, &job, &state).await;
    let made = jobs(&scene.hands).await;
    assert_eq!(made.len(), 1, "{made:#?}");
}

/// The image is there, whole, and was sent no more often than needed.
async fn is_done(name: &str, scene: &Scene, image: &Image) {
    let object = scene.until("web", is_ready).await;
    let digest = image.content.digest();
    assert_eq!(object["status"]["artifact"]["digest"], digest, "{name}");
    let tags: Vec<_> = scene.destination.tags().into_iter().collect();
    assert_eq!(tags, [("app:copy".to_owned(), digest.to_owned())], "{name}");
    let sent = scene.destination.blobs_sent();
    assert_eq!(sent.len(), 5, "{name}: three layers and two configs: {sent:#?}");
    for (digest, (tried, taken)) in sent {
        assert!(tried <= 2 && taken == 1, "{name}: {digest}: tried {tried} times, taken {taken}");
    }
}

/// One signal is enough, and nothing is left.
async fn end(operator: Process, scene: &Scene, name: &str) {
    operator.signal(Signal::TERM);
    assert_eq!(operator.code().await, Some(0), "{name}");
    assert_eq!(scene.litter(), [""; 0], "{name}");
}

async fn operators_token() -> String {
    let create = ["create", "token", "-n", "imagepush-system", "imagepush-controller"];
    control_plane().await.kubectl(&create).await.succeeded().trim().to_owned()
}

async fn at_each_phase(signal: Signal) {
    let (image, token) = (Image::new(81, 4 << 20), operators_token().await);
    let runs = phases().into_iter().map(|(name, gate, attempt)| {
        let (image, token) = (&image, &token);
        async move { run(name, &gate, attempt, signal, image, token).await }
    });
    futures::stream::iter(runs).buffer_unordered(PARALLEL).collect::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_end_at_any_phase_it_leaves_nothing_open_and_the_next_one_finishes() {
    at_each_phase(Signal::TERM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_phase_the_next_one_finishes() {
    at_each_phase(Signal::KILL).await;
}
