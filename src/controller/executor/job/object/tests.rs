//! Whole Jobs, compared with what is expected of them.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::controller::delivery::Delivery;
use crate::controller::resolve::Secrets;

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// An attempt of an object in namespace `n`, with Secrets of its own and of a ServiceAccount.
fn attempt(spec: &Value) -> Attempt {
    let object = json!({
        "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
        "metadata": {"name": "web", "namespace": "n", "uid": "u-1"}, "spec": spec,
    });
    let secret = |keys: &[&str]| {
        let data: serde_json::Map<_, _> =
            keys.iter().map(|key| ((*key).to_owned(), json!("Y2FuYXJ5"))).collect();
        let annotations = json!({"imagepush.dev/registry": "r.example", "other": "no"});
        let secret = json!({
            "metadata": {"annotations": annotations},
            "type": "kubernetes.io/dockerconfigjson", "data": data,
        });
        serde_json::from_value(secret).unwrap()
    };
    let named = [
        ("login".to_owned(), secret(&[".dockerconfigjson", "password", "unrelated"])),
        ("pull".to_owned(), secret(&[".dockerconfigjson", "password"])),
        ("empty".to_owned(), secret(&[])),
    ];
    let accounts = [("robot".to_owned(), vec!["gone".to_owned(), "pull".to_owned()])].into();
    let secrets = Secrets { named: named.into(), accounts };
    let object = serde_json::from_value(object).unwrap();
    let task = Task::new(&object, &secrets, Delivery::default(), Duration::from_mins(30));
    Attempt { task, uid: "u-1".into(), work: "w".into(), failures: 0 }
}

fn registries() -> Value {
    json!({
        "source": {"reference": "docker://a.example/x:1"},
        "destination": {"reference": "docker://b.example/x:1"},
        "runPolicy": "Once", "executor": "Job",
    })
}

fn volumes_of(source: &Value, destination: &Value) -> Value {
    json!({
        "source": {"reference": "oci:x:1", "volume": source, "secretRef": {"name": "login"}},
        "destination": {"reference": "dir:y", "volume": destination},
        "runPolicy": "Once",
    })
}

fn claim(name: &str, read_only: bool) -> Value {
    json!({"persistentVolumeClaim": {"claimName": name, "readOnly": read_only}})
}

fn made(attempt: &Attempt, settings: &JobSettings) -> Value {
    let job = job(attempt, "r.example/imagepush:1", settings, TRACE.parse().unwrap());
    assert_eq!(trace_of(&job), TRACE.parse().ok());
    serde_json::to_value(job).unwrap()
}

fn the_whole_container() -> Value {
    json!({
        "name": "push",
        "image": "r.example/imagepush:1",
        "args": ["attempt", "--scratch=1073741824", "--egress-deny=10.0.0.0/8"],
        "env": [{"name": "TRACEPARENT", "value": TRACE}],
        "resources": {
            "requests": {"cpu": "50m", "memory": "64Mi"},
            "limits": {"memory": "512Mi"},
        },
        "terminationMessagePolicy": "File",
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "task", "mountPath": "/etc/imagepush/task", "readOnly": true},
            {"name": "secrets", "mountPath": "/etc/imagepush/secrets", "readOnly": true},
            {"name": "scratch", "mountPath": "/tmp"},
            {"name": "source", "mountPath": "/volumes/source", "readOnly": true},
            {"name": "destination", "mountPath": "/volumes/destination"},
        ],
    })
}

