//! One row for each thing that can be observed.

mod bundles;
mod changes;
mod failures;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::*;
use crate::api::conditions::RECONCILING;
use crate::engine::{BlobCounts, SourceImage};
use crate::error::{Error, Kind, Side};
use crate::image::{Digest, MediaType, Platform};

const NOW: i64 = 1_700_000_000;

/// How the sides are reached.
const ACCESS: &str = "sha256:access";

pub(in crate::controller::decide) fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

pub(in crate::controller::decide) fn object(
    spec: &Value,
    generation: i64,
    status: Option<ImagePushStatus>,
) -> ImagePush {
    let mut fields = json!({
        "source": {"reference": "docker://a.example/x:1"},
        "destination": {"reference": "docker://b.example/x:1"},
    });
    fields.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let mut object: ImagePush = serde_json::from_value(json!({
        "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
        "metadata": {"name": "x", "namespace": "n", "generation": generation}, "spec": fields,
    }))
    .unwrap();
    object.status = status;
    object
}

fn continuous() -> Value {
    json!({"interval": "10m"})
}

fn once() -> Value {
    json!({"runPolicy": "Once"})
}

pub(in crate::controller::decide) fn observed(attempt: Attempt<'_>) -> Observed<'_> {
    Observed {
        attempt,
        bundle: None,
        landed: None,
        named: None,
        conflict: None,
        obstacle: None,
        next_check: None,
        names_secrets: false,
        push_digest: "sha256:spec",
        access_digest: Some(ACCESS),
        took: None,
        chance: 0.5,
        stopping: false,
        waits_for: None,
        in_job: false,
    }
}

pub(in crate::controller) fn pushed(already_present: bool) -> Outcome {
    Outcome::Pushed(Box::new(Pushed {
        source: SourceImage {
            digest: Digest::of(b"source"),
            media_type: MediaType::OCI_INDEX,
            platforms: vec![Platform::new("linux", "arm", Some("v7"))],
        },
        digest: Digest::of(b"destination"),
        media_type: MediaType::new("application/vnd.oci.image.manifest.v1+json"),
        size_bytes: Some(7),
        manifests: vec![],
        blobs: BlobCounts::default(),
        bytes_sent: 0,
        already_present,
        replaced: None,
        beside: None,
    }))
}

pub(in crate::controller::decide) fn failed(kind: Kind) -> Outcome {
    Outcome::Failed(Failure::from(&Error::new(kind, "it broke").on(Side::Destination)))
}

/// The conditions that are there, as `Type=Status/Reason`, and the generation that was decided.
fn summary(status: &ImagePushStatus) -> (Vec<String>, Option<i64>) {
    let mut conditions: Vec<String> = status
        .conditions
        .iter()
        .map(|condition| format!("{}={}/{}", condition.type_, condition.status, condition.reason))
        .collect();
    conditions.sort();
    (conditions, status.observed_generation)
}

/// Decides, and checks what holds for every decision.
fn check(object: &ImagePush, observed: &Observed<'_>) -> Decision {
    let decision = decide(object, observed, now());
    let conditions = &decision.status.conditions;
    let is_true = |kind| conditions::is_true(conditions, kind);
    assert!(!(is_true(RECONCILING) && is_true(STALLED)), "{decision:?}");
    // With the next look at once, nothing is decided yet.
    let open = decision.step == Step::Start || decision.again == Some(Duration::ZERO);
    if is_true(READY) && !open {
        assert_eq!(decision.status.observed_generation, object.metadata.generation, "{decision:?}");
    }
    decision
}

/// The status after this outcome of the first attempt at generation 1.
fn after(spec: &Value, outcome: &Outcome) -> ImagePushStatus {
    let started = check(&object(spec, 1, None), &observed(Attempt::None));
    assert_eq!(started.step, Step::Start);
    check(&object(spec, 1, Some(started.status)), &ended(outcome)).status
}

/// Secrets are not read while there is an attempt to tell of.
fn ended(outcome: &Outcome) -> Observed<'_> {
    Observed { access_digest: None, ..observed(Attempt::Ended(outcome)) }
}

fn later(seconds: i64) -> Option<Timestamp> {
    Timestamp::from_second(NOW + seconds).ok()
}

