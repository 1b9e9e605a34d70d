//! How many objects are in which state, and how many have had no success for long: sums, so that they cost the same however
//! many objects there are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::time::Instant;

use crate::api::conditions::{self, READY, RECONCILING, STALLED};
use crate::api::reasons::PROGRESSING_WITH_RETRY;
use crate::api::v1alpha1::{ImagePush, ImagePushStatus, Mode, RunPolicy};
use crate::controller::validate;
use crate::limits::OVERDUE_AFTER;

/// What is known of all objects.
#[derive(Clone, Debug, Default)]
pub(super) struct Standings(Arc<Mutex<HashMap<String, Standing>>>);

/// What is known of one object.
#[derive(Clone, Debug)]
struct Standing {
    state: &'static str,
    /// How long it may be without a success; not set where none is to come until somebody does something.
    patience: Option<Duration>,
    /// When the destination was last found or made to be as it should, or from when it counts else.
    since: Instant,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

const STATES: [&str; 5] = ["progressing", "ready", "retrying", "stalled", "suspended"];

// === impl Standings ===

impl Standings {
    /// What an object's status says. One of its attempts may take `timeout`.
    pub(super) fn says(&self, object: &ImagePush, status: &ImagePushStatus, timeout: Duration) {
        let state = state(object, status);
        let patience = patience(object, timeout).filter(|_| state != "stalled");
        let mut all = self.lock();
        let fresh = || Standing { state, patience, since: unready_since(status, Timestamp::now()) };
        let standing = all.entry(object.uid().unwrap_or_default()).or_insert_with(fresh);
        if standing.patience.is_none() {
            // It counts from when its checks begin, such as when it is resumed.
            standing.since = Instant::now();
        }
        (standing.state, standing.patience) = (state, patience);
    }

    /// An object's destination was found or made to be as it should.
    pub(super) fn succeeded(&self, object: &ImagePush) {
        if let Some(standing) = self.lock().get_mut(&object.uid().unwrap_or_default()) {
            standing.since = Instant::now();
        }
    }

    /// No success of an object is to come any more.
    pub(super) fn deleting(&self, uid: &str) {
        if let Some(standing) = self.lock().get_mut(uid) {
            standing.patience = None;
        }
    }

