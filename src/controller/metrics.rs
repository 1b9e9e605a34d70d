//! What the operator counts, for `/metrics`. Labels are small closed sets: reasons, transports, outcomes.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::decide::Outcome;
use crate::options::PushOptions;

/// The operator's metrics.
pub(crate) struct Metrics {
    registry: Registry,
    reconciles: Family<ReconcileLabels, Counter>,
    pushes: Family<PushLabels, Counter>,
    blobs: Family<BlobLabels, Counter>,
    bytes: Counter,
    inflight: Gauge,
    watch_errors: Counter,
    leader: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReconcileLabels {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PushLabels {
    reason: &'static str,
    source_transport: &'static str,
    destination_transport: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BlobLabels {
    outcome: &'static str,
}

/// Something that is the case, such as an attempt that runs; it counts as one until this is dropped.
pub(crate) struct Counted(Gauge);

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new() -> Arc<Self> {
        let mut registry = Registry::with_prefix("imagepush");
        let reconciles = Family::default();
        let pushes = Family::default();
        let blobs = Family::default();
        let bytes = Counter::default();
        let inflight = Gauge::default();
        let watch_errors = Counter::default();
        let leader = Gauge::default();
        registry.register("reconcile", "Looks at objects, by result", reconciles.clone());
        registry.register("push", "Attempts that ended, by reason", pushes.clone());
        registry.register("blobs", "Blobs of pushes that succeeded, by outcome", blobs.clone());
        registry.register(
            "bytes_sent",
            "Bytes of blobs sent by pushes that succeeded",
            bytes.clone(),
        );
        registry.register("inflight", "Attempts that run now", inflight.clone());
        registry.register("watch_errors", "Failures to watch objects", watch_errors.clone());
        registry.register("leader", "Whether this operator works", leader.clone());
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "What runs here", build);
        Arc::new(Self {
            registry,
            reconciles,
            pushes,
            blobs,
            bytes,
            inflight,
            watch_errors,
            leader,
        })
    }

    pub(crate) fn reconcile(&self, result: &'static str) {
        self.reconciles.get_or_create(&ReconcileLabels { result }).inc();
    }

    pub(crate) fn watch_error(&self) {
        self.watch_errors.inc();
    }

    /// An attempt runs.
    pub(crate) fn running(&self) -> Counted {
        Counted::new(&self.inflight)
    }

    /// This operator works.
    pub(crate) fn leading(&self) -> Counted {
        Counted::new(&self.leader)
    }

    pub(crate) fn attempt(&self, options: &PushOptions, outcome: &Outcome) {
        let labels = PushLabels {
            reason: outcome.word(),
            source_transport: options.source.reference.transport().name(),
            destination_transport: options.destination.reference.transport().name(),
        };
        self.pushes.get_or_create(&labels).inc();
        let Outcome::Pushed(pushed) = outcome else { return };
        self.bytes.inc_by(pushed.bytes_sent);
        let blobs = &pushed.blobs;
        let counts = [("sent", blobs.sent), ("reused", blobs.reused), ("mounted", blobs.mounted)];
        for (outcome, count) in counts {
            self.blobs.get_or_create(&BlobLabels { outcome }).inc_by(count);
        }
    }

    /// All of them, in the text format of `OpenMetrics`.
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
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
