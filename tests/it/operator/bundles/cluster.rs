//! Objects as tests read and write them, without starting a program for each request.

use std::collections::BTreeMap;

use imagepush::api::v1alpha1::ImagePush;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};

use super::*;

/// What is in a namespace.
pub(super) struct Cluster {
    objects: Api<ImagePush>,
    things: Api<DynamicObject>,
    namespace: String,
}

/// A thing that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Live {
    pub(super) size: i64,
    pub(super) uid: String,
    /// The value of the owner's label.
    pub(super) owner: Option<String>,
    /// Who manages fields of it.
    pub(super) managers: Vec<String>,
}

impl Cluster {
    pub(super) async fn of(plane: &ControlPlane, namespace: &str) -> Self {
        let client = plane.admin_client().await;
        let thing = ApiResource {
            group: things::GROUP.into(),
            version: "v1".into(),
            api_version: format!("{}/v1", things::GROUP),
            kind: "Thing".into(),
            plural: "things".into(),
        };
        Self {
            objects: Api::namespaced(client.clone(), namespace),
            things: Api::namespaced_with(client, namespace, &thing),
            namespace: namespace.to_owned(),
        }
    }

    pub(super) async fn make(&self, name: &str, spec: &Value) {
        let object = json!({
            "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
            "metadata": {"namespace": self.namespace, "name": name}, "spec": spec,
        });
        let object = serde_json::from_value(object).unwrap();
        self.objects.create(&PostParams::default(), &object).await.unwrap();
    }

    /// The object; null if it is gone.
    pub(super) async fn get(&self, name: &str) -> Value {
        let object = self.objects.get_opt(name).await.unwrap();
        object.map_or(Value::Null, |object| serde_json::to_value(object).unwrap())
    }

    /// Waits until an object is as it should be.
    pub(super) async fn until(&self, name: &str, holds: impl Fn(&Value) -> bool) -> Value {
        until(async || self.get(name).await, holds).await
    }

    /// Asks for a look.
    pub(super) async fn ask(&self, name: &str, value: &str) {
        let patch = json!({"metadata": {"annotations": {"imagepush.dev/requestedAt": value}}});
        self.change(name, &patch).await;
    }

    pub(super) async fn change(&self, name: &str, patch: &Value) {
        self.objects.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// Asks for a look, and waits until it has ended: one that comes meanwhile is heard after it.
    pub(super) async fn look(&self, name: &str, value: &str) -> Value {
        for value in [value.to_owned(), format!("{value}, and again")] {
            self.ask(name, &value).await;
            let heard = |object: &Value| object["status"]["lastHandledReconcileAt"] == value;
            self.until(name, heard).await;
        }
        self.until(name, is_settled).await
    }

    pub(super) async fn delete(&self, name: &str) {
        self.objects.delete(name, &kube::api::DeleteParams::default()).await.unwrap();
    }

    /// The things that are there.
    pub(super) async fn things(&self) -> BTreeMap<String, Live> {
        let listed = loop {
            match self.things.list(&ListParams::default()).await {
                // Of a kind that has just been defined, the server has no memory yet.
                Err(kube::Error::Api(answer)) if answer.code == 429 => {
                    tokio::time::sleep(POLL).await;
                }
                listed => break listed.unwrap(),
            }
        };
        let live = |thing: DynamicObject| {
            let labels = thing.metadata.labels.unwrap_or_default();
            let managed = thing.metadata.managed_fields.into_iter().flatten();
            let live = Live {
                size: thing.data["spec"]["size"].as_i64().unwrap_or(-1),
                uid: thing.metadata.uid.unwrap_or_default(),
                owner: labels.get("imagepush.dev/owner").cloned(),
                managers: managed.filter_map(|it| it.manager).collect(),
            };
            (thing.metadata.name.unwrap_or_default(), live)
        };
        listed.items.into_iter().map(live).collect()
    }

    /// Their names and sizes.
    pub(super) async fn sizes(&self) -> Vec<(String, i64)> {
        self.things().await.into_iter().map(|(name, live)| (name, live.size)).collect()
    }
}

/// Whether an object says how its last attempt ended.
pub(super) fn is_settled(object: &Value) -> bool {
    let ready = condition(object, "Ready")["status"].as_str();
    ready.is_some_and(|status| status != "Unknown")
}