    pub(super) fn gone(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn in_state(&self, state: &str) -> i64 {
        count(self.lock().values().filter(|it| it.state == state))
    }

    fn overdue(&self) -> i64 {
        let now = Instant::now();
        count(self.lock().values().filter(|it| it.is_overdue(now)))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Standing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Standings {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (name, help) = ("objects", "Objects, by what their status says");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for state in STATES {
            let labels = StateLabels { state };
            ConstGauge::new(self.in_state(state)).encode(family.encode_family(&labels)?)?;
        }
        let (name, help) = (
            "overdue_objects",
            "Objects without a success for three intervals and the time of an attempt",
        );
        let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(self.overdue()).encode(gauge)
    }
}

// === impl Standing ===

impl Standing {
    fn is_overdue(&self, now: Instant) -> bool {
        self.patience.is_some_and(|patience| now.duration_since(self.since) > patience)
    }
}

fn state(object: &ImagePush, status: &ImagePushStatus) -> &'static str {
    let is_true = |kind| conditions::is_true(&status.conditions, kind);
    let reconciling = conditions::find(&status.conditions, RECONCILING);
    match () {
        () if object.spec.suspend => "suspended",
        () if is_true(STALLED) => "stalled",
        () if is_true(READY) => "ready",
        () if reconciling.is_some_and(|it| it.reason == PROGRESSING_WITH_RETRY) => "retrying",
        () => "progressing",
    }
}

/// The interval of an object that is to have successes again and again.
pub(super) fn interval(object: &ImagePush) -> Option<Duration> {
    let spec = &object.spec;
    let repeats = spec.run_policy == RunPolicy::Continuous && spec.mode == Mode::Apply;
    let interval = spec.interval.as_deref().filter(|_| repeats && !spec.suspend)?;
    validate::duration(interval).ok()
}

/// How long an object may be without a success: an attempt may begin at the end of the last interval, and take its time.
fn patience(object: &ImagePush, timeout: Duration) -> Option<Duration> {
    Some(interval(object)?.saturating_mul(OVERDUE_AFTER).saturating_add(timeout))
}

/// Since when an object that is seen first is known to have had no success: this process may be new, and the object old.
fn unready_since(status: &ImagePushStatus, now: Timestamp) -> Instant {
    let ready = conditions::find(&status.conditions, READY).filter(|it| it.status == "False");
    let age =
        ready.and_then(|ready| now.duration_since(ready.last_transition_time.0).try_into().ok());
    age.and_then(|age| Instant::now().checked_sub(age)).unwrap_or_else(Instant::now)
}

fn count<'a>(found: impl Iterator<Item = &'a Standing>) -> i64 {
    i64::try_from(found.count()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::conditions::{Setting, State};

    fn object(name: &str, more: &Value) -> ImagePush {
        let mut object = json!({
            "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
            "metadata": {"name": name, "namespace": "n", "uid": name},
            "spec": {
                "source": {"reference": "docker://a.example/x:1"},
                "destination": {"reference": "docker://b.example/x:1"},
            },
        });
        object["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(object).unwrap()
    }

    fn status(kind: &str, reason: &str) -> ImagePushStatus {
        let mut status = ImagePushStatus::default();
        let setting = Setting { kind, state: State::True, reason, message: "" };
        let now = jiff::Timestamp::from_second(1).unwrap();
        conditions::set(&mut status.conditions, &setting, 1, now);
        status
    }

    /// The metrics that aren't zero.
    fn told(standings: &Standings) -> Vec<String> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(standings.clone()));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.ends_with(" 0"));
        lines.map(str::to_owned).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn objects_are_counted_by_state_until_they_are_gone() {
        let standings = Standings::default();
        let every = json!({"interval": "1h"});
        for (name, spec, status, state) in [
            ("a", every.clone(), ImagePushStatus::default(), "progressing"),
            ("b", every.clone(), status(READY, "PushSucceeded"), "ready"),
            ("c", every.clone(), status(RECONCILING, PROGRESSING_WITH_RETRY), "retrying"),
            ("d", every.clone(), status(STALLED, "AccessDenied"), "stalled"),
            ("e", json!({"suspend": true}), status(READY, "PushSucceeded"), "suspended"),
        ] {
            standings.says(&object(name, &spec), &status, Duration::ZERO);
            assert_eq!(told(&standings), [format!("objects{{state=\"{state}\"}} 1")]);
            standings.gone(name);
        }
        let ready = status(READY, "PushSucceeded");
        standings.says(&object("a", &every), &ImagePushStatus::default(), Duration::ZERO);
        standings.says(&object("b", &every), &ready, Duration::ZERO);
        standings.says(&object("a", &every), &ready, Duration::ZERO);
        assert_eq!(told(&standings), ["objects{state=\"ready\"} 2"]);
        standings.gone("a");
        assert_eq!(told(&standings), ["objects{state=\"ready\"} 1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_is_overdue_after_three_intervals_without_a_success() {
        let standings = Standings::default();
        let every = |more: Value| {
            let mut spec = json!({"interval": "10m"});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            object("a", &spec)
        };
        let wait = async |minutes: u64| tokio::time::sleep(Duration::from_mins(minutes)).await;
        let attempt = Duration::from_mins(5);
        let says =
            |object: &ImagePush| standings.says(object, &ImagePushStatus::default(), attempt);
        says(&every(json!({})));
        wait(34).await;
        assert_eq!(standings.overdue(), 0);
        wait(2).await;
        assert_eq!(standings.overdue(), 1);
        // A look that finds the same again is no success.
        says(&every(json!({})));
        assert_eq!(standings.overdue(), 1);
        standings.succeeded(&every(json!({})));
        assert_eq!(standings.overdue(), 0);
        wait(36).await;
        // What has no checks to come is none, and what is resumed counts from then.
        for quiet in
            [json!({"suspend": true}), json!({"runPolicy": "Once"}), json!({"mode": "DryRun"})]
        {
            says(&every(quiet));
            assert_eq!(standings.overdue(), 0);
        }
        says(&every(json!({})));
        assert_eq!(standings.overdue(), 0);
        wait(36).await;
        assert_eq!(standings.overdue(), 1);
        standings.deleting("a");
        assert_eq!(standings.overdue(), 0);
        says(&every(json!({})));
        wait(36).await;
        // So has what stalls: somebody has to do something, and is told.
        standings.says(&every(json!({})), &status(STALLED, "AccessDenied"), attempt);
        assert_eq!(standings.overdue(), 0);
        says(&every(json!({})));
        assert_eq!(standings.overdue(), 0);
        wait(36).await;
        assert_eq!(standings.overdue(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_object_counts_from_when_it_was_last_ready_and_not_from_the_start_of_the_process()
     {
        let now = jiff::Timestamp::from_second(61).unwrap();
        let at = |state| {
            let mut status = ImagePushStatus::default();
            let setting = Setting { kind: READY, state, reason: "Timeout", message: "" };
            let then = jiff::Timestamp::from_second(1).unwrap();
            conditions::set(&mut status.conditions, &setting, 1, then);
            unready_since(&status, now).elapsed().as_secs()
        };
        assert_eq!((at(State::False), at(State::True)), (60, 0));
    }
}
