//! What an ImagePush and whoever runs the operator ask for, from one end to the other.

use std::process::Stdio;

use tokio::process::{Child, Command};

use super::cluster::{Cluster, is_settled};
use super::*;

/// Changes fields of `apply`.
async fn order(cluster: &Cluster, name: &str, fields: &Value) {
    cluster.change(name, &json!({"spec": {"customResources": {"apply": fields}}})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_applied_from_here_is_taken_over_if_the_object_says_so() {
    let place = Place::new().await;
    let cluster = Cluster::of(place.operator.plane, &place.operator.namespace).await;
    let mut theirs = object("Thing", "a", &json!({"size": 7}));
    theirs["metadata"]["namespace"] = json!(place.operator.namespace);
    let create = ["create", "-f", "-"];
    place.operator.plane.kubectl_with(&create, &theirs.to_string()).await.succeeded();
    place.image("1", &things_of(&[("a", 1)])).await;
    cluster.make("web", &place.spec("1", "web", &applying("Always", &json!({})))).await;
    let object = cluster.until("web", is_settled).await;
    assert_eq!(reason_of(&object, "Ready"), "CustomResourcesConflict", "{object:#}");
    order(&cluster, "web", &json!({"forceConflicts": true})).await;
    place.operator.wait("web", "Ready").await;
    assert_eq!(cluster.sizes().await, [("a".to_owned(), 1)]);
    place.operator.stop().await;
}

/// The default would be five minutes, which is more than this test waits for anything.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_ends_when_the_object_says() {
    let place = Place::new().await;
    let cluster = Cluster::of(place.operator.plane, &place.operator.namespace).await;
    place.image("1", &things_of(&[("a", 1)])).await;
    cluster.make("web", &place.spec("1", "web", &applying("Always", &json!({})))).await;
    place.operator.wait("web", "Ready").await;
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    let (thing, ready) = (format!("thing.{}/a", things::GROUP), ready.to_string());
    let patch = ["patch", &thing, "--subresource=status", "--type=merge", "-p", &ready];
    place.operator.kubectl(&patch).await;
    order(&cluster, "web", &json!({"wait": true, "timeout": "2s"})).await;
    let pending = |object: &Value| reason_of(object, "Ready") == "CustomResourcesPending";
    let object = cluster.until("web", pending).await;
    let message = condition(&object, "Ready")["message"].as_str().unwrap();
    let expected =
        "what was applied does not work after 1 s: `things.example/v1 Thing a`: it is not ready";
    assert!(message.starts_with(expected), "{message}");
    place.operator.stop().await;
}

/// The program with these arguments more, as the operator's account.
async fn program(place: &Place, folder: &std::path::Path, arguments: &[&str]) -> Child {
    let Operator { plane: cluster, namespace, .. } = &place.operator;
    let mut config: Value =
        serde_json::from_slice(&std::fs::read(cluster.kubeconfig()).unwrap()).unwrap();
    let token = ["create", "token", "-n", "imagepush-system", "imagepush-controller"];
    let token = cluster.kubectl(&token).await.succeeded();
    config["users"][0]["user"] = json!({"token": token.trim()});
    let kubeconfig = folder.join("kubeconfig");
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_imagepush"));
    command.args(["operator", "--leader-election=false", "--listen=none"]).args(arguments);
    command.args(["--egress-allow=127.0.0.1", "--watch-namespace", namespace]);
    command.env("KUBECONFIG", &kubeconfig).stdout(Stdio::null()).stderr(Stdio::null());
    command.kill_on_drop(true).spawn().unwrap()
}

/// Which kinds are applied is for whoever runs the operator to say: built-in ones that they name, and not those that they deny.
#[tokio::test(flavor = "multi_thread")]
async fn the_operator_says_which_kinds_are_applied() {
    let Place { registry, operator } = Place::new().await;
    let (control_plane, namespace) = operator.stop().await;
    // It works in a process of its own instead.
    let (stop, task) = (CancellationToken::new(), tokio::spawn(async { Ok(()) }));
    let place =
        Place { registry, operator: Operator { plane: control_plane, namespace, stop, task } };
    let account = format!("--serviceaccount={}:deployer", place.operator.namespace);
    let verbs = format!("--verb={}", ALL_VERBS.join(","));
    place.operator.kubectl(&["create", "role", "maps", &verbs, "--resource=configmaps"]).await;
    place.operator.kubectl(&["create", "rolebinding", "maps", "--role=maps", &account]).await;
    let folder = tempfile::tempdir().unwrap();
    let kinds = [
        "--apply-bundles",
        "--bundle-kinds=ConfigMap,*.things.example",
        "--deny-bundle-kinds=Gadget.things.example",
    ];
    let mut running = program(&place, folder.path(), &kinds).await;
    let cluster = Cluster::of(control_plane, &place.operator.namespace).await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "b"}});
    let limits = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"}});
    for (name, object, reason, told) in [
        ("thing", object("Thing", "a", &json!({"size": 1})), "Applied", "1 created"),
        ("map", map, "Applied", "1 created"),
        (
            "gadget",
            object("Gadget", "g", &json!({"note": "x"})),
            "Forbidden",
            "whoever runs the operator has denied it",
        ),
        (
            "planet",
            object("Planet", "p", &json!({"size": 1})),
            "Forbidden",
            "belong to the whole cluster",
        ),
        (
            "limits",
            limits,
            "Forbidden",
            "it is none of the kinds that whoever runs the operator allows",
        ),
    ] {
        place.image(name, &object.to_string()).await;
        cluster.make(name, &place.spec(name, name, &applying("Always", &json!({})))).await;
        let object = cluster.until(name, is_settled).await;
        let message = condition(&object, APPLIED)["message"].as_str().unwrap_or_default();
        assert_eq!(reason_of(&object, APPLIED), reason, "{name}: {message}");
        assert!(message.contains(told), "{name}: {message}");
    }
    let data = ["get", "configmap", "m", "-o", "jsonpath={.data.a}"];
    assert_eq!(place.operator.kubectl(&data).await, "b");
    running.kill().await.unwrap();
}
