//! One look at an object: resolve, validate, decide, write, act.
//!
//! It may be cut off at any await: status is written before an attempt starts, and an outcome is forgotten only after it was
//! written. A look that fails is repeated.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp, Unit};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt as _};
use kube_runtime::controller::Action;
use kube_runtime::reflector::ObjectRef;
use tokio_util::sync::CancellationToken;

use super::decide::{Attempt, Decision, Observed, Step, check_after, decide};
use super::delivery::{Delivery, known};
use super::executor::{Attempts, Memory, Order};
use super::failure::Failure;
use super::lease::Leadership;
use super::metrics::Metrics;
use super::status::Written;
use super::{digests, resolve, status, validate};
use crate::access::Network;
use crate::api::v1alpha1::ImagePush;
use crate::options::PushOptions;

/// What every look needs.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) attempts: Arc<Attempts>,
    pub(crate) metrics: Arc<Metrics>,
    /// Connections to registries, shared by all attempts.
    pub(crate) network: Network,
    /// How long an attempt may take where the object doesn't say.
    pub(crate) timeout: Duration,
    /// Whether this operator is the one that works.
    pub(crate) leadership: Leadership,
    /// Cancelled when the operator is to stop: then nothing starts.
    pub(crate) stopping: CancellationToken,
}

/// What an attempt needs.
struct Prepared {
    options: PushOptions,
    /// Digest of how the sides are reached.
    access: String,
}

/// Wait after a look that failed: the API server could not be reached, or refused.
const AFTER_ERROR: Duration = Duration::from_secs(30);

/// Looks at an object.
pub(crate) async fn reconcile(
    object: Arc<ImagePush>,
    context: Arc<Context>,
) -> Result<Action, kube::Error> {
    let uid = object.uid().unwrap_or_default();
    if object.metadata.deletion_timestamp.is_some() {
        context.attempts.forget(&uid);
        return Ok(Action::await_change());
    }
    let memory = context.attempts.recall(&uid);
    let mut object = (*object).clone();
    if let Some(status) = &memory.status {
        object.status = Some(status.clone());
    }
    let prepared = prepare(&object, &memory, &context).await;
    let chance = chance();
    let now = Timestamp::now().round(Unit::Second).unwrap_or_else(|_| Timestamp::now());
    let next_check = schedule(&object, &memory, &context, &uid, chance, now);
    let ready = prepared.as_ref().map(Result::as_ref);
    let observed = Observed {
        attempt: attempt(&object, &memory),
        obstacle: ready.and_then(Result::err),
        next_check,
        names_secrets: !resolve::names(&object.spec).is_empty(),
        push_digest: &digests::push(&object),
        access_digest: ready.and_then(Result::ok).map(|ready| ready.access.as_str()),
        took: memory.attempt.as_ref().and_then(|record| record.took),
        chance,
    };
    let decision = decide(&object, &observed, now);
    let known = report(&object, &decision, &memory, &context, &uid).await?;
    context.metrics.reconcile("ok");
    if !known {
        // Deleted meanwhile, and perhaps made anew: then there is another look, at that one.
        context.attempts.forget(&uid);
        return Ok(Action::await_change());
    }
    Ok(act(&object, &decision, prepared, &context, uid))
}

/// Waits after a look that failed.
#[expect(clippy::needless_pass_by_value, reason = "the controller runtime fixes the signature")]
pub(crate) fn on_error(
    object: Arc<ImagePush>,
    error: &kube::Error,
    context: Arc<Context>,
) -> Action {
    context.metrics.reconcile("error");
    tracing::warn!(%error, name = object.name_any(), namespace = object.namespace(), "a look failed");
    Action::requeue(AFTER_ERROR)
}

/// Gets an attempt ready, if one might start now.
async fn prepare(
    object: &ImagePush,
    memory: &Memory,
    context: &Context,
) -> Option<Result<Prepared, Failure>> {
    if object.spec.suspend || memory.attempt.is_some() {
        return None;
    }
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), &object.namespace()?);
    Some(match resolve::secrets(&secrets, &object.spec).await {
        Ok(secrets) => prepared(object, &secrets, &context.network),
        Err(failure) => Err(failure),
    })
}

fn prepared(
    object: &ImagePush,
    secrets: &resolve::Secrets,
    network: &Network,
) -> Result<Prepared, Failure> {
    let source = resolve::access(&object.spec.source, secrets, network)?;
    let destination = resolve::access(&object.spec.destination, secrets, network)?;
    let options = validate::options(&object.spec, source, destination)
        .and_then(|options| validate::reachable(&options).map(|()| options))
        .map_err(|error| Failure::from(&error))?;
    Ok(Prepared { options, access: digests::access(object, &resolve::fingerprint(secrets)) })
}

