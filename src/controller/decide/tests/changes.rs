//! What follows when something changes: the spec, a request, another object, the destination.

use super::failures::attempts;
use super::*;

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
fn an_object_gives_way_to_an_older_one_and_goes_on_after_it() {
    let older = Failure::conflict("docker://b.example/x:1", None);
    let running = check(&object(&continuous(), 1, None), &observed(Attempt::None)).status;
    for (status, attempt, step) in [
        (None, Attempt::None, Step::Wait),
        (Some(running), Attempt::Running(None), Step::Cancel),
        (Some(after(&continuous(), &pushed(false))), Attempt::None, Step::Wait),
        (Some(after(&continuous(), &failed(Kind::Timeout))), Attempt::None, Step::Wait),
    ] {
        let mut look = observed(attempt);
        look.conflict = Some(&older);
        let decision = check(&object(&continuous(), 1, status), &look);
        assert_eq!((decision.step, decision.again), (step, None));
        let conditions = summary(&decision.status).0;
        assert!(
            conditions.contains(&"Stalled=True/DestinationConflict".to_owned()),
            "{conditions:?}"
        );
        assert_eq!(conditions[0], "Ready=False/DestinationConflict");
        let again = check(&object(&continuous(), 1, Some(decision.status.clone())), &look);
        assert_eq!(again.status, decision.status);
        let freed = object(&continuous(), 1, Some(decision.status));
        assert_eq!(check(&freed, &observed(Attempt::None)).step, Step::Start);
    }
}

/// Who waits for an answer gets one, and what gives way is over like any other that has stalled.
#[test]
fn giving_way_answers_a_request_and_is_an_end() {
    let older = Failure::conflict("docker://b.example/x:1", None);
    let mut look = observed(Attempt::None);
    look.conflict = Some(&older);
    for (spec, step) in [
        (continuous(), Step::Wait),
        (once(), Step::Wait),
        (json!({"runPolicy": "Once", "ttlSecondsAfterFinished": 0}), Step::Delete),
    ] {
        let decision = check(&request(object(&spec, 1, None), "now"), &look);
        assert_eq!(decision.status.last_handled_reconcile_at.as_deref(), Some("now"), "{spec}");
        assert_eq!(decision.step, step, "{spec}");
    }
}

/// An attempt for the former spec has just ended, so that nothing was read for the new one yet.
#[test]
fn an_edit_of_how_the_sides_are_reached_is_not_taken_for_one_of_when() {
    for spec in [once(), continuous()] {
        let done = after(&spec, &pushed(false));
        let edited = object(&spec, 2, Some(done.clone()));
        let mut look = observed(Attempt::None);
        (look.access_digest, look.next_check) = (None, later(600));
        let decision = check(&edited, &look);
        assert_eq!((decision.step, decision.again), (Step::Wait, Some(Duration::ZERO)));
        assert_eq!(decision.status, done, "it is not known yet whether that holds");
        look.access_digest = Some("sha256:other");
        assert_eq!(check(&edited, &look).step, Step::Start);
        look.access_digest = Some(ACCESS);
        let decision = check(&edited, &look);
        assert_eq!((decision.step, decision.status.observed_generation), (Step::Wait, Some(2)));
    }
}

/// The image is there, and what comes after it is not.
#[test]
fn what_a_name_has_got_is_recorded_though_the_attempt_failed() {
    let before = after(&continuous(), &pushed(false));
    let named = Descriptor::new(MediaType::OCI_MANIFEST, Digest::of(b"next"), 7);
    let place = "docker://b.example/x:1";
    let (denied, cancelled) = (failed(Kind::AccessDenied), Outcome::Cancelled);
    for attempt in [Attempt::Ended(&denied), Attempt::Ended(&cancelled), Attempt::None] {
        let mut look = Observed { access_digest: None, ..observed(attempt) };
        (look.named, look.next_check) = (Some((named.clone(), place)), later(600));
        let status = check(&object(&continuous(), 1, Some(before.clone())), &look).status;
        let artifact = status.artifact.clone().unwrap();
        assert_eq!(artifact.digest, Digest::of(b"next").to_string());
        assert_eq!(artifact.reference.as_deref(), Some(place));
        assert_eq!((status.last_push_time.clone(), &status.source), (Some(Time(now())), &None));
        // What is there was pushed from here, and is looked at closely again.
        let object = object(&continuous(), 1, Some(status));
        let known = crate::controller::delivery::known(&object, "sha256:spec");
        assert_eq!((known.source, known.destination), (None, Some(Digest::of(b"next"))));
    }
}

#[test]
fn what_has_run_once_goes_when_its_time_is_over() {
    let spec = json!({"runPolicy": "Once", "ttlSecondsAfterFinished": 60});
    let at = |seconds: i64, spec: &Value, status: &ImagePushStatus| {
        let object = object(spec, 1, Some(status.clone()));
        let decision = decide(&object, &observed(Attempt::None), later(seconds).unwrap());
        (decision.step, decision.again)
    };
    for status in [after(&spec, &pushed(false)), after(&spec, &failed(Kind::AccessDenied))] {
        assert_eq!(at(20, &spec, &status), (Step::Wait, Some(Duration::from_secs(40))));
        assert_eq!(at(60, &spec, &status).0, Step::Delete);
        assert_eq!(at(999, &once(), &status).0, Step::Wait);
        let suspended =
            json!({"runPolicy": "Once", "ttlSecondsAfterFinished": 60, "suspend": true});
        assert_eq!(at(999, &suspended, &status).0, Step::Wait);
    }
    // Not while it is tried again, nor for an edit that nobody has looked at.
    let retrying = after(&spec, &failed(Kind::Timeout));
    assert_eq!(at(1, &spec, &retrying).0, Step::Wait);
    assert_eq!(at(999, &spec, &retrying).0, Step::Start);
    let asked = request(object(&spec, 1, Some(after(&spec, &pushed(false)))), "now");
    assert_eq!(decide(&asked, &observed(Attempt::None), later(999).unwrap()).step, Step::Start);
}