#[test]
fn a_new_object_starts() {
    let decision = check(&object(&continuous(), 1, None), &observed(Attempt::None));
    let conditions = ["Ready=Unknown/Progressing", "Reconciling=True/Progressing"];
    assert_eq!(summary(&decision.status), (conditions.map(String::from).to_vec(), None));
    assert_eq!((decision.step, decision.again), (Step::Start, None));
}

#[test]
fn each_outcome_has_its_conditions() {
    let cases: [(Outcome, &[&str], Option<i64>); 4] = [
        (pushed(false), &["Ready=True/PushSucceeded", "SourceResolved=True/Resolved"], Some(1)),
        (pushed(true), &["Ready=True/AlreadyPresent", "SourceResolved=True/Resolved"], Some(1)),
        (
            failed(Kind::NetworkError),
            &["Ready=False/NetworkError", "Reconciling=True/ProgressingWithRetry"],
            None,
        ),
        (
            failed(Kind::AccessDenied),
            &["Ready=False/AccessDenied", "Stalled=True/AccessDenied"],
            Some(1),
        ),
    ];
    for (outcome, conditions, generation) in cases {
        let status = after(&continuous(), &outcome);
        let conditions: Vec<String> = conditions.iter().map(|text| (*text).to_owned()).collect();
        assert_eq!(summary(&status), (conditions, generation));
    }
}

#[test]
fn a_success_tells_what_is_where() {
    let status = after(&once(), &pushed(false));
    let digest = Digest::of(b"destination").to_string();
    assert_eq!(status.artifact.as_ref().unwrap().digest, digest);
    assert_eq!(status.source.as_ref().unwrap().digest, Digest::of(b"source").to_string());
    assert_eq!(status.last_push_time, Some(Time(now())));
    assert_eq!(status.observed_spec_digest.as_deref(), Some("sha256:spec"));
    let ready = conditions::find(&status.conditions, READY).unwrap();
    assert_eq!(ready.message, format!("pushed {digest} to `docker://b.example/x:1`"));
    assert_eq!(ready.observed_generation, Some(1));
}

#[test]
fn a_check_that_finds_nothing_new_changes_nothing() {
    for first in [pushed(false), pushed(true)] {
        let before = after(&continuous(), &first);
        let done = object(&continuous(), 1, Some(before.clone()));
        let mut due = observed(Attempt::None);
        due.next_check = later(-1);
        let decision = check(&done, &due);
        assert_eq!((decision.step, &decision.status), (Step::Start, &before));
        let decision = check(&done, &observed(Attempt::Running(None)));
        assert_eq!((decision.step, &decision.status), (Step::Wait, &before));
        let decision = check(&done, &ended(&pushed(true)));
        assert_eq!((decision.step, &decision.status), (Step::Wait, &before));
    }
}

#[test]
fn done_is_done_or_waits_for_its_interval() {
    let before = after(&once(), &pushed(false));
    let decision = check(&object(&once(), 1, Some(before)), &observed(Attempt::None));
    assert_eq!((decision.step, decision.again), (Step::Wait, None));

    let before = after(&continuous(), &pushed(false));
    let mut waits = observed(Attempt::None);
    waits.next_check = later(90);
    let decision = check(&object(&continuous(), 1, Some(before)), &waits);
    assert_eq!((decision.step, decision.again), (Step::Wait, Some(Duration::from_secs(90))));
}

#[test]
fn suspending_stops_and_keeps_what_is_settled() {
    let suspended = json!({"interval": "10m", "suspend": true});
    let under_way = check(&object(&continuous(), 1, None), &observed(Attempt::None)).status;
    let stopped = check(&object(&suspended, 2, Some(under_way)), &observed(Attempt::Outdated));
    assert_eq!(stopped.step, Step::Cancel);
    assert_eq!(summary(&stopped.status), (vec!["Ready=Unknown/Suspended".to_owned()], Some(2)));

    let done = after(&continuous(), &pushed(false));
    let kept = check(&object(&suspended, 2, Some(done.clone())), &observed(Attempt::None));
    assert_eq!((kept.step, kept.again), (Step::Wait, None));
    assert!(conditions::is_true(&kept.status.conditions, READY));
    assert_eq!(kept.status.observed_generation, Some(2));

    let mut edited = observed(Attempt::None);
    edited.push_digest = "sha256:other";
    let lost = check(&object(&suspended, 2, Some(done)), &edited);
    assert!(summary(&lost.status).0.contains(&"Ready=Unknown/Suspended".to_owned()));
}

