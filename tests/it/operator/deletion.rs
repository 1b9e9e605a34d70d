//! What becomes of an image when its object is deleted.

use super::policy::digest_of;
use super::*;

/// An object that is done, whose image goes with it.
async fn pushed(operator: &Operator, registry: &Registry, more: &Value) {
    let mut spec = spec(&registry.host, &registry.host, &json!({"deletionPolicy": "Delete"}));
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    operator.apply("web", &spec).await;
    operator.wait("web", "Ready").await;
}

async fn finalizers(operator: &Operator) -> Value {
    operator.get("web").await["metadata"]["finalizers"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tag_goes_with_the_object_and_other_tags_stay() {
    let registry = Registry::start().await;
    let digest = fill(&registry.host, 41).await;
    let (operator, address) = listening().await;
    pushed(&operator, &registry, &json!({"interval": "1h"})).await;
    assert_eq!(finalizers(&operator).await, json!(["imagepush.dev/cleanup"]));
    operator.kubectl(&["delete", "ipush", "web", "--timeout=60s"]).await;
    assert_eq!(digest_of(&registry.host, "copy").await, None);
    let (_, metrics) = get(address, "/metrics").await;
    assert!(metrics.contains("imagepush_removal_total{outcome=\"removed\"} 1\n"), "{metrics}");
    assert_eq!(digest_of(&registry.host, "1").await, Some(digest));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_has_put_there_stays() {
    let registry = Registry::start().await;
    fill(&registry.host, 42).await;
    let operator = Operator::start().await;
    pushed(&operator, &registry, &json!({"runPolicy": "Once"})).await;
    let other = fill_as(&registry.host, 43, "copy").await;
    operator.kubectl(&["delete", "ipush", "web", "--timeout=60s"]).await;
    assert_eq!(digest_of(&registry.host, "copy").await, Some(other));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_kept_only_while_there_is_something_to_clean_up() {
    let registry = Registry::start().await;
    let digest = fill(&registry.host, 44).await;
    let operator = Operator::start().await;
    pushed(&operator, &registry, &json!({"interval": "1h"})).await;
    let retain = json!({"interval": "1h", "deletionPolicy": "Retain"});
    operator.apply("web", &spec(&registry.host, &registry.host, &retain)).await;
    operator.until("web", |object| object["metadata"]["finalizers"].is_null()).await;
    let delete = json!({"interval": "1h", "deletionPolicy": "Delete", "suspend": true});
    operator.apply("web", &spec(&registry.host, &registry.host, &delete)).await;
    operator.until("web", |object| object["metadata"]["finalizers"].is_array()).await;
    // Suspending is how the image is kept.
    operator.kubectl(&["delete", "ipush", "web", "--timeout=60s"]).await;
    assert_eq!(digest_of(&registry.host, "copy").await, Some(digest));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_gone_holds_up_nobody_who_says_so() {
    let registry = Registry::start().await;
    fill(&registry.host, 45).await;
    let operator = Operator::start().await;
    pushed(&operator, &registry, &json!({"interval": "1h", "retry": {"limit": 0}})).await;
    registry.add_rule(Rule::each("HEAD", "/v2/app/manifests/copy", Act::Status(503)));
    registry.take_log();
    operator.kubectl(&["delete", "ipush", "web", "--wait=false"]).await;
    registry.received("HEAD /v2/app/manifests/copy").await;
    assert_eq!(finalizers(&operator).await, json!(["imagepush.dev/cleanup"]));
    operator.kubectl(&["annotate", "ipush/web", "imagepush.dev/force-cleanup=true"]).await;
    operator.kubectl(&["wait", "--for=delete", "ipush/web", "--timeout=60s"]).await;
    operator.stop().await;
}

/// Cleaning up goes on beside all else, however many objects wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_hangs_holds_up_no_other_object() {
    let (registry, hangs) = (Registry::start().await, Registry::start().await);
    fill(&registry.host, 48).await;
    let operator = Operator::start().await;
    let more = json!({"interval": "1h", "deletionPolicy": "Delete"});
    let mut made = vec![];
    for number in 0..20 {
        let mut spec = spec(&registry.host, &hangs.host, &more);
        let to = format!("docker://{}/app:{number}", hangs.host);
        spec["destination"]["reference"] = json!(to);
        made.push(
            json!({"apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush", "spec": spec,
            "metadata": {"namespace": operator.namespace, "name": format!("gone-{number}")}}),
        );
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": made}).to_string();
    operator.plane.kubectl_with(&["apply", "-f", "-"], &list).await.succeeded();
    for number in 0..20 {
        operator.wait(&format!("gone-{number}"), "Ready").await;
    }
    hangs.take_log();
    hangs.add_rule(Rule::each("HEAD", "/v2/app/manifests/", Act::Stall));
    operator.kubectl(&["delete", "ipush", "--all", "--wait=false"]).await;
    hangs.received("HEAD /v2/app/manifests/").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let once = json!({"runPolicy": "Once"});
    operator.apply("web", &spec(&registry.host, &registry.host, &once)).await;
    let asked = std::time::Instant::now();
    operator.wait("web", "Ready").await;
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    assert!(hangs.seen().len() <= 4, "{} at the same time", hangs.seen().len());
    operator.stop().await;
}

/// Debian's registry can't take a single tag away: then the image stays, and the object goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_deletion_of_tags_keeps_the_image() {
    let registry = DockerRegistry::plain();
    let digest = fill(&registry.host, 46).await;
    let operator = Operator::start().await;
    let more = json!({"interval": "1h", "deletionPolicy": "Delete"});
    operator.apply("web", &spec(&registry.host, &registry.host, &more)).await;
    operator.wait("web", "Ready").await;
    operator.kubectl(&["delete", "ipush", "web", "--timeout=60s"]).await;
    assert_eq!(digest_of(&registry.host, "copy").await, Some(digest));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ran_once_goes_by_itself() {
    let registry = Registry::start().await;
    let digest = fill(&registry.host, 47).await;
    let operator = Operator::start().await;
    let more = json!({"runPolicy": "Once", "ttlSecondsAfterFinished": 1});
    operator.apply("web", &spec(&registry.host, &registry.host, &more)).await;
    operator.kubectl(&["wait", "--for=delete", "ipush/web", "--timeout=60s"]).await;
    assert_eq!(digest_of(&registry.host, "copy").await, Some(digest));
    operator.stop().await;
}
