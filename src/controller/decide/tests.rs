//! One row for each thing that can be observed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::*;
use crate::api::conditions::RECONCILING;
use crate::engine::BlobCounts;
use crate::error::{Error, Kind, Side};
use crate::image::{Digest, MediaType};
use crate::limits::MAX_ATTEMPTS;

const NOW: i64 = 1_700_000_000;

/// How the sides are reached.
const ACCESS: &str = "sha256:access";

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
        next_check: None,
        names_secrets: false,
        push_digest: "sha256:spec",
        access_digest: Some(ACCESS),
        took: None,
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
        replaced: None,
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
fn an_edit_starts_over_and_calls_a_running_attempt_off() {
    for outcome in [pushed(false), failed(Kind::AccessDenied), failed(Kind::Timeout)] {
        let edited = object(&continuous(), 2, Some(after(&continuous(), &outcome)));
        for (attempt, step) in [(Attempt::None, Step::Start), (Attempt::Outdated, Step::Cancel)] {
            let mut look = observed(attempt);
            look.push_digest = "sha256:other";
            let decision = check(&edited, &look);
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
    let started = check(&object(&continuous(), 1, None), &observed(Attempt::None));
    let mut status = Some(started.status);
    let mut waits = vec![];
    for _ in 0..10 {
        let object = object(&continuous(), 1, status);
        let outcome = failed(Kind::NetworkError);
        let mut look = ended(&outcome);
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
    changed.access_digest = Some("sha256:other");
    assert_eq!(check(&waiting, &changed).step, Step::Start);
}

#[test]
fn a_registry_that_asks_for_time_gets_it() {
    let error = Error::new(Kind::RateLimited, "slow down").after(Duration::from_secs(77));
    let outcome = Outcome::Failed(Failure::from(&error));
    let decision = check(&object(&once(), 1, None), &ended(&outcome));
    assert_eq!(decision.again, Some(Duration::from_secs(77)));
}

#[test]
fn what_stalls_goes_on_when_something_changes() {
    let status = after(&once(), &failed(Kind::AccessDenied));
    let stalled = object(&once(), 1, Some(status.clone()));
    let look = |access_digest, names_secrets| {
        let mut look = observed(Attempt::None);
        (look.access_digest, look.names_secrets) = (Some(access_digest), names_secrets);
        check(&stalled, &look)
    };
    let unchanged = look(ACCESS, true);
    assert_eq!((unchanged.step, unchanged.again), (Step::Wait, Some(SECRET_POLL)));
    assert_eq!(unchanged.status, status);
    assert_eq!(look(ACCESS, false).again, None);
    let changed = look("sha256:other", true);
    assert_eq!(changed.step, Step::Start);
    assert!(conditions::is_true(&changed.status.conditions, RECONCILING));
}

#[test]
fn a_continuous_object_that_stalls_is_tried_again_quietly() {
    let status = after(&continuous(), &failed(Kind::AccessDenied));
    let stalled = object(&continuous(), 1, Some(status.clone()));
    let mut due = observed(Attempt::None);
    due.next_check = later(0);
    let decision = check(&stalled, &due);
    assert_eq!((decision.step, &decision.status), (Step::Start, &status));
    let again = check(&stalled, &ended(&failed(Kind::AccessDenied)));
    assert_eq!(again.status, status);
}

#[test]
fn an_obstacle_is_told_and_not_counted() {
    let missing = Failure::secret_not_found("s");
    let new = object(&once(), 1, None);
    let mut look = observed(Attempt::None);
    (look.obstacle, look.access_digest) = (Some(&missing), None);
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
    (look.obstacle, look.access_digest) = (None, Some(ACCESS));
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
        let decision = check(&object(&once(), 1, None), &ended(&outcome));
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
    edited.push_digest = "sha256:other";
    let lost = check(&object(&suspended, 2, Some(done)), &edited);
    assert!(summary(&lost.status).0.contains(&"Ready=Unknown/Suspended".to_owned()));
}

#[test]
fn progress_shows_and_goes() {
    let progress = Progress {
        percent: "44%".into(),
        blobs_total: 3,
        blobs_done: 1,
        bytes_total: 9,
        bytes_done: 4,
    };
    let done = object(&continuous(), 1, Some(after(&continuous(), &pushed(false))));
    let running = check(&done, &observed(Attempt::Running(Some(progress.clone()))));
    assert_eq!(running.status.progress, Some(progress));
    assert!(conditions::is_true(&running.status.conditions, RECONCILING));
    let ended = check(&object(&continuous(), 1, Some(running.status)), &ended(&pushed(false)));
    assert_eq!(ended.status.progress, None);
    assert!(!conditions::is_true(&ended.status.conditions, RECONCILING));
}

#[test]
fn intervals_vary_by_a_tenth() {
    let hour = Duration::from_hours(1);
    assert_eq!(check_after(hour, 0.0), Duration::from_mins(54));
    assert!(check_after(hour, 1.0) <= Duration::from_mins(67));
}

/// The decisions on attempts that end like this, one after the other, until it stalls.
fn attempts(spec: &Value, outcome: &Outcome, most: usize) -> Vec<Decision> {
    let mut status = None;
    let mut decisions: Vec<Decision> = vec![];
    while decisions.len() < most {
        let decision = check(&object(spec, 1, status), &ended(outcome));
        let stalled = conditions::is_true(&decision.status.conditions, STALLED);
        status = Some(decision.status.clone());
        decisions.push(decision);
        if stalled {
            break;
        }
    }
    decisions
}

#[test]
fn credentials_are_given_up_after_three_refusals_in_a_row() {
    let refused = failed(Kind::AuthenticationFailed);
    for spec in [once(), continuous()] {
        let decisions = attempts(&spec, &refused, 9);
        assert_eq!(decisions.len(), 3);
        let consecutive = decisions[1].status.retry.as_ref().unwrap().consecutive;
        assert_eq!((consecutive, decisions[1].again), (Some(2), Some(Duration::from_secs(5))));
        let retrying =
            ["Ready=False/AuthenticationFailed", "Reconciling=True/ProgressingWithRetry"];
        assert_eq!(summary(&decisions[1].status).0, retrying);
        let stalled = ["Ready=False/AuthenticationFailed", "Stalled=True/AuthenticationFailed"];
        assert_eq!(summary(&decisions[2].status).0, stalled);
    }
    // Another failure between them is another row.
    let two = attempts(&once(), &refused, 2).pop().unwrap().status;
    let other = failed(Kind::NetworkError);
    let between = check(&object(&once(), 1, Some(two)), &ended(&other)).status;
    let third = check(&object(&once(), 1, Some(between)), &ended(&refused)).status;
    assert_eq!(
        third.retry.as_ref().map(|retry| (retry.count, retry.consecutive)),
        Some((4, Some(1)))
    );
}

#[test]
fn what_runs_once_is_given_up_at_last() {
    let decisions = attempts(&once(), &failed(Kind::NetworkError), 99);
    assert_eq!(decisions.len(), usize::try_from(MAX_ATTEMPTS).unwrap());
    let last = &decisions.last().unwrap().status;
    assert_eq!(summary(last).0, ["Ready=False/RetriesExhausted", "Stalled=True/RetriesExhausted"]);
    assert_eq!(
        conditions::find(&last.conditions, STALLED).unwrap().message,
        "20 attempts failed, the last one with NetworkError: it broke"
    );
}

#[test]
fn what_is_continuous_falls_back_to_its_interval() {
    let outcome = failed(Kind::NetworkError);
    let before = attempts(&continuous(), &outcome, 25).pop().unwrap();
    assert_eq!(before.step, Step::Wait);
    let mut look = ended(&outcome);
    look.next_check = later(24 * 3600);
    let next = check(&object(&continuous(), 1, Some(before.status)), &look);
    assert_eq!(next.again, Some(Duration::from_hours(24)));
    assert!(conditions::is_true(&next.status.conditions, RECONCILING));
    // Until then it is tried more often than that.
    let early = attempts(&continuous(), &outcome, 10).pop().unwrap();
    let next = check(&object(&continuous(), 1, Some(early.status)), &look);
    assert!(next.again < Some(Duration::from_mins(16)), "{:?}", next.again);
}

#[test]
fn a_source_that_is_not_there_may_come() {
    let missing = Error::new(Kind::NotFound, "no tag").on(Side::Source);
    let missing = Outcome::Failed(Failure::from(&missing));
    let waiting = after(&continuous(), &missing);
    assert_eq!(
        summary(&waiting).0,
        [
            "Ready=False/SourceNotFound",
            "Reconciling=True/ProgressingWithRetry",
            "SourceResolved=False/SourceNotFound"
        ]
    );
    assert!(conditions::is_true(&after(&once(), &missing).conditions, STALLED));
}

#[test]
fn an_edit_of_when_to_push_changes_nothing_about_what_is_done() {
    let edited = object(&continuous(), 2, Some(after(&continuous(), &pushed(false))));
    let mut look = observed(Attempt::None);
    look.next_check = later(60);
    let decision = check(&edited, &look);
    assert_eq!((decision.step, decision.again), (Step::Wait, Some(Duration::from_mins(1))));
    assert_eq!(decision.status.observed_generation, Some(2));
    // Of what, or how: it is looked at anew.
    look.push_digest = "sha256:other";
    let what = check(&edited, &look);
    assert_eq!(
        (what.step, summary(&what.status).0[0].as_str()),
        (Step::Start, "Ready=Unknown/Progressing")
    );
    (look.push_digest, look.access_digest) = ("sha256:spec", Some("sha256:other"));
    assert_eq!(check(&edited, &look).step, Step::Start);
    // A running attempt for the same goes on.
    let running = check(&edited, &observed(Attempt::Running(None)));
    assert_eq!((running.step, running.status.observed_generation), (Step::Wait, Some(2)));
}

fn request(mut object: ImagePush, value: &str) -> ImagePush {
    let annotations = object.metadata.annotations.get_or_insert_default();
    annotations.insert("imagepush.dev/requestedAt".into(), value.into());
    object
}

#[test]
fn a_request_is_heard_at_once_and_once() {
    let refused = attempts(&once(), &failed(Kind::AuthenticationFailed), 3).pop().unwrap().status;
    for (spec, status, ready) in [
        (once(), after(&once(), &pushed(false)), "Ready=True/PushSucceeded"),
        (continuous(), after(&continuous(), &pushed(false)), "Ready=True/PushSucceeded"),
        (once(), after(&once(), &failed(Kind::AccessDenied)), "Ready=Unknown/Progressing"),
        (once(), refused, "Ready=Unknown/Progressing"),
        (once(), after(&once(), &failed(Kind::Timeout)), "Ready=Unknown/Progressing"),
    ] {
        let asked = request(object(&spec, 1, Some(status)), "now");
        let mut look = observed(Attempt::None);
        look.next_check = later(600);
        let decision = check(&asked, &look);
        assert_eq!(decision.step, Step::Start, "{ready}");
        assert_eq!(summary(&decision.status).0[0], ready);
        assert_eq!(decision.status.last_handled_reconcile_at.as_deref(), Some("now"));
        assert_eq!(decision.status.retry, None);
        let outcome = pushed(true);
        let mut again = ended(&outcome);
        again.next_check = later(600);
        let asked = request(object(&spec, 1, Some(decision.status)), "now");
        let decision = check(&asked, &again);
        assert_eq!((decision.step, decision.again), (Step::Wait, Some(Duration::from_mins(10))));
    }
}

#[test]
fn a_request_during_an_attempt_is_heard_after_it() {
    let outcome = pushed(false);
    let started = check(&object(&once(), 1, None), &observed(Attempt::None)).status;
    let asked = request(object(&once(), 1, Some(started)), "now");
    let running = check(&asked, &observed(Attempt::Running(None)));
    assert_eq!((running.step, running.status.last_handled_reconcile_at), (Step::Wait, None));
    let ended = check(&asked, &ended(&outcome));
    assert_eq!((ended.step, ended.again), (Step::Wait, Some(Duration::ZERO)));
    let asked = request(object(&once(), 1, Some(ended.status)), "now");
    assert_eq!(check(&asked, &observed(Attempt::None)).step, Step::Start);
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
fn drift_shows_until_it_is_gone() {
    let before = after(&continuous(), &pushed(false));
    let drifted = Outcome::Failed(Failure::drifted("docker://b.example/x:1", "sha256:other"));
    let found = check(&object(&continuous(), 1, Some(before)), &ended(&drifted)).status;
    let conditions = [
        "Drifted=True/DestinationChanged",
        "Ready=False/DestinationDrifted",
        "SourceResolved=True/Resolved",
        "Stalled=True/DestinationDrifted",
    ];
    assert_eq!(summary(&found), (conditions.map(str::to_owned).to_vec(), Some(1)));
    let again = check(&object(&continuous(), 1, Some(found.clone())), &ended(&drifted)).status;
    assert_eq!(again, found);
    let healed = check(&object(&continuous(), 1, Some(found)), &ended(&Outcome::Unchanged)).status;
    assert_eq!(summary(&healed).0, ["Ready=True/AlreadyPresent", "SourceResolved=True/Resolved"]);
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
