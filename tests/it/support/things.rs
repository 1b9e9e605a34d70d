//! Kinds of custom resources that bundles of tests hold, and accounts that may write them.

use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::control_plane::{ControlPlane, POLL};

/// Their group.
pub(crate) const GROUP: &str = "things.example";

/// Installs `Thing` and `Gadget`, which live in namespaces, and `Planet`, which does not.
pub(crate) async fn install(plane: &ControlPlane) {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let all = [("Thing", "Namespaced"), ("Gadget", "Namespaced"), ("Planet", "Cluster")];
    let install = async || {
        for (kind, scope) in all {
            define(plane, kind, scope).await;
        }
    };
    INSTALLED.get_or_init(install).await;
}

/// Defines a kind, and waits until it is served.
pub(crate) async fn define(plane: &ControlPlane, kind: &str, scope: &str) {
    let plural = format!("{}s", kind.to_lowercase());
    let text = json!({"type": "string"});
    let spec = json!({"type": "object", "properties": {
        "size": {"type": "integer", "minimum": 0}, "note": text, "tags": {"type": "array", "items": text},
    }});
    let status = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{GROUP}")},
        "spec": {
            "group": GROUP, "scope": scope, "names": {"kind": kind, "plural": plural},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}},
            }],
        },
    });
    plane.kubectl_with(&["apply", "-f", "-"], &definition.to_string()).await.succeeded();
    let path = format!("/apis/{GROUP}/v1");
    while !plane.kubectl(&["get", "--raw", &path]).await.stdout.contains(&format!("\"{plural}\"")) {
        tokio::time::sleep(POLL).await;
    }
}

/// An object of a bundle.
pub(crate) fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// Makes an account that may do this with these resources of the group in a namespace.
pub(crate) async fn account(
    plane: &ControlPlane,
    namespace: &str,
    name: &str,
    resources: &[&str],
    verbs: &[&str],
) {
    let metadata = |name: &str| json!({"namespace": namespace, "name": name});
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"namespace": namespace, "name": name, "labels": {"imagepush.dev/apply-bundles": "true"}},
    });
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata(name),
        "rules": [{"apiGroups": [GROUP], "resources": resources, "verbs": verbs}],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata(name),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": name}],
    });
    let all = json!({"apiVersion": "v1", "kind": "List", "items": [account, role, binding]});
    plane.kubectl_with(&["apply", "-f", "-"], &all.to_string()).await.succeeded();
}

/// All that an account needs to apply and prune.
pub(crate) const ALL_VERBS: [&str; 4] = ["get", "create", "patch", "delete"];
