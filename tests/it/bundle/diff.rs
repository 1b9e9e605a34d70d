//! `imagepush bundle diff` against a real API server, with the exit codes of `kubectl diff`.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::harness::*;
use crate::support::control_plane::{ControlPlane, control_plane};
use crate::support::images::{Content, Form};
use crate::support::{things, tools};

const PROGRAM: &str = env!("CARGO_BIN_EXE_imagepush");

/// A run of the command: its exit code, and what it printed.
fn diff(image: &str, kubeconfig: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(PROGRAM);
    command.args(["bundle", "diff", image, "--kubeconfig"]).arg(kubeconfig).args(arguments);
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// An image that carries this object.
fn image(folder: &Path, name: &str, object: &Value) -> String {
    let text = object.to_string();
    let layer = files(&[("metadata/a.json", &text)], Form::Gzip);
    layout(folder, name, &Content::image("linux", "amd64", &[layer]))
}

async fn ready() -> (&'static ControlPlane, String, tempfile::TempDir) {
    let plane = control_plane().await;
    things::install(plane).await;
    (plane, plane.namespace().await, tempfile::tempdir().unwrap())
}

#[tokio::test]
async fn what_would_change_is_told_field_by_field() {
    let (plane, namespace, folder) = ready().await;
    let first = things::object("Thing", "a", &json!({"size": 1, "note": "secret"}));
    let second = things::object("Thing", "a", &json!({"size": 2, "tags": ["x"]}));
    let first = image(folder.path(), "1", &first);
    let second = image(folder.path(), "2", &second);
    let diff = |image: &str, more: &[&str]| {
        let arguments = [&["--namespace", namespace.as_str()], more].concat();
        let (code, told, complaint) = diff(image, plane.kubeconfig(), &arguments);
        assert_eq!(complaint, "");
        (code, told)
    };
    let name = format!("{}/v1 Thing a", things::GROUP);
    assert_eq!(diff(&first, &[]), (Some(1), format!("{name}: would be made\n")));
    // It was only asked.
    let there = plane.kubectl(&["get", "things", "-n", &namespace, "-o", "name"]).await;
    assert_eq!(there.succeeded(), "");

    let yaml = tools::run(PROGRAM, &["bundle", "show", &first]);
    let apply = ["apply", "--server-side", "--field-manager", "imagepush-bundle", "-f", "-"];
    let apply = [&apply[..], &["-n", &namespace]].concat();
    plane.kubectl_with(&apply, &yaml).await.succeeded();
    assert_eq!(diff(&first, &[]), (Some(0), String::new()));

    let fields = "  ~spec.size\n  +spec.tags\n  -spec.note\n";
    assert_eq!(diff(&second, &[]), (Some(1), format!("{name}: would change\n{fields}")));
    let (code, document) = diff(&second, &["--output", "json"]);
    let mut document: Value = serde_json::from_str(&document).unwrap();
    assert!(document["digest"].take().as_str().unwrap().starts_with("sha256:"));
    let expected = json!({
        "reference": second, "digest": null, "namespace": namespace, "different": true,
        "objects": [{
            "apiVersion": "things.example/v1", "kind": "Thing", "name": "a", "change": "configured",
            "fields": ["~spec.size", "+spec.tags", "-spec.note"], "fieldCount": 3,
        }],
    });
    assert_eq!((code, document), (Some(1), expected));
}

/// Without flags it is where kubectl would be: in the cluster and the namespace of the configuration's context.
#[tokio::test]
async fn the_context_says_which_cluster_and_namespace() {
    let (plane, namespace, folder) = ready().await;
    let thing = image(folder.path(), "1", &things::object("Thing", "a", &json!({"size": 1})));
    let mut config: Value =
        serde_json::from_slice(&std::fs::read(plane.kubeconfig()).unwrap()).unwrap();
    config["contexts"][0]["context"]["namespace"] = json!(namespace);
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["bundle", "diff", "--output", "json", &thing]).env("KUBECONFIG", &kubeconfig);
    let output = command.output().unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &told["namespace"]), (Some(1), &json!(namespace)));
}

#[tokio::test]
async fn what_fails_has_another_code() {
    let (plane, namespace, folder) = ready().await;
    let thing = image(folder.path(), "thing", &things::object("Thing", "a", &json!({})));
    let planet = image(folder.path(), "planet", &things::object("Planet", "a", &json!({})));
    let invalid = things::object("Thing", "a", &json!({"size": -1}));
    let invalid = image(folder.path(), "invalid", &invalid);
    let built_in = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    let built_in = image(folder.path(), "built-in", &built_in);
    let missing = folder.path().join("kubeconfig");
    let here = plane.kubeconfig();
    for (image, kubeconfig, message) in [
        (thing.as_str(), missing.as_path(), "the cluster's configuration can't be used"),
        (planet.as_str(), here, "Planet"),
        (invalid.as_str(), here, "spec.size"),
        (built_in.as_str(), here, "`v1 ConfigMap`: it is no custom resource"),
        ("oci:/nowhere:1", here, "/nowhere"),
    ] {
        let (code, told, complaint) = diff(image, kubeconfig, &["--namespace", &namespace]);
        assert_eq!((code, told.as_str()), (Some(2), ""), "{image}: {complaint}");
        assert!(complaint.contains(message), "{image}: {complaint}");
    }
    // Nobody listens there: worth trying again.
    let mut config: Value = serde_json::from_slice(&std::fs::read(here).unwrap()).unwrap();
    config["clusters"][0]["cluster"]["server"] = json!("https://127.0.0.1:1");
    std::fs::write(&missing, config.to_string()).unwrap();
    let (code, _, complaint) = diff(&thing, &missing, &["--namespace", &namespace]);
    assert_eq!(code, Some(75), "{complaint}");
}
