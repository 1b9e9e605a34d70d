//! Runs attempts, and remembers how they ended until status says so.
//!
//! An attempt is a task of its own, so that suspending, editing or deleting the object acts while it runs. Where the work is
//! done is an [`Executor`]'s business. When an attempt ends, and every few seconds before, it wakes its object. A panic
//! inside it ends as an error like any other.

mod breakers;
mod counters;
mod engine;
mod executors;
mod in_process;
mod job;
mod limits;
mod order;
mod record;

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::SinkExt as _;
use futures::channel::mpsc;
use jiff::Timestamp;
use kube_runtime::reflector::ObjectRef;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

pub(crate) use self::counters::{Counters, Stage};
pub(crate) use self::engine::{Engine, RealEngine};
pub(crate) use self::executors::Executors;
pub(crate) use self::in_process::InProcess;
pub use self::job::host_folders::HostFolder;
pub(crate) use self::job::object::Attempt as JobAttempt;
pub use self::job::object::{SECRETS_FOLDER, TASK_FILE};
pub(crate) use self::job::report;
pub use self::job::settings::{JobSettings, PodSettings};
pub use self::job::task::{SecretFacts, Task};
pub(crate) use self::job::{JobOrder, Jobs};
pub use self::limits::Bounds;
pub(crate) use self::limits::Limits;
pub(crate) use self::order::{JobId, Order};
pub(crate) use self::record::Record;
use super::decide::Outcome;
use super::failure::Failure;
use super::metrics::Metrics;
use super::newcomers::Newcomers;
use super::resources::{Applier, Finding};
use crate::api::v1alpha1::{ImagePush, ImagePushStatus};
use crate::error::Error;
use crate::limits::{API_ERROR_WAIT, PROGRESS_PERIOD, STOP_TIMEOUT};
use crate::telemetry::{Place, Tracer};

/// Does the work of attempts.
#[async_trait]
pub(crate) trait Executor: Send + Sync {
    /// Makes one attempt, to its end. Once `cancel` is cancelled it ends soon, and the destination's name has the image
    /// that it had before, or the new one. `None` if the operator ends and the attempt goes on without it.
    async fn attempt(
        &self,
        order: &Order,
        counters: Arc<Counters>,
        cancel: &CancellationToken,
    ) -> Option<Outcome>;

    /// Ends what an earlier operator has left of an object's attempts, and waits until nothing of it is left.
    async fn sweep(&self, namespace: &str, uid: &str) -> Result<(), Failure> {
        let _ = (namespace, uid);
        Ok(())
    }

    /// Whether an earlier operator has left an attempt of an object whose end was not reported, as far as is known.
    async fn has_left(&self, uid: &str, reported: Option<&str>) -> bool {
        let _ = (uid, reported);
        false
    }

    /// Removes a Job whose end was told, and said nothing new: nobody shall take that for the end of a later one.
    async fn discard(&self, namespace: &str, job: &JobId) -> Result<(), Failure> {
        let _ = (namespace, job);
        Ok(())
    }

    /// An object is gone.
    fn forget(&self, uid: &str) {
        let _ = uid;
    }
}

/// What is remembered of an object between two decisions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// When this process first looked at it.
    pub(crate) known_since: Option<Instant>,
    /// The attempt under way, or the one that ended and isn't reported.
    pub(crate) attempt: Option<Record>,
    /// The destination of that attempt, as the spec had it.
    pub(crate) destination: String,
    /// When to look again.
    pub(crate) next_check: Option<Timestamp>,
    /// When this process first saw that it is deleted.
    pub(crate) deleted_since: Option<Instant>,
    /// Whether what an earlier operator has left of it has been ended.
    pub(crate) sweep: Sweep,
    /// Identity of the Job whose end was reported last.
    pub(crate) reported: Option<String>,
    /// The status that we wrote last, and the version that the object got by that.
    pub(crate) written: Option<(ImagePushStatus, Option<String>)>,
    /// Whether the server took only a part of it.
    pub(crate) cut: bool,
    /// A status of whose write nobody knows whether it was done.
    pub(crate) in_doubt: Option<Box<InDoubt>>,
}

/// A status that may have been written, though the answer did not come.
#[derive(Clone, Debug)]
pub(crate) struct InDoubt {
    pub(crate) before: Option<ImagePushStatus>,
    pub(crate) after: ImagePushStatus,
}

