//! Folders of nodes, which are the same in every namespace.

use super::*;

/// Two namespaces name the same folder. It is one's own; the other one is told so, and gets no Job.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_a_node_belongs_to_one_namespace() {
    let plane = control_plane().await;
    let [mine, other] = [plane.namespace().await, plane.namespace().await];
    let config = OperatorConfig {
        namespaces: vec![mine.clone(), other.clone()],
        listen: None,
        jobs: JobSettings {
            image: Some("registry.example/imagepush:1".into()),
            host_folders: vec!["/srv/images".parse().unwrap()],
            ..JobSettings::default()
        },
        ..OperatorConfig::default()
    };
    let stop = CancellationToken::new();
    let client = plane.operator_client().await;
    let task = tokio::spawn(run_with(client, config, stop.clone()));
    let operator = Operator { plane, namespace: mine.clone(), stop, task };
    let path = format!("/srv/images/{mine}/app");
    for namespace in [&mine, &other] {
        let mut spec = spec("registry.example", &json!({}));
        spec["destination"]["reference"] =
            json!(format!("docker://registry.example/{namespace}:1"));
        spec["source"]["volume"] = json!({"hostPath": {"path": path}});
        let object = json!({
            "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
            "metadata": {"namespace": namespace, "name": "web"}, "spec": spec,
        });
        plane.kubectl_with(&["apply", "-f", "-"], &object.to_string()).await.succeeded();
    }
    let job = next_job(&operator, None).await;
    let pod = &job["spec"]["template"]["spec"];
    let volume = pod["volumes"].as_array().unwrap().iter().find(|it| it["name"] == "source");
    assert_eq!(volume.unwrap()["hostPath"], json!({"path": "/srv/images", "type": "Directory"}));
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    let mount = mounts.iter().find(|it| it["name"] == "source").unwrap();
    assert_eq!(mount["subPath"], format!("{mine}/app"));

    let stalled = ["wait", "--for=condition=Stalled", "ipush/web", "--timeout=60s", "-n", &other];
    plane.kubectl(&stalled).await.succeeded();
    let object = plane.kubectl(&["get", "ipush", "web", "-o", "json", "-n", &other]).await;
    let object: Value = serde_json::from_str(&object.succeeded()).unwrap();
    assert_eq!(reason_of(&object, "Stalled"), "AccessDenied");
    let message = condition(&object, "Stalled")["message"].as_str().unwrap();
    assert!(message.starts_with(&format!("the operator does not mount `{path}`")), "{message}");
    let theirs = plane.kubectl(&["get", "jobs", "-o", "name", "-n", &other]).await;
    assert_eq!(theirs.succeeded(), "");
    operator.stop().await;
}
