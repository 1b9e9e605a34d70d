//! Objects of the last release, and its definition, under today's operator: up and back again, on an API server of the
//! tests' own.

use super::*;

/// A definition that lacks much of what today's has. Another than that of `compatibility`, which may differ by nothing.
const OLDER: &str = include_str!("upgrade/older.yaml");

/// Installs a definition, and waits until the API server serves it.
async fn define(plane: &ControlPlane, definition: &str, is_todays: bool) {
    let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    plane.kubectl_with(&apply, definition).await.succeeded();
    // What today's has and the older one has not.
    let mut spec = spec("r.example", "r.example", &json!({"runPolicy": "Once"}));
    spec["deletionPolicy"] = json!("Retain");
    let object = json!({"apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
        "metadata": {"name": "probe", "namespace": "default"}, "spec": spec});
    let served = async {
        let probe = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
        while plane.kubectl_with(&probe, &object.to_string()).await.success != is_todays {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, served).await.expect("the definition is served");
}

fn condition_of(kind: &str, status: &str, reason: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": "as it was",
        "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

/// A status as an older release wrote it.
fn status(conditions: &[Value], more: &Value) -> Value {
    let digest = format!("sha256:{}", "5".repeat(64));
    let mut status = json!({
        "observedGeneration": 1, "conditions": conditions, "observedSpecDigest": digest,
        "source": {"reference": "docker://r.example/app:1", "digest": digest},
        "artifact": {"digest": digest, "mediaType": "application/vnd.oci.image.index.v1+json",
            "sizeBytes": 7, "manifests": [{"digest": digest, "platform": "linux/amd64", "sizeBytes": 7}]},
        "lastPushTime": "2026-01-01T00:00:00Z",
    });
    status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    status
}

/// Objects by name, with the fields of their spec and with their status.
fn released() -> Vec<(&'static str, Value, Value)> {
    let ready = condition_of("Ready", "True", "PushSucceeded");
    let failed = condition_of("Ready", "False", "SourceNotFound");
    let stalled = condition_of("Stalled", "True", "SourceNotFound");
    let unknown = condition_of("Ready", "Unknown", "Progressing");
    let working = condition_of("Reconciling", "True", "Progressing");
    let lost = condition_of("Ready", "False", "NetworkError");
    let again = condition_of("Reconciling", "True", "ProgressingWithRetry");
    let retry = json!({"retry": {"count": 3, "lastFailureReason": "NetworkError",
        "nextRetryTime": "2026-01-01T00:00:00Z"}});
    let (once, daily, none) = (json!({"runPolicy": "Once"}), json!({"interval": "24h"}), json!({}));
    vec![
        ("done-once", once.clone(), status(std::slice::from_ref(&ready), &none)),
        ("done-daily", daily, status(std::slice::from_ref(&ready), &none)),
        ("paused", json!({"runPolicy": "Once", "suspend": true}), status(&[ready], &none)),
        ("under-way", once.clone(), status(&[unknown, working], &none)),
        ("retrying", once.clone(), status(&[lost, again], &retry)),
        ("stalled", once, status(&[failed, stalled], &none)),
    ]
}

/// Those that nothing is to be done for.
const AT_REST: [&str; 3] = ["done-once", "done-daily", "paused"];

async fn make_objects(plane: &ControlPlane, namespace: &str, host: &str) {
    let apply = ["apply", "--server-side", "--field-manager=imagepush-controller", "-f", "-"];
    for (name, more, status) in released() {
        let mut spec = spec(host, host, &more);
        spec["destination"]["reference"] = json!(format!("docker://{host}/app:{name}"));
        if name == "stalled" {
            spec["source"]["reference"] = json!(format!("docker://{host}/app:nowhere"));
        }
        let mut object = json!({"apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
            "metadata": {"namespace": namespace, "name": name}, "spec": spec});
        plane.kubectl_with(&["apply", "-f", "-"], &object.to_string()).await.succeeded();
        object.as_object_mut().unwrap().remove("spec");
        object["status"] = status;
        let arguments = [&apply[..], &["--subresource=status"]].concat();
        plane.kubectl_with(&arguments, &object.to_string()).await.succeeded();
    }
}

/// How often the operator has asked to write an object's status.
fn writes(operator: &Operator, name: &str) -> usize {
    let account = "system:serviceaccount:imagepush-system:imagepush-controller";
    let audited = operator.plane.audited(&operator.namespace).into_iter();
    let of_status = audited.filter(|event| {
        let about = &event["objectRef"];
        event["user"]["username"] == account
            && about["subresource"] == "status"
            && about["name"] == name
    });
    of_status.count()
}

/// What all of them write until it is quiet.
async fn settle(operator: &Operator) -> Vec<(&'static str, usize)> {
    tokio::time::sleep(Duration::from_secs(6)).await;
    released().iter().map(|(name, _, _)| (*name, writes(operator, name))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_an_older_release_go_on_up_and_back() {
    let plane = ControlPlane::own().await;
    let registry = Registry::start().await;
    let digest = fill(&registry.host, 195).await;
    let todays = serde_json::to_string(&imagepush::api::crd().unwrap()).unwrap();
    define(plane, OLDER, false).await;
    let namespace = plane.namespace().await;
    make_objects(plane, &namespace, &registry.host).await;

    define(plane, &todays, true).await;
    let operator = Operator::start_in(plane, namespace, None).await;
    for name in ["under-way", "retrying"] {
        operator.until(name, |it| it["status"]["artifact"]["digest"] == digest).await;
        operator.wait(name, "Ready").await;
    }
    operator.until("stalled", |it| condition(it, "Stalled")["message"] != "as it was").await;
    let written = settle(&operator).await;
    for (name, count) in &written {
        let most = if AT_REST.contains(name) { 0 } else { 4 };
        assert!(*count <= most, "{name}: {count} writes of a status");
    }
    assert_eq!(settle(&operator).await, written, "it is quiet");
    for (name, _, status) in released().iter().filter(|(name, _, _)| AT_REST.contains(name)) {
        assert_eq!(operator.get(name).await["status"], *status, "{name}");
    }
    let before = all_of(&operator).await;

    // The definition goes back, under the operator and then under the next one.
    define(plane, OLDER, false).await;
    assert_eq!(settle(&operator).await, written, "nobody has to write");
    let (_, namespace) = operator.stop().await;
    let operator = Operator::start_in(plane, namespace, None).await;
    for (name, count) in settle(&operator).await {
        let known = written.iter().find(|(it, _)| *it == name).unwrap().1;
        // What has stalled is tried once by whoever doesn't know how it was reached, and can't say so.
        let most = if name == "stalled" { known + 4 } else { known };
        assert!(count <= most, "{name}: {count} writes of a status, {known} before");
    }
    for name in ["done-once", "done-daily", "under-way", "retrying"] {
        operator.wait(name, "Ready").await;
    }
    define(plane, &todays, true).await;
    for (name, object) in before.iter().filter(|(name, _)| *name != "stalled") {
        assert_eq!(operator.get(name).await["status"], object["status"], "{name}");
    }
    operator.stop().await;
    plane.end();
}

async fn all_of(operator: &Operator) -> Vec<(&'static str, Value)> {
    let mut objects = vec![];
    for (name, _, _) in released() {
        objects.push((name, operator.get(name).await));
    }
    objects
}
