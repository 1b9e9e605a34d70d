//! What follows failures and obstacles.

use super::*;
use crate::limits::{API_DENIED_WAIT, MAX_ATTEMPTS, SECRET_POLL};

/// The decisions on attempts that end like this, one after the other, until it stalls.
pub(super) fn attempts(spec: &Value, outcome: &Outcome, most: usize) -> Vec<Decision> {
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

/// However often its pods were made to go, the push has not failed by that; it only waits longer each time.
#[test]
fn what_the_cluster_made_go_is_no_failed_attempt() {
    let Outcome::Failed(failure) = failed(Kind::Timeout) else { unreachable!() };
    let outcome = Outcome::Failed(Failure { disrupted: true, ..failure });
    let mut status = Some(after(&once(), &failed(Kind::NetworkError)));
    let mut longest = Duration::ZERO;
    for _ in 0..2 * MAX_ATTEMPTS {
        let mut look = ended(&outcome);
        look.chance = 1.0;
        let decision = check(&object(&once(), 1, status), &look);
        assert!(!conditions::is_true(&decision.status.conditions, STALLED), "{decision:?}");
        assert!(decision.again >= Some(longest), "{decision:?}");
        longest = decision.again.unwrap();
        assert_eq!(decision.status.retry.as_ref().unwrap().count, 1);
        status = Some(decision.status);
    }
    assert_eq!(longest, Duration::from_mins(15));
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

/// An account may be locked after a few more.
#[test]
fn refused_credentials_wait_for_others() {
    let refused = failed(Kind::AuthenticationFailed);
    let mut status = attempts(&continuous(), &refused, 9).pop().unwrap().status;
    status.observed_access_digest = Some(ACCESS.into());
    let stalled = object(&continuous(), 1, Some(status));
    for (access, names_secrets, step) in [
        (ACCESS, true, Step::Wait),
        ("sha256:other", true, Step::Start),
        // Nobody's account.
        (ACCESS, false, Step::Start),
    ] {
        let mut due = observed(Attempt::None);
        due.next_check = later(0);
        (due.access_digest, due.names_secrets) = (Some(access), names_secrets);
        let decision = check(&stalled, &due);
        assert_eq!(decision.step, step, "{access} {names_secrets}");
        if step == Step::Wait {
            assert_eq!(decision.again, Some(SECRET_POLL));
        }
    }
}

/// Whose clock was a day ahead holds up nobody for a day.
#[test]
fn a_retry_in_the_far_future_is_due() {
    for (spec, seconds, step) in [
        (once(), 900, Step::Wait),
        (once(), 24 * 3600, Step::Start),
        (json!({"interval": "24h"}), 24 * 3600, Step::Wait),
        (json!({"interval": "24h"}), 48 * 3600, Step::Start),
    ] {
        let mut status = after(&spec, &failed(Kind::Timeout));
        status.retry.as_mut().unwrap().next_retry_time = later(seconds).map(Time);
        let decision = check(&object(&spec, 1, Some(status)), &observed(Attempt::None));
        assert_eq!(decision.step, step, "{spec} {seconds}");
    }
}

#[test]
fn a_permission_that_is_missing_is_not_asked_for_each_minute() {
    let forbidden = Failure::forbidden("secret", "s", "secrets", "no");
    let mut look = observed(Attempt::None);
    (look.obstacle, look.access_digest, look.names_secrets) = (Some(&forbidden), None, true);
    let decision = check(&object(&once(), 1, None), &look);
    assert_eq!(
        summary(&decision.status).0,
        ["Ready=False/AccessDenied", "Stalled=True/AccessDenied"]
    );
    assert_eq!((decision.step, decision.again), (Step::Wait, Some(API_DENIED_WAIT)));
}

/// The cluster's name server may know it in a minute.
#[test]
fn a_name_that_nobody_knows_is_looked_up_again() {
    let unknown = Error::new(Kind::NetworkError, "there is no host `r`").permanent();
    let unknown = Outcome::Failed(Failure::from(&unknown));
    let decision = check(&object(&once(), 1, None), &ended(&unknown));
    let retrying = ["Ready=False/NetworkError", "Reconciling=True/ProgressingWithRetry"];
    assert_eq!(summary(&decision.status).0, retrying);
}

/// What an attempt waits for doesn't hide that it comes after a failure, nor the failure once the wait is over.
#[test]
fn waiting_after_a_failure_is_still_trying_again() {
    let (failure, under_way) = ("it broke", "the push is under way");
    let cases = [
        (None, "Progressing", under_way),
        (Some(after(&once(), &failed(Kind::Timeout))), "ProgressingWithRetry", failure),
    ];
    for (status, reason, otherwise) in cases {
        let new = check(&object(&once(), 1, None), &observed(Attempt::None)).status;
        let mut status = status.unwrap_or(new);
        for (waits_for, message) in
            [(None, otherwise), (Some("a place"), "a place"), (None, otherwise), (None, otherwise)]
        {
            let mut look = observed(Attempt::Running(None));
            look.waits_for = waits_for.map(str::to_owned);
            status = check(&object(&once(), 1, Some(status)), &look).status;
            let told = conditions::find(&status.conditions, RECONCILING).unwrap();
            assert_eq!(told.reason, reason, "{waits_for:?}");
            assert!(told.message.contains(message), "{waits_for:?}: {}", told.message);
        }
    }
}
