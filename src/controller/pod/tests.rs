//! The pod's attempt, as far as it can be made without a registry.

use std::io;

use serde_json::json;

use super::*;
use crate::controller::delivery::Delivery;
use crate::engine::NoProgress;
use crate::error::Class;

fn task(more: &serde_json::Value) -> Task {
    let mut task = json!({
        "name": "web", "namespace": "n", "timeoutSeconds": 60, "secrets": {},
        "delivery": Delivery::default(),
        "spec": {
            "source": {"reference": "oci:x:1", "volume": {"hostPath": {"path": "/x"}}},
            "destination": {"reference": "oci:y:1", "volume": {"hostPath": {"path": "/y"}}},
            "runPolicy": "Once",
        },
    });
    task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(task).unwrap()
}

/// The report, and the exit code.
async fn run_in(folder: &Path, task: &Task) -> (serde_json::Value, u8) {
    let (secrets, volumes) = (folder.join("secrets"), folder.join("volumes"));
    let progress: Arc<dyn Progress> = Arc::new(NoProgress);
    let folders = Folders { secrets: &secrets, volumes: &volumes, scratch_bytes: None };
    let cancel = CancellationToken::new();
    let ended = run(task, folders, &Network::default(), &progress, &cancel).await;
    let code = ended.outcome.map_or_else(|error| error.exit_code(), |()| 0);
    (serde_json::from_str(&ended.message).unwrap(), code)
}

#[tokio::test]
async fn a_failure_is_reported_in_the_words_of_status() {
    let folder = tempfile::tempdir().unwrap();
    for side in ["source", "destination"] {
        std::fs::create_dir_all(folder.path().join("volumes").join(side)).unwrap();
    }
    let (report, code) = run_in(folder.path(), &task(&json!({}))).await;
    assert_eq!(
        (&report["outcome"], &report["reason"]),
        (&json!("Failed"), &json!("SourceNotFound"))
    );
    assert_eq!((&report["side"], &report["transient"]), (&json!("source"), &json!(false)));
    assert_eq!(code, 1);
}

#[tokio::test]
async fn a_link_in_a_volume_does_not_lead_out_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let volumes = folder.path().join("volumes");
    for path in ["source", "destination", "elsewhere"] {
        std::fs::create_dir_all(volumes.join(path)).unwrap();
    }
    std::fs::write(volumes.join("elsewhere/oci-layout"), "canary").unwrap();
    std::os::unix::fs::symlink("../elsewhere", volumes.join("source/x")).unwrap();
    let (report, code) = run_in(folder.path(), &task(&json!({}))).await;
    assert_eq!((&report["reason"], code), (&json!("AccessDenied"), 1), "{report}");
    assert!(
        report["message"].as_str().unwrap().contains("`x` leads out of the volume"),
        "{report}"
    );
}

#[test]
fn secrets_are_as_their_files_say() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("login")).unwrap();
    std::fs::write(folder.path().join("login/.dockerconfigjson"), "{}").unwrap();
    let facts = |keys: &[&str]| json!({"type": "t", "annotations": {"imagepush.dev/registry": "r"}, "keys": keys});
    let task = task(&json!({"secrets": {
        "login": facts(&[".dockerconfigjson", "ca.crt"]), "gone": facts(&["ca.crt"]),
        "empty": facts(&[]),
    }, "accounts": {"robot": ["gone", "login"]}}));
    let secrets = read_secrets(&task, folder.path()).unwrap();
    assert_eq!(secrets.named.keys().collect::<Vec<_>>(), ["empty", "login"]);
    assert_eq!(secrets.accounts["robot"], ["gone", "login"]);
    let login = &secrets.named["login"];
    assert_eq!(login.type_.as_deref(), Some("t"));
    assert_eq!(login.metadata.annotations.as_ref().unwrap()["imagepush.dev/registry"], "r");
    let data = login.data.as_ref().unwrap();
    assert_eq!(data.keys().collect::<Vec<_>>(), [".dockerconfigjson"]);
    assert_eq!(data[".dockerconfigjson"].0, b"{}");
}

