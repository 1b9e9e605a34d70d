//! The Job of one attempt, as it is sent to the API server. Pure.
//!
//! It complies with the restricted pod security standard: no privilege, no account of the cluster, a root file system that
//! can't be written. It sees the volumes that the spec names and those of the administrator, of its Secrets the keys that are used, and nothing else.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{
    Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, DownwardAPIVolumeFile, DownwardAPIVolumeSource, EmptyDirVolumeSource,
    EnvVar, HostPathVolumeSource, KeyToPath, ObjectFieldSelector,
    PersistentVolumeClaimVolumeSource, PodSecurityContext, PodSpec, PodTemplateSpec,
    ProjectedVolumeSource, SeccompProfile, SecretProjection, SecurityContext, Volume, VolumeMount,
    VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource as _;

use super::host_folders::HostMount;
use super::settings::{JobSettings, PodSettings};
use super::task::Task;
use crate::api::v1alpha1::{ImagePush, VolumeSource};
use crate::controller::place::{VOLUMES, volume_name};
use crate::error::Side;
use crate::image::Digest;
use crate::limits::{JOB_GRACE_PERIOD, JOB_START_ALLOWANCE, JOB_TTL};
use crate::telemetry::Place;

/// Everything that a Job is made of beside the operator's settings.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Attempt {
    pub(crate) task: Task,
    /// The object's identity.
    pub(crate) uid: String,
    /// Digest of what the spec asks for and of how it is reached.
    pub(crate) work: String,
    /// How many attempts have failed before.
    pub(crate) failures: i32,
}

/// The variable by which the pod knows which trace it belongs to (W3C Trace Context).
const TRACE_VARIABLE: &str = "TRACEPARENT";

/// The container that does the work.
pub(crate) const CONTAINER: &str = "push";

/// The condition of a pod that the cluster makes go, whatever it does.
pub(crate) const DISRUPTED: &str = "DisruptionTarget";

/// How the program ends when a push has failed, and not when it is told to end.
pub(crate) const OWN_EXIT_CODES: [i32; 3] = [1, 2, 75];

/// The label that has the identity of the object that a Job is for.
pub(crate) const UID_LABEL: &str = "imagepush.dev/uid";

/// Where the pod finds its task, and its Secrets, each in a folder of its name.
pub const TASK_FILE: &str = "/etc/imagepush/task/task.json";
/// See [`TASK_FILE`].
pub const SECRETS_FOLDER: &str = "/etc/imagepush/secrets";

/// The label that says which work a Job is for, however often that has been tried before.
const WORK_LABEL: &str = "imagepush.dev/work";

/// The labels of every Job that an operator makes.
pub(crate) const MANAGED: &str =
    "app.kubernetes.io/managed-by=imagepush,app.kubernetes.io/component=push";

const TASK_ANNOTATION: &str = "imagepush.dev/task";

/// The user and group of the container, and the group that volumes are given to.
const NOBODY: i64 = 65532;

