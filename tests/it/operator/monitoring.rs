//! That the program has the metrics which the chart's alerts and dashboard ask for.

use super::*;
use crate::charts::monitoring;

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_of_the_chart_exists() {
    let registry = Registry::start().await;
    fill(&registry.host, 13).await;
    let (operator, address) = listening().await;
    let once = json!({"runPolicy": "Once"});
    operator.apply("web", &spec(&registry.host, &registry.host, &once)).await;
    operator.wait("web", "Ready").await;
    let (_, text) = get(address, "/metrics").await;
    operator.stop().await;
    let has = |name: &str| {
        text.lines()
            .any(|line| line.strip_prefix(name).is_some_and(|it| it.starts_with([' ', '{'])))
    };
    let wanted = monitoring::metrics().await;
    let missing: Vec<&String> = wanted.iter().filter(|name| !has(name)).collect();
    assert!(wanted.len() > 5 && missing.is_empty(), "{missing:?} is not in\n{text}");
}
