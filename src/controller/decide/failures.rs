//! What follows a failure.
//!
//! Attempts that fail for a reason that may pass are repeated at growing distances, which status keeps, so that they
//! survive a restart. What runs once is given up at last; what is `Continuous` falls back to its interval. What fails for
//! good stalls until the spec, a Secret or an annotation changes.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    Attempt, Decision, Observed, Outcome, Step, check_after, due_in, requests, sooner, until,
};
use crate::api::conditions::{self, STALLED};
use crate::api::reasons::{self, Follows};
use crate::api::v1alpha1::{ImagePush, ImagePushStatus, RetryStatus, RunPolicy};
use crate::controller::failure::Failure;
use crate::controller::status::Draft;
use crate::controller::validate;
use crate::error::{Class, Kind};
use crate::limits::{ATTEMPT_DELAY, MAX_ATTEMPTS, MAX_REFUSALS, SECRET_POLL};

/// An attempt failed.
pub(super) fn fail(
    object: &ImagePush,
    mut draft: Draft,
    failure: &Failure,
    observed: &Observed<'_>,
) -> Decision {
    let once = object.spec.run_policy == RunPolicy::Once;
    let retry = counted(draft.status.retry.as_ref(), failure);
    if !may_pass(failure, &retry, once) || is_stalled_for(&draft, failure) {
        if !is_stalled_for(&draft, failure) {
            draft.remember(failure.reason, None);
        }
        return stall(draft, failure, observed);
    }
    draft.remember(failure.reason, None);
    let exhausted = retry.count >= MAX_ATTEMPTS;
    if exhausted && once {
        return stall(draft, &failure.exhausted(retry.count), observed);
    }
    // The registry may ask for more patience than we have by ourselves, within our own bound, but not for less.
    let asked = failure.retry_after.unwrap_or_default().min(ATTEMPT_DELAY.1);
    let interval = until(observed.next_check, draft.now).filter(|_| exhausted).unwrap_or_default();
    let row = retry.count.max(retry.consecutive.unwrap_or(0));
    let wait = backoff(row, observed.chance).max(asked).max(interval);
    let next =
        SignedDuration::try_from(wait).ok().and_then(|wait| draft.now.checked_add(wait).ok());
    draft.status.retry = Some(RetryStatus { next_retry_time: next.map(Time), ..retry });
    draft.retrying(failure);
    draft.done(Step::Wait, Some(wait))
}

/// An attempt can't even start. This is not counted: it is found out anew at each look, at no cost to anybody.
pub(super) fn obstructed(mut draft: Draft, failure: &Failure, observed: &Observed<'_>) -> Decision {
    if failure.class == Class::Permanent {
        // Once it is out of the way, an attempt is due, whatever the Secrets were at the last one.
        draft.status.observed_access_digest = None;
        return stall(draft, failure, observed);
    }
    draft.retrying(failure);
    draft.done(Step::Wait, Some(secret_poll(observed)))
}

/// Another object pushes to the same place. Its end wakes this one.
///
/// One that has run and is done stays so, though somebody asks it to look again: it claims nothing any more.
pub(super) fn give_way(
    object: &ImagePush,
    mut draft: Draft,
    failure: &Failure,
    observed: &Observed<'_>,
) -> Decision {
    draft.rest();
    // The look that somebody asked for was this one.
    let handled = draft.status.last_handled_reconcile_at.take();
    draft.status.last_handled_reconcile_at = requests::pending(object).or(handled);
    if object.spec.run_policy != RunPolicy::Once || !draft.is_done() {
        draft.status.observed_access_digest = None;
        draft.stalled(failure);
    }
    let running = matches!(observed.attempt, Attempt::Running(_) | Attempt::Outdated);
    draft.done(if running { Step::Cancel } else { Step::Wait }, None)
}

/// It takes somebody else to go on.
fn stall(mut draft: Draft, failure: &Failure, observed: &Observed<'_>) -> Decision {
    draft.stalled(failure);
    let wait = due_in(observed.next_check, draft.now);
    // Where the API server refuses, nothing is gained by asking it each minute.
    let poll = failure.retry_after.unwrap_or_default().max(secret_poll(observed));
    draft.done(Step::Wait, sooner(wait, observed.names_secrets.then_some(poll)))
}

