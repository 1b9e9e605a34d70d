//! Series for each object: what its `Ready` says, and when it last succeeded. They go when it goes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kube::ResourceExt as _;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::api::conditions::{self, READY};
use crate::api::v1alpha1::{ImagePush, ImagePushStatus};

/// The series of objects.
pub(super) struct Objects {
    info: Family<InfoLabels, Gauge>,
    successes: Family<NameLabels, Gauge>,
    /// By uid, the labels that an object has now.
    known: Mutex<HashMap<String, (NameLabels, Option<InfoLabels>)>>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct NameLabels {
    namespace: String,
    name: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct InfoLabels {
    namespace: String,
    name: String,
    ready: String,
    reason: String,
    suspended: &'static str,
}

// === impl Objects ===

impl Objects {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let (info, successes) = (Family::default(), Family::default());
        registry.register("resource_info", "What an object's Ready condition says", info.clone());
        let help = "When the destination of an object was last found or made to be as it should";
        registry.register("last_success_timestamp_seconds", help, successes.clone());
        Self { info, successes, known: Mutex::default() }
    }

    pub(super) fn succeeded(&self, object: &ImagePush, now: i64) {
        let name = NameLabels::of(object);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(object.uid().unwrap_or_default()).or_insert_with(|| (name.clone(), None));
        self.successes.get_or_create(&name).set(now);
    }

    pub(super) fn says(&self, object: &ImagePush, status: &ImagePushStatus) {
        let info = InfoLabels::of(object, status);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = known
            .entry(object.uid().unwrap_or_default())
            .or_insert_with(|| (NameLabels::of(object), None));
        if entry.1.as_ref() != Some(&info) {
            if let Some(old) = entry.1.replace(info.clone()) {
                self.info.remove(&old);
            }
            self.info.get_or_create(&info).set(1);
        }
    }

    pub(super) fn gone(&self, uid: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(labels) = known.remove(uid) {
            self.remove(labels);
        }
    }

    fn remove(&self, (name, info): (NameLabels, Option<InfoLabels>)) {
        self.successes.remove(&name);
        if let Some(info) = info {
            self.info.remove(&info);
        }
    }
}

// === impl NameLabels ===

impl NameLabels {
    fn of(object: &ImagePush) -> Self {
        Self { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }
}

// === impl InfoLabels ===

impl InfoLabels {
    fn of(object: &ImagePush, status: &ImagePushStatus) -> Self {
        let NameLabels { namespace, name } = NameLabels::of(object);
        let ready = conditions::find(&status.conditions, READY);
        let word = |text: Option<&String>| text.map_or("Unknown", String::as_str).to_owned();
        Self {
            namespace,
            name,
            ready: word(ready.map(|ready| &ready.status)),
            reason: word(ready.map(|ready| &ready.reason)),
            suspended: if object.spec.suspend { "true" } else { "false" },
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use serde_json::json;

    use super::*;
    use crate::api::conditions::{Setting, State};

    fn object(name: &str) -> ImagePush {
        let side = |name: &str| json!({"reference": format!("docker://r.example/{name}:1")});
        serde_json::from_value(json!({
            "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
            "metadata": {"name": name, "namespace": "n", "uid": format!("uid of {name}")},
            "spec": {"source": side("a"), "destination": side("b"), "runPolicy": "Once"},
        }))
        .unwrap()
    }

    fn ready(state: State, reason: &str) -> ImagePushStatus {
        let mut status = ImagePushStatus::default();
        let setting = Setting { kind: READY, state, reason, message: "" };
        let now = jiff::Timestamp::from_second(1).unwrap();
        conditions::set(&mut status.conditions, &setting, 1, now);
        status
    }

    /// The lines that name an object.
    fn series(registry: &Registry) -> Vec<String> {
        let mut text = String::new();
        encode(&mut text, registry).unwrap();
        let mut lines: Vec<String> =
            text.lines().filter(|line| line.contains("name=")).map(str::to_owned).collect();
        lines.sort();
        lines
    }

    #[test]
    fn an_object_has_two_series_until_it_is_gone() {
        let mut registry = Registry::default();
        let objects = Objects::new(&mut registry);
        objects.says(&object("a"), &ready(State::Unknown, "Progressing"));
        objects.says(&object("a"), &ready(State::True, "PushSucceeded"));
        objects.succeeded(&object("a"), 7);
        let of = |name: &str, labels: &str| {
            format!(
                "resource_info{{namespace=\"n\",name=\"{name}\",{labels},suspended=\"false\"}} 1"
            )
        };
        let labels = "ready=\"True\",reason=\"PushSucceeded\"";
        let success = "last_success_timestamp_seconds{namespace=\"n\",name=\"a\"} 7".to_owned();
        assert_eq!(series(&registry), [success, of("a", labels)]);
        objects.gone("uid of a");
        assert_eq!(series(&registry), [""; 0]);
    }
}