fn the_whole_volumes() -> Value {
    json!([
        {"name": "task", "downwardAPI": {"items": [{
            "path": "task.json",
            "fieldRef": {
                "apiVersion": "v1",
                "fieldPath": "metadata.annotations['imagepush.dev/task']",
            },
        }]}},
        {"name": "secrets", "projected": {"defaultMode": 0o440, "sources": [{
            "secret": {
                "name": "login", "optional": true,
                "items": [
                    {"key": ".dockerconfigjson", "path": "login/.dockerconfigjson"},
                    {"key": "password", "path": "login/password"},
                ],
            },
        }, {
            "secret": {
                "name": "pull", "optional": true,
                "items": [{"key": ".dockerconfigjson", "path": "pull/.dockerconfigjson"}],
            },
        }]}},
        {"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}},
        {"name": "source", "persistentVolumeClaim": {"claimName": "in", "readOnly": true}},
        {"name": "destination", "persistentVolumeClaim": {"claimName": "out"}},
    ])
}

fn the_whole_policy() -> Value {
    json!({"rules": [
        {"action": "FailJob",
            "onExitCodes": {"containerName": "push", "operator": "In", "values": [1, 2, 75]}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]})
}

#[test]
fn the_whole_job() {
    let settings = JobSettings {
        arguments: vec!["--egress-deny=10.0.0.0/8".into()],
        ..JobSettings::default()
    };
    let attempt = attempt(&volumes_of(&claim("in", false), &claim("out", false)));
    let name = name(&attempt);
    let task = serde_json::to_string(&attempt.task).unwrap();
    assert!(!task.contains("canary") && !task.contains("Y2FuYXJ5") && !task.contains("unrelated"));
    let labels = json!({
        "app.kubernetes.io/name": "imagepush",
        "app.kubernetes.io/component": "push",
        "app.kubernetes.io/managed-by": "imagepush",
        "imagepush.dev/uid": "u-1",
        "imagepush.dev/work": &Digest::of(b"u-1 w").hex()[..16],
        "sidecar.istio.io/inject": "false",
        format!("volume.imagepush.dev/{}", &Digest::of(b"claim in").hex()[..16]): "",
        format!("volume.imagepush.dev/{}", &Digest::of(b"claim out").hex()[..16]): "",
    });
    let expected = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": "n",
            "labels": labels,
            "ownerReferences": [{
                "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush", "name": "web",
                "uid": "u-1", "controller": true,
            }],
        },
        "spec": {
            "backoffLimit": 0,
            "podFailurePolicy": the_whole_policy(),
            "completions": 1,
            "parallelism": 1,
            "podReplacementPolicy": "Failed",
            "activeDeadlineSeconds": 30 * 60 + 5 * 60,
            "ttlSecondsAfterFinished": 600,
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {
                        "config.kuma.io/sidecar-injection": "disabled",
                        "imagepush.dev/task": task,
                        "linkerd.io/inject": "disabled",
                        "sidecar.istio.io/inject": "false",
                    },
                },
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": false,
                    "enableServiceLinks": false,
                    "terminationGracePeriodSeconds": 30,
                    "securityContext": {
                        "runAsNonRoot": true,
                        "runAsUser": 65532,
                        "runAsGroup": 65532,
                        "fsGroup": 65532,
                        "fsGroupChangePolicy": "OnRootMismatch",
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [the_whole_container()],
                    "volumes": the_whole_volumes(),
                },
            },
        },
    });
    let made = made(&attempt, &settings);
    assert_eq!(made, expected, "{made:#}");
    assert!(name.starts_with("ipush-") && name.len() == 22, "{name}");
}

#[test]
fn settings_get_to_their_places() {
    let text = "\
        resources: {limits: {memory: 2Gi}}\n\
        labels: {team: a, sidecar.istio.io/inject: 'true'}\n\
        annotations: {linkerd.io/inject: enabled, imagepush.dev/task: stolen}\n\
        nodeSelector: {disk: fast}\n\
        tolerations: [{key: spot, operator: Exists}]\n\
        affinity: {nodeAffinity: {}}\n\
        priorityClassName: low\n\
        runtimeClassName: gvisor\n\
        imagePullSecrets: [{name: pull}]\n\
        env: [{name: HTTPS_PROXY, value: http://proxy}, {name: TRACEPARENT, value: x}]\n\
        volumes: [{name: ca, configMap: {name: authorities}}]\n\
        volumeMounts: [{name: ca, mountPath: /ca, readOnly: true}]\n\
        scratchSize: 5Gi\n";
    let settings = JobSettings { pod: PodSettings::parse(text).unwrap(), ..JobSettings::default() };
    let attempt = attempt(&registries());
    let made = made(&attempt, &settings);
    let template = &made["spec"]["template"];
    let pod = &template["spec"];
    let found = json!([
        pod["containers"][0]["resources"],
        template["metadata"]["labels"]["team"],
        made["metadata"]["labels"]["team"],
        template["metadata"]["labels"]["sidecar.istio.io/inject"],
        template["metadata"]["annotations"]["linkerd.io/inject"],
        pod["nodeSelector"],
        pod["tolerations"],
        pod["affinity"],
        pod["priorityClassName"],
        pod["runtimeClassName"],
        pod["imagePullSecrets"],
        pod["containers"][0]["env"],
        pod["volumes"][2]["emptyDir"]["sizeLimit"],
        pod["volumes"][3],
        pod["containers"][0]["volumeMounts"][3],
    ]);
    let expected = json!([
        {"limits": {"memory": "2Gi"}}, "a", "a", "true", "enabled", {"disk": "fast"},
        [{"key": "spot", "operator": "Exists"}], {"nodeAffinity": {}}, "low", "gvisor",
        [{"name": "pull"}],
        [{"name": "HTTPS_PROXY", "value": "http://proxy"}, {"name": "TRACEPARENT", "value": TRACE}],
        "5Gi",
        {"name": "ca", "configMap": {"name": "authorities"}},
        {"name": "ca", "mountPath": "/ca", "readOnly": true},
    ]);
    assert_eq!(found, expected);
    let task = &template["metadata"]["annotations"]["imagepush.dev/task"];
    assert_eq!(task, &json!(serde_json::to_string(&attempt.task).unwrap()));
}

