//! Decides what an object's status should say and what is to be done. Pure: object, observation and time in,
//! status and step out.
//!
//! `Reconciling` and `Stalled` are never both there. `Ready` is True only with `observedGeneration` equal to the
//! object's generation. What follows a failure is in `failures`. A look that finds nothing new leaves the status as it was.

mod expiry;
mod failures;

use std::time::Duration;

use jiff::Timestamp;

pub(crate) use self::failures::spoil;
use super::failure::Failure;
use super::requests;
use super::resources::Finding;
use super::status::Draft;
use crate::api::conditions::{self, READY, RECONCILING, STALLED};
use crate::api::v1alpha1::{ImagePush, ImagePushStatus, Preview, Progress, RunPolicy};
use crate::engine::{Beside, Pushed, SourceImage};
use crate::error::Kind;
use crate::image::Descriptor;

/// What is known besides the object.
#[derive(Clone, Debug)]
pub(crate) struct Observed<'a> {
    /// The attempt that this process made or makes.
    pub(crate) attempt: Attempt<'a>,
    /// What became of the image's bundle after the attempt that has ended.
    pub(crate) bundle: Option<&'a Finding>,
    /// What an attempt that has ended put where, whether or not the spec asks for that still.
    pub(crate) landed: Option<(&'a Pushed, &'a str)>,
    /// What one that failed or was called off had given which name by then.
    pub(crate) named: Option<(Descriptor, &'a str)>,
    /// Why this object may not push: the name is another's.
    pub(crate) conflict: Option<&'a Failure>,
    /// Why no attempt can be made: Secrets or options are not as they should be.
    pub(crate) obstacle: Option<&'a Failure>,
    /// When a `Continuous` object is to be looked at again, if this process has looked at it.
    pub(crate) next_check: Option<Timestamp>,
    /// Whether the object names Secrets, so that one may change.
    pub(crate) names_secrets: bool,
    /// Digest of the fields that decide what is pushed.
    pub(crate) push_digest: &'a str,
    /// Digest of how the sides are reached; `None` where that was not found out.
    pub(crate) access_digest: Option<&'a str>,
    /// How long the attempt took that has ended.
    pub(crate) took: Option<Duration>,
    /// From 0 to 1, drawn for this decision.
    pub(crate) chance: f64,
    /// Whether the operator is about to end, which is why an attempt was called off.
    pub(crate) stopping: bool,
    /// What the attempt waits for before it can do anything.
    pub(crate) waits_for: Option<String>,
    /// Whether the attempt is made by a Job, which goes on when the operator ends.
    pub(crate) in_job: bool,
}

/// The attempt that this process made or makes.
#[derive(Clone, Debug)]
pub(crate) enum Attempt<'a> {
    /// There is none.
    None,
    /// It is for what the spec asks for.
    Running(Option<Progress>),
    /// It is for a spec that is no more.
    Outdated,
    /// It is for what the spec asks for, and has ended since the last decision.
    Ended(&'a Outcome),
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The destination holds the image.
    Pushed(Box<Pushed>),
    /// Nothing has changed at either end since the last success.
    Unchanged,
    /// It is known what a push would do.
    Previewed(Box<Previewed>),
    /// It failed.
    Failed(Failure),
    /// We called it off.
    Cancelled,
}

/// What a push would do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Previewed {
    /// What the source's reference names.
    pub(crate) source: SourceImage,
    /// As status tells it.
    pub(crate) preview: Preview,
    /// What would be done about what goes beside the image.
    pub(crate) beside: Option<Beside>,
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
    /// Delete the object.
    Delete,
}

