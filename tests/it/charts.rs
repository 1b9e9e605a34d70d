//! The chart and the kustomize bases, as helm and kubectl read them.

pub(crate) mod monitoring;
mod rendered;
mod values;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::generated::kustomize::{HELMS_OWN, VALUES};
use crate::support::chart::{CHART, REPOSITORY, documents, find, names, tool};

#[tokio::test]
async fn helm_lints_the_chart_strictly() {
    tool("helm", &["lint", "--strict", CHART, "--set", REPOSITORY]).await.succeeded();
}

#[test]
fn the_chart_installs_the_program_of_its_version() {
    let about = fs::read_to_string(Path::new(CHART).join("Chart.yaml")).unwrap();
    let about: Value = serde_yaml::from_str(&about).unwrap();
    assert_eq!(about["appVersion"], env!("CARGO_PKG_VERSION"));
}

/// Whoever installs without Helm gets the same, and a namespace that is as strict as the pod.
#[tokio::test]
async fn kustomize_installs_what_helm_installs() {
    let mut arguments = vec!["template", "imagepush", CHART, "--skip-tests"];
    arguments.extend(VALUES);
    let mut chart = documents(&tool("helm", &arguments).await.succeeded());
    chart.iter_mut().for_each(forget_the_installer);
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/config/default");
    let mut bases = documents(&tool("kubectl", &["kustomize", config]).await.succeeded());
    bases.iter_mut().for_each(forget_the_installer);
    let namespace = bases.iter().position(|it| it["kind"] == "Namespace").unwrap();
    let namespace = bases.remove(namespace);
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
    assert_eq!(names(&chart), names(&bases));
    for document in &chart {
        assert!(bases.contains(document), "kustomize has another {document:#}");
    }
}

/// Takes out of a document what tells how it was installed.
fn forget_the_installer(document: &mut Value) {
    match document {
        Value::Object(fields) => {
            // Kustomize takes the generated file as it is.
            if fields.get("kind").is_some_and(|kind| kind == "CustomResourceDefinition") {
                fields["metadata"].as_object_mut().unwrap().remove("labels");
            }
            fields.retain(|key, _| {
                !HELMS_OWN.contains(&key.as_str())
                    && !["app.kubernetes.io/part-of", "app.kubernetes.io/instance"]
                        .contains(&key.as_str())
            });
            fields.values_mut().for_each(forget_the_installer);
            let empty = |value: &Value| value.as_object().is_some_and(serde_json::Map::is_empty);
            if fields.get("labels").is_some_and(empty) {
                fields.remove("labels");
            }
            if fields.get("annotations").is_some_and(empty) {
                fields.remove("annotations");
            }
        }
        Value::Array(values) => values.iter_mut().for_each(forget_the_installer),
        _ => {}
    }
}

/// What the restricted profile of pod security asks for, and what a scratch image without a shell can do.
#[tokio::test]
async fn the_pod_is_confined() {
    let chart = ["template", "imagepush", CHART, "-n", "imagepush-system", "--set", REPOSITORY];
    let chart = documents(&tool("helm", &chart).await.succeeded());
    let pod = &find(&chart, "Deployment")["spec"]["template"]["spec"];
    assert_eq!(
        pod["securityContext"],
        json!({
            "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        })
    );
    assert_eq!(
        pod["containers"][0]["securityContext"],
        json!({
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        })
    );
    assert_eq!(pod["containers"].as_array().map(Vec::len), Some(1));
    for host in ["hostNetwork", "hostPID", "hostIPC"] {
        assert_eq!(pod[host], Value::Null);
    }
    // The one token is bound to the pod, and gone with it.
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(find(&chart, "ServiceAccount")["automountServiceAccountToken"], false);
}
