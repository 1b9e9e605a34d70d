//! Several objects that push to the same name.

use super::policy::digest_of;
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_owns_a_destination_and_the_next_takes_over() {
    let registry = Registry::start().await;
    let first = fill(&registry.host, 31).await;
    let second = fill_as(&registry.host, 32, "2").await;
    let operator = Operator::start().await;
    let to = |tag: &str| {
        let mut spec = spec(&registry.host, &registry.host, &json!({"interval": "1h"}));
        spec["source"]["reference"] = json!(format!("docker://{}/app:{tag}", registry.host));
        spec
    };
    operator.apply("web", &to("1")).await;
    operator.wait("web", "Ready").await;
    // Times of creation are whole seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    operator.apply("late", &to("2")).await;
    operator.wait("late", "Stalled").await;
    let late = operator.get("late").await;
    assert_eq!(reason_of(&late, "Ready"), "DestinationConflict");
    let message = condition(&late, "Stalled")["message"].as_str().unwrap();
    assert!(message.starts_with("the older ImagePush `web` pushes to"), "{message}");
    assert_eq!(digest_of(&registry.host, "copy").await, Some(first));

    operator.kubectl(&["delete", "ipush", "web"]).await;
    operator.wait("late", "Ready").await;
    assert_eq!(digest_of(&registry.host, "copy").await, Some(second));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_in_another_namespace_is_not_named() {
    let registry = Registry::start().await;
    fill(&registry.host, 33).await;
    let plane = control_plane().await;
    let [mine, theirs] = [plane.namespace().await, plane.namespace().await];
    let spec = spec(&registry.host, &registry.host, &json!({"interval": "1h"}));
    let object = |namespace: &str, name: &str| {
        json!({
            "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
            "metadata": {"namespace": namespace, "name": name}, "spec": spec,
        })
        .to_string()
    };
    let egress = Egress::operator().allow("127.0.0.1".parse().unwrap());
    let namespaces = vec![mine.clone(), theirs.clone()];
    let operator = Operator::start_for(plane, namespaces, None, egress).await;
    plane.kubectl_with(&["apply", "-f", "-"], &object(&theirs, "canary")).await.succeeded();
    let ready = ["wait", "--for=condition=Ready", "ipush/canary", "-n", &theirs, "--timeout=60s"];
    plane.kubectl(&ready).await.succeeded();
    plane.kubectl_with(&["apply", "-f", "-"], &object(&mine, "web")).await.succeeded();
    operator.wait("web", "Stalled").await;
    let status = operator.get("web").await["status"].to_string();
    assert!(status.contains("an ImagePush of another namespace"), "{status}");
    assert!(!status.contains("canary") && !status.contains(&theirs), "{status}");
    operator.stop().await;
}
