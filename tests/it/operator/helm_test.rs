//! What `helm test` does, but for the pod: there is no node here, so this runs what the pod would, as the pod's account.

use std::fs;

use super::*;
use crate::support::chart::{CHART, REPOSITORY, documents, find, tool};

#[tokio::test(flavor = "multi_thread")]
async fn the_test_of_the_chart_sees_the_operator() {
    let operator = Operator::start().await;
    let namespace = ["--namespace", &operator.namespace];
    let template = ["--show-only", "templates/tests/suspended.yaml", "--set", REPOSITORY];
    let arguments = [&["template", "imagepush", CHART], &namespace[..], &template].concat();
    let hooks = documents(&tool("helm", &arguments).await.succeeded());
    for hook in hooks.iter().filter(|hook| hook["kind"] != "Pod") {
        let applied = operator.plane.kubectl_with(&["apply", "-f", "-"], &hook.to_string()).await;
        applied.succeeded();
    }

    let folder = tempfile::tempdir().unwrap();
    let account = folder.path().join("kubeconfig");
    let config = fs::read_to_string(operator.plane.kubeconfig()).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    let token = operator.kubectl(&["create", "token", "imagepush-test"]).await;
    config["users"][0]["user"] = json!({"token": token.trim()});
    fs::write(&account, config.to_string()).unwrap();

    let pod = &find(&hooks, "Pod")["spec"]["containers"][0]["args"];
    let mut arguments = vec!["--kubeconfig", account.to_str().unwrap()];
    arguments.extend(pod.as_array().unwrap().iter().map(|it| it.as_str().unwrap()));
    tool("kubectl", &arguments).await.succeeded();
    operator.stop().await;
}