/// A pod judges Secrets as the operator does: by the type and the annotation that its task has of them.
#[test]
fn a_secret_of_another_type_or_for_another_registry_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("s")).unwrap();
    for key in [".dockerconfigjson", "tls.crt", "tls.key"] {
        std::fs::write(folder.path().join("s").join(key), "canary").unwrap();
    }
    let folders = Folders { secrets: folder.path(), volumes: folder.path(), scratch_bytes: None };
    let refusal = |field: &str, kind: &str, keys: &[&str]| {
        let annotations = json!({"imagepush.dev/registry": "other.example"});
        let mut spec = json!({
            "source": {"reference": "docker://a.example/x:1"},
            "destination": {"reference": "docker://b.example/x:1"}, "runPolicy": "Once",
        });
        spec["destination"][field] = json!({"name": "s"});
        let facts = json!({"s": {"type": kind, "annotations": annotations, "keys": keys}});
        let task = task(&json!({"spec": spec, "secrets": facts}));
        let (failure, error) = options(&task, folders, &Network::default()).unwrap_err();
        assert_eq!((failure.reason, error.exit_code()), ("SecretInvalid", 2));
        failure.message
    };
    let said = refusal("secretRef", "Opaque", &[".dockerconfigjson"]);
    assert!(said.starts_with("secret `s` cannot be used: its type is `Opaque`"), "{said}");
    let said = refusal("certSecretRef", "kubernetes.io/tls", &["tls.crt", "tls.key"]);
    let other =
        "its client certificate is for the registry `other.example`, and not for `b.example`";
    assert!(said.contains(other), "{said}");
}

#[test]
fn a_volume_may_get_right_again() {
    for (cause, message) in [
        (io::ErrorKind::PermissionDenied, "check the permissions"),
        (io::ErrorKind::ReadOnlyFilesystem, "mounted read-only"),
        (io::ErrorKind::StorageFull, "make room"),
    ] {
        let (failure, error) = fault(Error::io("write", Path::new("x"), &cause.into()));
        assert_eq!(failure.reason, "StorageFailed");
        assert!(failure.message.contains(message), "{}", failure.message);
        assert_eq!((failure.class, error.exit_code()), (Class::Transient, 75), "{cause}");
    }
    let wrong = Error::new(Kind::InvalidImage, "no image");
    assert_eq!(fault(wrong).0.class, Class::Permanent);
}

#[test]
fn a_task_that_cannot_be_read_is_bad_usage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("task.json");
    std::fs::write(&path, r#"{"name": "x"}"#).unwrap();
    let error = read_task(&path).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    let written = task(&json!({}));
    std::fs::write(&path, serde_json::to_string(&written).unwrap()).unwrap();
    assert_eq!(read_task(&path).unwrap(), written);
}

/// Whatever node the pod runs on, it is the operator's platform that `System` means.
#[test]
fn the_platform_is_the_operators() {
    let spec = json!({
        "source": {"reference": "docker://a.example/x:1"},
        "destination": {"reference": "docker://b.example/x:1"},
        "runPolicy": "Once", "platforms": {"mode": "System"},
    });
    let none = Path::new("none");
    let folders = Folders { secrets: none, volumes: none, scratch_bytes: None };
    let platforms = |more: &serde_json::Value| {
        let task = task(more);
        options(&task, folders, &Network::default()).unwrap().platforms
    };
    let elsewhere = json!({"spec": spec, "platform": "linux/s390x"});
    assert_eq!(platforms(&elsewhere), Platforms::One("linux/s390x".parse().unwrap()));
    let mut all = elsewhere.clone();
    all["spec"]["platforms"]["mode"] = json!("All");
    assert_eq!(platforms(&all), Platforms::All);
    let made = Task::new(
        &serde_json::from_value(
            json!({"apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
            "metadata": {"name": "web"}, "spec": spec}),
        )
        .unwrap(),
        &Secrets::default(),
        Delivery::default(),
        Duration::from_mins(1),
    );
    assert_eq!(made.platform, Some(crate::image::Platform::of_this_machine().to_string()));
}