#[test]
fn progress_shows_and_goes() {
    let progress = Progress {
        stage: "Copying".into(),
        percent: "44%".into(),
        blobs_total: 3,
        blobs_done: 1,
        bytes_total: 9,
        bytes_done: 4,
    };
    let done = object(&continuous(), 1, Some(after(&continuous(), &pushed(false))));
    let running = check(&done, &observed(Attempt::Running(Some(progress.clone()))));
    assert_eq!(running.status.progress, Some(progress.clone()));
    let mut quiet = done.clone();
    quiet.spec.quiet = true;
    let told = check(&quiet, &observed(Attempt::Running(Some(progress))));
    assert_eq!(Some(told.status), quiet.status);
    assert!(conditions::is_true(&running.status.conditions, RECONCILING));
    let ended = check(&object(&continuous(), 1, Some(running.status)), &ended(&pushed(false)));
    assert_eq!(ended.status.progress, None);
    assert!(!conditions::is_true(&ended.status.conditions, RECONCILING));
}

/// What is done and only compared keeps its status, however long that takes; what is under way tells each stage.
#[test]
fn before_something_is_to_be_copied_only_what_is_under_way_tells_its_stage() {
    let resolving = Progress { stage: "Resolving".into(), ..Progress::default() };
    let look = |object: &ImagePush| {
        check(object, &observed(Attempt::Running(Some(resolving.clone())))).status
    };
    let done = object(&continuous(), 1, Some(after(&continuous(), &pushed(false))));
    assert_eq!(Some(look(&done)), done.status);
    let fresh = object(&continuous(), 1, None);
    let started = object(&continuous(), 1, Some(check(&fresh, &observed(Attempt::None)).status));
    assert_eq!(look(&started).progress, Some(resolving.clone()));
}

#[test]
fn intervals_vary_by_a_tenth() {
    let hour = Duration::from_hours(1);
    assert_eq!(check_after(hour, 0.0), Duration::from_mins(54));
    assert!(check_after(hour, 1.0) <= Duration::from_mins(67));
}

fn request(mut object: ImagePush, value: &str) -> ImagePush {
    let annotations = object.metadata.annotations.get_or_insert_default();
    annotations.insert("imagepush.dev/requestedAt".into(), value.into());
    object
}

#[test]
fn what_has_not_changed_is_news_only_if_it_was_not_known() {
    let before = after(&continuous(), &pushed(false));
    let same = check(&object(&continuous(), 1, Some(before.clone())), &ended(&Outcome::Unchanged));
    assert_eq!((same.step, &same.status), (Step::Wait, &before));
    // After an edit of how the sides are reached, say, it is.
    let mut look = observed(Attempt::None);
    look.access_digest = Some("sha256:other");
    let checking = check(&object(&continuous(), 2, Some(before)), &look).status;
    let found = check(&object(&continuous(), 2, Some(checking)), &ended(&Outcome::Unchanged));
    let conditions = ["Ready=True/AlreadyPresent", "SourceResolved=True/Resolved"];
    assert_eq!(summary(&found.status), (conditions.map(str::to_owned).to_vec(), Some(2)));
}

#[test]
fn status_remembers_attempts_and_not_checks() {
    let history = |status: &ImagePushStatus| -> Vec<(String, i32)> {
        status.history.iter().map(|entry| (entry.result.clone(), entry.count)).collect()
    };
    let mut status = after(&continuous(), &failed(Kind::Timeout));
    for outcome in [failed(Kind::Timeout), pushed(false), pushed(true), Outcome::Unchanged] {
        status = check(&object(&continuous(), 1, Some(status)), &ended(&outcome)).status;
    }
    assert_eq!(history(&status), [("PushSucceeded".to_owned(), 1), ("Timeout".to_owned(), 2)]);
}
