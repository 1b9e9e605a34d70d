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
    /// An object is new here: if its status says nothing yet, it is to be looked at. One that is deleted needs none.
    pub(crate) fn note(&self, object: &ImagePush) {
        let deleted = object.metadata.deletion_timestamp.is_some();
        if !deleted && object.status.as_ref().is_none_or(|status| status.conditions.is_empty()) {
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
    use serde_json::{Value, json};
    use tokio::time::Instant;

    use super::*;

    fn object(uid: &str, status: &Value, deleted: bool) -> ImagePush {
        let side = |name: &str| json!({"reference": format!("docker://{name}.example/x:1")});
        let mut object = json!({
            "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
            "metadata": {"name": uid, "namespace": "n", "uid": uid},
            "spec": {"source": side("a"), "destination": side("b"), "runPolicy": "Once"},
            "status": status,
        });
        if deleted {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        serde_json::from_value(object).unwrap()
    }

    fn unseen() -> Value {
        json!({"observedGeneration": -1})
    }

    #[test]
    fn who_has_a_status_or_needs_none_is_not_waited_for() {
        // While nothing has been settled, the generation stays what it is by default.
        let retrying = json!({"observedGeneration": -1, "conditions": [{
            "type": "Reconciling", "status": "True", "reason": "ProgressingWithRetry", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]});
        for (status, deleted, waited_for) in
            [(unseen(), false, true), (retrying, false, false), (unseen(), true, false)]
        {
            let newcomers = Newcomers::default();
            newcomers.note(&object("a", &status, deleted));
            assert_eq!(newcomers.expected().len(), usize::from(waited_for), "{status}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_look_ends_the_wait_and_so_does_time() {
        let newcomers = Newcomers::default();
        assert!(newcomers.looked_at().now_or_never().is_some(), "there are none");
        for uid in ["a", "b", "c"] {
            newcomers.note(&object(uid, &unseen(), false));
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