#[test]
fn volumes_are_mounted_as_they_are_meant() {
    let host = json!({"hostPath": {"path": "/srv/images/n/app"}});
    let attempt = attempt(&volumes_of(&host, &claim("out", false)));
    // A link in the place of a folder below the one that the administrator has named is not followed by the node.
    for (folders, folder, below) in [
        (&["/srv/images"][..], "/srv/images", json!("n/app")),
        (&["/srv/images", "n=/srv/images/n/app"], "/srv/images/n/app", Value::Null),
        (&["other=/srv/images"], "", Value::Null),
    ] {
        let host_folders = folders.iter().map(|text| text.parse().unwrap()).collect();
        let made = made(&attempt, &JobSettings { host_folders, ..JobSettings::default() });
        let pod = &made["spec"]["template"]["spec"];
        let host_path = json!({"path": folder, "type": "Directory"});
        assert_eq!(pod["volumes"][3], json!({"name": "source", "hostPath": host_path}));
        let mount = &pod["containers"][0]["volumeMounts"][3];
        assert_eq!((&mount["name"], &mount["subPath"]), (&json!("source"), &below), "{folders:?}");
    }
    let volume = |value: &Value| -> VolumeSource { serde_json::from_value(value.clone()).unwrap() };
    let labels = [&host, &claim("srv", false), &claim(&"long".repeat(60), false)]
        .map(|value| volume_label(&volume(value)));
    assert!(labels.iter().all(|label| label.split_once('/').unwrap().1.len() <= 63), "{labels:?}");
    assert_eq!(volume_label(&volume(&claim("c", true))), volume_label(&volume(&claim("c", false))));
    assert_eq!(labels.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
    for spelt in ["/srv/images/n/app/", "/srv//images/n/./app"] {
        let other = json!({"hostPath": {"path": spelt}});
        assert_eq!(volume_label(&volume(&other)), labels[0], "{spelt}");
    }
}

/// Many a kubelet waits for ever for a claim that a pod names twice.
#[test]
fn one_volume_for_both_sides_is_named_once() {
    let host = json!({"hostPath": {"path": "/srv/images/n/app"}});
    let settings = JobSettings {
        host_folders: vec!["/srv/images".parse().unwrap()],
        ..JobSettings::default()
    };
    let cases = [
        (claim("images", false), json!({"persistentVolumeClaim": {"claimName": "images"}})),
        (claim("images", true), json!({"persistentVolumeClaim": {"claimName": "images"}})),
        (host, json!({"hostPath": {"path": "/srv/images", "type": "Directory"}})),
    ];
    for (volume, expected) in cases {
        let destination =
            if volume["hostPath"].is_null() { claim("images", false) } else { volume.clone() };
        let made = made(&attempt(&volumes_of(&volume, &destination)), &settings);
        let pod = &made["spec"]["template"]["spec"];
        let mut named = expected;
        named["name"] = json!("source");
        assert_eq!(pod["volumes"].as_array().unwrap()[3..], [named], "{volume}");
        let mounts = &pod["containers"][0]["volumeMounts"].as_array().unwrap()[3..];
        let seen: Vec<_> =
            mounts.iter().map(|it| (&it["name"], &it["mountPath"], &it["readOnly"])).collect();
        let (source, destination) = (json!("/volumes/source"), json!("/volumes/destination"));
        let (name, yes) = (json!("source"), json!(true));
        let expected = [(&name, &source, &yes), (&name, &destination, &Value::Null)];
        assert_eq!(seen, expected, "{volume}");
    }
}

#[test]
fn each_attempt_has_a_name_of_its_own() {
    let first = attempt(&registries());
    let others = [
        Attempt { uid: "u-2".into(), ..first.clone() },
        Attempt { work: "x".into(), ..first.clone() },
        Attempt { failures: 1, ..first.clone() },
    ];
    assert_eq!(name(&first), name(&attempt(&registries())));
    for other in others {
        assert_ne!(name(&first), name(&other), "{other:?}");
    }
}
