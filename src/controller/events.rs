//! Events of the cluster about ImagePush objects (events.k8s.io/v1): what `kubectl describe` shows below an object.
//!
//! Only changes are told, and not more than a store of events should hold: [`Recorder::tell`] drops what is too much. They
//! are written by a task of their own; nothing waits for it, and what it can't write is counted and forgotten.

mod allowance;
mod changes;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt as _;
use futures::channel::mpsc;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::Instant;

use self::allowance::{Allowance, Subject};
pub(crate) use self::changes::changes;
use super::metrics::Metrics;
use crate::api::reasons::events;
use crate::limits::{EVENT_QUEUE, MAX_EVENT_NOTE};

/// What reports events.
const CONTROLLER: &str = "imagepush.dev/controller";

/// Longest name of a reporting instance that Kubernetes takes.
const MAX_INSTANCE: usize = 128;

/// Something to be told about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    weight: Weight,
    /// In one word; that of the condition where there is one.
    reason: &'static str,
    /// What the operator did or tried, in one word.
    action: &'static str,
    note: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    Normal,
    Warning,
}

/// Takes events to be written.
pub(crate) struct Recorder {
    queue: Mutex<mpsc::Sender<Event>>,
    allowance: Mutex<Allowance>,
    metrics: Arc<Metrics>,
    /// Name of this operator.
    instance: String,
}

/// A recorder, and what writes its events until the recorder is gone.
pub(crate) fn recorder(
    client: Client,
    metrics: Arc<Metrics>,
    instance: &str,
) -> (Recorder, impl Future<Output = ()> + Send + use<>) {
    let (queue, events) = mpsc::channel(EVENT_QUEUE);
    let recorder = Recorder {
        queue: Mutex::new(queue),
        allowance: Mutex::default(),
        metrics: metrics.clone(),
        instance: cut(instance, MAX_INSTANCE).to_owned(),
    };
    (recorder, write(client, events, metrics))
}

/// One after another: they are few, and a server that is slow gets no more of them for it.
async fn write(client: Client, mut events: mpsc::Receiver<Event>, metrics: Arc<Metrics>) {
    while let Some(event) = events.next().await {
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => metrics.event("written"),
            Err(error) => {
                metrics.event("failed");
                tracing::debug!(%error, "an event was not written");
            }
        }
    }
}

// === impl Recorder ===

impl Recorder {
    /// Has something told about an object, unless that is too much.
    pub(crate) fn tell(&self, object: ObjectReference, told: Told) {
        let uid = object.uid.as_deref().unwrap_or_default();
        let allowed = {
            let mut allowance = self.allowance.lock().unwrap_or_else(PoisonError::into_inner);
            allowance.take(uid, told.subject(), Instant::now())
        };
        if !allowed {
            self.metrics.event("suppressed");
            return;
        }
        let event = event(object, told, &self.instance, Timestamp::now());
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.try_send(event).is_err() {
            self.metrics.event("dropped");
        }
    }
}

fn event(regarding: ObjectReference, told: Told, instance: &str, now: Timestamp) -> Event {
    let Told { weight, reason, action, note } = told;
    let name = regarding.name.as_deref().unwrap_or_default();
    Event {
        metadata: ObjectMeta {
            // Names of objects may be as long as those of events.
            name: Some(format!("{}.{:x}", name_part(name), now.as_nanosecond())),
            namespace: regarding.namespace.clone(),
            ..ObjectMeta::default()
        },
        action: Some(action.to_owned()),
        event_time: Some(MicroTime(now)),
        note: Some(cut(&note, MAX_EVENT_NOTE).to_owned()),
        reason: Some(reason.to_owned()),
        regarding: Some(regarding),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(instance.to_owned()),
        type_: Some(weight.as_str().to_owned()),
        ..Event::default()
    }
}

/// The beginning of a name that leaves room for a number; it ends as names may.
fn name_part(name: &str) -> &str {
    cut(name, 220).trim_end_matches(['.', '-'])
}

/// The beginning of a text, on a character's boundary.
fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

// === impl Told ===

impl Told {
    pub(crate) fn normal(reason: &'static str, action: &'static str, note: String) -> Self {
        Self { weight: Weight::Normal, reason, action, note }
    }

    pub(crate) fn warning(reason: &'static str, action: &'static str, note: String) -> Self {
        Self { weight: Weight::Warning, reason, action, note }
    }

    /// What is told once in a while: a failure, what follows it, and a request by the reason, since what they say differs each
    /// time and must not use up what may be told; else what it says.
    fn subject(&self) -> Subject {
        let by_reason = self.weight == Weight::Warning
            || [events::REQUESTED, events::RETRY_SCHEDULED].contains(&self.reason);
        let mut hasher = DefaultHasher::new();
        (!by_reason).then_some(&self.note).hash(&mut hasher);
        Subject(self.reason, hasher.finish())
    }
}

// === impl Weight ===

impl Weight {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two pushes are two, and one failure that says something else each time is one.
    #[test]
    fn what_says_something_else_is_something_else_but_for_failures() {
        let of = |told: fn(_, _, _) -> Told, reason, note: &str| {
            told(reason, "Push", note.into()).subject()
        };
        let (normal, warning) = (Told::normal, Told::warning);
        assert_eq!(of(normal, "PushSucceeded", "one"), of(normal, "PushSucceeded", "one"));
        assert_ne!(of(normal, "PushSucceeded", "one"), of(normal, "PushSucceeded", "two"));
        assert_ne!(of(normal, "PushSucceeded", "one"), of(normal, "AlreadyPresent", "one"));
        assert_eq!(of(warning, "NetworkError", "one"), of(warning, "NetworkError", "two"));
        assert_ne!(of(warning, "NetworkError", "one"), of(warning, "Timeout", "one"));
        assert_eq!(of(normal, "Requested", "one"), of(normal, "Requested", "two"));
        assert_eq!(of(normal, "RetryScheduled", "one"), of(normal, "RetryScheduled", "two"));
    }

    #[test]
    fn an_event_fits_into_what_kubernetes_takes() {
        let regarding = ObjectReference {
            name: Some(format!("{}.x", "a".repeat(219))),
            namespace: Some("n".into()),
            ..ObjectReference::default()
        };
        let now = Timestamp::from_second(1).unwrap();
        // 333 times three bytes, and one more character would be 1002.
        let told = Told::warning("NetworkError", "Push", "…".repeat(500));
        let event = event(regarding, told, "pod-1", now);
        assert_eq!(event.metadata.name.unwrap(), format!("{}.3b9aca00", "a".repeat(219)));
        assert_eq!(event.metadata.namespace.as_deref(), Some("n"));
        assert_eq!(event.note.unwrap(), "…".repeat(333));
        assert_eq!(
            (event.type_.as_deref(), event.reason.as_deref()),
            (Some("Warning"), Some("NetworkError"))
        );
        assert_eq!(event.event_time, Some(MicroTime(now)));
        assert_eq!(event.reporting_instance.as_deref(), Some("pod-1"));
    }
}
