//! What is counted of bundles in the cluster.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::super::resources::Ran;
use super::family;
use crate::apply::Report;

/// Counters of bundles.
pub(super) struct Bundles {
    applies: Family<Labels, Counter>,
    objects: Family<ActionLabels, Counter>,
    drift: Counter,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ActionLabels {
    action: &'static str,
}

// === impl Bundles ===

impl Bundles {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let objects = "Objects of bundles, by what was done to them";
        let drift = Counter::default();
        let help = "Objects of bundles that had been applied, and had to be applied again";
        registry.register("bundle_drift", help, drift.clone());
        Self {
            applies: family(registry, "bundle_apply", "Bundles applied, by how that ended"),
            objects: family(registry, "bundle_objects", objects),
            drift,
        }
    }

    /// A bundle was applied, or that failed. What only would be done doesn't count.
    pub(super) fn applied(&self, ran: &Ran) {
        if ran.is_preview {
            return;
        }
        let reason = ran.failure.as_ref().map_or("Applied", |failure| failure.reason);
        self.applies.get_or_create(&Labels { reason }).inc();
        let Report { created, configured, unchanged: _, pruned, failed, .. } = &ran.report;
        let actions = [
            ("created", created),
            ("configured", configured),
            ("pruned", pruned),
            ("failed", failed),
        ];
        for (action, count) in actions {
            self.objects.get_or_create(&ActionLabels { action }).inc_by(*count as u64);
        }
        if ran.again {
            self.drift.inc_by((created + configured) as u64);
        }
    }
}
