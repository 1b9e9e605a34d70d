//! One look at an object: resolve, validate, decide, write, act.
//!
//! It may be cut off at any await: status is written before an attempt starts, and an outcome is forgotten only after it was
//! written. A look that fails is repeated.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp, Unit};
use kube::core::Status;
use kube::{Api, Client, Resource as _, ResourceExt as _};
use kube_runtime::controller::Action;
use kube_runtime::reflector::ObjectRef;
use tokio_util::sync::CancellationToken;

use super::api_server::is_denied;
use super::claims::Claims;
use super::decide::{
    Attempt, Decision, Observed, Outcome, Step, check_after, decide, is_at_rest, spoil,
};
use super::endings::Endings;
use super::events::{Recorder, changes};
use super::executor::{Attempts, InDoubt, JobAttempt, JobOrder, JobSettings, Memory, Order, Task};
use super::failure::Failure;
use super::lease::Leadership;
use super::look::InARow;
use super::metrics::Metrics;
use super::newcomers::Newcomers;
use super::prepare::{Prepared, prepare};
use super::removal::Removals;
use super::resolve::Unresolved;
use super::resources::Applier;
use super::status::{Draft, Written};
use super::{
    claims, cleanup, deletion, digest_output, digests, expired, finalizer, resolve, resources,
    status, validate,
};
use crate::access::Network;
use crate::api::conditions::{self, READY};
use crate::api::v1alpha1::{ExecutorStatus, ImagePush, ImagePushStatus};
use crate::engine::Pushed;
use crate::image::Descriptor;
use crate::limits::CONFLICT_WAIT;
use crate::telemetry::{Place, Tracer};
use crate::transport::Removed;

/// What every look needs.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) attempts: Arc<Attempts>,
    pub(crate) metrics: Arc<Metrics>,
    /// Images of deleted objects that are taken away.
    pub(crate) removals: Arc<Removals<Removed>>,
    /// What was applied for deleted objects and is taken away; each comes to a number of objects.
    pub(crate) prunings: Arc<Removals<usize>>,
    pub(crate) applier: Arc<Applier>,
    /// Who pushes where.
    pub(crate) claims: Arc<Claims>,
    pub(crate) recorder: Arc<Recorder>,
    /// Objects that nobody has looked at yet.
    pub(crate) newcomers: Arc<Newcomers>,
    /// Looks that panicked.
    pub(crate) panics: InARow,
    /// Looks that the API server has refused something.
    pub(crate) denials: InARow,
    /// Namespaces that are being deleted.
    pub(crate) endings: Arc<Endings>,
    /// Connections to registries, shared by all attempts.
    pub(crate) network: Network,
    /// How Jobs are made.
    pub(crate) jobs: Arc<JobSettings>,
    /// How long an attempt may take where the object doesn't say.
    pub(crate) timeout: Duration,
    /// Whether this operator is the one that works.
    pub(crate) leadership: Leadership,
    pub(crate) tracer: Tracer,
    /// Cancelled when the operator is to stop: then nothing starts.
    pub(crate) stopping: CancellationToken,
}

