//! The chart and the kustomize bases, as helm and kubectl read them.

use serde_json::Value;

use crate::support::control_plane::{Output, programs, run};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/imagepush");
const REPOSITORY: &str = "image.repository=registry.example/imagepush";

/// Runs `helm` or `kubectl` without a cluster.
async fn tool(name: &'static str, arguments: &[&str]) -> Output {
    let folder = tokio::task::spawn_blocking(programs).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::new(folder.join(name));
    command.env("HOME", home.path()).env_remove("KUBECONFIG").args(arguments);
    run(command, "").await
}

fn documents(text: &str) -> Vec<Value> {
    use serde::Deserialize as _;
    serde_yaml::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|document| !document.is_null())
        .collect()
}

/// `Kind/name` of each document.
fn names(documents: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut names: Vec<String> = documents
        .iter()
        .map(|it| format!("{}/{}", text(&it["kind"]), text(&it["metadata"]["name"])))
        .collect();
    names.sort();
    names
}

fn find<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    documents.iter().find(|document| document["kind"] == kind).unwrap()
}

/// What the restricted profile of pod security asks for, and what one replica without leader election needs.
fn assert_confined(deployment: &Value) {
    let spec = &deployment["spec"];
    assert_eq!(
        (spec["replicas"].as_i64(), spec["strategy"]["type"].as_str()),
        (Some(1), Some("Recreate"))
    );
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = &pod["containers"][0];
    let context = &container["securityContext"];
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]));
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/livez");
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
}

#[tokio::test]
async fn helm_lints_the_chart_strictly() {
    tool("helm", &["lint", "--strict", CHART, "--set", REPOSITORY]).await.succeeded();
}

#[tokio::test]
async fn helm_renders_what_kustomize_renders() {
    let chart = ["template", "imagepush", CHART, "-n", "imagepush-system", "--set", REPOSITORY];
    let chart = documents(&tool("helm", &chart).await.succeeded());
    assert_eq!(
        names(&chart),
        [
            "ClusterRole/imagepush",
            "ClusterRoleBinding/imagepush",
            "CustomResourceDefinition/imagepushes.imagepush.dev",
            "Deployment/imagepush",
            "ServiceAccount/imagepush",
        ]
    );
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/config/default");
    let bases = documents(&tool("kubectl", &["kustomize", config]).await.succeeded());
    for documents in [&chart, &bases] {
        assert_confined(find(documents, "Deployment"));
    }
    let crd = find(&chart, "CustomResourceDefinition");
    assert_eq!(crd["spec"], find(&bases, "CustomResourceDefinition")["spec"]);
    assert_eq!(crd["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    assert_eq!(find(&chart, "ClusterRole")["rules"], find(&bases, "ClusterRole")["rules"]);
    let container = &find(&chart, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "registry.example/imagepush:0.1.0");
}

#[tokio::test]
async fn values_change_what_they_say() {
    let digest = format!("image.digest=sha256:{}", "a".repeat(64));
    let arguments = [
        "template",
        "mine",
        CHART,
        "--set",
        REPOSITORY,
        "--set",
        &digest,
        "--set",
        "watchNamespaces={one,two}",
        "--set",
        "egress.allow={127.0.0.0/8,registry.example}",
        "--set",
        "egress.deny={10.96.0.0/12}",
        "--set",
        "egress.only={*.example}",
        "--set",
        "proxyFromEnvironment=true",
        "--set",
        "crds.install=false",
    ];
    let rendered = documents(&tool("helm", &arguments).await.succeeded());
    assert_eq!(
        names(&rendered),
        [
            "ClusterRole/mine-imagepush",
            "Deployment/mine-imagepush",
            "RoleBinding/mine-imagepush",
            "RoleBinding/mine-imagepush",
            "ServiceAccount/mine-imagepush",
        ]
    );
    let container = &find(&rendered, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        container["args"],
        serde_json::json!([
            "operator",
            "--watch-namespace=one",
            "--watch-namespace=two",
            "--egress-allow=127.0.0.0/8",
            "--egress-allow=registry.example",
            "--egress-deny=10.96.0.0/12",
            "--egress-only=*.example",
            "--proxy-from-environment",
        ])
    );
    assert_eq!(container["image"], format!("registry.example/imagepush@sha256:{}", "a".repeat(64)));
}

#[tokio::test]
async fn what_the_chart_cannot_do_is_refused() {
    let refused = tool("helm", &["template", CHART]).await;
    assert!(!refused.success);
    let message = "image.repository must be set: the image of the operator that your cluster can pull, such as \
                   --set image.repository=registry.example/imagepush";
    assert!(refused.stderr.contains(message), "{}", refused.stderr);
    let refused =
        tool("helm", &["template", CHART, "--set", REPOSITORY, "--set", "replicas=2"]).await;
    assert!(
        refused.stderr.contains("additional properties 'replicas' not allowed"),
        "{}",
        refused.stderr
    );
}