/// How far it is that an earlier operator's attempts are ended, for an object that is suspended or deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sweep {
    /// Nobody has begun, or it failed.
    #[default]
    Due,
    /// It is under way.
    Begun,
    /// Nothing is left.
    Done,
}

/// The attempts of the objects of one watch.
pub(crate) struct Attempts {
    executor: Arc<dyn Executor>,
    metrics: Arc<Metrics>,
    wake: mpsc::Sender<ObjectRef<ImagePush>>,
    objects: Mutex<HashMap<String, Memory>>,
    tasks: TaskTracker,
    /// Their first status goes before attempts.
    newcomers: Arc<Newcomers>,
    /// Goes on where an attempt ends.
    applier: Option<Arc<Applier>>,
    tracer: Tracer,
}

// === impl Memory ===

impl Memory {
    /// The status that we wrote, if the watch does not show it yet. What it shows later counts: somebody else may have
    /// written meanwhile, such as who restored a backup.
    pub(crate) fn unseen_status(&self, object: &ImagePush) -> Option<&ImagePushStatus> {
        let (status, written) = self.written.as_ref()?;
        // Kubernetes counts versions of a resource upwards.
        let number = |version: Option<&String>| version.and_then(|it| it.parse::<u64>().ok());
        let shown = number(object.metadata.resource_version.as_ref());
        let is_shown = shown.is_some() && shown >= number(written.as_ref());
        (!is_shown).then_some(status)
    }

    /// Whether a status is what was written last, as far as the server took it, and nobody has written since.
    pub(crate) fn is_written(&self, object: &ImagePush, status: &ImagePushStatus) -> bool {
        let written = self.written.as_ref().filter(|_| self.cut);
        written.is_some_and(|(it, version)| {
            it == status && *version == object.metadata.resource_version
        })
    }

    /// The status that an object had before one that was written though the answer did not come, if it has that one now.
    pub(crate) fn settled_doubt(&self, object: &ImagePush) -> Option<Box<InDoubt>> {
        let doubt = self.in_doubt.as_ref()?;
        let shown = object.status.as_ref()?;
        (as_written(shown) == as_written(&doubt.after)).then(|| doubt.clone())
    }
}

/// What a server has of a status that we write: times in whole seconds, and nothing of what was applied, which another hand
/// keeps.
fn as_written(status: &ImagePushStatus) -> Option<serde_json::Value> {
    let status = ImagePushStatus { inventory: None, ..status.clone() };
    serde_json::to_value(status).ok()
}

// === impl Attempts ===

impl Attempts {
    pub(crate) fn new(
        executor: Arc<dyn Executor>,
        metrics: Arc<Metrics>,
        wake: mpsc::Sender<ObjectRef<ImagePush>>,
    ) -> Self {
        let (objects, tasks) = (Mutex::default(), TaskTracker::new());
        let (tracer, newcomers) = (Tracer::default(), Arc::default());
        Self { executor, metrics, wake, objects, tasks, newcomers, applier: None, tracer }
    }

    /// Begins attempts when these have been looked at.
    pub(crate) fn after(self, newcomers: Arc<Newcomers>) -> Self {
        Self { newcomers, ..self }
    }

