//! Takes away what deleted objects leave behind, images and what was applied of their bundles, each in a task of its own: a
//! registry that doesn't answer, or a bundle of hundreds of objects, holds up no look at other objects.
//!
//! Trying has an end, so that neither a namespace nor a person waits for a registry, or for rights, that are gone for ever.
//! Nothing of this is kept: an operator that starts anew tries anew.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures::SinkExt as _;
use futures::channel::mpsc;
use kube_runtime::reflector::ObjectRef;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::turns::Turns;
use crate::api::v1alpha1::ImagePush;
use crate::limits::{
    CLEANUP_HOPE, CLEANUP_PATIENCE, CLEANUP_RETRY, PARALLEL_REMOVALS, STOP_TIMEOUT,
};
use crate::transport::Removed;

/// How a try went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tried<T> {
    /// It came to this: nothing is left to try.
    Settled(T),
    /// It failed, for this reason.
    Failed(String),
    /// It failed since who was to do it is gone, which hardly anybody mends.
    Hopeless(String),
}

/// How trying has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finished<T> {
    /// It came to this.
    Settled(T),
    /// It could not be done for too long; the last try failed so.
    GivenUp(String),
}

/// The removals of one sort, of the objects of one watch. Each comes to a `T`.
pub(crate) struct Removals<T> {
    objects: Mutex<HashMap<String, Removal<T>>>,
    /// Of each place, how many more may be under way there at the same time.
    turns: Turns,
    wake: mpsc::Sender<ObjectRef<ImagePush>>,
    tasks: TaskTracker,
}

struct Removal<T> {
    cancel: CancellationToken,
    finished: Option<Finished<T>>,
}

// === impl Finished ===

impl Finished<Removed> {
    /// It in a word, for metrics.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Settled(Removed::Done) => "removed",
            Self::Settled(Removed::Absent) => "absent",
            Self::Settled(Removed::Changed(_)) => "changed",
            Self::Settled(Removed::Unsupported) => "unsupported",
            Self::GivenUp(_) => "given_up",
        }
    }
}

// === impl Removals ===

impl<T: Clone + Send + 'static> Removals<T> {
    /// Wakes objects by `wake` when theirs has ended.
    pub(crate) fn new(wake: mpsc::Sender<ObjectRef<ImagePush>>) -> Self {
        let (turns, tasks) = (Turns::new(PARALLEL_REMOVALS), TaskTracker::new());
        Self { objects: Mutex::default(), turns, wake, tasks }
    }

    /// How it ended, if it has.
    pub(crate) fn finished(&self, uid: &str) -> Option<Finished<T>> {
        self.objects().get(uid)?.finished.clone()
    }

    /// Starts to take away what an object has left at a place, such as a registry, unless that is under way: tries until it
    /// is settled, called off, or too late.
    pub(crate) fn start<F: Future<Output = Tried<T>> + Send>(
        self: &Arc<Self>,
        uid: &str,
        object: ObjectRef<ImagePush>,
        place: String,
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
            let turns = removals.turns.of(&place);
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

    /// The object is gone, or what it left stays: calls its removal off.
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

    fn objects(&self) -> std::sync::MutexGuard<'_, HashMap<String, Removal<T>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tries until it is settled, or for ten minutes from the first try.
async fn persist<T, F: Future<Output = Tried<T>>>(
    turns: &Semaphore,
    attempt: impl Fn() -> F,
) -> Finished<T> {
    let mut first: Option<Instant> = None;
    loop {
        let turn = turns.acquire().await;
        let began = *first.get_or_insert_with(Instant::now);
        let tried = attempt().await;
        drop(turn);
        match tried {
            Tried::Settled(end) => return Finished::Settled(end),
            Tried::Failed(why) if began.elapsed() >= CLEANUP_PATIENCE => {
                return Finished::GivenUp(why);
            }
            Tried::Hopeless(why) if began.elapsed() >= CLEANUP_HOPE => {
                return Finished::GivenUp(why);
            }
            Tried::Failed(_) | Tried::Hopeless(_) => sleep(CLEANUP_RETRY).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::StreamExt as _;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn start(
        removals: &Arc<Removals<Removed>>,
        uid: &str,
        registry: &str,
        tried: Option<Tried<Removed>>,
    ) {
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
    async fn where_nobody_is_left_to_do_it_that_is_soon_over() {
        let (wake, mut woken) = mpsc::channel(1);
        let removals = Arc::new(Removals::new(wake));
        let began = Instant::now();
        start(&removals, "gone", "n", Some(Tried::Hopeless("no account".into())));
        assert_eq!(woken.next().await.unwrap().name, "gone");
        assert_eq!(removals.finished("gone"), Some(Finished::GivenUp("no account".into())));
        let took = began.elapsed();
        assert!(took >= CLEANUP_HOPE && took < CLEANUP_HOPE + 2 * CLEANUP_RETRY, "{took:?}");
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
        assert_eq!(removals.finished("good"), Some(Finished::Settled(Removed::Done)));
        removals.forget("stuck-0");
        let stopped = Instant::now();
        assert!(removals.stop().await);
        assert!(stopped.elapsed() < SECOND, "{:?}", stopped.elapsed());
        assert_eq!(removals.finished("stuck-1"), None);
    }
}
