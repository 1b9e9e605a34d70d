//! Others who write the same objects, end the namespace, or share the operator with a registry that nobody finds.

use std::sync::Arc;

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use tokio::sync::Notify;

use super::*;

async fn raw(plane: &ControlPlane, namespace: &str) -> Api<DynamicObject> {
    let resource = GroupVersionKind::gvk("imagepush.dev", "v1alpha1", "ImagePush");
    let resource = ApiResource::from_gvk(&resource);
    Api::namespaced_with(plane.admin_client().await, namespace, &resource)
}

/// Somebody labels the object all the time, and tells something of his own in its status: neither disturbs the push, and
/// nothing of it is overwritten.
#[tokio::test(flavor = "multi_thread")]
async fn what_others_write_stays_and_disturbs_no_push() {
    let source = Registry::start().await;
    fill(&source.host, 81).await;
    let registry = Registry::start().await;
    let go_on = Arc::new(Notify::new());
    let uploads = "/v2/app/blobs/uploads/";
    registry.add_rule(Rule::each("POST", uploads, Act::Hold(go_on.clone())).nth(1));
    let operator = Operator::start().await;
    operator.apply("web", &spec(&source.host, &registry.host, &json!({"interval": "1h"}))).await;
    registry.received("POST /v2/app/blobs/uploads/").await;
    let api = raw(operator.plane, &operator.namespace).await;
    let scanned = async |number: u32| {
        let condition = json!({"type": "Scanned", "status": "True", "reason": "R",
            "message": number.to_string(), "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let status = json!({"apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
            "status": {"conditions": [condition]}});
        let parameters = PatchParams::apply("scanner");
        api.patch_status("web", &parameters, &Patch::Apply(&status)).await.unwrap();
        let label = json!({"metadata": {"labels": {"count": number.to_string()},
            "annotations": {"count": number.to_string()}}});
        api.patch("web", &PatchParams::default(), &Patch::Merge(&label)).await.unwrap();
    };
    for number in 0..10 {
        scanned(number).await;
        // A look comes when it has been quiet for a moment.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // One that was begun anew would not be held.
    assert!(!registry.tags().contains_key("app:copy"), "{:#?}", registry.take_log());
    go_on.notify_one();
    operator.wait("web", "Ready").await;
    let written = registry.take_log();
    let count = |start: &str| written.iter().filter(|line| line.starts_with(start)).count();
    let (begun, done) = (count("POST /v2/app/blobs/uploads/"), count("PUT /v2/app/blobs/"));
    assert!(begun > 0 && begun == done, "the push was begun anew: {written:#?}");
    assert_eq!(count("PUT /v2/app/manifests/copy"), 1);
    scanned(99).await;
    request(&operator, "web", "1").await;
    let object = operator.until("web", |it| it["status"]["lastHandledReconcileAt"] == "1").await;
    assert_eq!(condition(&object, "Scanned")["message"], "99", "{object:#}");
    let managers = ["get", "ipush", "web", "-o", "json", "--show-managed-fields"];
    let managers: Value = serde_json::from_str(&operator.kubectl(&managers).await).unwrap();
    let fields = managers["metadata"]["managedFields"].as_array().unwrap();
    let ours = fields.iter().find(|it| it["manager"] == "imagepush-controller").unwrap();
    assert!(!ours.to_string().contains("Scanned"), "{ours:#}");
    operator.stop().await;
}

/// A namespace that is being deleted takes nothing new: the objects in it are let go without ado.
#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_ends_is_left_in_peace() {
    let registry = Registry::start().await;
    fill(&registry.host, 82).await;
    let (operator, address) = listening().await;
    let output = json!({"configMapKeyRef": {"name": "out", "key": "digest"}});
    let more = json!({"interval": "1h", "digestOutput": output, "deletionPolicy": "Delete"});
    operator.apply("web", &spec(&registry.host, &registry.host, &more)).await;
    operator.wait("web", "Ready").await;
    let stuck = Registry::start().await;
    stuck.add_rule(Rule::each("POST", "/v2/app/blobs/uploads/", Act::Stall));
    operator.apply("held", &spec(&registry.host, &stuck.host, &json!({"interval": "1h"}))).await;
    inflight(address, 1).await;

    // Nothing runs here that would empty it, so this does.
    operator.plane.kubectl(&["delete", "namespace", &operator.namespace, "--wait=false"]).await;
    operator.kubectl(&["delete", "configmap", "out"]).await;
    fill(&registry.host, 83).await;
    request(&operator, "web", "1").await;
    let object = operator.until("web", |it| it["status"]["lastHandledReconcileAt"] == "1").await;
    assert_eq!(condition(&object, "Stalled"), &Value::Null, "{object:#}");
    operator.kubectl(&["delete", "ipush", "--all", "--timeout=60s"]).await;
    inflight(address, 0).await;
    let (_, metrics) = get(address, "/metrics").await;
    let errors: Vec<&str> =
        metrics.lines().filter(|line| line.starts_with("imagepush_reconcile_errors")).collect();
    assert_eq!(errors, [""; 0]);
    assert!(!registry.tags().contains_key("app:copy"), "what was to be cleaned up is");
    operator.stop().await;
}

/// A registry whose name can't be looked up is tried again; the others don't notice.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_nobody_finds_holds_up_its_own_objects_only() {
    let registry = Registry::start().await;
    fill(&registry.host, 84).await;
    let operator = Operator::start().await;
    for number in 0..12 {
        let mut lost = spec(&registry.host, "registry.invalid", &json!({"interval": "1h"}));
        let to = format!("docker://registry.invalid/app:{number}");
        lost["destination"]["reference"] = json!(to);
        operator.apply(&format!("lost-{number}"), &lost).await;
    }
    let unreachable = "registry `registry.invalid` can't be reached; ";
    let waits = |it: &Value| {
        let told = condition(it, "Reconciling")["message"].as_str().unwrap_or_default();
        told.starts_with(unreachable)
    };
    operator.until("lost-11", |it| waits(it) || reason_of(it, "Ready") == "NetworkError").await;
    operator
        .apply("web", &spec(&registry.host, &registry.host, &json!({"runPolicy": "Once"})))
        .await;
    let asked = std::time::Instant::now();
    operator.wait("web", "Ready").await;
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    let lost = operator.get("lost-0").await;
    assert!(reason_of(&lost, "Reconciling").starts_with("Progressing"), "{lost:#}");
    assert!(lost["status"]["retry"]["nextRetryTime"].is_string(), "{lost:#}");
    operator.stop().await;
}