/// The Job of an attempt.
pub(crate) fn job(attempt: &Attempt, image: &str, settings: &JobSettings, trace: Place) -> Job {
    let Attempt { task, uid, .. } = attempt;
    let labels = labels(attempt, &settings.pod);
    let seconds = |time: std::time::Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let timeout = i64::try_from(task.timeout_seconds).unwrap_or(i64::MAX);
    Job {
        metadata: ObjectMeta {
            name: Some(name(attempt)),
            namespace: Some(task.namespace.clone()),
            labels: Some(labels.clone()),
            owner_references: Some(vec![OwnerReference {
                api_version: ImagePush::api_version(&()).into_owned(),
                kind: ImagePush::kind(&()).into_owned(),
                name: task.name.clone(),
                uid: uid.clone(),
                controller: Some(true),
                block_owner_deletion: None,
            }]),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            // One attempt: when there is another one is decided by who knows why this one failed, and whether it is still wanted.
            backoff_limit: Some(0),
            pod_failure_policy: Some(policy()),
            completions: Some(1),
            parallelism: Some(1),
            pod_replacement_policy: Some("Failed".into()),
            // The pod keeps to the timeout itself; this is for one that never gets to it.
            active_deadline_seconds: Some(timeout.saturating_add(seconds(JOB_START_ALLOWANCE))),
            ttl_seconds_after_finished: i32::try_from(JOB_TTL.as_secs()).ok(),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    annotations: Some(annotations(task, &settings.pod)),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(task, image, settings, trace)),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

/// Another pod takes the place of one that was evicted, drained or preempted, within the time of the attempt. Whatever a push
/// says itself is its end, also while its pod is made to go.
fn policy() -> PodFailurePolicy {
    let told = PodFailurePolicyOnExitCodesRequirement {
        container_name: Some(CONTAINER.into()),
        operator: "In".into(),
        values: OWN_EXIT_CODES.to_vec(),
    };
    let disrupted =
        PodFailurePolicyOnPodConditionsPattern { type_: DISRUPTED.into(), status: "True".into() };
    PodFailurePolicy {
        rules: vec![
            PodFailurePolicyRule {
                action: "FailJob".into(),
                on_exit_codes: Some(told),
                on_pod_conditions: None,
            },
            PodFailurePolicyRule {
                action: "Ignore".into(),
                on_exit_codes: None,
                on_pod_conditions: Some(vec![disrupted]),
            },
        ],
    }
}

/// The name of an attempt's Job. It is the same whoever asks, so that two operators, or one that was started anew, don't
/// make the same attempt twice.
pub(crate) fn name(attempt: &Attempt) -> String {
    let Attempt { uid, work, failures, .. } = attempt;
    format!("ipush-{}", &short(&format!("{uid} {work} {failures}"))[..16])
}

/// Whether a Job does what an attempt is for.
pub(crate) fn is_for(job: &Job, attempt: &Attempt) -> bool {
    let of = |label: &str| job.metadata.labels.as_ref()?.get(label);
    let labelled = of(UID_LABEL) == Some(&attempt.uid) && of(WORK_LABEL) == Some(&work(attempt));
    labelled && is_owned(job, &attempt.uid)
}

/// Whether two Jobs are for the same object and the same work.
pub(crate) fn is_same(found: &Job, wanted: &Job) -> bool {
    let of = |job: &Job, label: &str| job.metadata.labels.as_ref()?.get(label).cloned();
    let same = |label: &str| of(wanted, label).is_some() && of(found, label) == of(wanted, label);
    same(UID_LABEL)
        && same(WORK_LABEL)
        && of(wanted, UID_LABEL).is_some_and(|uid| is_owned(found, &uid))
}

fn is_owned(job: &Job, uid: &str) -> bool {
    let owners = job.metadata.owner_references.iter().flatten();
    owners.into_iter().any(|owner| owner.controller == Some(true) && owner.uid == uid)
}

fn work(attempt: &Attempt) -> String {
    short(&format!("{} {}", attempt.uid, attempt.work))[..16].to_owned()
}

/// The trace that a Job's pod belongs to.
pub(crate) fn trace_of(job: &Job) -> Option<Place> {
    let pod = job.spec.as_ref()?.template.spec.as_ref()?;
    let mut variables = pod.containers.iter().filter_map(|it| it.env.as_ref()).flatten();
    let own = variables.find(|variable| variable.name == TRACE_VARIABLE)?;
    own.value.as_ref()?.parse().ok()
}

/// The label of Jobs that use a claim or a path of a node; names can be longer than labels.
pub(crate) fn volume_label(volume: &VolumeSource) -> String {
    format!("volume.imagepush.dev/{}", &short(&volume_name(volume))[..16])
}

/// The volumes of a task, with the side that each is for.
pub(crate) fn volumes(task: &Task) -> impl Iterator<Item = (Side, &VolumeSource)> {
    let sides = [(Side::Source, &task.spec.source), (Side::Destination, &task.spec.destination)];
    sides.into_iter().filter_map(|(side, location)| Some((side, location.volume.as_ref()?)))
}

fn short(text: &str) -> String {
    Digest::of(text.as_bytes()).hex().to_owned()
}

fn labels(attempt: &Attempt, settings: &PodSettings) -> BTreeMap<String, String> {
    let mut labels = settings.labels.clone();
    labels.extend(volumes(&attempt.task).map(|(_, volume)| (volume_label(volume), String::new())));
    labels.extend([
        ("app.kubernetes.io/name".into(), "imagepush".into()),
        ("app.kubernetes.io/component".into(), "push".into()),
        ("app.kubernetes.io/managed-by".into(), "imagepush".into()),
        // Newer meshes look at the label, older ones at the annotation.
        ("sidecar.istio.io/inject".into(), "false".into()),
        (UID_LABEL.into(), attempt.uid.clone()),
        (WORK_LABEL.into(), work(attempt)),
    ]);
    // A mesh is the administrator's business.
    labels.extend(settings.labels.get_key_value("sidecar.istio.io/inject").map(owned));
    labels
}

fn annotations(task: &Task, settings: &PodSettings) -> BTreeMap<String, String> {
    let mut annotations: BTreeMap<String, String> = [
        // A container that goes on beside ours would keep the Job from its end.
        ("sidecar.istio.io/inject".into(), "false".into()),
        ("linkerd.io/inject".into(), "disabled".into()),
        ("config.kuma.io/sidecar-injection".into(), "disabled".into()),
    ]
    .into();
    annotations.extend(settings.annotations.clone());
    let text = serde_json::to_string(task).unwrap_or_default();
    annotations.insert(TASK_ANNOTATION.into(), text);
    annotations
}

fn owned((name, value): (&String, &String)) -> (String, String) {
    (name.clone(), value.clone())
}

fn pod(task: &Task, image: &str, settings: &JobSettings, trace: Place) -> PodSpec {
    let PodSettings {
        node_selector,
        tolerations,
        affinity,
        priority_class_name,
        runtime_class_name,
        image_pull_secrets,
        ..
    } = &settings.pod;
    PodSpec {
        restart_policy: Some("Never".into()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: i64::try_from(JOB_GRACE_PERIOD.as_secs()).ok(),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(NOBODY),
            run_as_group: Some(NOBODY),
            fs_group: Some(NOBODY),
            // A large volume whose root is right isn't walked each time.
            fs_group_change_policy: Some("OnRootMismatch".into()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".into(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        containers: vec![container(task, image, settings, trace)],
        volumes: Some(pod_volumes(task, settings)),
        node_selector: (!node_selector.is_empty()).then(|| node_selector.clone()),
        tolerations: (!tolerations.is_empty()).then(|| tolerations.clone()),
        affinity: affinity.clone(),
        priority_class_name: priority_class_name.clone(),
        runtime_class_name: runtime_class_name.clone(),
        image_pull_secrets: (!image_pull_secrets.is_empty()).then(|| image_pull_secrets.clone()),
        ..PodSpec::default()
    }
}

fn container(task: &Task, image: &str, settings: &JobSettings, trace: Place) -> Container {
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.into(),
        mount_path: path.into(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    let mut mounts = vec![mount("task", "/etc/imagepush/task", true)];
    if has_secrets(task) {
        mounts.push(mount("secrets", SECRETS_FOLDER, true));
    }
    mounts.push(mount("scratch", "/tmp", false));
    mounts.extend(side_volumes(task, settings).into_iter().flat_map(|(_, mounts)| mounts));
    mounts.extend(settings.pod.volume_mounts.iter().cloned());
    let mut arguments = vec!["attempt".to_owned()];
    arguments.extend(settings.pod.scratch_bytes().map(|most| format!("--scratch={most}")));
    arguments.extend(settings.arguments.iter().cloned());
    Container {
        name: CONTAINER.into(),
        image: Some(image.into()),
        args: Some(arguments),
        env: Some(environment(settings, trace)),
        resources: Some(settings.pod.resources.clone()),
        // Logs may quote what a registry says; the report is written for status.
        termination_message_policy: Some("File".into()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}

fn environment(settings: &JobSettings, trace: Place) -> Vec<EnvVar> {
    let value = Some(trace.to_string());
    let own = EnvVar { name: TRACE_VARIABLE.into(), value, ..EnvVar::default() };
    let given = settings.pod.env.iter().filter(|variable| variable.name != own.name).cloned();
    given.chain([own.clone()]).collect()
}

fn pod_volumes(task: &Task, settings: &JobSettings) -> Vec<Volume> {
    let named = |name: &str| Volume { name: name.into(), ..Volume::default() };
    let mut list = vec![Volume { downward_api: Some(task_file()), ..named("task") }];
    if has_secrets(task) {
        list.push(Volume { projected: Some(secrets(task)), ..named("secrets") });
    }
    list.push(Volume {
        empty_dir: Some(EmptyDirVolumeSource {
            size_limit: Some(settings.pod.scratch_size.clone()),
            medium: None,
        }),
        ..named("scratch")
    });
    list.extend(side_volumes(task, settings).into_iter().map(|(volume, _)| volume));
    list.extend(settings.pod.volumes.iter().cloned());
    list
}

/// The volumes of the sides, each once, with its mounts: many a kubelet waits for ever for a claim that a pod names twice.
fn side_volumes(task: &Task, settings: &JobSettings) -> Vec<(Volume, Vec<VolumeMount>)> {
    let mut list: Vec<(Volume, Vec<VolumeMount>)> = vec![];
    for (side, source) in volumes(task) {
        let host = host_mount(task, source, settings);
        let volume = mounted(side, source, host.as_ref());
        let read_only = side == Side::Source;
        let mount = |name: &str| VolumeMount {
            name: name.into(),
            mount_path: format!("{VOLUMES}/{side}"),
            read_only: read_only.then_some(true),
            sub_path: host.as_ref().map(|it| it.below.clone()).filter(|below| !below.is_empty()),
            ..VolumeMount::default()
        };
        let Some((known, mounts)) = list.iter_mut().find(|(known, _)| is_one(known, &volume))
        else {
            let mounts = vec![mount(&volume.name)];
            list.push((volume, mounts));
            continue;
        };
        mounts.push(mount(&known.name));
        // It can be written if one side writes; the other one's mount can't be.
        if let Some(claim) = &mut known.persistent_volume_claim {
            let other = volume.persistent_volume_claim.and_then(|it| it.read_only);
            claim.read_only = claim.read_only.and(other);
        }
    }
    list
}

/// Whether two volumes of a pod are the same claim, or the same folder of the node.
fn is_one(one: &Volume, other: &Volume) -> bool {
    let claim = |it: &Volume| it.persistent_volume_claim.as_ref().map(|it| it.claim_name.clone());
    let folder = |it: &Volume| it.host_path.as_ref().map(|it| it.path.clone());
    (claim(one), folder(one)) == (claim(other), folder(other))
}

/// How a folder of a node gets into the pod. One that the namespace may not have was refused before; here it is a path that
/// the API server refuses.
fn host_mount(task: &Task, volume: &VolumeSource, settings: &JobSettings) -> Option<HostMount> {
    let host = volume.host_path.as_ref()?;
    Some(settings.host_mount(&task.namespace, host).unwrap_or_default())
}

fn mounted(side: Side, source: &VolumeSource, host: Option<&HostMount>) -> Volume {
    Volume {
        name: side.as_str().into(),
        persistent_volume_claim: source.persistent_volume_claim.as_ref().map(|claim| {
            let read_only = side == Side::Source || claim.read_only;
            PersistentVolumeClaimVolumeSource {
                claim_name: claim.claim_name.clone(),
                read_only: read_only.then_some(true),
            }
        }),
        host_path: host.map(|host| HostPathVolumeSource {
            path: host.folder.clone(),
            type_: Some("Directory".into()),
        }),
        ..Volume::default()
    }
}

fn task_file() -> DownwardAPIVolumeSource {
    DownwardAPIVolumeSource {
        items: Some(vec![DownwardAPIVolumeFile {
            path: "task.json".into(),
            field_ref: Some(ObjectFieldSelector {
                field_path: format!("metadata.annotations['{TASK_ANNOTATION}']"),
                api_version: Some("v1".into()),
            }),
            ..DownwardAPIVolumeFile::default()
        }]),
        default_mode: None,
    }
}

fn has_secrets(task: &Task) -> bool {
    task.secrets.values().any(|facts| !facts.keys.is_empty())
}

/// Optional, so that one that has gone meanwhile ends in a message of ours instead of a pod that never starts.
fn secrets(task: &Task) -> ProjectedVolumeSource {
    let with_keys = task.secrets.iter().filter(|(_, facts)| !facts.keys.is_empty());
    let projection = |(name, facts): (&String, &super::task::SecretFacts)| VolumeProjection {
        secret: Some(SecretProjection {
            name: name.clone(),
            optional: Some(true),
            items: Some(
                facts
                    .keys
                    .iter()
                    .map(|key| KeyToPath {
                        key: key.clone(),
                        path: format!("{name}/{key}"),
                        mode: None,
                    })
                    .collect(),
            ),
        }),
        ..VolumeProjection::default()
    };
    ProjectedVolumeSource {
        // Its owner is root, its group ours.
        default_mode: Some(0o440),
        sources: Some(with_keys.map(projection).collect()),
    }
}

#[cfg(test)]
mod tests;