/// Until the Secrets are looked at again: not those of all objects at the same time.
pub(super) fn secret_poll(observed: &Observed<'_>) -> Duration {
    check_after(SECRET_POLL, observed.chance)
}

/// The failed attempts with this one. One that was disrupted lets the next one wait longer, and counts for nothing else.
fn counted(before: Option<&RetryStatus>, failure: &Failure) -> RetryStatus {
    let (count, row) = before.map_or((0, 0), |retry| {
        let alike = retry.last_failure_reason.as_deref() == Some(failure.reason);
        (retry.count, if alike { retry.consecutive.unwrap_or(retry.count) } else { 0 })
    });
    RetryStatus {
        count: count.saturating_add(i32::from(!failure.disrupted)),
        consecutive: Some(row.saturating_add(1)),
        next_retry_time: None,
        last_failure_reason: Some(failure.reason.to_owned()),
    }
}

/// Whether another attempt may succeed without anybody's doing.
fn may_pass(failure: &Failure, retry: &RetryStatus, once: bool) -> bool {
    // A name that nobody knows now may be made, and a push by hand is the only one that can't wait for it.
    if failure.class == Class::Transient || failure.reason == Kind::NetworkError.as_str() {
        return true;
    }
    if failure.reason == Kind::AuthenticationFailed.as_str() {
        return retry.consecutive.unwrap_or(0) < MAX_REFUSALS;
    }
    let follows = reasons::find(failure.reason).map(|reason| reason.follows);
    !once && follows == Some(Follows::RetryIfContinuous)
}

/// Whether nothing was pushed between the two.
fn is_about_the_same(before: &ImagePushStatus, after: &ImagePushStatus) -> bool {
    before.artifact == after.artifact
        && before.source == after.source
        && before.last_push_time == after.last_push_time
}

/// What was looked at again after it had stalled, and fails in the same way, has not become better.
fn is_stalled_for(draft: &Draft, failure: &Failure) -> bool {
    let stalled = conditions::find(&draft.status.conditions, STALLED);
    stalled.is_some_and(|stalled| stalled.reason == failure.reason)
}

/// No failure is waited out for longer.
pub(super) fn longest_wait(object: &ImagePush) -> Duration {
    let interval = object.spec.interval.as_deref().and_then(|text| validate::duration(text).ok());
    let interval = interval.map_or(Duration::ZERO, |interval| check_after(interval, 1.0));
    // A moment more, since status has whole seconds.
    ATTEMPT_DELAY.1.max(interval).saturating_add(Duration::from_secs(1))
}

/// The wait before the next attempt after so many failed ones: any time up to a bound that doubles.
fn backoff(count: i32, chance: f64) -> Duration {
    let (first, longest) = ATTEMPT_DELAY;
    let doublings = u32::try_from(count.saturating_sub(1)).unwrap_or(0).min(16);
    let bound = first.saturating_mul(1 << doublings).min(longest);
    // Never at once: a registry in trouble gets a second of rest.
    bound.mul_f64(chance).max(Duration::from_secs(1))
}

/// The image is where it should be, but something beside it could not be done: the decision is to say so.
pub(crate) fn spoil(
    object: &ImagePush,
    mut decision: Decision,
    failure: &Failure,
    observed: &Observed<'_>,
    now: Timestamp,
) -> Decision {
    let before = Draft::new(object, now);
    if failure.class == Class::Transient {
        let told = ImagePush { status: Some(decision.status), ..object.clone() };
        let mut draft = Draft::new(&told, now);
        let outcome = match &observed.attempt {
            Attempt::Ended(outcome) => outcome,
            Attempt::None | Attempt::Running(_) | Attempt::Outdated => &Outcome::Unchanged,
        };
        draft.take_back(&before.status, outcome);
        return fail(object, draft, failure, observed);
    }
    if before.is_seen() && is_stalled_for(&before, failure) {
        // Passing through `Ready` must not look like a transition; what was pushed is told nevertheless.
        if is_about_the_same(&before.status, &decision.status) {
            decision.status = before.status;
        } else {
            decision.status.conditions = before.status.conditions;
        }
        return decision;
    }
    let told = ImagePush { status: Some(decision.status), ..object.clone() };
    let mut draft = Draft::new(&told, now);
    draft.pass_over(&before.status);
    draft.stalled(failure);
    Decision { status: draft.status, ..decision }
}
