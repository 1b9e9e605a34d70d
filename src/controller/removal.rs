//! Takes the images of deleted objects away, each in a task of its own: a registry that doesn't answer holds up no look at
//! other objects.
//!
//! Trying has an end, so that neither a namespace nor a person waits for a registry that is gone for ever. Nothing of this is
//! kept: an operator that starts anew tries anew.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures::SinkExt as _;
use futures::channel::mpsc;
use kube_runtime::reflector::ObjectRef;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::cleanup::Tried;
use crate::api::v1alpha1::ImagePush;
use crate::limits::{CLEANUP_PATIENCE, CLEANUP_RETRY, PARALLEL_REMOVALS, STOP_TIMEOUT};
use crate::transport::Removed;

/// How trying to take an image away has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finished {
    /// The registry has answered.
    Answered(Removed),
    /// It could not be done for too long; the last try failed so.
    GivenUp(String),
}

/// The removals of the objects of one watch.
pub(crate) struct Removals {
    objects: Mutex<HashMap<String, Removal>>,
    /// Of each registry, how many more may be asked for at the same time.
    turns: Mutex<HashMap<String, Arc<Semaphore>>>,
    wake: mpsc::Sender<ObjectRef<ImagePush>>,
    tasks: TaskTracker,
}

struct Removal {
    cancel: CancellationToken,
    finished: Option<Finished>,
}

// === impl Finished ===

impl Finished {
    /// It in a word, for metrics.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Answered(Removed::Done) => "removed",
            Self::Answered(Removed::Absent) => "absent",
            Self::Answered(Removed::Changed(_)) => "changed",
            Self::Answered(Removed::Unsupported) => "unsupported",
            Self::GivenUp(_) => "given_up",
        }
    }
}

// === impl Removals ===

impl Removals {
    /// Wakes objects by `wake` when theirs has ended.
    pub(crate) fn new(wake: mpsc::Sender<ObjectRef<ImagePush>>) -> Self {
        Self { objects: Mutex::default(), turns: Mutex::default(), wake, tasks: TaskTracker::new() }
    }

    /// How it ended, if it has.
    pub(crate) fn finished(&self, uid: &str) -> Option<Finished> {
        self.objects().get(uid)?.finished.clone()
    }

    /// Starts to take an object's image away from a registry, unless that is under way: tries until it is settled, called
    /// off, or too late.
    pub(crate) fn start<F: Future<Output = Tried> + Send>(
        self: &Arc<Self>,
        uid: &str,
        object: ObjectRef<ImagePush>,
        registry: String,
        attempt: impl Fn(CancellationToken) -> F + Send + Sync + 'static,
    ) {
        let cancel = CancellationToken::new();
        let removal = Removal { cancel: cancel.clone(), finished: None };
        {
            let mut objects = self.objects();
            if objects.contains_key(uid) {
                return;
            }
            objects.insert(uid.to_owned(), removal);
        }
        let (removals, uid) = (self.clone(), uid.to_owned());
        self.tasks.spawn(async move {
            let turns = removals.turns_of(registry);
            let finished = tokio::select! {
                finished = persist(&turns, || attempt(cancel.clone())) => finished,
                () = cancel.cancelled() => return,
            };
            if let Some(removal) = removals.objects().get_mut(&uid) {
                removal.finished = Some(finished);
            }
            // It fails only when nobody listens any more, while the operator stops.
            let _ = removals.wake.clone().send(object).await;
        });
    }

    /// The object is gone, or its image stays: calls its removal off.
    pub(crate) fn forget(&self, uid: &str) {
        if let Some(removal) = self.objects().remove(uid) {
            removal.cancel.cancel();
        }
    }

    /// Forgets every object but these.
    pub(crate) fn keep_only(&self, uids: &HashSet<String>) {
        self.objects().retain(|uid, removal| {
            let kept = uids.contains(uid);
            if !kept {
                removal.cancel.cancel();
            }
            kept
        });
    }

    /// Calls every removal off and waits for their ends. `false` if that takes too long.
    pub(crate) async fn stop(&self) -> bool {
        self.objects().values().for_each(|removal| removal.cancel.cancel());
        self.tasks.close();
        let ended = tokio::time::timeout(STOP_TIMEOUT, self.tasks.wait()).await.is_ok();
        if !ended {
            tracing::warn!("removals did not stop in time");
        }
        ended
    }

    fn objects(&self) -> std::sync::MutexGuard<'_, HashMap<String, Removal>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turns_of(&self, registry: String) -> Arc<Semaphore> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turns| Arc::strong_count(turns) > 1);
        turns.entry(registry).or_insert_with(|| Arc::new(Semaphore::new(PARALLEL_REMOVALS))).clone()
    }
}

/// Tries until it is settled, or for ten minutes from the first try.
async fn persist<F: Future<Output = Tried>>(
    turns: &Semaphore,
    attempt: impl Fn() -> F,
) -> Finished {
    let mut first: Option<Instant> = None;
    loop {
        let turn = turns.acquire().await;
        let began = *first.get_or_insert_with(Instant::now);
        let tried = attempt().await;
        drop(turn);
        match tried {
            Tried::Settled(removed) => return Finished::Answered(removed),
            Tried::Failed(why) if began.elapsed() >= CLEANUP_PATIENCE => {
                return Finished::GivenUp(why);
            }
            Tried::Failed(_) => sleep(CLEANUP_RETRY).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::StreamExt as _;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn start(removals: &Arc<Removals>, uid: &str, registry: &str, tried: Option<Tried>) {
        removals.start(uid, ObjectRef::new(uid), registry.into(), move |_| {
            let tried = tried.clone();
            async move {
                sleep(SECOND).await;
                match tried {
                    Some(tried) => tried,
                    None => std::future::pending().await,
                }
            }
        });
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_tried_for_ten_minutes_from_the_first_try() {
        let (wake, mut woken) = mpsc::channel(1);
        let removals = Arc::new(Removals::new(wake));
        let began = Instant::now();
        start(&removals, "dead", "dead.example", Some(Tried::Failed("no route".into())));
        assert_eq!(woken.next().await.unwrap().name, "dead");
        assert_eq!(removals.finished("dead"), Some(Finished::GivenUp("no route".into())));
        let took = began.elapsed();
        assert!(
            took >= CLEANUP_PATIENCE && took < CLEANUP_PATIENCE + 2 * CLEANUP_RETRY,
            "{took:?}"
        );
        // Whatever comes of it, it is not begun again by itself.
        start(&removals, "dead", "dead.example", Some(Tried::Settled(Removed::Done)));
        sleep(9 * SECOND).await;
        assert_eq!(removals.finished("dead"), Some(Finished::GivenUp("no route".into())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_registry_that_hangs_holds_up_its_own_removals_only() {
        let (wake, mut woken) = mpsc::channel(1);
        let removals = Arc::new(Removals::new(wake));
        for number in 0..9 {
            start(&removals, &format!("stuck-{number}"), "dead.example", None);
        }
        start(&removals, "good", "good.example", Some(Tried::Settled(Removed::Done)));
        assert_eq!(woken.next().await.unwrap().name, "good");
        assert_eq!(removals.finished("good"), Some(Finished::Answered(Removed::Done)));
        removals.forget("stuck-0");
        let stopped = Instant::now();
        assert!(removals.stop().await);
        assert!(stopped.elapsed() < SECOND, "{:?}", stopped.elapsed());
        assert_eq!(removals.finished("stuck-1"), None);
    }
}
