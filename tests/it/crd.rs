//! The CRD on a real API server: what it accepts, what it refuses and in which words, and what kubectl makes of it.

#[path = "../../src/api/crd/cases.rs"]
mod cases;

use serde_json::{Value, json};

use crate::support::control_plane::control_plane;

/// A document for kubectl.
fn manifest(namespace: &str, name: &str, spec: &serde_json::Value) -> String {
    json!({
        "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
        "metadata": {"namespace": namespace, "name": name}, "spec": spec,
    })
    .to_string()
}

#[tokio::test]
async fn a_new_object_has_defaults_and_does_not_read_as_done() {
    let plane = control_plane().await;
    let namespace = plane.namespace().await;
    let spec = json!({
        "source": {"reference": "docker://a.example/x:1"},
        "destination": {"reference": "docker://b.example/x:1"},
        "interval": "10m", "format": null, "platforms": {}, "retry": {},
    });
    plane.kubectl_with(&["apply", "-f", "-"], &manifest(&namespace, "x", &spec)).await.succeeded();
    let found =
        plane.kubectl(&["get", "-n", &namespace, "ipush/x", "-o", "json"]).await.succeeded();
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found["status"], json!({"observedGeneration": -1}));
    assert_eq!(
        found["spec"],
        json!({
            "source": {"reference": "docker://a.example/x:1"},
            "destination": {"reference": "docker://b.example/x:1"},
            "runPolicy": "Continuous", "interval": "10m", "suspend": false, "quiet": false, "mode": "Apply",
            "executor": "Auto", "overwritePolicy": "Replace", "deletionPolicy": "Retain",
            "platforms": {"mode": "All"}, "retry": {"limit": 3},
        })
    );
}

#[tokio::test]
async fn the_samples_are_accepted() {
    let plane = control_plane().await;
    let namespace = plane.namespace().await;
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/config/samples");
    let arguments = ["apply", "-n", &namespace, "--dry-run=server", "-k", samples];
    assert_eq!(
        plane.kubectl(&arguments).await.succeeded(),
        "imagepush.imagepush.dev/continuous created (server dry run)\n\
         imagepush.imagepush.dev/dry-run created (server dry run)\n\
         imagepush.imagepush.dev/import created (server dry run)\n\
         imagepush.imagepush.dev/once created (server dry run)\n"
    );
}

/// The rules mean on the API server what they mean where they are evaluated without one.
#[tokio::test]
async fn the_rules_hold_on_the_api_server() {
    let plane = control_plane().await;
    let namespace = plane.namespace().await;
    let accepted = cases::accepted();
    let mut refused = cases::refused(&imagepush::transport::names());
    let here = cases::refused_in_a_cluster();
    refused.extend(here.map(|(changes, message)| (changes, message.to_owned())));
    let named = |kind: &str, number: usize, changes: &Value| {
        let mut object = cases::object(changes);
        object["apiVersion"] = json!("imagepush.dev/v1alpha1");
        object["kind"] = json!("ImagePush");
        object["metadata"] = json!({"namespace": namespace, "name": format!("{kind}-{number}")});
        object
    };
    let fine = accepted.iter().enumerate().map(|(number, it)| named("fine", number, it));
    let wrong = refused.iter().enumerate().map(|(number, (it, _))| named("wrong", number, it));
    let items: Vec<Value> = fine.chain(wrong).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    let create = ["create", "--dry-run=server", "-o", "name", "-f", "-"];
    let answer = plane.kubectl_with(&create, &list).await;
    let created: Vec<&str> = answer.stdout.lines().collect();
    let fine = (0..accepted.len()).map(|it| format!("imagepush.imagepush.dev/fine-{it}"));
    assert_eq!(created, fine.collect::<Vec<_>>(), "{}", answer.stderr);
    for (number, (changes, message)) in refused.iter().enumerate() {
        let begin = format!("\"wrong-{number}\" is invalid: ");
        let Some((_, said)) = answer.stderr.split_once(&begin) else {
            panic!("{changes}: {}", answer.stderr)
        };
        let said = said.split("\"wrong-").next().unwrap();
        assert!(said.contains(message.as_str()), "{changes}: {said}");
    }
}

