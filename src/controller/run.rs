//! Runs attempts inside the operator's process, and remembers how they ended until status says so.
//!
//! An attempt is a task of its own, so that suspending, editing or deleting the object acts while it runs. It waits for a
//! place at each registry and then for one among all; its time counts from there. When it ends, and every few seconds
//! before, it wakes its object. A panic inside it ends as an error like any other.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::SinkExt as _;
use futures::channel::mpsc;
use jiff::Timestamp;
use kube_runtime::reflector::ObjectRef;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::decide::Outcome;
use super::failure::Failure;
use super::metrics::Metrics;
use super::status::{number, timed_out};
use crate::api::v1alpha1::{self, ImagePush, ImagePushStatus, Mode};
use crate::engine::{self, Event, Preview, Pushed};
use crate::error::{Error, Kind, Result};
use crate::image::Digest;
use crate::limits::{PROGRESS_PERIOD, STOP_TIMEOUT};
use crate::options::PushOptions;

/// What does the work; the engine, but for tests.
#[async_trait]
pub(crate) trait Engine: Send + Sync {
    /// Makes the destination hold the image.
    async fn push(
        &self,
        options: &PushOptions,
        progress: &Arc<dyn engine::Progress>,
        cancel: &CancellationToken,
    ) -> Result<Pushed>;

    /// Tells what a push would do.
    async fn preview(&self, options: &PushOptions, cancel: &CancellationToken) -> Result<Preview>;
}

/// The engine itself.
pub(crate) struct RealEngine;

/// How much may run at the same time.
pub(crate) struct Limits {
    all: Arc<Semaphore>,
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
    per_host: usize,
}

/// An attempt to be made.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) object: ObjectRef<ImagePush>,
    pub(crate) uid: String,
    pub(crate) generation: i64,
    /// State of the Secrets it uses.
    pub(crate) access: String,
    pub(crate) options: PushOptions,
    pub(crate) mode: Mode,
    pub(crate) timeout: Duration,
}

/// What is remembered of an object between two decisions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// The attempt under way, or the one that ended and isn't reported.
    pub(crate) attempt: Option<Record>,
    /// State of the Secrets at the last attempt.
    pub(crate) access: Option<String>,
    /// When to look again.
    pub(crate) next_check: Option<Timestamp>,
    /// The status that we wrote last; what the watch shows may be older.
    pub(crate) status: Option<ImagePushStatus>,
}

/// One attempt.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) generation: i64,
    pub(crate) progress: Arc<Counters>,
    pub(crate) outcome: Option<Outcome>,
    cancel: CancellationToken,
}

/// How far an attempt is.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    blobs_total: AtomicU64,
    /// By digest, since what a destination loses is done twice.
    blobs_done: Mutex<HashSet<Digest>>,
    bytes_total: AtomicU64,
    bytes_done: AtomicU64,
    /// Set once enough time has passed for progress to be worth a write.
    shown: std::sync::atomic::AtomicBool,
}

/// The attempts of the objects of one watch.
pub(crate) struct Executor {
    engine: Arc<dyn Engine>,
    limits: Arc<Limits>,
    metrics: Arc<Metrics>,
    wake: mpsc::Sender<ObjectRef<ImagePush>>,
    objects: Mutex<HashMap<String, Memory>>,
    tasks: TaskTracker,
}

// === impl Limits ===

impl Limits {
    pub(crate) fn new(all: usize, per_host: usize) -> Self {
        let all = Arc::new(Semaphore::new(all.max(1)));
        Self { all, hosts: Mutex::default(), per_host: per_host.max(1) }
    }

    /// Places at the registries, in their order, so that two attempts never wait for each other; then one among all.
    async fn acquire(&self, options: &PushOptions) -> Result<Vec<OwnedSemaphorePermit>> {
        let hosts: BTreeSet<String> = [&options.source, &options.destination]
            .into_iter()
            .filter_map(|side| side.reference.repository())
            .map(|repository| repository.registry.clone())
            .collect();
        let mut permits = vec![];
        for host in hosts {
            permits.push(acquire(self.host(&host)).await?);
        }
        permits.push(acquire(self.all.clone()).await?);
        Ok(permits)
    }

