//! Spans of looks and attempts, at a collector of the test's own.

use imagepush::access::Network;
use imagepush::telemetry::Exporter;

use super::*;
use crate::support::collector::Collector;

/// The identity of the trace that an object's status names, as bytes.
fn trace_of(object: &Value) -> Vec<u8> {
    hex::decode(object["status"]["executor"]["traceId"].as_str().unwrap()).unwrap()
}

/// An operator that sends its traces to a collector.
async fn traced(collector: &Collector) -> (Operator, Exporter) {
    let plane = control_plane().await;
    let namespace = plane.namespace().await;
    let client = Network::default().client_of_collector(false).await.unwrap();
    let exporter = Exporter::start(&collector.endpoint.parse().unwrap(), client).unwrap();
    let config = OperatorConfig { tracer: exporter.tracer(), ..config(&namespace) };
    (Operator::run(plane, plane.operator_client().await, namespace, config), exporter)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trace_that_status_names_is_at_the_collector() {
    let (registry, collector) = (Registry::start().await, Collector::start().await);
    fill(&registry.host, 61).await;
    let (operator, exporter) = traced(&collector).await;
    let namespace = operator.namespace.clone();
    let once = json!({"runPolicy": "Once"});
    operator.apply("web", &spec(&registry.host, &registry.host, &once)).await;
    operator.wait("web", "Ready").await;
    let object = operator.get("web").await;
    assert_eq!(object["status"]["executor"]["type"], "InProcess", "{object:#}");
    let uid = object["metadata"]["uid"].as_str().unwrap().to_owned();
    operator.stop().await;
    exporter.finish().await;
    let spans = collector.spans();
    let trace = hex::encode(trace_of(&object));
    let of_trace: Vec<_> = spans.iter().filter(|span| span.trace == trace).collect();
    let first = of_trace.iter().find(|span| span.parent.is_empty()).expect("a first span");
    let attempts: Vec<_> = of_trace.iter().filter(|span| span.name == "attempt").collect();
    let [attempt] = attempts[..] else { panic!("{spans:#?}") };
    assert_eq!((first.name.as_str(), &attempt.parent), ("reconcile", &first.span));
    // The look that tells of its end belongs to it.
    assert!(of_trace.iter().any(|span| span.name == "reconcile" && span.span != first.span));
    assert!(of_trace.iter().all(|span| span.failure.is_empty()), "{spans:#?}");
    for part in [&namespace, "web", &uid, "PushSucceeded"] {
        assert!(collector.has(part), "{part}");
    }
    // No place that an object names, nor how it is asked.
    for part in [registry.host.as_str(), "docker://"] {
        assert!(!collector.has(part), "{part}");
    }
}

/// Log lines and the pods of Jobs name it, so that it is there without a collector, too.
#[tokio::test(flavor = "multi_thread")]
async fn each_attempt_has_a_trace_of_its_own() {
    let registry = Registry::start().await;
    fill(&registry.host, 62).await;
    let operator = Operator::start().await;
    let more = json!({"interval": "1h"});
    operator.apply("web", &spec(&registry.host, &registry.host, &more)).await;
    operator.wait("web", "Ready").await;
    let first = trace_of(&operator.get("web").await);
    let digest = fill(&registry.host, 63).await;
    request(&operator, "web", "1").await;
    let object =
        operator.until("web", |object| object["status"]["artifact"]["digest"] == *digest).await;
    assert_ne!(trace_of(&object), first);
    operator.stop().await;
}
