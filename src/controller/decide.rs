//! Decides what an object's status should say and what is to be done. Pure: object, observation and time in,
//! status and step out.
//!
//! `Reconciling` and `Stalled` are never both there. `Ready` is True only with `observedGeneration` equal to the
//! object's generation. Attempts that fail for a reason that may pass are repeated at growing distances, which status
//! keeps; what fails for good stalls until the spec or a Secret changes, and where the object is `Continuous`, is looked
//! at again after each interval. A look that finds nothing new leaves the status as it was.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::failure::Failure;
use super::status::{self, Draft};
use crate::api::conditions::{self, READY, STALLED};
use crate::api::v1alpha1::{ImagePush, ImagePushStatus, Mode, Progress, RetryStatus, RunPolicy};
use crate::engine::{Preview, Pushed};
use crate::error::Class;
use crate::limits::{ATTEMPT_DELAY, SECRET_POLL};

/// What is known besides the object.
#[derive(Clone, Debug)]
pub(crate) struct Observed<'a> {
    /// The attempt that this process made or makes.
    pub(crate) attempt: Attempt<'a>,
    /// Why no attempt can be made: Secrets or options are not as they should be.
    pub(crate) obstacle: Option<&'a Failure>,
    /// Whether the Secrets are as they were at the last attempt; `None` if this process has made none.
    pub(crate) same_access: Option<bool>,
    /// When a `Continuous` object is to be looked at again, if this process has looked at it.
    pub(crate) next_check: Option<Timestamp>,
    /// Whether the object names Secrets, so that one may change.
    pub(crate) names_secrets: bool,
    /// Digest of the fields that decide what is pushed.
    pub(crate) spec_digest: &'a str,
    /// From 0 to 1, drawn for this decision.
    pub(crate) chance: f64,
}

/// The attempt that this process made or makes.
#[derive(Clone, Debug)]
pub(crate) enum Attempt<'a> {
    /// There is none.
    None,
    /// It is for this generation.
    Running(Option<Progress>),
    /// It is for a spec that is no more.
    Outdated,
    /// It is for this generation, and has ended since the last decision.
    Ended(&'a Outcome),
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The destination holds the image.
    Pushed(Box<Pushed>),
    /// It is known what a push would do.
    Previewed(Box<Preview>),
    /// It failed.
    Failed(Failure),
    /// We called it off.
    Cancelled,
}

/// What follows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decision {
    /// The status to be.
    pub(crate) status: ImagePushStatus,
    /// What to do once status says so.
    pub(crate) step: Step,
    /// When to decide again, unless something happens before.
    pub(crate) again: Option<Duration>,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing.
    Wait,
    /// Start an attempt.
    Start,
    /// Call the running attempt off; its end comes back here.
    Cancel,
}

/// Decides.
pub(crate) fn decide(object: &ImagePush, observed: &Observed<'_>, now: Timestamp) -> Decision {
    let mut draft = Draft::new(object, now);
    if object.spec.suspend {
        return suspend(draft, observed);
    }
    match &observed.attempt {
        Attempt::Outdated => {
            draft.start_over();
            draft.done(Step::Cancel, None)
        }
        Attempt::Running(progress) => {
            draft.progress(progress.clone());
            draft.done(Step::Wait, None)
        }
        Attempt::Ended(Outcome::Pushed(pushed)) => {
            draft.pushed(object, pushed, observed.spec_digest);
            draft.done(Step::Wait, until(observed.next_check, now))
        }
        Attempt::Ended(Outcome::Previewed(preview)) => {
            draft.previewed(object, preview, observed.spec_digest);
            draft.done(Step::Wait, until(observed.next_check, now))
        }
        Attempt::Ended(Outcome::Failed(failure)) => fail(draft, failure, observed),
        Attempt::Ended(Outcome::Cancelled) | Attempt::None => idle(object, draft, observed),
    }
}

/// When the next look at a `Continuous` object is due: its interval, a tenth more or less.
pub(crate) fn check_after(interval: Duration, chance: f64) -> Duration {
    interval.mul_f64(0.9 + 0.2 * chance)
}

/// The push stops. An object that is done, or can't be done, stays so unless an edit changed what is to be pushed.
fn suspend(mut draft: Draft, observed: &Observed<'_>) -> Decision {
    let settled = draft.is_true(READY) || draft.is_true(STALLED);
    let unchanged = draft.is_seen()
        || draft.status.observed_spec_digest.as_deref() == Some(observed.spec_digest);
    if settled && unchanged {
        draft.carry_over();
    } else {
        draft.suspended();
    }
    let running = matches!(observed.attempt, Attempt::Running(_) | Attempt::Outdated);
    draft.done(if running { Step::Cancel } else { Step::Wait }, None)
}