    fn host(&self, host: &str) -> Arc<Semaphore> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody uses are forgotten, so that names from outside don't pile up.
        hosts.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        let make = || Arc::new(Semaphore::new(self.per_host));
        hosts.entry(host.to_owned()).or_insert_with(make).clone()
    }
}

async fn acquire(semaphore: Arc<Semaphore>) -> Result<OwnedSemaphorePermit> {
    semaphore.acquire_owned().await.map_err(|_| Error::internal("a semaphore was closed"))
}

// === impl Executor ===

impl Executor {
    pub(crate) fn new(
        engine: Arc<dyn Engine>,
        limits: Arc<Limits>,
        metrics: Arc<Metrics>,
        wake: mpsc::Sender<ObjectRef<ImagePush>>,
    ) -> Self {
        let (objects, tasks) = (Mutex::default(), TaskTracker::new());
        Self { engine, limits, metrics, wake, objects, tasks }
    }

    /// What is remembered of an object; from now on there is something.
    pub(crate) fn recall(&self, uid: &str) -> Memory {
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.entry(uid.to_owned()).or_default().clone()
    }

    /// Changes what is remembered of an object. Does nothing if that has been forgotten: the object is gone, and a look at
    /// it that is still under way must not bring it back.
    pub(crate) fn update<T>(&self, uid: &str, change: impl FnOnce(&mut Memory) -> T) -> Option<T> {
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.get_mut(uid).map(change)
    }

    /// The object is gone: calls its attempt off and forgets it.
    pub(crate) fn forget(&self, uid: &str) {
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
            generation: order.generation,
            progress: Arc::default(),
            outcome: None,
            cancel: CancellationToken::new(),
        };
        let started = self.update(&order.uid, |memory| {
            let busy = memory.attempt.as_ref().is_some_and(|record| record.outcome.is_none());
            if !busy {
                memory.attempt = Some(record.clone());
                memory.access = Some(order.access.clone());
            }
            !busy
        });
        if started == Some(true) {
            self.tasks.spawn(self.clone().attempt(order, record));
        }
    }

    /// Calls every attempt off and waits for their ends.
    pub(crate) async fn stop(&self) {
        {
            let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
            for record in objects.values().filter_map(|memory| memory.attempt.as_ref()) {
                record.cancel.cancel();
            }
        }
        self.tasks.close();
        if tokio::time::timeout(STOP_TIMEOUT, self.tasks.wait()).await.is_err() {
            tracing::warn!("attempts did not stop in time");
        }
    }

    async fn attempt(self: Arc<Self>, order: Order, record: Record) {
        let (counters, cancel) = (record.progress.clone(), record.cancel.clone());
        let work = tokio::spawn(self.clone().work(order.clone(), counters.clone(), cancel.clone()));
        let outcome = self.watch(&order.object, work, &counters).await;
        self.metrics.attempt(&order.options, &outcome);
        tracing::info!(object = %order.object, outcome = outcome.word(), "attempt ended");
        let known = self.update(&order.uid, |memory| {
            memory.attempt.as_mut().map(|record| record.outcome = Some(outcome))
        });
        if known.flatten().is_some() {
            self.tell(&order.object).await;
        }
    }

    /// Waits for the end of the work, and wakes the object every few seconds until then.
    async fn watch(
        &self,
        object: &ObjectRef<ImagePush>,
        mut work: tokio::task::JoinHandle<Outcome>,
        counters: &Counters,
    ) -> Outcome {
        let first = tokio::time::Instant::now() + PROGRESS_PERIOD;
        let mut ticks = tokio::time::interval_at(first, PROGRESS_PERIOD);
        let mut told = None;
        loop {
            tokio::select! {
                ended = &mut work => return ended.unwrap_or_else(|cause| {
                    let error = Error::internal(format!("the attempt ended without a result: {cause}"));
                    Outcome::Failed(Failure::from(&error))
                }),
                _ = ticks.tick() => {
                    counters.shown.store(true, Ordering::Relaxed);
                    let progress = counters.read();
                    if progress.is_some() && progress != told {
                        told = progress;
                        self.tell(object).await;
                    }
                }
            }
        }
    }

    async fn work(
        self: Arc<Self>,
        order: Order,
        counters: Arc<Counters>,
        cancel: CancellationToken,
    ) -> Outcome {
        let permits = tokio::select! {
            permits = self.limits.acquire(&order.options) => permits,
            () = cancel.cancelled() => return Outcome::Cancelled,
        };
        let _permits = match permits {
            Ok(permits) => permits,
            Err(error) => return Outcome::Failed(Failure::from(&error)),
        };
        let _running = self.metrics.running();
        let progress: Arc<dyn engine::Progress> = counters;
        let work = async {
            match order.mode {
                Mode::Apply => self
                    .engine
                    .push(&order.options, &progress, &cancel)
                    .await
                    .map(|pushed| Outcome::Pushed(Box::new(pushed))),
                Mode::DryRun => self
                    .engine
                    .preview(&order.options, &cancel)
                    .await
                    .map(|preview| Outcome::Previewed(Box::new(preview))),
            }
        };
        let ended = tokio::time::timeout(order.timeout, work).await;
        match ended.unwrap_or_else(|_| Err(timed_out(order.timeout))) {
            Ok(outcome) => outcome,
            Err(error) if error.kind() == Kind::Cancelled => Outcome::Cancelled,
            Err(error) => Outcome::Failed(Failure::from(&error)),
        }
    }

    async fn tell(&self, object: &ObjectRef<ImagePush>) {
        // It fails only when nobody listens any more, while the operator stops.
        let _ = self.wake.clone().send(object.clone()).await;
    }
}

