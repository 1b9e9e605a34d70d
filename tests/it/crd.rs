//! The CRD on a real API server: what it accepts, what it refuses and in which words, and what kubectl makes of it.

use serde_json::json;

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