/// Looks at an object. `trace` is where this look is.
pub(crate) async fn reconcile(
    object: Arc<ImagePush>,
    context: Arc<Context>,
    trace: Place,
) -> Result<Action, kube::Error> {
    let uid = object.uid().unwrap_or_default();
    if object.metadata.deletion_timestamp.is_some() {
        return Box::pin(deletion::look(&object, &context)).await;
    }
    if !context.claims.is_complete() {
        return Ok(Action::requeue(claims::UNKNOWN));
    }
    let (object, memory) = recalled((*object).clone(), &context, &uid);
    let chance = chance();
    let now = Timestamp::now().round(Unit::Second).unwrap_or_else(|_| Timestamp::now());
    let mut next_check = schedule(&object, &memory, &context, &uid, chance, now);
    if next_check.is_some() && has_left(&object, &memory, &context).await {
        // It goes on, or has ended meanwhile: whoever looks for it can tell.
        next_check = Some(now);
    }
    let idle = memory.attempt.is_none() && !object.spec.suspend;
    let prepared = if idle && !is_at_rest(&object, next_check, now) {
        match Box::pin(prepare(&object, &context)).await {
            Err(Unresolved::Api(cause)) => return Err(cause),
            Err(Unresolved::Failure(failure)) => Some(Err(failure)),
            Ok(prepared) => Some(Ok(prepared)),
        }
    } else {
        None
    };
    let ready = prepared.as_ref().map(Result::as_ref);
    let conflict = context.claims.conflict(&object);
    let observed = Observed {
        bundle: memory.attempt.as_ref().and_then(|record| record.bundle.as_ref()),
        conflict: conflict.as_ref(),
        attempt: attempt(&object, &memory),
        landed: landed(&memory),
        named: named(&memory),
        obstacle: ready.and_then(Result::err),
        next_check,
        names_secrets: resolve::names_any(&object.spec),
        push_digest: &digests::push(&object),
        access_digest: ready.and_then(Result::ok).map(|ready| ready.access.as_str()),
        took: memory.attempt.as_ref().and_then(|record| record.took),
        chance,
        stopping: context.stopping.is_cancelled(),
        waits_for: memory.attempt.as_ref().and_then(|record| record.progress.waits_for()),
        in_job: memory.attempt.as_ref().is_some_and(|record| record.in_job),
    };
    let mut decision = decide(&object, &observed, now);
    note_executor(&mut decision, &object, &memory);
    let told = tell_digest(&object, decision, &observed, &memory, &context, now);
    let decision = Box::pin(told).await?;
    let decision = context.endings.left_in_peace(&object, decision, memory.known_since);
    let kept = keep(&object, &decision, &memory, &context).await?;
    let decision = kept.told_by(&object, decision, now);
    let known =
        kept != Kept::Gone && Box::pin(report(&object, &decision, &memory, &context, &uid)).await?;
    if !known {
        // Deleted meanwhile, and perhaps made anew: then there is another look, at that one.
        context.attempts.forget(&uid);
        return Ok(Action::await_change());
    }
    if let Kept::Refused(answer) = kept {
        return Err(kube::Error::Api(answer));
    }
    let is_over = decision.step == Step::Delete;
    if is_over && !expired::delete(&api_of(&object, &context), &object).await? {
        return Ok(Action::requeue(CONFLICT_WAIT));
    }
    let held_up = conflict.is_some() || matches!(prepared, Some(Err(_)));
    Ok(act(&object, &decision, prepared, held_up, &context, trace))
}

/// An object with the status that it has by what is remembered, and the rest of that.
fn recalled(mut object: ImagePush, context: &Context, uid: &str) -> (ImagePush, Memory) {
    let memory = context.attempts.recall(uid);
    if let Some(status) = memory.unseen_status(&object) {
        object.status = Some(status.clone());
    }
    let Some(doubt) = memory.settled_doubt(&object) else { return (object, memory) };
    let InDoubt { before, after } = *doubt;
    // The write has told of the end, and only that it was done has been learnt late.
    tell(&ImagePush { status: before, ..object.clone() }, &after, context);
    told(&object, &after, &memory, context, None);
    (object, context.attempts.recall(uid))
}

