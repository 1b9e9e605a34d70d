//! The pod of a Job sends its spans to the operator's collector, as a part of the attempt's trace.

use imagepush::access::Network;
use imagepush::telemetry::Exporter;
use k8s_openapi::api::core::v1::EnvVar;

use super::*;
use crate::support::collector::Collector;

fn variable(name: &str, value: String) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value), ..EnvVar::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_a_part_of_the_attempt() {
    let (registry, collector) = (Registry::start().await, Collector::start().await);
    let plane = control_plane().await;
    let namespace = plane.namespace().await;
    let client = Network::default().client_of_collector(false).await.unwrap();
    let exporter = Exporter::start(&collector.endpoint.parse().unwrap(), client).unwrap();
    let key = canary::secret("operator::jobs::traced");
    let mut config = OperatorConfig { tracer: exporter.tracer(), ..config(&namespace) };
    config.jobs.arguments.push(format!("--otlp-endpoint={}", collector.endpoint));
    config.jobs.pod.env = vec![
        variable("OTEL_EXPORTER_OTLP_HEADERS", format!("x-key={key}")),
        variable("OTEL_SERVICE_NAME", "the-jobs".to_owned()),
        variable("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=a-test".to_owned()),
    ];
    let operator = Operator::run(plane, plane.operator_client().await, namespace, config);
    operator.kubectl(&["create", "serviceaccount", "default"]).await;
    make_claim(&operator).await;
    operator.apply("web", &spec(&registry.host, &json!({}))).await;
    let job = next_job(&operator, None).await;
    let (folder, _) = volume(33);
    let state = run_pod(&operator, &job, folder.path()).await;
    make_pod(&operator, &job, &state).await;
    operator.wait("web", "Ready").await;
    operator.stop().await;
    exporter.finish().await;
    let spans = collector.spans();
    let named = |name: &str| {
        let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
        let [span] = found[..] else { panic!("{name}: {spans:#?}") };
        span
    };
    let (attempt, pod) = (named("attempt"), named("attempt in a pod"));
    assert_eq!((&pod.trace, &pod.parent), (&attempt.trace, &attempt.span));
    assert_eq!(trace_of(&job), attempt.trace);
    assert_eq!(collector.headers("x-key"), [key]);
    for part in ["the-jobs", "deployment.environment.name", "a-test"] {
        assert!(collector.has(part), "{part}");
    }
}
