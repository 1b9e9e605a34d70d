//! Pushes in Jobs, on a real API server. The test is the Job controller, the kubelet and the garbage collector: it makes the
//! pod of a Job, runs the program as that pod would, and writes down how it ended.

mod deliveries;
mod folders;
mod traced;

use std::fs;
use std::path::Path;
use std::process::Command;

use imagepush::controller::{JobSettings, OperatorConfig, run_with};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Operator, condition, reason_of};
use crate::support::canary;
use crate::support::control_plane::{ControlPlane, POLL, control_plane};
use crate::support::images;
use crate::support::registry::{Login, Registry};

/// Of an operator that makes Jobs.
fn config(namespace: &str) -> OperatorConfig {
    OperatorConfig {
        jobs: JobSettings {
            image: Some("registry.example/imagepush:1".into()),
            arguments: vec!["--egress-allow=127.0.0.1".into()],
            ..JobSettings::default()
        },
        ..super::config(namespace)
    }
}

fn start(plane: &'static ControlPlane, client: kube::Client, namespace: String) -> Operator {
    let config = config(&namespace);
    Operator::run(plane, client, namespace, config)
}

/// An operator in a namespace with a claim `images` and an account for pods.
async fn operator() -> Operator {
    let plane = control_plane().await;
    let namespace = plane.namespace().await;
    let operator = start(plane, plane.operator_client().await, namespace);
    operator.kubectl(&["create", "serviceaccount", "default"]).await;
    operator
}

async fn restarted(operator: Operator) -> Operator {
    let (plane, namespace) = operator.stop().await;
    start(plane, plane.operator_client().await, namespace)
}

async fn make_claim(operator: &Operator) {
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "images", "namespace": operator.namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    });
    operator.plane.kubectl_with(&["create", "-f", "-"], &claim.to_string()).await.succeeded();
}

