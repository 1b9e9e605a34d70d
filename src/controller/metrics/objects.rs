//! Series for each object: what its `Ready` says, when it last succeeded, and how often it is to. They go when it goes.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::ResourceExt as _;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::standings::interval;
use crate::api::conditions::{self, READY};
use crate::api::v1alpha1::{ImagePush, ImagePushStatus};

/// The series of objects.
pub(super) struct Objects {
    info: Family<InfoLabels, Gauge>,
    successes: Family<NameLabels, Gauge>,
    intervals: Family<NameLabels, Gauge>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// By uid, the labels that an object has now.
    labels: HashMap<String, (NameLabels, Option<InfoLabels>)>,
    /// By name, whose series those are: what was made anew may be seen before the former one is known to be gone.
    owners: HashMap<NameLabels, String>,
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
        let (info, successes, intervals) =
            (Family::default(), Family::default(), Family::default());
        registry.register("resource_info", "What an object's Ready condition says", info.clone());
        let help = "When the destination of an object was last found or made to be as it should";
        registry.register("last_success_timestamp_seconds", help, successes.clone());
        let help = "The time between two checks of an object that is not suspended";
        registry.register("interval_seconds", help, intervals.clone());
        Self { info, successes, intervals, known: Mutex::default() }
    }

    pub(super) fn succeeded(&self, object: &ImagePush, now: i64) {
        let mut known = self.lock();
        let (name, _) = known.of(object);
        self.successes.get_or_create(name).set(now);
    }

    pub(super) fn says(&self, object: &ImagePush, status: &ImagePushStatus) {
        let info = InfoLabels::of(object, status);
        let mut known = self.lock();
        let (name, told) = known.of(object);
        match interval(object) {
            Some(interval) => {
                let seconds = i64::try_from(interval.as_secs()).unwrap_or(i64::MAX);
                self.intervals.get_or_create(name).set(seconds);
            }
            None => drop(self.intervals.remove(name)),
        }
        if told.as_ref() != Some(&info) {
            if let Some(old) = told.replace(info.clone()) {
                self.info.remove(&old);
            }
            self.info.get_or_create(&info).set(1);
        }
    }

    pub(super) fn gone(&self, uid: &str) {
        self.remove(&mut self.lock(), uid);
    }

    fn remove(&self, known: &mut Known, uid: &str) {
        let Some((name, info)) = known.labels.remove(uid) else { return };
        if known.owners.get(&name).is_some_and(|owner| owner == uid) {
            known.owners.remove(&name);
            self.successes.remove(&name);
            self.intervals.remove(&name);
        }
        // The next one of this name may say the same of itself.
        let is_shared = |info: &InfoLabels| {
            let owner = known.owners.get(&name).and_then(|owner| known.labels.get(owner));
            owner.is_some_and(|(_, told)| told.as_ref() == Some(info))
        };
        if let Some(info) = info.filter(|info| !is_shared(info)) {
            self.info.remove(&info);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Known ===

impl Known {
    /// The labels of an object, whose series are its own from now on.
    fn of(&mut self, object: &ImagePush) -> &mut (NameLabels, Option<InfoLabels>) {
        let (uid, name) = (object.uid().unwrap_or_default(), NameLabels::of(object));
        self.owners.insert(name.clone(), uid.clone());
        self.labels.entry(uid).or_insert((name, None))
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
            "spec": {"source": side("a"), "destination": side("b"), "interval": "1h"},
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
    fn an_object_has_its_series_until_it_is_gone() {
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
        let interval = "interval_seconds{namespace=\"n\",name=\"a\"} 3600".to_owned();
        assert_eq!(series(&registry), [interval, success, of("a", labels)]);
        let mut suspended = object("a");
        suspended.spec.suspend = true;
        objects.says(&suspended, &ready(State::True, "PushSucceeded"));
        assert_eq!(series(&registry).len(), 2);
        objects.gone("uid of a");
        assert_eq!(series(&registry), [""; 0]);
    }

    /// The end of the former one may be heard of late.
    #[test]
    fn what_was_made_anew_keeps_its_series() {
        let mut registry = Registry::default();
        let objects = Objects::new(&mut registry);
        let told = ready(State::True, "PushSucceeded");
        objects.says(&object("a"), &told);
        objects.succeeded(&object("a"), 7);
        let mut anew = object("a");
        anew.metadata.uid = Some("another".into());
        objects.says(&anew, &told);
        objects.succeeded(&anew, 8);
        let before = series(&registry);
        objects.gone("uid of a");
        assert_eq!(series(&registry), before);
        objects.gone("another");
        assert_eq!(series(&registry), [""; 0]);
    }
}
