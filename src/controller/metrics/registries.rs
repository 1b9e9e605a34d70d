//! How registries have answered, read from the network that counts it whenever metrics are asked for.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use crate::access::Network;

/// The counts of a network.
#[derive(Debug)]
pub(super) struct Registries(pub(super) Network);

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    registry: String,
    code: &'static str,
}

impl Collector for Registries {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (name, help) = ("registry_requests", "Requests to registries, by answer");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (registry, code, count) in self.0.answers() {
            let labels = Labels { registry, code };
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn answers_are_told_by_registry_and_status() {
        let network = Network::default();
        let mut registry = Registry::with_prefix("imagepush");
        registry.register_collector(Box::new(Registries(network.clone())));
        network.count_answer("r.example:5000", Some(429));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let line = "imagepush_registry_requests_total{registry=\"r.example:5000\",code=\"429\"} 1";
        assert!(text.lines().any(|found| found == line), "{text}");
    }
}