/// Whether an earlier operator has left an attempt, of an object that this one has not looked at yet.
async fn has_left(object: &ImagePush, memory: &Memory, context: &Context) -> bool {
    if memory.next_check.is_some() || memory.attempt.is_some() {
        return false;
    }
    let told = object.status.as_ref().and_then(|status| status.executor.as_ref());
    let reported = told.and_then(|it| it.attempt_id.as_deref());
    let uid = object.uid().unwrap_or_default();
    context.attempts.has_left(&uid, reported).await
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

fn landed(memory: &Memory) -> Option<(&Pushed, &str)> {
    Some((memory.attempt.as_ref()?.landed()?, &memory.destination))
}

/// What an attempt that didn't come to its end had given the destination's name by then.
fn named(memory: &Memory) -> Option<(Descriptor, &str)> {
    let record = memory.attempt.as_ref()?;
    let is_partial = record.outcome.is_some() && record.landed().is_none();
    is_partial.then_some((record.progress.named()?, &memory.destination))
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

/// Tells where an attempt ran whose end changed the status.
fn note_executor(decision: &mut Decision, object: &ImagePush, memory: &Memory) {
    let ended = memory.attempt.as_ref().filter(|record| record.outcome.is_some());
    let Some(record) = ended.filter(|_| object.status.as_ref() != Some(&decision.status)) else {
        return;
    };
    let job = record.progress.job();
    if job.is_none() && record.in_job {
        // It never came to a Job. Of the one before is told that it was reported.
        return;
    }
    decision.status.executor = Some(ExecutorStatus {
        kind: Some(if job.is_some() { "Job" } else { "InProcess" }.to_owned()),
        trace_id: job.as_ref().and_then(|job| job.trace).or(record.trace).map(Place::trace_id),
        job_name: job.as_ref().map(|job| job.name.clone()),
        attempt_id: job.map(|job| job.uid),
    });
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
    let same = object.status.as_ref() == Some(&decision.status);
    let news = !same && !memory.is_written(object, &decision.status);
    if news && !context.leadership.is_held() {
        // Another operator may have told more since.
        return Ok(true);
    }
    if !news {
        return Ok(told(object, &decision.status, memory, context, None));
    }
    let written = match status::write(&api_of(object, context), object, &decision.status).await {
        Ok(Written::Gone) => return Ok(false),
        Ok(written) => written,
        Err(cause) => {
            let doubt = InDoubt { before: object.status.clone(), after: decision.status.clone() };
            context.attempts.update(uid, |memory| memory.in_doubt = Some(Box::new(doubt)));
            return Err(cause);
        }
    };
    tell(object, &decision.status, context);
    Ok(told(object, &decision.status, memory, context, Some(&written)))
}

/// Tells by events what a status says that is new.
fn tell(object: &ImagePush, status: &ImagePushStatus, context: &Context) {
    for told in changes(object, status) {
        context.recorder.tell(object.object_ref(&()), told);
    }
}

/// The object has this status, by a write of this look or since before: what it tells of need not be told again. `false` if
/// the object is gone.
fn told(
    object: &ImagePush,
    status: &ImagePushStatus,
    memory: &Memory,
    context: &Context,
    written: Option<&Written>,
) -> bool {
    let outcome = memory.attempt.as_ref().and_then(|record| record.outcome.as_ref());
    let uid = object.uid().unwrap_or_default();
    let job =
        memory.attempt.as_ref().filter(|_| outcome.is_some()).and_then(|it| it.progress.job());
    if let Some(job) = job.filter(|_| written.is_none()) {
        context.attempts.discard(&ObjectRef::from_obj(object), job);
    }
    let ended = outcome.is_some();
    let updated = context.attempts.update(&uid, |memory| {
        // Not of an object that has gone meanwhile: it is forgotten here first, and its series are taken away after that.
        context.metrics.object(object, status, timeout(object, context));
        if matches!(outcome, Some(Outcome::Pushed(_) | Outcome::Unchanged)) {
            context.metrics.succeeded(object);
        }
        memory.in_doubt = None;
        if let Some(Written::Done(version) | Written::Cut(version)) = written {
            memory.written = Some((status.clone(), version.clone()));
            memory.cut = matches!(written, Some(Written::Cut(_)));
        }
        if ended && let Some(record) = memory.attempt.take() {
            let reported = record.progress.job().map(|job| job.uid);
            memory.reported = reported.or(memory.reported.take());
        }
    });
    updated.is_some()
}

/// Does what was decided. Of an object that is held up by something, an earlier operator may have left a Job that goes on.
fn act(
    object: &ImagePush,
    decision: &Decision,
    prepared: Option<Result<Prepared, Failure>>,
    held_up: bool,
    context: &Context,
    trace: Place,
) -> Action {
    let uid = object.uid().unwrap_or_default();
    let later = decision.again.map_or_else(Action::await_change, Action::requeue);
    match decision.step {
        Step::Wait | Step::Delete => {
            if held_up || object.spec.suspend {
                context.attempts.sweep(ObjectRef::from_obj(object), uid);
            }
            later
        }
        Step::Cancel => {
            context.attempts.cancel(&uid);
            later
        }
        Step::Start if context.is_over() => Action::await_change(),
        Step::Start => {
            // An outcome that was dropped (it was of an older spec) left no time to prepare: look again at once.
            let Some(Ok(prepared)) = prepared else { return Action::requeue(Duration::ZERO) };
            let work = digests::work(object);
            let reported = context.attempts.recall(&uid).reported;
            let status = &decision.status;
            let of_job = |task| job_order(task, object, status, &work, &prepared.access, reported);
            let destination = object.spec.destination.reference.clone();
            context.attempts.update(&uid, |memory| memory.destination = destination);
            context.attempts.start(Order {
                object: ObjectRef::from_obj(object),
                uid,
                job: prepared.task.map(of_job),
                work: work.clone(),
                options: prepared.options,
                delivery: prepared.delivery,
                timeout: timeout(object, context),
                apply: resources::orders(object),
                trace,
            });
            later
        }
    }
}

/// Writes the digest where the spec wants it, when an attempt has ended or the spec has changed. Where that can't be done, the
/// decision says so: that the image is there has to be told in any case.
async fn tell_digest(
    object: &ImagePush,
    decision: Decision,
    observed: &Observed<'_>,
    memory: &Memory,
    context: &Context,
    now: Timestamp,
) -> Result<Decision, kube::Error> {
    let ended = memory.attempt.as_ref().is_some_and(|record| record.outcome.is_some());
    let news = ended || object.status.as_ref() != Some(&decision.status);
    let ready = conditions::is_true(&decision.status.conditions, READY);
    let Some(artifact) = decision.status.artifact.as_ref().filter(|_| news && ready) else {
        return Ok(decision);
    };
    let failure = match digest_output::write(&context.client, object, &artifact.digest).await {
        Ok(Ok(())) => return Ok(decision),
        Ok(Err(failure)) => failure,
        // Whoever leads now tells it.
        Err(cause) if !context.leadership.is_held() => return Err(cause),
        Err(cause) => Failure::digest_late(&cause.to_string()),
    };
    Ok(spoil(object, decision, &failure, observed, now))
}

/// What became of the finalizer.
#[derive(Clone, Debug, PartialEq)]
enum Kept {
    /// It is as it should be.
    Done,
    /// The object is gone.
    Gone,
    /// A permission is missing, or a policy refuses it.
    Refused(Box<Status>),
}

// === impl Kept ===

impl Kept {
    /// The decision, which starts nothing for an object that can't be kept.
    fn told_by(&self, object: &ImagePush, decision: Decision, now: Timestamp) -> Decision {
        let Self::Refused(answer) = self else { return decision };
        if decision.step != Step::Start {
            return decision;
        }
        let mut draft = Draft::new(object, now);
        draft.retrying(&Failure::unkept(&answer.message));
        Decision { status: draft.status, step: Step::Wait, again: None }
    }
}

/// Sets or takes away the finalizer, before anything is written that would have to be cleaned up.
async fn keep(
    object: &ImagePush,
    decision: &Decision,
    memory: &Memory,
    context: &Context,
) -> Result<Kept, kube::Error> {
    let wanted =
        cleanup::wants(object, decision, memory) || resources::is_wanted(object, decision, memory);
    if wanted == finalizer::is_set(object) {
        return Ok(Kept::Done);
    }
    match finalizer::set(&api_of(object, context), object, wanted).await {
        Ok(true) => Ok(Kept::Done),
        Ok(false) => Ok(Kept::Gone),
        Err(kube::Error::Api(answer)) if is_denied(answer.code) => Ok(Kept::Refused(answer)),
        Err(cause) => Err(cause),
    }
}

fn api_of(object: &ImagePush, context: &Context) -> Api<ImagePush> {
    Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default())
}

// === impl Context ===

impl Context {
    /// Whether nothing may start any more.
    fn is_over(&self) -> bool {
        self.stopping.is_cancelled() || !self.leadership.is_held()
    }
}

/// How long an attempt may take.
pub(crate) fn timeout(object: &ImagePush, context: &Context) -> Duration {
    let text = object.spec.timeout.as_deref();
    text.and_then(|text| validate::duration(text).ok()).unwrap_or(context.timeout)
}

/// What the Job of an attempt is made of, once status says so. Its name differs from those of attempts for another spec, with
/// another access, and of those that failed before; one whose end was told is not taken for this one.
fn job_order(
    task: Task,
    object: &ImagePush,
    status: &ImagePushStatus,
    work: &str,
    access: &str,
    reported: Option<String>,
) -> JobOrder {
    let failures = status.retry.as_ref().map_or(0, |retry| retry.count);
    let told = status.executor.as_ref();
    let attempt = JobAttempt {
        task,
        uid: object.uid().unwrap_or_default(),
        work: format!("{work} {access}"),
        failures,
    };
    JobOrder { attempt, reported: reported.or_else(|| told?.attempt_id.clone()) }
}

/// A number from 0 to 1. The standard library's hash keys are random, which is all that spreading waits needs.
pub(crate) fn chance() -> f64 {
    let drawn = u32::try_from(RandomState::new().hash_one(0) >> 32).unwrap_or(0);
    f64::from(drawn) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests;
