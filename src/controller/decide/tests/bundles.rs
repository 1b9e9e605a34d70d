//! What follows when the image is where it belongs and its bundle is not applied.

use super::*;
use crate::apply::Report;
use crate::controller::resources::{Finding, Ran};

fn applying() -> Value {
    let apply = json!({"serviceAccountName": "deployer"});
    json!({"interval": "10m", "customResources": {"policy": "Always", "apply": apply}})
}

fn ran(failure: Option<Kind>) -> Finding {
    let failure = failure.map(|kind| Failure::from(&Error::new(kind, "because")));
    let (report, is_preview, again) = (Report::default(), false, false);
    Finding::Ran(Box::new(Ran { of: None, report, failure, is_preview, again }))
}

/// Attempts that push, find the image there from then on, and come to this with its bundle.
fn statuses(failures: &[Option<Kind>]) -> Vec<ImagePushStatus> {
    let mut status = None;
    let mut statuses: Vec<ImagePushStatus> = vec![];
    for failure in failures {
        let (outcome, found) = (pushed(status.is_some()), ran(*failure));
        let look = Observed { bundle: Some(&found), ..ended(&outcome) };
        let decision = check(&object(&applying(), 1, status), &look);
        status = Some(decision.status.clone());
        statuses.push(decision.status);
    }
    statuses
}

#[test]
fn a_bundle_that_is_refused_stalls_and_the_image_is_told() {
    let refused = Some(Kind::CustomResourcesForbidden);
    let found = statuses(&[refused, refused, None]);
    let (conditions, generation) = summary(&found[0]);
    assert_eq!(generation, Some(1));
    assert_eq!(
        conditions,
        [
            "CustomResourcesApplied=False/Forbidden",
            "Ready=False/CustomResourcesForbidden",
            "SourceResolved=True/Resolved",
            "Stalled=True/CustomResourcesForbidden",
        ]
    );
    assert!(found[0].artifact.is_some() && found[0].last_push_time.is_some());
    // The same again says nothing new.
    assert_eq!(found[1], found[0]);
    let (conditions, _) = summary(&found[2]);
    assert_eq!(
        conditions,
        [
            "CustomResourcesApplied=True/Unchanged",
            "Ready=True/AlreadyPresent",
            "SourceResolved=True/Resolved",
        ]
    );
}

#[test]
fn a_bundle_that_has_to_wait_is_tried_again_ever_later() {
    let waits = Some(Kind::CustomResourcesPending);
    let found = statuses(&[waits, waits, waits]);
    let counts: Vec<i32> = found.iter().map(|it| it.retry.as_ref().unwrap().count).collect();
    assert_eq!(counts, [1, 2, 3]);
    let since = |status: &ImagePushStatus| {
        let ready = conditions::find(&status.conditions, READY).unwrap();
        (ready.reason.clone(), ready.last_transition_time.clone())
    };
    // Ready has not been true in between.
    assert_eq!(since(&found[2]), since(&found[0]));
    let results: Vec<&str> = found[2].history.iter().map(|it| it.result.as_str()).collect();
    assert_eq!(results, ["CustomResourcesPending", "PushSucceeded"]);
}

/// What was read, and carries a bundle that isn't sound, is a source that could be read.
#[test]
fn an_unsound_bundle_is_no_fault_of_the_source() {
    for (kind, resolved, stalls) in [
        (Kind::CustomResourcesInvalid, "SourceResolved=True/Resolved", true),
        // It may be attached a moment later.
        (Kind::CustomResourcesNotFound, "SourceResolved=True/Resolved", false),
        (Kind::InvalidImage, "SourceResolved=False/InvalidImage", true),
    ] {
        let error = Error::new(kind, "because").on(Side::Source);
        let outcome = Outcome::Failed(Failure::from(&error));
        let told = check(&object(&applying(), 1, None), &ended(&outcome)).status;
        assert!(summary(&told).0.contains(&resolved.to_owned()), "{told:?}");
        assert_eq!(conditions::is_true(&told.conditions, STALLED), stalls, "{told:?}");
    }
}

/// Suspended in the moment in which the attempt ends.
#[test]
fn a_bundle_that_was_not_applied_leaves_nothing_done() {
    let mut spec = applying();
    spec["suspend"] = json!(true);
    let outcome = pushed(false);
    let started = check(&object(&applying(), 1, None), &observed(Attempt::None)).status;
    for (failure, ready) in [
        (None, "Ready=True/PushSucceeded"),
        (Some(Kind::CustomResourcesConflict), "Ready=Unknown/Suspended"),
    ] {
        let found = ran(failure);
        let look = Observed { bundle: Some(&found), ..ended(&outcome) };
        let told = check(&object(&spec, 2, Some(started.clone())), &look).status;
        assert!(summary(&told).0.contains(&ready.to_owned()), "{told:?}");
        assert!(told.artifact.is_some());
    }
}

/// What was pushed before it was called off is known, whatever follows: it may have to be taken away.
#[test]
fn what_was_pushed_is_recorded_though_the_bundle_was_called_off() {
    let outcome = pushed(false);
    let Outcome::Pushed(landed) = &outcome else { unreachable!() };
    for suspended in [false, true] {
        let mut spec = applying();
        spec["suspend"] = json!(suspended);
        let mut look = ended(&Outcome::Cancelled);
        look.landed = Some((&**landed, "docker://b.example/x:1"));
        let told = check(&object(&spec, 1, None), &look).status;
        let artifact = told.artifact.expect("it is there");
        assert_eq!(artifact.digest, landed.digest.to_string());
    }
}