fn attempt<'a>(object: &ImagePush, memory: &'a Memory) -> Attempt<'a> {
    let Some(record) = &memory.attempt else { return Attempt::None };
    let current = record.work == digests::work(object);
    match (&record.outcome, current) {
        (Some(outcome), true) => Attempt::Ended(outcome),
        (Some(_), false) => Attempt::None,
        (None, true) => Attempt::Running(record.progress.read()),
        (None, false) => Attempt::Outdated,
    }
}

/// When a `Continuous` object is to be looked at again: an interval after the end of an attempt. What this process has
/// not looked at yet, but an earlier one has, comes at any time within an interval, so that not everything is checked at
/// once after a restart.
fn schedule(
    object: &ImagePush,
    memory: &Memory,
    context: &Context,
    uid: &str,
    chance: f64,
    now: Timestamp,
) -> Option<Timestamp> {
    let ended = memory.attempt.as_ref().is_some_and(|record| record.outcome.is_some());
    let interval = object.spec.interval.as_deref().and_then(|text| validate::duration(text).ok());
    let after = |wait: Duration| now.checked_add(SignedDuration::try_from(wait).ok()?).ok();
    let latest = interval.and_then(|interval| after(check_after(interval, 1.0)));
    // An interval that was shortened counts from now.
    let kept = memory.next_check.filter(|next| latest.is_some_and(|latest| *next <= latest));
    if !ended && (kept.is_some() || !status::is_settled(object)) {
        return kept;
    }
    let wait =
        |interval| if ended { check_after(interval, chance) } else { interval.mul_f64(chance) };
    let next = interval.and_then(|interval| after(wait(interval)));
    context.attempts.update(uid, |memory| memory.next_check = next);
    next
}

/// Writes the status if it says something new; then the outcome that it tells of may be forgotten.
///
/// `memory` is what was decided on: an attempt that has ended since then has not been told of yet. `false` if the object
/// is gone.
async fn report(
    object: &ImagePush,
    decision: &Decision,
    memory: &Memory,
    context: &Context,
    uid: &str,
) -> Result<bool, kube::Error> {
    if object.status.as_ref() != Some(&decision.status) {
        let namespace = object.namespace().unwrap_or_default();
        let api: Api<ImagePush> = Api::namespaced(context.client.clone(), &namespace);
        if status::write(&api, object, &decision.status).await? == Written::Gone {
            return Ok(false);
        }
    }
    let told = memory.attempt.as_ref().is_some_and(|record| record.outcome.is_some());
    let updated = context.attempts.update(uid, |memory| {
        memory.status = Some(decision.status.clone());
        if told {
            memory.attempt = None;
        }
    });
    Ok(updated.is_some())
}

fn act(
    object: &ImagePush,
    decision: &Decision,
    prepared: Option<Result<Prepared, Failure>>,
    context: &Context,
    uid: String,
) -> Action {
    let later = decision.again.map_or_else(Action::await_change, Action::requeue);
    match decision.step {
        Step::Wait => later,
        Step::Cancel => {
            context.attempts.cancel(&uid);
            later
        }
        Step::Start if context.is_over() => Action::await_change(),
        Step::Start => {
            // An outcome that was dropped (it was of an older spec) left no time to prepare: look again at once.
            let Some(Ok(prepared)) = prepared else { return Action::requeue(Duration::ZERO) };
            let timeout = object.spec.timeout.as_deref();
            let timeout = timeout.and_then(|text| validate::duration(text).ok());
            context.attempts.start(Order {
                object: ObjectRef::from_obj(object),
                uid,
                work: digests::work(object),
                options: prepared.options,
                delivery: delivery(object),
                timeout: timeout.unwrap_or(context.timeout),
            });
            later
        }
    }
}

fn delivery(object: &ImagePush) -> Delivery {
    let known = known(object, &digests::push(object));
    Delivery { mode: object.spec.mode, overwrite: object.spec.overwrite_policy, known }
}

// === impl Context ===

impl Context {
    /// Whether nothing may start any more.
    fn is_over(&self) -> bool {
        self.stopping.is_cancelled() || !self.leadership.is_held()
    }
}

/// A number from 0 to 1. The standard library's hash keys are random, which is all that spreading waits needs.
pub(crate) fn chance() -> f64 {
    let drawn = u32::try_from(RandomState::new().hash_one(0) >> 32).unwrap_or(0);
    f64::from(drawn) / f64::from(u32::MAX)
}
