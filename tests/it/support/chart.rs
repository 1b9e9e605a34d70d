//! The chart, as helm and kubectl read it without a cluster.

use serde_json::Value;

use super::control_plane::{Output, programs, run};

/// The folder of the chart.
pub(crate) const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/imagepush");

/// The one value without a default.
pub(crate) const REPOSITORY: &str = "image.repository=registry.example/imagepush";

/// Runs `helm` or `kubectl` without a cluster.
pub(crate) async fn tool(name: &'static str, arguments: &[&str]) -> Output {
    tool_with(name, arguments, "").await
}

/// Likewise, with something on its standard input.
pub(crate) async fn tool_with(name: &'static str, arguments: &[&str], input: &str) -> Output {
    let folder = tokio::task::spawn_blocking(programs).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::new(folder.join(name));
    command.env("HOME", home.path()).env_remove("KUBECONFIG").args(arguments);
    run(command, input).await
}

/// The documents of a YAML stream, without empty ones.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    use serde::Deserialize as _;
    serde_yaml::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|document| !document.is_null())
        .collect()
}

/// `Kind/name` of each document, sorted.
pub(crate) fn names(documents: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut names: Vec<String> = documents
        .iter()
        .map(|it| format!("{}/{}", text(&it["kind"]), text(&it["metadata"]["name"])))
        .collect();
    names.sort();
    names
}

/// The first document of a kind.
#[track_caller]
pub(crate) fn find<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    documents.iter().find(|document| document["kind"] == kind).unwrap()
}
