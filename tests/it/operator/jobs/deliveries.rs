//! What a push may overwrite, takes along and is let in by is the same in a Job as in the operator.

use crate::operator::policy::digest_of;
use crate::operator::{fill, request};
use crate::support::images::{Content, Form, Layer, tar};
use crate::support::push;

use super::*;

/// Lets the next Job run to its end; returns what its pod left.
async fn next_attempt(
    operator: &Operator,
    before: Option<&Value>,
    folder: &Path,
) -> (Value, Value) {
    let job = next_job(operator, before).await;
    let state = run_pod(operator, &job, folder).await;
    make_pod(operator, &job, &state).await;
    let report = state["terminated"]["message"].as_str().unwrap();
    (job, serde_json::from_str(report).unwrap_or_else(|_| panic!("{state}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_place_is_compared_by_one_job_and_left() {
    let registry = Registry::start().await;
    let operator = operator().await;
    make_claim(&operator).await;
    let more = json!({"runPolicy": "Continuous", "interval": "24h"});
    operator.apply("web", &spec(&registry.host, &more)).await;
    let (folder, _) = volume(41);
    let (first, _) = next_attempt(&operator, None, folder.path()).await;
    operator.wait("web", "Ready").await;
    let before = operator.get("web").await;
    registry.take_log();
    request(&operator, "web", "1").await;
    let (_, report) = next_attempt(&operator, Some(&first), folder.path()).await;
    assert_eq!(report, json!({"outcome": "Unchanged"}));
    assert_eq!(registry.take_log(), ["HEAD /v2/app/manifests/1 200"]);
    let after =
        operator.until("web", |object| object["status"]["lastHandledReconcileAt"] == "1").await;
    for field in ["artifact", "source", "history", "lastPushTime"] {
        assert_eq!(after["status"][field], before["status"][field], "{field}");
    }
    assert_eq!(jobs(&operator).await.len(), 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_overwrites_what_it_may() {
    let registry = Registry::start().await;
    let (theirs, other) = volume(42);
    let layout = theirs.path().join("volumes/source/team/app");
    let destination = format!("docker://{}/app:1", registry.host);
    let mut options = push::options(&format!("oci:{}:1", layout.display()), &destination);
    options.destination.access.tls = imagepush::access::TlsPolicy::PlainHttp;
    push::run(&options).await.unwrap();
    let operator = operator().await;
    make_claim(&operator).await;
    operator.apply("web", &spec(&registry.host, &json!({"overwritePolicy": "IfNotPresent"}))).await;
    let (folder, _) = volume(43);
    let (_, report) = next_attempt(&operator, None, folder.path()).await;
    assert_eq!((&report["outcome"], &report["transient"]), (&json!("Failed"), &json!(false)));
    let object = operator.until("web", |it| reason_of(it, "Stalled") == "DestinationExists").await;
    assert_eq!(
        condition(&object, "Ready")["message"],
        format!(
            "`{destination}` holds {other}, which is not what would be pushed; choose another tag, or \
             set `overwritePolicy` to Replace"
        )
    );
    assert_eq!(digest_of(&registry.host, "1").await, Some(other));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_resources_go_along_in_a_job() {
    let registry = Registry::start().await;
    let operator = operator().await;
    make_claim(&operator).await;
    let more = json!({"customResources": {"policy": "Always"}});
    operator.apply("web", &spec(&registry.host, &more)).await;
    let folder = tempfile::tempdir().unwrap();
    let bundle = b"apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: one}\n";
    let layer = Layer::of(&tar(&[("metadata/config.yaml", bundle)]), Form::Gzip);
    let layout = folder.path().join("volumes/source/team/app");
    fs::create_dir_all(layout.parent().unwrap()).unwrap();
    Content::image("linux", "amd64", &[layer]).write_layout(&layout, Some("1"));
    next_attempt(&operator, None, folder.path()).await;
    operator.wait("web", "Ready").await;
    let told = operator.get("web").await["status"]["customResources"].clone();
    assert_eq!((&told["decision"], &told["objects"]), (&json!("pushed"), &json!(1)), "{told}");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pull_secrets_of_a_service_account_reach_the_pod() {
    let registry = Registry::start().await;
    registry.set_login(Login::basic("user", canary::secret("operator::jobs::deliveries")));
    let operator = operator().await;
    make_claim(&operator).await;
    let server = format!("--docker-server={}", registry.host);
    let password = format!("--docker-password={}", canary::secret("operator::jobs::deliveries"));
    let login = ["--docker-username=user", &password, &server];
    operator
        .kubectl(&[&["create", "secret", "docker-registry", "login"], &login[..]].concat())
        .await;
    operator.kubectl(&["create", "serviceaccount", "robot"]).await;
    let names = r#"{"imagePullSecrets": [{"name": "gone"}, {"name": "login"}]}"#;
    operator.kubectl(&["patch", "serviceaccount", "robot", "-p", names]).await;
    let mut spec = spec(&registry.host, &json!({}));
    spec["destination"]["serviceAccountName"] = json!("robot");
    operator.apply("web", &spec).await;
    let (folder, digest) = volume(44);
    let (job, _) = next_attempt(&operator, None, folder.path()).await;
    canary::none_is_in("a Job", job.to_string(), &[]);
    let pod = &job["spec"]["template"]["spec"];
    assert!(pod["serviceAccountName"].is_null(), "its account is only asked for names: {pod:#}");
    operator.wait("web", "Ready").await;
    assert_eq!(operator.get("web").await["status"]["artifact"]["digest"], json!(digest));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_outlives_the_job_that_an_earlier_operator_left() {
    let registry = Registry::start().await;
    fill(&registry.host, 45).await;
    let operator = operator().await;
    let more = json!({"executor": "Job", "interval": "24h", "deletionPolicy": "Delete"});
    operator.apply("web", &crate::operator::spec(&registry.host, &registry.host, &more)).await;
    let folder = tempfile::tempdir().unwrap();
    let (first, _) = next_attempt(&operator, None, folder.path()).await;
    operator.wait("web", "Ready").await;
    request(&operator, "web", "1").await;
    let job = next_job(&operator, Some(&first)).await;
    let (plane, namespace) = operator.stop().await;
    let arguments = ["-n", &namespace, "delete", "ipush", "web", "--wait=false"];
    plane.kubectl(&arguments).await.succeeded();
    let operator = start(plane, plane.operator_client().await, namespace);
    let ended = async {
        while jobs(&operator).await[0]["metadata"]["deletionTimestamp"].is_null() {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(crate::operator::PATIENCE, ended).await.expect("the Job is ended");
    // Its pod may still write: as long as that is there, so is the object.
    assert_eq!(
        operator.get("web").await["metadata"]["finalizers"],
        json!(["imagepush.dev/cleanup"])
    );
    assert_eq!(next_deleted(&operator).await, job["metadata"]["uid"]);
    operator.kubectl(&["wait", "--for=delete", "ipush/web", "--timeout=60s"]).await;
    assert_eq!(digest_of(&registry.host, "copy").await, None);
    operator.stop().await;
}

/// Lets the Job go that is being deleted; returns its identity.
async fn next_deleted(operator: &Operator) -> Value {
    let uid = jobs(operator).await[0]["metadata"]["uid"].clone();
    gone(operator).await;
    uid
}