// === impl Counters ===

impl Counters {
    /// How far the attempt is, once that is worth telling.
    pub(crate) fn read(&self) -> Option<v1alpha1::Progress> {
        let read = |counter: &AtomicU64| number(counter.load(Ordering::Relaxed));
        (self.shown.load(Ordering::Relaxed) && read(&self.blobs_total) > 0).then(|| {
            v1alpha1::Progress {
                blobs_total: read(&self.blobs_total),
                blobs_done: number(self.done().len() as u64),
                bytes_total: read(&self.bytes_total),
                bytes_done: read(&self.bytes_done).min(read(&self.bytes_total)),
            }
        })
    }

    fn done(&self) -> std::sync::MutexGuard<'_, HashSet<Digest>> {
        self.blobs_done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl engine::Progress for Counters {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Planned { blobs, bytes } => {
                self.blobs_total.store(blobs, Ordering::Relaxed);
                self.bytes_total.store(bytes, Ordering::Relaxed);
            }
            Event::BlobAdvanced { bytes, .. } => {
                self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
            }
            Event::BlobFinished { digest, .. } => {
                self.done().insert(digest.clone());
            }
            Event::Retrying { error, attempt, attempts, .. } => {
                tracing::debug!(%error, attempt, attempts, "trying again");
            }
            Event::BlobStarted { .. } | Event::BlobRestarted { .. } | Event::Manifest { .. } => {}
        }
    }
}

// === impl Outcome ===

impl Outcome {
    /// It in a word, for logs and metrics.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Pushed(pushed) if pushed.already_present => "AlreadyPresent",
            Self::Pushed(_) => "PushSucceeded",
            Self::Previewed(_) => "DryRunSucceeded",
            Self::Failed(failure) => failure.reason,
            Self::Cancelled => "Cancelled",
        }
    }
}

#[async_trait]
impl Engine for RealEngine {
    async fn push(
        &self,
        options: &PushOptions,
        progress: &Arc<dyn engine::Progress>,
        cancel: &CancellationToken,
    ) -> Result<Pushed> {
        engine::push(options, progress, cancel).await
    }

    async fn preview(&self, options: &PushOptions, cancel: &CancellationToken) -> Result<Preview> {
        engine::preview(options, cancel).await
    }
}

#[cfg(test)]
mod tests;