/// Decides.
pub(crate) fn decide(object: &ImagePush, observed: &Observed<'_>, now: Timestamp) -> Decision {
    let mut draft = Draft::new(object, now);
    draft.took = observed.took;
    let told_below = matches!(observed.attempt, Attempt::Ended(Outcome::Pushed(_)))
        && observed.conflict.is_none();
    if let Some((pushed, reference)) = observed.landed.filter(|_| !told_below) {
        draft.landed(pushed, reference);
    }
    if let Some((manifest, reference)) = &observed.named {
        draft.named(manifest, reference);
    }
    if object.spec.suspend {
        if let Attempt::Ended(outcome @ Outcome::Pushed(pushed)) = &observed.attempt {
            let before = draft.status.clone();
            draft.pushed(object, pushed, observed.push_digest);
            if draft.applied(object, observed.bundle).is_some() {
                draft.take_back(&before, outcome);
            }
        }
        return suspend(draft, observed);
    }
    if let Some(failure) = observed.conflict {
        let given_way = failures::give_way(object, draft, failure, observed);
        return expiry::expire(object, given_way, now);
    }
    expiry::expire(object, advance(object, draft, observed), now)
}

/// The object is not suspended, and may push.
fn advance(object: &ImagePush, mut draft: Draft, observed: &Observed<'_>) -> Decision {
    let outcome = match &observed.attempt {
        Attempt::Outdated => {
            draft.start_over();
            return draft.done(Step::Cancel, None);
        }
        Attempt::Running(_) if observed.stopping && observed.in_job => {
            draft.carry_over();
            return draft.done(Step::Wait, None);
        }
        Attempt::Running(_) | Attempt::Ended(Outcome::Cancelled) if observed.stopping => {
            draft.interrupted();
            return draft.done(Step::Wait, None);
        }
        Attempt::Running(progress) => {
            draft.carry_over();
            draft.progress(progress.clone().filter(|_| !object.spec.quiet));
            draft.waits(observed.waits_for.as_deref());
            return draft.done(Step::Wait, None);
        }
        Attempt::Ended(Outcome::Cancelled) | Attempt::None => {
            return idle(object, draft, observed);
        }
        Attempt::Ended(outcome) => *outcome,
    };
    let decision = ended(object, draft, outcome, observed);
    match requests::pending(object) {
        // It was asked for while the attempt ran, which may have read what was there before.
        Some(_) => Decision { again: Some(Duration::ZERO), ..decision },
        None => decision,
    }
}

/// Whether an object is done and nothing is due, so that it doesn't matter how its sides are reached.
pub(crate) fn is_at_rest(
    object: &ImagePush,
    next_check: Option<Timestamp>,
    now: Timestamp,
) -> bool {
    let draft = Draft::new(object, now);
    let waits = object.spec.run_policy == RunPolicy::Once || due_in(next_check, now).is_some();
    draft.is_done() && !draft.is_owed() && requests::pending(object).is_none() && waits
}

/// When the next look at a `Continuous` object is due: its interval, a tenth more or less.
pub(crate) fn check_after(interval: Duration, chance: f64) -> Duration {
    interval.mul_f64(0.9 + 0.2 * chance)
}

/// The push stops. An object that is done, or can't be done, stays so unless an edit changed what is to be pushed.
fn suspend(mut draft: Draft, observed: &Observed<'_>) -> Decision {
    let settled = draft.is_true(READY) || draft.is_true(STALLED);
    if settled && (draft.is_seen() || draft.is_about(observed.push_digest)) {
        draft.rest();
        draft.carry_over();
    } else {
        draft.suspended();
    }
    let running = matches!(observed.attempt, Attempt::Running(_) | Attempt::Outdated);
    draft.done(if running { Step::Cancel } else { Step::Wait }, None)
}

/// An attempt for what the spec asks for has ended.
fn ended(
    object: &ImagePush,
    mut draft: Draft,
    outcome: &Outcome,
    observed: &Observed<'_>,
) -> Decision {
    let before = draft.status.clone();
    match outcome {
        Outcome::Pushed(pushed) => draft.pushed(object, pushed, observed.push_digest),
        Outcome::Unchanged => draft.unchanged(object, observed.push_digest),
        Outcome::Previewed(preview) => draft.previewed(object, preview, observed.push_digest),
        Outcome::Failed(failure) => return failures::fail(object, draft, failure, observed),
        Outcome::Cancelled => {}
    }
    if let Some(failure) = draft.applied(object, observed.bundle) {
        draft.take_back(&before, outcome);
        return failures::fail(object, draft, &failure, observed);
    }
    let again = until(observed.next_check, draft.now);
    draft.done(Step::Wait, again)
}

