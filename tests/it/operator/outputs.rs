//! The digest in a ConfigMap.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_digest_is_written_and_goes_with_the_object() {
    let registry = Registry::start().await;
    let first = fill(&registry.host, 51).await;
    let operator = Operator::start().await;
    let output = json!({"configMapKeyRef": {"name": "out", "key": "digest"}});
    let more = json!({"interval": "1h", "digestOutput": output});
    operator.apply("web", &spec(&registry.host, &registry.host, &more)).await;
    operator.wait("web", "Ready").await;
    let read = async || -> Value {
        let found = operator.kubectl(&["get", "configmap", "out", "-o", "json"]).await;
        serde_json::from_str(&found).unwrap()
    };
    let found = read().await;
    assert_eq!(found["data"], json!({"digest": first}));
    let object = operator.get("web").await;
    assert_eq!(found["metadata"]["ownerReferences"][0]["uid"], object["metadata"]["uid"]);
    let second = fill(&registry.host, 52).await;
    request(&operator, "web", "1").await;
    operator.until("web", |object| object["status"]["artifact"]["digest"] == *second).await;
    assert_eq!(read().await["data"], json!({"digest": second}));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_config_map_is_left_alone() {
    let registry = Registry::start().await;
    fill(&registry.host, 53).await;
    let operator = Operator::start().await;
    operator.kubectl(&["create", "configmap", "out", "--from-literal=digest=theirs"]).await;
    let output = json!({"configMapKeyRef": {"name": "out", "key": "digest"}});
    let more = json!({"runPolicy": "Once", "digestOutput": output});
    operator.apply("web", &spec(&registry.host, &registry.host, &more)).await;
    operator.wait("web", "Stalled").await;
    let object = operator.get("web").await;
    assert_eq!(reason_of(&object, "Ready"), "ConfigMapTaken");
    assert!(object["status"]["artifact"]["digest"].is_string(), "{object:#}");
    let data = operator.kubectl(&["get", "configmap", "out", "-o", "jsonpath={.data}"]).await;
    assert_eq!(data, r#"{"digest":"theirs"}"#);

    operator.kubectl(&["delete", "configmap", "out"]).await;
    request(&operator, "web", "1").await;
    operator.wait("web", "Ready").await;
    operator.stop().await;
}