/// No attempt is under way: is one due?
fn idle(object: &ImagePush, mut draft: Draft, observed: &Observed<'_>) -> Decision {
    let wait = due_in(observed.next_check, draft.now);
    let once = object.spec.run_policy == RunPolicy::Once;
    // Done and not due: what has become of Secrets meanwhile changes nothing about that.
    if draft.is_seen() && draft.is_true(READY) && (once || wait.is_some()) {
        return draft.done(Step::Wait, wait);
    }
    if let Some(failure) = observed.obstacle {
        return obstructed(draft, failure, observed);
    }
    if !draft.is_seen() {
        draft.start_over();
        return draft.done(Step::Start, None);
    }
    if draft.is_true(STALLED) {
        if observed.same_access == Some(true) {
            let due = !once && wait.is_none();
            let again = sooner(wait, observed.names_secrets.then_some(SECRET_POLL));
            return draft.done(if due { Step::Start } else { Step::Wait }, again);
        }
        draft.start_over();
        return draft.done(Step::Start, None);
    }
    if draft.is_true(READY) {
        return draft.done(Step::Start, None);
    }
    let next = draft.status.retry.as_ref().and_then(|retry| retry.next_retry_time.as_ref());
    let gate = due_in(next.map(|time| time.0), draft.now);
    match gate {
        Some(wait) if observed.same_access != Some(false) => draft.done(Step::Wait, Some(wait)),
        _ => {
            if draft.status.retry.is_none() {
                draft.start_over();
            }
            draft.done(Step::Start, None)
        }
    }
}

/// An attempt failed.
fn fail(mut draft: Draft, failure: &Failure, observed: &Observed<'_>) -> Decision {
    if failure.class == Class::Permanent {
        return stall(draft, failure, observed);
    }
    let count = draft.status.retry.as_ref().map_or(0, |retry| retry.count).saturating_add(1);
    // The registry may ask for more patience than we have by ourselves, within our own bound, but not for less.
    let asked = failure.retry_after.unwrap_or_default().min(ATTEMPT_DELAY.1);
    let wait = backoff(count, observed.chance).max(asked);
    let next =
        SignedDuration::try_from(wait).ok().and_then(|wait| draft.now.checked_add(wait).ok());
    draft.status.retry = Some(RetryStatus {
        count,
        next_retry_time: next.map(Time),
        last_failure_reason: Some(failure.reason.to_owned()),
    });
    draft.retrying(failure);
    draft.done(Step::Wait, Some(wait))
}

/// An attempt can't even start. This is not counted: it is found out anew at each look, at no cost to anybody.
fn obstructed(mut draft: Draft, failure: &Failure, observed: &Observed<'_>) -> Decision {
    if failure.class == Class::Permanent {
        return stall(draft, failure, observed);
    }
    draft.retrying(failure);
    draft.done(Step::Wait, Some(SECRET_POLL))
}

/// It takes somebody else to go on.
fn stall(mut draft: Draft, failure: &Failure, observed: &Observed<'_>) -> Decision {
    draft.stalled(failure);
    let wait = due_in(observed.next_check, draft.now);
    draft.done(Step::Wait, sooner(wait, observed.names_secrets.then_some(SECRET_POLL)))
}

/// The wait before the next attempt after so many failed ones: any time up to a bound that doubles.
fn backoff(count: i32, chance: f64) -> Duration {
    let (first, longest) = ATTEMPT_DELAY;
    let doublings = u32::try_from(count.saturating_sub(1)).unwrap_or(0).min(16);
    let bound = first.saturating_mul(1 << doublings).min(longest);
    // Never at once: a registry in trouble gets a second of rest.
    bound.mul_f64(chance).max(Duration::from_secs(1))
}

fn until(time: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    time.map(|time| Duration::try_from(time.duration_since(now)).unwrap_or(Duration::ZERO))
}

/// The time to wait, if it is not over.
fn due_in(time: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    until(time, now).filter(|wait| !wait.is_zero())
}

fn sooner(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(other).min()
}

// === impl Draft ===

impl Draft {
    fn done(self, step: Step, again: Option<Duration>) -> Decision {
        Decision { status: self.status, step, again }
    }

    fn is_true(&self, kind: &str) -> bool {
        conditions::is_true(&self.status.conditions, kind)
    }
}

/// Digest of the fields of a spec that decide what is pushed; the others decide when, and how it is reached.
pub(crate) fn spec_digest(object: &ImagePush) -> String {
    let spec = &object.spec;
    let fields = serde_json::json!([
        spec.source.reference,
        spec.destination.reference,
        spec.mode == Mode::DryRun,
        spec.platforms,
        spec.format,
        spec.compression,
    ]);
    status::digest_of(&fields)
}

#[cfg(test)]
mod tests;
