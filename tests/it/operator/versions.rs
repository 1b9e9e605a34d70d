//! Operator and definition of different versions, on an API server of the tests' own.

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};

use super::*;

/// The definition with other properties below `status`, and below `spec`.
async fn define(plane: &ControlPlane, change: impl Fn(&mut Value)) {
    let get = ["get", "crd", "imagepushes.imagepush.dev", "-o", "json"];
    let mut definition: Value =
        serde_json::from_str(&plane.kubectl(&get).await.succeeded()).unwrap();
    definition["metadata"].as_object_mut().unwrap().remove("managedFields");
    change(&mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]);
    plane.kubectl_with(&["replace", "-f", "-"], &definition.to_string()).await.succeeded();
}

/// An operator neither loses what a newer definition has, nor does it need it.
#[tokio::test(flavor = "multi_thread")]
async fn fields_of_a_newer_definition_are_left_alone() {
    let plane = ControlPlane::own().await;
    let registry = Registry::start().await;
    fill(&registry.host, 75).await;
    define(plane, |properties| {
        let text = json!({"type": "string"});
        properties["spec"]["properties"]["fromTheFuture"] = text.clone();
        properties["status"]["properties"]["fromTheFuture"] = text;
    })
    .await;
    let namespace = plane.namespace().await;
    let operator = Operator::start_in(plane, namespace.clone(), None).await;
    // The API server takes a moment to serve what was changed.
    let more = json!({"interval": "1h", "fromTheFuture": "wanted"});
    let object = json!({
        "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
        "metadata": {"namespace": namespace, "name": "web"},
        "spec": spec(&registry.host, &registry.host, &more),
    });
    let applied = async {
        while !plane.kubectl_with(&["apply", "-f", "-"], &object.to_string()).await.success {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, applied).await.expect("the definition is served");
    let resource = GroupVersionKind::gvk("imagepush.dev", "v1alpha1", "ImagePush");
    let resource = ApiResource::from_gvk(&resource);
    let api: Api<DynamicObject> =
        Api::namespaced_with(plane.admin_client().await, &namespace, &resource);
    let newer = json!({"apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
        "status": {"fromTheFuture": "told"}});
    let parameters = PatchParams::apply("newer");
    api.patch_status("web", &parameters, &Patch::Apply(&newer)).await.unwrap();
    operator.wait("web", "Ready").await;
    request(&operator, "web", "1").await;
    let object = operator.until("web", |it| it["status"]["lastHandledReconcileAt"] == "1").await;
    assert_eq!(object["spec"]["fromTheFuture"], "wanted");
    assert_eq!(object["status"]["fromTheFuture"], "told");
    operator.stop().await;
    plane.end();
}

/// An operator whose definition was not brought up to date says what it can.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_definition_is_told_what_it_knows() {
    let plane = ControlPlane::own().await;
    let registry = Registry::start().await;
    fill(&registry.host, 76).await;
    define(plane, |properties| {
        let status = properties["status"]["properties"].as_object_mut().unwrap();
        assert!(status.remove("history").is_some());
    })
    .await;
    let operator = Operator::start_in(plane, plane.namespace().await, None).await;
    operator
        .apply("web", &spec(&registry.host, &registry.host, &json!({"runPolicy": "Once"})))
        .await;
    operator.wait("web", "Ready").await;
    let object = operator.get("web").await;
    assert_eq!(object["status"]["observedGeneration"], 1);
    assert_eq!(object["status"]["history"], Value::Null);
    operator.stop().await;
    plane.end();
}