/// No attempt is under way: is one due?
fn idle(object: &ImagePush, mut draft: Draft, observed: &Observed<'_>) -> Decision {
    let wait = due_in(observed.next_check, draft.now);
    let once = object.spec.run_policy == RunPolicy::Once;
    let request = requests::pending(object);
    let same_access = draft.same_access(observed.access_digest);
    if draft.is_true(READY) && !draft.is_seen() && draft.is_about(observed.push_digest) {
        match same_access {
            Some(false) => {}
            // An edit of how the sides are reached would look like this, too: first it has to be found out.
            None if observed.obstacle.is_none() => {
                return draft.done(Step::Wait, Some(Duration::ZERO));
            }
            // An edit of when to push, and not of what or how.
            None | Some(true) => draft.carry_over(),
        }
    }
    let done = draft.is_done();
    // Done and not due: what has become of Secrets meanwhile changes nothing about that.
    if done && !draft.is_owed() && request.is_none() && (once || wait.is_some()) {
        return draft.done(Step::Wait, wait);
    }
    let asked = request.is_some();
    if asked {
        draft.status.last_handled_reconcile_at = request;
    }
    if let Some(failure) = observed.obstacle {
        return failures::obstructed(draft, failure, observed);
    }
    if done {
        return start(draft, observed);
    }
    if asked || !draft.is_seen() {
        return start_over(draft, observed);
    }
    if draft.is_true(STALLED) {
        return stalled(draft, observed, wait, once);
    }
    let next = draft.status.retry.as_ref().and_then(|retry| retry.next_retry_time.as_ref());
    let wait = due_in(next.map(|time| time.0), draft.now);
    // A longer one was written by a clock that was wrong.
    match wait.filter(|wait| *wait <= failures::longest_wait(object)) {
        Some(wait) if same_access != Some(false) => draft.done(Step::Wait, Some(wait)),
        _ if draft.status.retry.is_none() || same_access == Some(false) => {
            start_over(draft, observed)
        }
        _ => start(draft, observed),
    }
}

/// It takes a change to go on; what is `Continuous` is looked at again after its interval, quietly.
fn stalled(draft: Draft, observed: &Observed<'_>, wait: Option<Duration>, once: bool) -> Decision {
    if draft.same_access(observed.access_digest) == Some(false) {
        return start_over(draft, observed);
    }
    // Each further refusal brings the account closer to being locked.
    let refused = conditions::find(&draft.status.conditions, STALLED)
        .is_some_and(|stalled| stalled.reason == Kind::AuthenticationFailed.as_str());
    if !once && wait.is_none() && !(refused && observed.names_secrets) {
        return start(draft, observed);
    }
    let poll = observed.names_secrets.then(|| failures::secret_poll(observed));
    draft.done(Step::Wait, sooner(wait, poll))
}

/// An attempt begins as if nothing had been before.
fn start_over(mut draft: Draft, observed: &Observed<'_>) -> Decision {
    draft.start_over();
    start(draft, observed)
}

/// An attempt begins, and what is known stays until it has ended.
fn start(mut draft: Draft, observed: &Observed<'_>) -> Decision {
    draft.status.observed_access_digest = observed.access_digest.map(str::to_owned);
    draft.done(Step::Start, None)
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

    /// Whether the destination holds what the spec asks for, as far as is known.
    fn is_done(&self) -> bool {
        self.is_true(READY) && self.is_seen()
    }

    /// Whether an attempt is called under way. If there is none, an operator has ended in the middle of it.
    fn is_owed(&self) -> bool {
        self.is_true(RECONCILING)
    }

    /// Whether the last success was a push of the same.
    fn is_about(&self, push_digest: &str) -> bool {
        self.status.observed_spec_digest.as_deref() == Some(push_digest)
    }

    /// Whether the sides are reached as at the last attempt; `None` where that was not found out.
    fn same_access(&self, now: Option<&str>) -> Option<bool> {
        now.map(|now| self.status.observed_access_digest.as_deref() == Some(now))
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
pub(super) mod tests;
