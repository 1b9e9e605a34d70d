//! What the operator counts, for `/metrics`. Labels are small closed sets: reasons, transports, outcomes. What has a label
//! with an object's name is there only where the administrator asks for it (`objects`).

mod bundles;
mod objects;
mod registries;
mod standings;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use self::bundles::Bundles;
use self::objects::Objects;
use self::registries::Registries;
use self::standings::Standings;
use super::decide::Outcome;
use super::executor::Order;
use super::resources::Ran;
use crate::access::Network;
use crate::api::v1alpha1::{ImagePush, ImagePushStatus};
use crate::limits::MAX_COUNTED;
use crate::options::Endpoint;

/// The operator's metrics.
pub(crate) struct Metrics {
    registry: Registry,
    reconciles: Family<ReconcileLabels, Counter>,
    reconcile_errors: Family<CauseLabels, Counter>,
    reconcile_duration: Histogram,
    pushes: Family<PushLabels, Counter>,
    push_duration: Family<ResultLabels, Histogram, fn() -> Histogram>,
    blobs: Family<OutcomeLabels, Counter>,
    bytes: Family<OutcomeLabels, Counter>,
    removals: Family<OutcomeLabels, Counter>,
    events: Family<OutcomeLabels, Counter>,
    api_requests: Family<ApiLabels, Counter>,
    inflight: Gauge,
    queue: Gauge,
    unreachable: Gauge,
    watch_errors: Counter,
    leader: Gauge,
    last_check: Gauge,
    bundles: Bundles,
    standings: Standings,
    objects: Option<Objects>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReconcileLabels {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CauseLabels {
    cause: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PushLabels {
    result: &'static str,
    reason: &'static str,
    source_transport: &'static str,
    destination_transport: &'static str,
    executor: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ApiLabels {
    verb: &'static str,
    resource: &'static str,
    code: &'static str,
}

/// Whether there are series with names of objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ObjectMetrics {
    /// None.
    #[default]
    Off,
    /// Three for each object.
    On,
}

/// Something that is the case, such as an attempt that runs; it counts as one until this is dropped.
pub(crate) struct Counted(Gauge);

/// Bounds of how long a look takes, in seconds; it is a few requests to the API server.
const LOOK_SECONDS: [f64; 8] = [0.005, 0.02, 0.1, 0.5, 2.0, 5.0, 15.0, 30.0];

/// Bounds of how long an attempt takes, in seconds.
const PUSH_SECONDS: [f64; 10] = [1.0, 3.0, 10.0, 30.0, 60.0, 180.0, 300.0, 600.0, 1800.0, 3600.0];

fn push_seconds() -> Histogram {
    Histogram::new(PUSH_SECONDS)
}

// === impl Metrics ===

impl Metrics {
    #[cfg(test)]
    pub(crate) fn new() -> Arc<Self> {
        Self::with(ObjectMetrics::Off, &Network::default())
    }

    pub(crate) fn with(objects: ObjectMetrics, network: &Network) -> Arc<Self> {
        let mut registry = Registry::with_prefix("imagepush");
        let durations = "How long a look at an object takes";
        let metrics = Self {
            reconciles: family(&mut registry, "reconcile", "Looks at objects, by result"),
            reconcile_errors: family(&mut registry, "reconcile_errors", "Looks that failed"),
            reconcile_duration: Histogram::new(LOOK_SECONDS),
            pushes: family(&mut registry, "push", "Attempts that ended, by result and reason"),
            push_duration: Family::new_with_constructor(push_seconds as fn() -> Histogram),
            blobs: family(&mut registry, "blobs", "Blobs of pushes that succeeded, by outcome"),
            bytes: family(&mut registry, "bytes", "Bytes of blobs of pushes that succeeded"),
            removals: family(&mut registry, "removal", "Images of deleted objects, by what became"),
            events: family(
                &mut registry,
                "events",
                "Events of the cluster, by what became of them",
            ),
            api_requests: family(&mut registry, "api_requests", "Requests to the API server"),
            inflight: gauge(&mut registry, "inflight", "Attempts that run now"),
            queue: gauge(&mut registry, "queue_length", "Attempts that wait for their turn"),
            unreachable: gauge(
                &mut registry,
                "unreachable_registries",
                "Registries that attempts wait for, since they can't be reached",
            ),
            watch_errors: Counter::default(),
            leader: gauge(&mut registry, "leader", "Whether this operator works"),
            last_check: gauge(
                &mut registry,
                "last_check_timestamp_seconds",
                "When a destination was last found or made to be as it should",
            ),
            bundles: Bundles::new(&mut registry),
            standings: Standings::default(),
            objects: (objects == ObjectMetrics::On).then(|| Objects::new(&mut registry)),
            registry: Registry::default(),
        };
        let failures = "Failures to watch objects";
        registry.register("watch_errors", failures, metrics.watch_errors.clone());
        let looks = metrics.reconcile_duration.clone();
        registry.register("reconcile_duration_seconds", durations, looks);
        let attempts = metrics.push_duration.clone();
        registry.register("push_duration_seconds", "How long an attempt takes", attempts);
        registry.register_collector(Box::new(Registries(network.clone())));
        registry.register_collector(Box::new(metrics.standings.clone()));
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "What runs here", build);
        Arc::new(Self { registry, ..metrics })
    }

    /// A look at an object ended well, or failed for a reason.
    pub(crate) fn look(&self, failure: Option<&'static str>, took: Duration) {
        self.reconcile_duration.observe(took.as_secs_f64());
        let result = if failure.is_some() { "error" } else { "ok" };
        self.reconciles.get_or_create(&ReconcileLabels { result }).inc();
        if let Some(cause) = failure {
            self.reconcile_errors.get_or_create(&CauseLabels { cause }).inc();
        }
    }

    pub(crate) fn watch_error(&self) {
        self.watch_errors.inc();
    }

    /// A request to the API server was answered.
    pub(crate) fn api_request(
        &self,
        verb: &'static str,
        resource: &'static str,
        code: &'static str,
    ) {
        self.api_requests.get_or_create(&ApiLabels { verb, resource, code }).inc();
    }

    /// An image of a deleted object was taken away, or what became of it else.
    pub(crate) fn removal(&self, outcome: &'static str) {
        self.removals.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// An event of the cluster was written, or what became of it else.
    pub(crate) fn event(&self, outcome: &'static str) {
        self.events.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// An attempt runs.
    pub(crate) fn running(&self) -> Counted {
        Counted::new(&self.inflight)
    }

    /// An attempt waits for its turn.
    pub(crate) fn waiting(&self) -> Counted {
        Counted::new(&self.queue)
    }

    /// A registry can't be reached.
    pub(crate) fn unreachable(&self) -> Counted {
        Counted::new(&self.unreachable)
    }

    /// This operator works.
    pub(crate) fn leading(&self) -> Counted {
        Counted::new(&self.leader)
    }

    /// An attempt ended, after as long as it took.
    pub(crate) fn attempt(&self, order: &Order, outcome: &Outcome, took: Duration) {
        let result = match outcome {
            Outcome::Pushed(_) | Outcome::Previewed(_) | Outcome::Unchanged => "success",
            Outcome::Failed(_) => "failure",
            Outcome::Cancelled => "cancelled",
        };
        let transport = |end: &Endpoint| end.reference.transport().name();
        let labels = PushLabels {
            result,
            reason: outcome.word(),
            source_transport: transport(&order.options.source),
            destination_transport: transport(&order.options.destination),
            executor: order.executor(),
        };
        self.pushes.get_or_create(&labels).inc();
        self.push_duration.get_or_create(&ResultLabels { result }).observe(took.as_secs_f64());
        if matches!(outcome, Outcome::Pushed(_) | Outcome::Unchanged) {
            self.last_check.set(seconds_now());
        }
        let Outcome::Pushed(pushed) = outcome else { return };
        let count = |family: &Family<OutcomeLabels, Counter>, outcome, count: u64| {
            // The pod of a Job may say what it likes.
            family.get_or_create(&OutcomeLabels { outcome }).inc_by(count.min(MAX_COUNTED));
        };
        let blobs = &pushed.blobs;
        count(&self.bytes, "sent", pushed.bytes_sent);
        count(&self.blobs, "sent", blobs.sent);
        count(&self.blobs, "reused", blobs.reused);
        count(&self.blobs, "mounted", blobs.mounted);
    }

    /// A bundle was applied in the cluster, or that failed.
    pub(crate) fn applied(&self, ran: &Ran) {
        self.bundles.applied(ran);
    }

    /// An object's destination was found or made to be as it should.
    pub(crate) fn succeeded(&self, object: &ImagePush) {
        self.standings.succeeded(object);
        if let Some(objects) = &self.objects {
            objects.succeeded(object, seconds_now());
        }
    }

    /// What the status of an object says, of which one attempt may take `timeout`.
    pub(crate) fn object(&self, object: &ImagePush, status: &ImagePushStatus, timeout: Duration) {
        self.standings.says(object, status, timeout);
        if let Some(objects) = &self.objects {
            objects.says(object, status);
        }
    }

    /// An object is being deleted: no success is to come of it any more.
    pub(crate) fn deleting(&self, uid: &str) {
        self.standings.deleting(uid);
    }

    /// An object is gone.
    pub(crate) fn gone(&self, uid: &str) {
        self.standings.gone(uid);
        if let Some(objects) = &self.objects {
            objects.gone(uid);
        }
    }

    /// All of them, in the text format of `OpenMetrics`.
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn family<S, M, C>(registry: &mut Registry, name: &str, help: &str) -> Family<S, M, C>
where
    Family<S, M, C>: Default + Clone + prometheus_client::registry::Metric,
    C: MetricConstructor<M>,
{
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

/// Now, as dashboards reckon.
fn seconds_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

// === impl Counted ===

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests;
