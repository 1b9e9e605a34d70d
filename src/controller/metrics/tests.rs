//! The metrics are those of the manual, with the labels that it tells.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::*;
use crate::controller::decide::tests::pushed;
use crate::controller::executor::tests::order_between;

type Labels = BTreeSet<String>;

/// Every metric, once.
fn told() -> String {
    let network = Network::default();
    let metrics = Metrics::with(ObjectMetrics::On, &network);
    network.count_answer("r.example", Some(200));
    metrics.look(Some("denied"), Duration::ZERO);
    metrics.watch_error();
    metrics.api_request("get", "imagepushes", "2xx");
    metrics.removal("removed");
    metrics.event("written");
    let order = order_between("u", ("a.example", "b.example"));
    metrics.attempt(&order, &pushed(false), Duration::ZERO);
    metrics.applied(&Ran {
        of: None,
        report: crate::apply::Report::default(),
        failure: None,
        is_preview: false,
        again: true,
    });
    let object: ImagePush = serde_json::from_value(json!({
        "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
        "metadata": {"name": "x", "namespace": "n", "uid": "u"},
        "spec": {
            "source": {"reference": "docker://a.example/x:1"},
            "destination": {"reference": "docker://b.example/x:1"},
            "interval": "10m",
        },
    }))
    .unwrap();
    metrics.object(&object, &ImagePushStatus::default(), Duration::ZERO);
    metrics.succeeded(&object);
    metrics.text().unwrap()
}

/// The name of a metric by one of its series, without what a histogram adds, and the labels.
fn series(line: &str) -> Option<(String, Labels)> {
    let (series, _) = line.rsplit_once(' ').filter(|_| !line.starts_with('#'))?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|it| name.strip_suffix(it));
    let labels = labels.trim_end_matches('}').split(',').filter_map(|it| it.split_once('='));
    let labels = labels.map(|(label, _)| label.to_owned()).filter(|label| label != "le");
    Some((histogram.unwrap_or(name).to_owned(), labels.collect()))
}

/// A row of the manual's table: name, type, labels, meaning.
fn row(line: &str) -> Option<(String, Labels)> {
    let cells: Vec<&str> = line.strip_prefix("| `imagepush_")?.split('|').map(str::trim).collect();
    let [name, _, labels, _, _] = cells[..] else { return None };
    // After the colon stand values of the last label.
    let names = labels.split(": ").next().unwrap_or_default();
    let names = names.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Some((format!("imagepush_{}", name.trim_end_matches('`')), names))
}

#[test]
fn the_manual_has_each_metric_with_its_labels() {
    let served: BTreeMap<String, Labels> = told().lines().filter_map(series).collect();
    let manual = include_str!("../../../docs/operations.md");
    let table = manual.split("\n## ").find(|section| section.starts_with("Metrics\n")).unwrap();
    let documented: BTreeMap<String, Labels> = table.lines().filter_map(row).collect();
    assert_eq!(served, documented);
}
