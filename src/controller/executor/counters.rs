//! How far an attempt is, counted from what the engine tells.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::JobId;
use crate::api::v1alpha1;
use crate::controller::status::number;
use crate::engine::{self, Event};
use crate::image::{Descriptor, Digest};

/// How far an attempt is.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    blobs_total: AtomicU64,
    /// By digest, since what a destination loses is done twice.
    blobs_done: Mutex<HashSet<Digest>>,
    bytes_total: AtomicU64,
    bytes_done: AtomicU64,
    /// The highest that was told.
    percent: AtomicU64,
    /// What the destination's name has got, which stays whatever becomes of the attempt.
    named: Mutex<Option<Descriptor>>,
    /// The Job that makes the attempt.
    job: Mutex<Option<JobId>>,
    /// What the attempt waits for before it can do anything, if that is known.
    waits_for: Mutex<Option<String>>,
    /// Set once enough time has passed for progress to be worth a write.
    shown: AtomicBool,
}

// === impl Counters ===

impl Counters {
    /// The attempt is made by this Job.
    pub(crate) fn set_job(&self, job: JobId) {
        *self.job.lock().unwrap_or_else(PoisonError::into_inner) = Some(job);
    }

    /// The attempt ends, and its Job goes on: the next one finds it.
    pub(crate) fn leave_job(&self) {
        *self.job.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The Job that makes the attempt.
    pub(crate) fn job(&self) -> Option<JobId> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the attempt waits for before it can do anything.
    pub(crate) fn wait_for(&self, what: Option<String>) {
        *self.waits_for.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    /// What the attempt waits for, once that is worth telling.
    pub(crate) fn waits_for(&self) -> Option<String> {
        let what = self.waits_for.lock().unwrap_or_else(PoisonError::into_inner).clone();
        what.filter(|_| self.shown.load(Ordering::Relaxed))
    }

    /// The destination's name points to this now.
    pub(crate) fn name(&self, manifest: &Descriptor) {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        *named = Some(manifest.clone());
    }

    /// What the attempt has given the destination's name, if it has come that far.
    pub(crate) fn named(&self) -> Option<Descriptor> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Enough time has passed for progress to be worth telling.
    pub(crate) fn show(&self) {
        self.shown.store(true, Ordering::Relaxed);
    }

    /// How far the attempt is, once that is worth telling.
    pub(crate) fn read(&self) -> Option<v1alpha1::Progress> {
        let read = |counter: &AtomicU64| number(counter.load(Ordering::Relaxed));
        (self.shown.load(Ordering::Relaxed) && read(&self.blobs_total) > 0).then(|| {
            let bytes_total = read(&self.bytes_total);
            let bytes_done = read(&self.bytes_done).min(bytes_total);
            v1alpha1::Progress {
                percent: self.percent(bytes_done, bytes_total),
                blobs_total: read(&self.blobs_total),
                blobs_done: number(self.done().len() as u64),
                bytes_total,
                bytes_done,
            }
        })
    }

    /// What is done twice, or planned anew for another format, doesn't take it back.
    fn percent(&self, done: i64, total: i64) -> String {
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
        let percent = u64::try_from(percent).unwrap_or(0);
        let before = self.percent.fetch_max(percent, Ordering::Relaxed);
        format!("{}%", percent.max(before))
    }

    fn done(&self) -> MutexGuard<'_, HashSet<Digest>> {
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
            Event::Named { manifest } => self.name(manifest),
            Event::Retrying { error, attempt, attempts, .. } => {
                tracing::debug!(%error, attempt, attempts, "trying again");
            }
            Event::BlobStarted { .. }
            | Event::BlobRestarted { .. }
            | Event::LayerRead { .. }
            | Event::Manifest { .. } => {}
        }
    }
}
