//! The alerts and the dashboard, which the chart adds where they are asked for.
//!
//! That the program has every metric that they name, is in [`crate::operator`].

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::support::chart::{CHART, REPOSITORY, documents, find, tool};
use crate::support::tools;

/// What the chart renders for monitoring, as release `imagepush` in namespace `here`, with metrics of objects or without.
async fn monitoring(objects: bool) -> Vec<Value> {
    let objects = format!("--set=objectMetrics={objects}");
    let arguments = [
        "template",
        "imagepush",
        CHART,
        "--namespace=here",
        "--skip-tests",
        &objects,
        "--set=metrics.serviceMonitor.enabled=true",
        "--set=metrics.rules.enabled=true",
        "--set=metrics.dashboard.enabled=true",
        "--set",
        REPOSITORY,
    ];
    documents(&tool("helm", &arguments).await.succeeded())
}

/// The names of metrics in the alerts and in the dashboard.
pub(crate) async fn metrics() -> BTreeSet<String> {
    let documents = monitoring(false).await;
    let dashboard = dashboard(&documents);
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let rules = find(&documents, "PrometheusRule")["spec"]["groups"][0]["rules"].as_array();
    let expressions = targets.chain(rules.unwrap()).map(|it| it["expr"].as_str().unwrap());
    let part = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let words = expressions.flat_map(|expression| expression.split(part));
    words.filter(|word| word.starts_with("imagepush_")).map(str::to_owned).collect()
}

fn dashboard(documents: &[Value]) -> Value {
    let text = &find(documents, "ConfigMap")["data"]["imagepush.json"];
    serde_json::from_str(text.as_str().unwrap()).unwrap()
}

/// Where several releases are seen by one Prometheus, each panel shows those that are chosen.
#[tokio::test]
async fn every_panel_is_about_the_chosen_releases() {
    let dashboard = dashboard(&monitoring(false).await);
    let chosen = r#"{namespace=~"$namespace",service=~"$service""#;
    let panels = dashboard["panels"].as_array().unwrap();
    let targets: Vec<_> =
        panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap()).collect();
    assert!(targets.len() >= panels.len(), "{}", targets.len());
    for target in targets {
        let expression = target["expr"].as_str().unwrap();
        let (metrics, scoped) = (expression.matches("imagepush_"), expression.matches(chosen));
        assert_eq!(metrics.count(), scoped.count(), "{expression}");
    }
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<_> = variables.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["source", "namespace", "service"]);
}

/// Prometheus itself says when they go off, over time.
#[tokio::test]
async fn alerts_go_off_when_they_should() {
    let documents = monitoring(true).await;
    let folder = tempfile::tempdir().unwrap();
    // JSON is YAML.
    let rules = find(&documents, "PrometheusRule")["spec"].to_string();
    fs::write(folder.path().join("rules.yaml"), rules).unwrap();
    let cases = folder.path().join("alerts.yaml");
    fs::write(&cases, include_str!("alerts.yaml")).unwrap();
    tools::run("promtool", &["test", "rules", cases.to_str().unwrap()]);
}

/// Whoever is woken by an alert finds what to do, and Prometheus finds what the alerts are about.
#[tokio::test]
async fn each_alert_is_documented_and_the_service_is_found() {
    let documents = monitoring(true).await;
    let rules = find(&documents, "PrometheusRule")["spec"]["groups"][0]["rules"].clone();
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
    let manual = fs::read_to_string(manual).unwrap();
    for rule in rules.as_array().unwrap() {
        let name = rule["alert"].as_str().unwrap();
        assert!(manual.contains(&format!("| `{name}` |")), "{name} is not in docs/operations.md");
        let expression = rule["expr"].as_str().unwrap();
        // The namespace of an object's metric is the object's.
        let of_objects =
            expression.contains(r#"imagepush_resource_info{service="imagepush-metrics""#);
        let ours = expression.contains(r#"namespace="here",service="imagepush-metrics""#);
        assert!(ours || of_objects, "{name}");
    }
    let service = find(&documents, "Service");
    assert_eq!(service["metadata"]["name"], "imagepush-metrics");
    let pod = &find(&documents, "Deployment")["spec"]["template"]["metadata"]["labels"];
    for (label, value) in service["spec"]["selector"].as_object().unwrap() {
        assert_eq!(&pod[label], value, "the Service doesn't find the pod");
    }
    let monitor = &find(&documents, "ServiceMonitor")["spec"];
    for (label, value) in monitor["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(&service["metadata"]["labels"][label], value, "Prometheus doesn't find it");
    }
    assert_eq!(monitor["endpoints"][0]["port"], service["spec"]["ports"][0]["name"]);
}