#[tokio::test]
async fn some_fields_cannot_be_changed() {
    let plane = control_plane().await;
    let namespace = plane.namespace().await;
    let once = json!({"runPolicy": "Once", "interval": null});
    let moved = json!({"destination": {"reference": "docker://c.example/x:1"}});
    let both = json!({"runPolicy": "Once", "interval": null, "destination": moved["destination"]});
    let cases = [
        ("a", &once, &both, "`source` and `destination` are immutable when `runPolicy` is 'Once'"),
        ("b", &once, &json!({}), "`runPolicy` is immutable"),
        ("c", &json!({}), &moved, ""),
    ];
    for (name, before, after, message) in cases {
        let manifest = |it: &Value| manifest(&namespace, name, &cases::object(it)["spec"]);
        plane.kubectl_with(&["create", "-f", "-"], &manifest(before)).await.succeeded();
        let replaced = plane.kubectl_with(&["replace", "-f", "-"], &manifest(after)).await;
        assert_eq!(replaced.success, message.is_empty(), "{name}: {}", replaced.stderr);
        assert!(replaced.stderr.contains(message), "{name}: {}", replaced.stderr);
    }
}

/// The runbook asks for objects in this way.
#[tokio::test]
async fn objects_are_found_by_what_they_say() {
    let plane = control_plane().await;
    let namespace = plane.namespace().await;
    for (name, suspend) in [("on", false), ("off", true)] {
        let spec = cases::object(&json!({"suspend": suspend}))["spec"].clone();
        let create = ["create", "-f", "-"];
        plane.kubectl_with(&create, &manifest(&namespace, name, &spec)).await.succeeded();
    }
    for (selector, expected) in [
        ("spec.suspend=true", "imagepush.imagepush.dev/off\n"),
        ("spec.suspend=false", "imagepush.imagepush.dev/on\n"),
    ] {
        let get = ["-n", &namespace, "get", "ipush", "-o", "name", "--field-selector", selector];
        assert_eq!(plane.kubectl(&get).await.succeeded(), expected, "{selector}");
    }
}

#[tokio::test]
async fn contradictions_and_unknown_fields_are_refused() {
    let plane = control_plane().await;
    let namespace = plane.namespace().await;
    let side = json!({"reference": "docker://a.example/x:1"});
    let cases = [
        (
            json!({"source": side, "destination": side}),
            "spec: Invalid value: `interval` must be set when `runPolicy` is 'Continuous', and may not be set otherwise",
        ),
        (
            json!({"source": side, "destination": side, "interval": "30s"}),
            "spec.interval: Invalid value: `interval` must be greater than or equal to 1m",
        ),
        (
            json!({"source": {"reference": "app"}, "destination": side, "interval": "1h"}),
            "spec.source.reference: Invalid value: `reference` must be of the form 'transport:details', \
             such as 'docker://registry.example/app:1.0'; known transports: ",
        ),
        (
            json!({"source": {"reference": "oci:x", "tlsPolicy": "Verify"}, "destination": side, "interval": "1h"}),
            "spec.source: Invalid value: `secretRef`, `serviceAccountName`, `certSecretRef` and \
             `tlsPolicy` may only be specified for the docker transport",
        ),
        (
            json!({"source": side, "destination": side, "interval": "1h", "mode": "Maybe"}),
            "spec.mode: Unsupported value: \"Maybe\": supported values: \"Apply\", \"DryRun\"",
        ),
        (
            json!({"source": side, "destination": side, "interval": "1h", "retry": {"limit": 51}}),
            "spec.retry.limit: Invalid value: 51: spec.retry.limit in body should be less than or equal to 50",
        ),
        (
            json!({"source": side, "destination": side, "interval": "1h",
                "digestOutput": {"configMapKeyRef": {"name": "a", "key": "a/b"}}}),
            "spec.digestOutput.configMapKeyRef.key: Invalid value: \"a/b\": spec.digestOutput.configMapKeyRef.key in body \
             should match",
        ),
        (
            json!({"source": side, "destination": side, "interval": "1h", "tag": "x"}),
            "strict decoding error: unknown field \"spec.tag\"",
        ),
    ];
    for (spec, message) in cases {
        let arguments = ["create", "--dry-run=server", "-f", "-"];
        let refused = plane.kubectl_with(&arguments, &manifest(&namespace, "x", &spec)).await;
        assert!(!refused.success, "{spec} is accepted");
        let said = refused.stderr.replace("Invalid value: \"object\": ", "Invalid value: ");
        assert!(said.contains(message), "{spec}: {said}");
    }
}

#[tokio::test]
async fn every_field_is_explained() {
    let plane = control_plane().await;
    let explain =
        |path: &'static str| async move { plane.kubectl(&["explain", path]).await.succeeded() };
    let side = explain("imagepush.spec.destination").await;
    for field in ["certSecretRef", "reference\t<string> -required-", "secretRef", "tlsPolicy"] {
        assert!(side.contains(field), "{side}");
    }
    assert!(side.contains("PlainHTTP"), "{side}");
    let status = explain("imagepush.status").await;
    assert!(status.contains("`Ready` sums up"), "{status}");
    assert!(!explain("imagepush.spec").await.contains("<no description>"));
}
