//! When an object that runs once is deleted by itself: some time after it is done, or can't be done.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Decision, Step, due_in, sooner};
use crate::api::conditions::{self, READY, STALLED};
use crate::api::v1alpha1::{ImagePush, RunPolicy};

/// Adds to a decision what `ttlSecondsAfterFinished` asks for.
pub(super) fn expire(object: &ImagePush, mut decision: Decision, now: Timestamp) -> Decision {
    let once = object.spec.run_policy == RunPolicy::Once;
    let waits = decision.step == Step::Wait && decision.again != Some(Duration::ZERO);
    let Some(seconds) = object.spec.ttl_seconds_after_finished.filter(|_| once && waits) else {
        return decision;
    };
    let Some(finished) = finished(object, &decision) else { return decision };
    let Ok(at) = finished.checked_add(SignedDuration::from_secs(seconds.into())) else {
        return decision;
    };
    match due_in(Some(at), now) {
        None => decision.step = Step::Delete,
        Some(wait) => decision.again = sooner(decision.again, Some(wait)),
    }
    decision
}

/// When the object came to an end for its present generation.
fn finished(object: &ImagePush, decision: &Decision) -> Option<Timestamp> {
    let conditions = &decision.status.conditions;
    let ended = [READY, STALLED].into_iter().find(|kind| conditions::is_true(conditions, kind))?;
    let condition = conditions::find(conditions, ended)?;
    let current = condition.observed_generation == object.metadata.generation;
    current.then_some(condition.last_transition_time.0)
}
