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

/// The names in the first argument that is a text, of calls that give a metric its name.
fn named_in(code: &str) -> BTreeSet<String> {
    let calls = ["family(", "gauge(", ".register(", ".encode_descriptor(", "let (name, help) = ("];
    let arguments = calls.iter().flat_map(|call| code.split(call).skip(1));
    let name = |arguments: &str| {
        let (before, rest) = arguments.split_once('"')?;
        let only_registry = before.chars().all(|c| c.is_ascii_lowercase() || "&_, \n".contains(c));
        let (name, _) = rest.split_once('"')?;
        only_registry.then(|| name.to_owned())
    };
    arguments.filter_map(name).collect()
}

/// A name without what its type adds to it.
fn bare(name: &str) -> String {
    let name = name.strip_prefix("imagepush_").unwrap_or(name);
    let name = name.strip_suffix("_total").or_else(|| name.strip_suffix("_info")).unwrap_or(name);
    name.to_owned()
}

/// Most metrics are served once there is something to count, so those that are documented are compared with the code.
#[test]
fn every_metric_is_documented_and_every_documented_one_is_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = std::fs::read_dir(root.join("src/controller/metrics")).unwrap();
    let files = folder.map(|entry| entry.unwrap().path());
    let mut found = BTreeSet::new();
    for file in files.chain([root.join("src/controller/metrics.rs")]) {
        let text = std::fs::read_to_string(file).unwrap();
        found.extend(named_in(text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default()));
    }
    let manual = std::fs::read_to_string(root.join("docs/operations.md")).unwrap();
    let (_, part) = manual.split_once("\n## Metrics\n").unwrap();
    let (part, _) = part.split_once("\n## ").unwrap();
    let rows = part.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let documented: BTreeSet<String> = rows.map(|(name, _)| bare(name)).collect();
    assert_eq!(found.iter().map(|name| bare(name)).collect::<BTreeSet<_>>(), documented);
    assert!(documented.len() > 20, "{documented:?}");
}
