//! Objects that nobody has looked at yet: attempts of others wait for them, for a while, so that of hundreds which are made
//! at once each one soon has a status, and what ends meanwhile is not in their way.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::ResourceExt as _;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::api::v1alpha1::ImagePush;
use crate::limits::NEWCOMERS_PATIENCE;

/// Those of one watch, by uid.
#[derive(Debug, Default)]
pub(crate) struct Newcomers {
    expected: Mutex<HashSet<String>>,
    /// How many there are.
    count: watch::Sender<usize>,
}

// === impl Newcomers ===

impl Newcomers {
    /// An object was listed or has changed: if it has no status yet, it is to be looked at. One that is deleted needs none.
    pub(crate) fn note(&self, object: &ImagePush) {
        let generation = object.status.as_ref().and_then(|status| status.observed_generation);
        let deleted = object.metadata.deletion_timestamp.is_some();
        if !deleted && generation.is_none_or(|generation| generation < 0) {
            self.change(|expected| expected.insert(object.uid().unwrap_or_default()));
        }
    }

    /// An object was looked at, whatever came of it, or is gone.
    pub(crate) fn forget(&self, uid: &str) {
        self.change(|expected| expected.remove(uid));
    }

    /// All but these are gone.
    pub(crate) fn keep_only(&self, uids: &HashSet<String>) {
        self.change(|expected| expected.retain(|uid| uids.contains(uid)));
    }

    /// Waits until each has been looked at, but not for long: there may always be new ones.
    pub(crate) async fn looked_at(&self) {
        let mut count = self.count.subscribe();
        let none = count.wait_for(|count| *count == 0);
        let _ = timeout(NEWCOMERS_PATIENCE, none).await;
    }

    fn change<T>(&self, change: impl FnOnce(&mut HashSet<String>) -> T) {
        let mut expected = self.expected();
        change(&mut expected);
        let count = expected.len();
        self.count.send_if_modified(|known| std::mem::replace(known, count) != count);
    }

    fn expected(&self) -> MutexGuard<'_, HashSet<String>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use serde_json::json;
    use tokio::time::Instant;

    use super::*;

    fn object(uid: &str, generation: i64, deleted: bool) -> ImagePush {
        let side = |name: &str| json!({"reference": format!("docker://{name}.example/x:1")});
        let mut object = json!({
            "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
            "metadata": {"name": uid, "namespace": "n", "uid": uid},
            "spec": {"source": side("a"), "destination": side("b"), "runPolicy": "Once"},
            "status": {"observedGeneration": generation},
        });
        if deleted {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn who_has_a_status_or_needs_none_is_not_waited_for() {
        for (generation, deleted, waited_for) in
            [(-1, false, true), (1, false, false), (-1, true, false)]
        {
            let newcomers = Newcomers::default();
            newcomers.note(&object("a", generation, deleted));
            assert_eq!(newcomers.expected().len(), usize::from(waited_for), "{generation}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_look_ends_the_wait_and_so_does_time() {
        let newcomers = Newcomers::default();
        assert!(newcomers.looked_at().now_or_never().is_some(), "there are none");
        for uid in ["a", "b", "c"] {
            newcomers.note(&object(uid, -1, false));
        }
        let began = Instant::now();
        newcomers.looked_at().await;
        assert_eq!(began.elapsed(), NEWCOMERS_PATIENCE);
        newcomers.forget("a");
        newcomers.keep_only(&HashSet::from(["b".to_owned()]));
        assert!(newcomers.looked_at().now_or_never().is_none());
        newcomers.forget("b");
        assert!(newcomers.looked_at().now_or_never().is_some());
    }
}
