//! Namespaces that are being deleted, as far as the API server has said so: it takes nothing new there any more.
//!
//! Nobody has to be asked: the first thing that can't be made tells it of the namespace. Nothing is begun then for the
//! objects that were known before. A namespace never comes back from that; objects that are seen later belong to a new one of
//! the same name, since the old one takes none.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kube::ResourceExt as _;
use kube::core::Status;
use tokio::time::Instant;

use super::decide::{Decision, Step};
use crate::api::v1alpha1::{ImagePush, ImagePushStatus};
use crate::limits::MAX_ENDINGS;

/// When namespaces were last said to end.
#[derive(Debug, Default)]
pub(crate) struct Endings(Mutex<HashMap<String, Instant>>);

// === impl Endings ===

impl Endings {
    /// The API server has refused to make something in this namespace. Of more than are remembered, the oldest is forgotten.
    pub(crate) fn note(&self, namespace: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(namespace.to_owned(), Instant::now());
        if known.len() > MAX_ENDINGS {
            let oldest = known.iter().min_by_key(|(_, said)| **said);
            let oldest = oldest.map(|(name, _)| name.clone()).unwrap_or_default();
            known.remove(&oldest);
        }
    }

    /// Something was made in this namespace.
    pub(crate) fn forget(&self, namespace: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(namespace);
    }

    /// Begins nothing for an object that is about to be deleted with its namespace; that it was looked at is told.
    pub(crate) fn left_in_peace(
        &self,
        object: &ImagePush,
        decision: Decision,
        known_since: Option<Instant>,
    ) -> Decision {
        let namespace = object.namespace().unwrap_or_default();
        let ends = known_since.is_some_and(|since| self.has(&namespace, since));
        if !ends || decision.step != Step::Start {
            return decision;
        }
        let conditions = object.status.as_ref().map(|status| status.conditions.clone());
        let conditions = conditions.unwrap_or_default();
        let status = ImagePushStatus { conditions, ..decision.status };
        Decision { status, step: Step::Wait, again: None }
    }

    /// Whether a namespace ends, for an object in it that has been known since then.
    fn has(&self, namespace: &str, known_since: Instant) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(namespace).is_some_and(|said| known_since <= *said)
    }
}

/// Whether something can't be made because its namespace is being deleted: the object goes with it.
pub(crate) fn is_ending(answer: &Status) -> bool {
    let causes = answer.details.as_ref().map_or(&[][..], |details| &details.causes);
    answer.code == 403 && causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_seen_later_is_of_another_namespace() {
        let endings = Endings::default();
        let before = Instant::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!endings.has("n", before));
        endings.note("n");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(endings.has("n", before) && !endings.has("other", before));
        assert!(!endings.has("n", Instant::now()));
        endings.forget("n");
        assert!(!endings.has("n", before));
        endings.note("n");
        for number in 0..MAX_ENDINGS {
            tokio::time::advance(Duration::from_secs(1)).await;
            endings.note(&format!("n-{number}"));
        }
        assert!(!endings.has("n", before), "the oldest is forgotten");
        assert_eq!(endings.0.lock().unwrap().len(), MAX_ENDINGS);
    }
}