    /// Has spans of attempts exported.
    pub(crate) fn traced_by(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// Applies bundles after attempts.
    pub(crate) fn followed_by(self, applier: Arc<Applier>) -> Self {
        Self { applier: Some(applier), ..self }
    }

    /// What is remembered of an object; from now on there is something.
    pub(crate) fn recall(&self, uid: &str) -> Memory {
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let known = objects.entry(uid.to_owned()).or_default();
        known.known_since.get_or_insert_with(Instant::now);
        known.clone()
    }

    /// The trace of the attempt that an object has, under way or not reported yet.
    pub(crate) fn trace_of(&self, uid: &str) -> Option<Place> {
        let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.get(uid)?.attempt.as_ref()?.trace
    }

    /// Changes what is remembered of an object. Does nothing if that has been forgotten: the object is gone, and a look at
    /// it that is still under way must not bring it back.
    pub(crate) fn update<T>(&self, uid: &str, change: impl FnOnce(&mut Memory) -> T) -> Option<T> {
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.get_mut(uid).map(change)
    }

    /// What we wrote of an object is not what the server has: it was set back.
    pub(crate) fn forget_written(&self, uid: &str) {
        self.update(uid, |memory| memory.written = None);
    }

    /// The object is gone: calls its attempt off and forgets it.
    pub(crate) fn forget(&self, uid: &str) {
        self.executor.forget(uid);
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(record) = objects.remove(uid).and_then(|memory| memory.attempt) {
            record.cancel.cancel();
        }
    }

    /// Forgets every object but these.
    pub(crate) fn keep_only(&self, uids: &HashSet<String>) {
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.retain(|uid, memory| {
            let kept = uids.contains(uid);
            if let (false, Some(record)) = (kept, &memory.attempt) {
                record.cancel.cancel();
            }
            kept
        });
    }

    /// Calls the attempt of an object off; it wakes the object when it has ended.
    pub(crate) fn cancel(&self, uid: &str) {
        self.update(uid, |memory| {
            if let Some(record) = &memory.attempt {
                record.cancel.cancel();
            }
        });
    }

    /// Starts an attempt, unless one is under way or the object has been forgotten.
    pub(crate) fn start(self: &Arc<Self>, order: Order) {
        let record = Record {
            in_job: order.job.is_some(),
            trace: Some(order.trace),
            ..Record::new(&order.work)
        };
        let started = self.update(&order.uid, |memory| {
            let busy = memory.attempt.as_ref().is_some_and(|record| record.outcome.is_none());
            if !busy {
                memory.attempt = Some(record.clone());
                memory.sweep = Sweep::Due;
            }
            !busy
        });
        if started == Some(true) {
            let (object, trace_id) = (&order.object, order.trace.trace_id());
            let span = tracing::error_span!("attempt", %object, trace_id);
            self.tasks.spawn(self.clone().attempt(order, record).instrument(span));
        }
    }

    /// Whether an earlier operator has left an attempt of an object whose end was not reported.
    pub(crate) async fn has_left(&self, uid: &str, reported: Option<&str>) -> bool {
        self.executor.has_left(uid, reported).await
    }

    /// Removes a Job that has told nothing new.
    pub(crate) fn discard(&self, object: &ObjectRef<ImagePush>, job: JobId) {
        let (executor, namespace) = (self.executor.clone(), object.namespace.clone());
        self.tasks.spawn(async move {
            let namespace = namespace.unwrap_or_default();
            if let Err(Failure { message: error, .. }) = executor.discard(&namespace, &job).await {
                tracing::debug!(job = job.name, error, "a Job was not deleted");
            }
        });
    }

    /// Ends what an earlier operator has left of an object's attempts, and wakes the object when nothing is left. If that
    /// fails, the object is woken to try again.
    pub(crate) fn sweep(self: &Arc<Self>, object: ObjectRef<ImagePush>, uid: String) {
        let due = self.update(&uid, |memory| {
            let due = memory.sweep == Sweep::Due;
            if due {
                memory.sweep = Sweep::Begun;
            }
            due
        });
        if due != Some(true) {
            return;
        }
        let attempts = self.clone();
        self.tasks.spawn(async move {
            let namespace = object.namespace.as_deref().unwrap_or_default();
            match attempts.executor.sweep(namespace, &uid).await {
                Ok(()) => {
                    attempts.update(&uid, |memory| memory.sweep = Sweep::Done);
                    attempts.tell(&object).await;
                }
                Err(Failure { message: error, .. }) => {
                    tracing::warn!(%object, error, "what is left of an attempt was not ended");
                    attempts.update(&uid, |memory| memory.sweep = Sweep::Due);
                    tokio::time::sleep(API_ERROR_WAIT).await;
                    attempts.tell(&object).await;
                }
            }
        });
    }

    /// Calls every attempt off and waits for their ends. Returns whether all have ended.
    pub(crate) async fn stop(&self) -> bool {
        {
            let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
            for record in objects.values().filter_map(|memory| memory.attempt.as_ref()) {
                record.cancel.cancel();
            }
        }
        self.tasks.close();
        let ended = tokio::time::timeout(STOP_TIMEOUT, self.tasks.wait()).await.is_ok();
        if !ended {
            tracing::warn!("attempts did not stop in time");
        }
        ended
    }

    async fn attempt(self: Arc<Self>, mut order: Order, record: Record) {
        let began = Instant::now();
        let (counters, cancel) = (record.progress.clone(), record.cancel.clone());
        let mut traced = self.tracer.begin("attempt", Some(order.trace), order.traits());
        order.trace = traced.place();
        let work = {
            let (executor, order, counters) =
                (self.executor.clone(), order.clone(), counters.clone());
            let newcomers = self.newcomers.clone();
            async move {
                tokio::select! {
                    () = newcomers.looked_at() => {}
                    () = cancel.cancelled() => {}
                }
                executor.attempt(&order, counters, &cancel).await
            }
        };
        let work = tokio::spawn(work.in_current_span());
        let ended = async {
            work.await.unwrap_or_else(|cause| {
                let error = Error::internal(format!("the attempt ended without a result: {cause}"));
                Some(Outcome::Failed(Failure::from(&error)))
            })
        };
        let Some(outcome) = self.watch(&order.object, ended, &counters).await else { return };
        self.metrics.attempt(&order, &outcome, began.elapsed());
        tracing::info!(outcome = outcome.word(), "attempt ended");
        if order.apply.is_some() {
            counters.enter(Stage::Applying);
        }
        let followed = Box::pin(self.follow(&order, &outcome, &record.cancel));
        let bundle = self.watch(&order.object, followed, &counters).await;
        // Half of what was asked for is nothing to tell of; the next attempt finds the image there.
        let broken_off = order.apply.is_some() && record.cancel.is_cancelled();
        let (outcome, pushed) = match outcome {
            Outcome::Pushed(pushed) if broken_off => (Outcome::Cancelled, Some(pushed)),
            _ if broken_off => (Outcome::Cancelled, None),
            outcome => (outcome, None),
        };
        traced.set("imagepush.outcome", outcome.word());
        if let Some(reason) = fault(&outcome, bundle.as_ref()) {
            traced.fail(reason);
        }
        drop(traced);
        let known = self.update(&order.uid, |memory| {
            // The object may have been forgotten and found again, and have another attempt by now.
            let own = memory.attempt.as_mut().filter(|it| Arc::ptr_eq(&it.progress, &counters));
            own.map(|record| {
                (record.outcome, record.pushed, record.bundle) = (Some(outcome), pushed, bundle);
                record.took = counters.took();
            })
        });
        if known.flatten().is_some() {
            self.tell(&order.object).await;
        }
    }

    /// What is left to do once the image is where it belongs.
    async fn follow(
        &self,
        order: &Order,
        outcome: &Outcome,
        cancel: &CancellationToken,
    ) -> Option<Finding> {
        self.applier.as_ref()?.follow(order, outcome, &self.metrics, cancel).await
    }

    /// Waits for the end of the work, and wakes the object every few seconds until then if it is further.
    async fn watch<T>(
        &self,
        object: &ObjectRef<ImagePush>,
        work: impl Future<Output = T>,
        counters: &Counters,
    ) -> T {
        let mut work = pin!(work);
        let first = Instant::now() + PROGRESS_PERIOD;
        let mut ticks = tokio::time::interval_at(first, PROGRESS_PERIOD);
        // After a standstill, one look makes up for all that were missed.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = (None, None);
        loop {
            tokio::select! {
                ended = &mut work => return ended,
                _ = ticks.tick() => {
                    counters.show();
                    let news = (counters.read(), counters.waits_for());
                    if news != told {
                        told = news;
                        self.tell(object).await;
                    }
                }
            }
        }
    }

    async fn tell(&self, object: &ObjectRef<ImagePush>) {
        // It fails only when nobody listens any more, while the operator stops.
        let _ = self.wake.clone().send(object.clone()).await;
    }
}

// === impl Outcome ===

impl Outcome {
    /// It in a word, for logs and metrics.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Unchanged => "AlreadyPresent",
            Self::Pushed(pushed) if pushed.already_present => "AlreadyPresent",
            Self::Pushed(_) => "PushSucceeded",
            Self::Previewed(_) => "DryRunSucceeded",
            Self::Failed(failure) => failure.reason,
            Self::Cancelled => "Cancelled",
        }
    }
}

/// Why an attempt failed, in a word: at the image, or at what was to be applied with it.
fn fault(outcome: &Outcome, bundle: Option<&Finding>) -> Option<&'static str> {
    match (outcome, bundle) {
        (Outcome::Failed(failure), _) => Some(failure.reason),
        (_, Some(Finding::Ran(ran))) => ran.failure.as_ref().map(|failure| failure.reason),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests;
