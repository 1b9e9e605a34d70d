//! How far an attempt is, from what the engine and the executor tell.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::JobId;
use crate::api::v1alpha1;
use crate::controller::status::number;
use crate::engine::{self, Event};
use crate::image::{Descriptor, Digest};

/// What an attempt is doing, in the order in which it comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// It has not begun.
    #[default]
    Waiting,
    /// Its Job is there, and the pod does not run yet.
    Starting,
    /// Its Job runs, which tells no more.
    Running,
    /// Manifests are read and compared.
    Resolving,
    /// Blobs move.
    Copying,
    /// The name is changed, and what it points to is checked.
    Tagging,
    /// What belongs beside the image is put there.
    Attaching,
    /// Custom resources are applied in the cluster.
    Applying,
}

/// How far an attempt is.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    stage: Mutex<Stage>,
    /// When it got its turn.
    began: OnceLock<Instant>,
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
    /// The attempt has got its turn.
    pub(crate) fn begin(&self, stage: Stage) {
        // It gets one.
        let _ = self.began.set(Instant::now());
        self.enter(stage);
    }

    /// How long it has taken since it got its turn, if it has.
    pub(crate) fn took(&self) -> Option<Duration> {
        self.began.get().map(Instant::elapsed)
    }

    /// The attempt has come to this stage. It never goes back: what is done again is of the later one.
    pub(crate) fn enter(&self, stage: Stage) {
        let mut known = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        *known = stage.max(*known);
    }

    /// Whether the attempt has come to this stage.
    pub(crate) fn has_come_to(&self, stage: Stage) -> bool {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) >= stage
    }

    /// The attempt is made by this Job.
    pub(crate) fn set_job(&self, job: JobId) {
        *self.job.lock().unwrap_or_else(PoisonError::into_inner) = Some(job);
        self.begin(Stage::Starting);
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
        let stage = *self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        (self.shown.load(Ordering::Relaxed) && stage > Stage::Waiting).then(|| {
            let bytes_total = read(&self.bytes_total);
            let bytes_done = read(&self.bytes_done).min(bytes_total);
            let blobs_total = read(&self.blobs_total);
            let is_planned = blobs_total > 0;
            v1alpha1::Progress {
                stage: stage.as_str().to_owned(),
                percent: if is_planned {
                    self.percent(bytes_done, bytes_total)
                } else {
                    String::new()
                },
                blobs_total,
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

// === impl Stage ===

impl Stage {
    fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "Waiting",
            Self::Starting => "Starting",
            Self::Running => "Running",
            Self::Resolving => "Resolving",
            Self::Copying => "Copying",
            Self::Tagging => "Tagging",
            Self::Attaching => "Attaching",
            Self::Applying => "Applying",
        }
    }
}

impl engine::Progress for Counters {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Planned { blobs, bytes } => {
                self.blobs_total.store(blobs, Ordering::Relaxed);
                self.bytes_total.store(bytes, Ordering::Relaxed);
                self.enter(Stage::Copying);
            }
            Event::BlobAdvanced { bytes, .. } => {
                self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
            }
            Event::BlobFinished { digest, .. } => {
                self.done().insert(digest.clone());
            }
            Event::Named { manifest } => self.name(manifest),
            Event::Naming => self.enter(Stage::Tagging),
            Event::Attaching => self.enter(Stage::Attaching),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Progress as _;

    fn stage(counters: &Counters) -> Option<(String, String)> {
        counters.read().map(|progress| (progress.stage, progress.percent))
    }

    #[test]
    fn stages_follow_each_other_and_none_comes_again() {
        let told = |stage: &str, percent: &str| Some((stage.to_owned(), percent.to_owned()));
        let counters = Counters::default();
        counters.show();
        assert_eq!((stage(&counters), counters.took()), (None, None));
        counters.begin(Stage::Resolving);
        assert!(counters.took().is_some());
        assert_eq!(stage(&counters), told("Resolving", ""));
        let digest = Digest::of(b"blob");
        for (event, expected) in [
            (Event::Planned { blobs: 2, bytes: 200 }, told("Copying", "0%")),
            (Event::BlobAdvanced { digest: &digest, bytes: 100 }, told("Copying", "50%")),
            (Event::Naming, told("Tagging", "50%")),
            // The name was refused in this format: once more in the next one.
            (Event::Planned { blobs: 4, bytes: 400 }, told("Tagging", "50%")),
            (Event::Attaching, told("Attaching", "50%")),
        ] {
            counters.event(event);
            assert_eq!(stage(&counters), expected);
        }
        counters.enter(Stage::Applying);
        assert_eq!(stage(&counters), told("Applying", "50%"));
    }

    #[test]
    fn of_a_job_it_is_told_whether_it_runs() {
        let counters = Counters::default();
        counters.set_job(JobId { name: "job".into(), uid: "uid".into(), trace: None });
        assert_eq!(stage(&counters), None, "nothing is worth telling in the first seconds");
        counters.show();
        assert_eq!(stage(&counters), Some(("Starting".to_owned(), String::new())));
        counters.enter(Stage::Running);
        assert_eq!(stage(&counters), Some(("Running".to_owned(), String::new())));
    }
}