/// From a layout in the claim to a registry.
fn spec(destination: &str, more: &Value) -> Value {
    let mut spec = json!({
        "source": {
            "reference": "oci:team/app:1",
            "volume": {"persistentVolumeClaim": {"claimName": "images"}},
        },
        "destination": {"reference": format!("docker://{destination}/app:1"), "tlsPolicy": "PlainHTTP"},
        "runPolicy": "Once",
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

pub(super) async fn jobs(operator: &Operator) -> Vec<Value> {
    let list = operator.kubectl(&["get", "jobs", "-o", "json"]).await;
    let list: Value = serde_json::from_str(&list).unwrap();
    list["items"].as_array().unwrap().clone()
}

/// Waits for a Job that isn't this one. Those that are being deleted have their pods taken away, and go.
pub(super) async fn next_job(operator: &Operator, before: Option<&Value>) -> Value {
    let uid = |job: &Value| job["metadata"]["uid"].clone();
    let found = async {
        loop {
            collect_garbage(operator).await;
            let new = jobs(operator).await.into_iter().find(|job| {
                job["metadata"]["deletionTimestamp"].is_null()
                    && before.is_none_or(|before| uid(before) != uid(job))
            });
            match new {
                Some(job) => return job,
                None => tokio::time::sleep(POLL).await,
            }
        }
    };
    tokio::time::timeout(super::PATIENCE, found).await.expect("a Job is made")
}

async fn collect_garbage(operator: &Operator) {
    for job in jobs(operator).await {
        let metadata = &job["metadata"];
        if !metadata["deletionTimestamp"].is_null() {
            let name = metadata["name"].as_str().unwrap();
            let patch = r#"{"metadata": {"finalizers": null}}"#;
            let pod = format!("pod/{name}-x");
            // They may have gone meanwhile.
            let deletion = ["-n", &operator.namespace, "delete", &pod, "--now"];
            operator.plane.kubectl(&deletion).await;
            let arguments = ["-n", &operator.namespace, "patch", "job", name, "--type=merge", "-p"];
            operator.plane.kubectl(&[&arguments[..], &[patch]].concat()).await;
        }
    }
}

/// Makes the pod of a Job, with its container in this state.
pub(super) async fn make_pod(operator: &Operator, job: &Value, state: &Value) {
    let name = format!("{}-x", job["metadata"]["name"].as_str().unwrap());
    let mut metadata = job["spec"]["template"]["metadata"].clone();
    metadata["name"] = json!(name);
    metadata["namespace"] = json!(operator.namespace);
    metadata["labels"]["batch.kubernetes.io/controller-uid"] = job["metadata"]["uid"].clone();
    let spec = &job["spec"]["template"]["spec"];
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
    operator.plane.kubectl_with(&["create", "-f", "-"], &pod.to_string()).await.succeeded();
    let status = json!({"status": {"containerStatuses": [{
        "name": "push", "image": "i", "imageID": "i", "ready": false, "restartCount": 0, "state": state,
    }]}});
    let status = status.to_string();
    operator
        .kubectl(&["patch", "pod", &name, "--subresource=status", "--type=merge", "-p", &status])
        .await;
}

/// Runs what the Job's container would run, with these volumes, and tells how it ended.
pub(super) async fn run_pod(operator: &Operator, job: &Value, folder: &Path) -> Value {
    let template = &job["spec"]["template"];
    let task = template["metadata"]["annotations"]["imagepush.dev/task"].as_str().unwrap();
    fs::write(folder.join("task.json"), task).unwrap();
    let container = &template["spec"]["containers"][0];
    let arguments: Vec<String> = serde_json::from_value(container["args"].clone()).unwrap();
    project_secrets(operator, template, &folder.join("secrets")).await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_imagepush"));
    command.current_dir(folder).env_clear().args(arguments);
    let variables = container["env"].as_array().unwrap().iter();
    command.envs(variables.map(|it| (it["name"].as_str().unwrap(), it["value"].as_str().unwrap())));
    command.args(["--task=task.json", "--secrets=secrets", "--volumes=volumes", "--report=report"]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let report = fs::read_to_string(folder.join("report")).unwrap_or_default();
    assert!(report.len() <= 4096, "{report}");
    json!({"terminated": {"exitCode": output.status.code(), "message": report}})
}

/// Puts the keys of Secrets where the pod's volume has them.
async fn project_secrets(operator: &Operator, template: &Value, folder: &Path) {
    let volumes = template["spec"]["volumes"].as_array().unwrap();
    let projected = volumes.iter().find(|volume| volume["name"] == "secrets");
    let sources = projected.and_then(|volume| volume["projected"]["sources"].as_array());
    for source in sources.into_iter().flatten() {
        let name = source["secret"]["name"].as_str().unwrap();
        for item in source["secret"]["items"].as_array().unwrap() {
            let key = item["key"].as_str().unwrap();
            let template = format!("go-template={{{{index .data \"{key}\" | base64decode}}}}");
            let value = operator.kubectl(&["get", "secret", name, "-o", &template]).await;
            let path = folder.join(item["path"].as_str().unwrap());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, value).unwrap_or_else(|cause| panic!("{key}: {cause}"));
        }
    }
}

/// The trace that the pod of a Job is told to belong to.
fn trace_of(job: &Value) -> Value {
    let variables = &job["spec"]["template"]["spec"]["containers"][0]["env"];
    let own = variables.as_array().unwrap().iter().find(|it| it["name"] == "TRACEPARENT").unwrap();
    own["value"].as_str().unwrap().split('-').nth(1).unwrap().into()
}

/// A folder with a volume for the source that has an image, and its digest.
fn volume(seed: u64) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let content = images::image(seed);
    let layout = folder.path().join("volumes/source/team/app");
    fs::create_dir_all(layout.parent().unwrap()).unwrap();
    content.write_layout(&layout, Some("1"));
    (folder, content.digest().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_a_volume_is_pushed_by_a_job() {
    let registry = Registry::start().await;
    registry.set_login(Login::basic("user", canary::secret("operator::jobs")));
    let operator = operator().await;
    let server = format!("--docker-server={}", registry.host);
    let password = format!("--docker-password={}", canary::secret("operator::jobs"));
    let login = ["--docker-username=user", &password, &server];
    operator
        .kubectl(&[&["create", "secret", "docker-registry", "login"], &login[..]].concat())
        .await;
    let mut spec = spec(&registry.host, &json!({}));
    spec["destination"]["secretRef"] = json!({"name": "login"});
    operator.apply("web", &spec).await;
    let object = operator.until("web", |it| reason_of(it, "Ready") == "VolumeNotFound").await;
    assert_eq!(
        condition(&object, "Ready")["message"],
        "claim `images` is not in this namespace; create it"
    );
    make_claim(&operator).await;
    let job = next_job(&operator, None).await;
    canary::none_is_in("a Job", job.to_string(), &[]);
    let (folder, digest) = volume(31);
    let state = run_pod(&operator, &job, folder.path()).await;
    assert_eq!(state["terminated"]["exitCode"], 0, "{state}");
    make_pod(&operator, &job, &state).await;
    operator.wait("web", "Ready").await;
    let object = operator.get("web").await;
    let status = &object["status"];
    assert_eq!(reason_of(&object, "Ready"), "PushSucceeded");
    assert_eq!(
        (&status["artifact"]["digest"], &status["source"]["digest"]),
        (&json!(digest), &json!(digest))
    );
    let executor = json!({
        "type": "Job", "jobName": job["metadata"]["name"], "attemptId": job["metadata"]["uid"],
        "traceId": trace_of(&job),
    });
    assert_eq!(status["executor"], executor);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_survives_the_operator_and_its_end_counts_once() {
    let registry = Registry::start().await;
    let operator = operator().await;
    make_claim(&operator).await;
    operator.apply("web", &spec(&registry.host, &json!({}))).await;
    let first = next_job(&operator, None).await;
    let (plane, namespace) = operator.stop().await;
    let operator = start(plane, plane.operator_client().await, namespace);
    // It ends while it is looked after by another operator than the one that made it.
    let lost = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
    make_pod(&operator, &first, &lost).await;
    let object = operator.until("web", |it| reason_of(it, "Ready") == "ExecutorLost").await;
    assert_eq!(object["status"]["retry"]["count"], 1, "{object:#}");
    assert_eq!(object["status"]["executor"]["traceId"], trace_of(&first), "{object:#}");
    assert_eq!(
        condition(&object, "Ready")["message"],
        "the Job was lost: its pod needed more memory than its limit; raise the limit of Jobs"
    );
    // The old Job is still there, and says nothing new to the next operator.
    let operator = restarted(operator).await;
    let second = next_job(&operator, Some(&first)).await;
    assert_ne!(first["metadata"]["name"], second["metadata"]["name"]);
    let object = operator.get("web").await;
    assert_eq!(object["status"]["retry"]["count"], 1, "{object:#}");
    let (folder, _) = volume(32);
    let state = run_pod(&operator, &second, folder.path()).await;
    make_pod(&operator, &second, &state).await;
    operator.wait("web", "Ready").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_push_has_no_job() {
    let registry = Registry::start().await;
    let operator = operator().await;
    make_claim(&operator).await;
    operator.apply("web", &spec(&registry.host, &json!({}))).await;
    let first = next_job(&operator, None).await;
    operator.apply("web", &spec(&registry.host, &json!({"suspend": true}))).await;
    gone(&operator).await;
    operator.until("web", |it| reason_of(it, "Ready") == "Suspended").await;
    // Also if that was said while nobody listened.
    operator.apply("web", &spec(&registry.host, &json!({}))).await;
    next_job(&operator, Some(&first)).await;
    let (plane, namespace) = operator.stop().await;
    let operator = {
        let suspended = start(plane, plane.operator_client().await, namespace);
        suspended.apply("web", &spec(&registry.host, &json!({"suspend": true}))).await;
        suspended
    };
    gone(&operator).await;
    operator.stop().await;
}

/// Waits until there is no Job.
async fn gone(operator: &Operator) {
    let none = async {
        while !jobs(operator).await.is_empty() {
            collect_garbage(operator).await;
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(super::PATIENCE, none).await.expect("the Job is deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_refuses_jobs_is_named() {
    let operator = operator().await;
    make_claim(&operator).await;
    operator.kubectl(&["create", "quota", "few", "--hard=count/jobs.batch=0"]).await;
    // What the quota controller would do.
    let status =
        r#"{"status": {"hard": {"count/jobs.batch": "0"}, "used": {"count/jobs.batch": "0"}}}"#;
    let patch = ["patch", "quota", "few", "--subresource=status", "--type=merge", "-p", status];
    operator.kubectl(&patch).await;
    operator.apply("web", &spec("registry.example", &json!({}))).await;
    let object = operator.until("web", |it| reason_of(it, "Ready") == "QuotaExceeded").await;
    let message = condition(&object, "Ready")["message"].as_str().unwrap();
    assert!(message.contains("exceeded quota: few"), "{message}");
    assert_eq!(reason_of(&object, "Reconciling"), "ProgressingWithRetry");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_that_share_a_claim_take_turns() {
    let registry = Registry::start().await;
    let plane = control_plane().await;
    let namespace = plane.namespace().await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let served = OperatorConfig { listen: Some(address), ..config(&namespace) };
    let operator = Operator::run(plane, plane.operator_client().await, namespace, served);
    operator.kubectl(&["create", "serviceaccount", "default"]).await;
    make_claim(&operator).await;
    for name in ["one", "two"] {
        let more = json!({"destination": {
            "reference": format!("docker://{}/{name}:1", registry.host), "tlsPolicy": "PlainHTTP",
        }});
        operator.apply(name, &spec(&registry.host, &more)).await;
    }
    let first = next_job(&operator, None).await;
    let one_waits = async {
        while !super::get(address, "/metrics").await.1.contains("imagepush_queue_length 1\n") {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(super::PATIENCE, one_waits).await.expect("the other one is counted");
    // A new operator knows of the first Job by its label only.
    let operator = restarted(operator).await;
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert_eq!(jobs(&operator).await.len(), 1);
    let (folder, _) = volume(33);
    let state = run_pod(&operator, &first, folder.path()).await;
    make_pod(&operator, &first, &state).await;
    let owner = first["metadata"]["ownerReferences"][0]["name"].as_str().unwrap();
    operator.wait(owner, "Ready").await;
    let name = first["metadata"]["name"].as_str().unwrap();
    operator.kubectl(&["delete", "job", name, "--cascade=background"]).await;
    let second = next_job(&operator, Some(&first)).await;
    assert_ne!(second["metadata"]["ownerReferences"][0]["name"], owner);
    operator.stop().await;
}