#[test]
fn what_could_not_be_done_beside_the_push_is_told_once() {
    let taken = Failure::config_map_taken("c");
    let first = object(&continuous(), 1, None);
    let ready = check(&first, &ended(&pushed(false)));
    let told = spoil(&first, ready, &taken, &observed(Attempt::None), now());
    assert_eq!(
        summary(&told.status).0,
        [
            "Ready=False/ConfigMapTaken",
            "SourceResolved=True/Resolved",
            "Stalled=True/ConfigMapTaken"
        ]
    );
    let second = object(&continuous(), 1, Some(told.status.clone()));
    let ready = decide(&second, &ended(&Outcome::Unchanged), later(600).unwrap());
    assert!(conditions::is_true(&ready.status.conditions, READY));
    assert_eq!(
        spoil(&second, ready, &taken, &observed(Attempt::None), later(600).unwrap()).status,
        told.status
    );
    // What is pushed meanwhile is recorded; the conditions say what they said.
    let outcome = newer();
    let ready = decide(&second, &ended(&outcome), later(900).unwrap());
    let spoiled =
        spoil(&second, ready, &taken, &observed(Attempt::None), later(900).unwrap()).status;
    assert_eq!(spoiled.artifact.as_ref().unwrap().digest, Digest::of(b"newer").to_string());
    assert_eq!(spoiled.last_push_time, later(900).map(Time));
    assert_eq!(spoiled.conditions, told.status.conditions);
}

/// A push of something else.
fn newer() -> Outcome {
    let Outcome::Pushed(pushed) = pushed(false) else { unreachable!() };
    Outcome::Pushed(Box::new(Pushed { digest: Digest::of(b"newer"), ..*pushed }))
}

#[test]
fn what_was_under_way_when_an_operator_ended_is_due() {
    let progress = Progress { percent: "42%".into(), blobs_total: 3, ..Progress::default() };
    for spec in [once(), continuous()] {
        let done = object(&spec, 1, Some(after(&spec, &pushed(false))));
        let shown = check(&done, &observed(Attempt::Running(Some(progress.clone())))).status;
        let mut stopping = observed(Attempt::Running(None));
        stopping.stopping = true;
        // Of a check that nobody has heard of, nothing is told.
        assert_eq!(check(&done, &stopping).status, done.status.clone().unwrap());
        let under_way = object(&spec, 1, Some(shown.clone()));
        let told = check(&under_way, &stopping).status;
        assert!(
            summary(&told).0.contains(&"Reconciling=True/ProgressingWithRetry".to_owned()),
            "{told:?}"
        );
        for status in [shown, told] {
            let found = object(&spec, 1, Some(status));
            assert!(!is_at_rest(&found, later(3600), now()));
            let mut look = observed(Attempt::None);
            look.next_check = later(3600);
            assert_eq!(check(&found, &look).step, Step::Start);
        }
        assert!(is_at_rest(&done, later(3600), now()));
    }
}

#[test]
fn what_landed_is_recorded_whatever_follows() {
    let outcome = newer();
    let Outcome::Pushed(found) = &outcome else { unreachable!() };
    let older = Failure::conflict("docker://b.example/x:1", None);
    let suspended = json!({"interval": "10m", "suspend": true});
    let before = after(&continuous(), &pushed(false));
    let here = "docker://b.example/x:1";
    let elsewhere = "docker://elsewhere.example/x:1";
    // The last column: whether the object is done by that.
    for (spec, attempt, conflict, place, ready) in [
        (&suspended, Attempt::Ended(&outcome), None, here, true),
        (&suspended, Attempt::None, None, here, false),
        (&continuous(), Attempt::None, None, elsewhere, false),
        (&continuous(), Attempt::Ended(&outcome), Some(&older), here, false),
    ] {
        let mut look = observed(attempt);
        look.push_digest = "sha256:other";
        (look.landed, look.conflict) = (Some((&**found, place)), conflict);
        let told = check(&object(spec, 2, Some(before.clone())), &look).status;
        let artifact = told.artifact.as_ref().unwrap();
        let digest = Digest::of(b"newer").to_string();
        assert_eq!(
            (&artifact.digest, artifact.reference.as_deref()),
            (&digest, Some(place)),
            "{spec}"
        );
        assert_eq!(told.last_push_time, Some(Time(now())));
        let pushes: Vec<_> = told.history.iter().map(|it| (it.digest.as_ref(), it.count)).collect();
        assert_eq!(pushes[0], (Some(&digest), 1), "once");
        assert_eq!(conditions::is_true(&told.conditions, READY), ready, "{spec} {told:?}");
    }
}

#[test]
fn an_object_that_has_run_stays_done_beside_an_older_one() {
    let older = Failure::conflict("docker://b.example/x:1", None);
    let done = after(&once(), &pushed(false));
    let asked = request(object(&once(), 1, Some(done.clone())), "now");
    let mut look = observed(Attempt::None);
    look.conflict = Some(&older);
    let decision = check(&asked, &look);
    assert_eq!((decision.step, decision.again), (Step::Wait, None));
    let handled = ImagePushStatus { last_handled_reconcile_at: Some("now".into()), ..done };
    assert_eq!(decision.status, handled);
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
