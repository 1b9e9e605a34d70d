//! One row for each thing that can be observed.

use serde_json::{Value, json};

use super::*;
use crate::api::conditions::RECONCILING;
use crate::engine::BlobCounts;
use crate::error::{Error, Kind, Side};
use crate::image::{Digest, MediaType};

const NOW: i64 = 1_700_000_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn object(spec: &Value, generation: i64, status: Option<ImagePushStatus>) -> ImagePush {
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

fn observed(attempt: Attempt<'_>) -> Observed<'_> {
    Observed {
        attempt,
        obstacle: None,
        same_access: None,
        next_check: None,
        names_secrets: false,
        spec_digest: "sha256:spec",
        chance: 0.5,
    }
}

fn pushed(already_present: bool) -> Outcome {
    Outcome::Pushed(Box::new(Pushed {
        source_digest: Digest::of(b"source"),
        digest: Digest::of(b"destination"),
        media_type: MediaType::new("application/vnd.oci.image.manifest.v1+json"),
        size_bytes: Some(7),
        manifests: vec![],
        blobs: BlobCounts::default(),
        bytes_sent: 0,
        already_present,
    }))
}

fn failed(kind: Kind) -> Outcome {
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
    if is_true(READY) && decision.step != Step::Start {
        assert_eq!(decision.status.observed_generation, object.metadata.generation, "{decision:?}");
    }
    decision
}

/// The status after this outcome of the first attempt at generation 1.
fn after(spec: &Value, outcome: &Outcome) -> ImagePushStatus {
    check(&object(spec, 1, None), &observed(Attempt::Ended(outcome))).status
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
    let cases: [(Outcome, &[&str], Option<i64>); 5] = [
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
        (
            Outcome::Failed(Failure::from(&Error::new(Kind::NotFound, "no").on(Side::Source))),
            &[
                "Ready=False/SourceNotFound",
                "SourceResolved=False/SourceNotFound",
                "Stalled=True/SourceNotFound",
            ],
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
        let decision = check(&done, &observed(Attempt::Ended(&pushed(true))));
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
fn an_edit_starts_over_and_calls_a_running_attempt_off() {
    for outcome in [pushed(false), failed(Kind::AccessDenied), failed(Kind::Timeout)] {
        let edited = object(&continuous(), 2, Some(after(&continuous(), &outcome)));
        for (attempt, step) in [(Attempt::None, Step::Start), (Attempt::Outdated, Step::Cancel)] {
            let decision = check(&edited, &observed(attempt));
            assert_eq!(decision.step, step);
            assert_eq!(decision.status.retry, None);
            let ready = conditions::find(&decision.status.conditions, READY).unwrap();
            assert_eq!((ready.status.as_str(), ready.observed_generation), ("Unknown", Some(2)));
            assert!(!conditions::is_true(&decision.status.conditions, STALLED));
        }
    }
}

#[test]
fn failures_that_may_pass_are_retried_at_growing_distances() {
    let mut status = None;
    let mut waits = vec![];
    for _ in 0..10 {
        let object = object(&continuous(), 1, status);
        let outcome = failed(Kind::NetworkError);
        let mut look = observed(Attempt::Ended(&outcome));
        look.chance = 1.0;
        let decision = check(&object, &look);
        waits.push(decision.again.unwrap().as_secs());
        status = Some(decision.status);
    }
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]);
    let retry = status.as_ref().unwrap().retry.as_ref().unwrap();
    assert_eq!(retry.count, 10);
    assert_eq!(retry.last_failure_reason.as_deref(), Some("NetworkError"));
    assert_eq!(retry.next_retry_time, later(900).map(Time));

    // A look before its time waits on and counts nothing; a changed Secret doesn't wait.
    let waiting = object(&continuous(), 1, status.clone());
    let decision = check(&waiting, &observed(Attempt::None));
    assert_eq!((decision.step, decision.again), (Step::Wait, Some(Duration::from_mins(15))));
    assert_eq!(Some(decision.status), status);
    let mut changed = observed(Attempt::None);
    changed.same_access = Some(false);
    assert_eq!(check(&waiting, &changed).step, Step::Start);
}

#[test]
fn a_registry_that_asks_for_time_gets_it() {
    let error = Error::new(Kind::RateLimited, "slow down").after(Duration::from_secs(77));
    let outcome = Outcome::Failed(Failure::from(&error));
    let decision = check(&object(&once(), 1, None), &observed(Attempt::Ended(&outcome)));
    assert_eq!(decision.again, Some(Duration::from_secs(77)));
}

#[test]
fn what_stalls_goes_on_when_something_changes() {
    let status = after(&once(), &failed(Kind::AuthenticationFailed));
    let stalled = object(&once(), 1, Some(status.clone()));
    let look = |same_access, names_secrets| {
        let mut look = observed(Attempt::None);
        (look.same_access, look.names_secrets) = (same_access, names_secrets);
        check(&stalled, &look)
    };
    let unchanged = look(Some(true), true);
    assert_eq!((unchanged.step, unchanged.again), (Step::Wait, Some(SECRET_POLL)));
    assert_eq!(unchanged.status, status);
    assert_eq!(look(Some(true), false).again, None);
    let changed = look(Some(false), true);
    assert_eq!(changed.step, Step::Start);
    assert!(conditions::is_true(&changed.status.conditions, RECONCILING));
    // After a restart nobody knows what the Secrets were.
    assert_eq!(look(None, true).step, Step::Start);
}

#[test]
fn a_continuous_object_that_stalls_is_tried_again_quietly() {
    let status = after(&continuous(), &failed(Kind::AuthenticationFailed));
    let stalled = object(&continuous(), 1, Some(status.clone()));
    let mut due = observed(Attempt::None);
    (due.same_access, due.next_check) = (Some(true), later(0));
    let decision = check(&stalled, &due);
    assert_eq!((decision.step, &decision.status), (Step::Start, &status));
    let again = check(&stalled, &observed(Attempt::Ended(&failed(Kind::AuthenticationFailed))));
    assert_eq!(again.status, status);
}

#[test]
fn an_obstacle_is_told_and_not_counted() {
    let missing = Failure::secret_not_found("s");
    let new = object(&once(), 1, None);
    let mut look = observed(Attempt::None);
    look.obstacle = Some(&missing);
    let first = check(&new, &look);
    let conditions = ["Ready=False/SecretNotFound", "Reconciling=True/ProgressingWithRetry"];
    assert_eq!(summary(&first.status).0, conditions);
    assert_eq!((first.step, first.again), (Step::Wait, Some(SECRET_POLL)));
    assert_eq!(check(&object(&once(), 1, Some(first.status.clone())), &look).status, first.status);

    let wrong = Failure::secret_invalid("s", "it is empty");
    look.obstacle = Some(&wrong);
    let stalled = check(&object(&once(), 1, Some(first.status)), &look);
    assert_eq!(
        summary(&stalled.status).0,
        ["Ready=False/SecretInvalid", "Stalled=True/SecretInvalid"]
    );
    look.obstacle = None;
    assert_eq!(check(&object(&once(), 1, Some(stalled.status)), &look).step, Step::Start);
}

#[test]
fn what_is_done_does_not_depend_on_its_secrets() {
    let gone = Failure::secret_not_found("s");
    for (spec, due_in) in [(once(), None), (continuous(), later(60))] {
        let done = after(&spec, &pushed(false));
        let mut look = observed(Attempt::None);
        (look.obstacle, look.next_check) = (Some(&gone), due_in);
        let decision = check(&object(&spec, 1, Some(done.clone())), &look);
        assert_eq!((decision.step, decision.status), (Step::Wait, done));
    }
}

#[test]
fn an_obstacle_that_is_overdue_is_no_reason_to_hurry() {
    let wrong = Failure::secret_invalid("s", "it is empty");
    let mut look = observed(Attempt::None);
    (look.obstacle, look.next_check, look.names_secrets) = (Some(&wrong), later(-60), true);
    let decision = check(&object(&continuous(), 1, None), &look);
    assert_eq!((decision.step, decision.again), (Step::Wait, Some(SECRET_POLL)));
}

#[test]
fn the_registry_may_ask_for_more_patience_and_not_for_less() {
    let asking = |seconds| {
        let error = Error::new(Kind::RateLimited, "slow down").after(Duration::from_secs(seconds));
        Outcome::Failed(Failure::from(&error))
    };
    for (asked, expected) in [(0, 2500), (60, 60_000), (31_536_000, 900_000)] {
        let outcome = asking(asked);
        let decision = check(&object(&once(), 1, None), &observed(Attempt::Ended(&outcome)));
        assert_eq!(decision.again, Some(Duration::from_millis(expected)), "{asked}");
    }
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
    edited.spec_digest = "sha256:other";
    let lost = check(&object(&suspended, 2, Some(done)), &edited);
    assert!(summary(&lost.status).0.contains(&"Ready=Unknown/Suspended".to_owned()));
}

#[test]
fn progress_shows_and_goes() {
    let progress = Progress { blobs_total: 3, blobs_done: 1, bytes_total: 9, bytes_done: 4 };
    let done = object(&continuous(), 1, Some(after(&continuous(), &pushed(false))));
    let running = check(&done, &observed(Attempt::Running(Some(progress.clone()))));
    assert_eq!(running.status.progress, Some(progress));
    assert!(conditions::is_true(&running.status.conditions, RECONCILING));
    let ended = check(
        &object(&continuous(), 1, Some(running.status)),
        &observed(Attempt::Ended(&pushed(false))),
    );
    assert_eq!(ended.status.progress, None);
    assert!(!conditions::is_true(&ended.status.conditions, RECONCILING));
}

#[test]
fn intervals_vary_by_a_tenth() {
    let hour = Duration::from_hours(1);
    assert_eq!(check_after(hour, 0.0), Duration::from_mins(54));
    assert!(check_after(hour, 1.0) <= Duration::from_mins(67));
}
