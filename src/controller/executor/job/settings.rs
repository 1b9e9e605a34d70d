//! What the operator's administrator says about Jobs: which image, where they may run, and with how much.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::core::v1::{
    Affinity, EnvVar, LocalObjectReference, ResourceRequirements, Toleration, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::Deserialize;
use serde_json::Value;

use super::host_folders::{self, HostFolder, HostMount};
use crate::api::v1alpha1::HostPathVolume;
use crate::controller::place::VOLUMES;
use crate::error::{Error, Kind, Result};

/// How Jobs are made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobSettings {
    /// The image of this program, as nodes can pull it. Without one there are no Jobs.
    pub image: Option<String>,
    /// Arguments that say where connections may lead, as the operator was given them.
    pub arguments: Vec<String>,
    /// Whether every push runs in a Job.
    pub always: bool,
    /// Folders of nodes that `hostPath` volumes may be.
    pub host_folders: Vec<HostFolder>,
    /// What their pods are like.
    pub pod: PodSettings,
}

/// What the pods of Jobs are like; what `--job-pod` says.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PodSettings {
    /// What the container requests, and its limits.
    pub resources: ResourceRequirements,
    /// Labels beside our own, of Jobs and pods.
    pub labels: BTreeMap<String, String>,
    /// Annotations of pods. Ours that switch sidecars off can be changed by them.
    pub annotations: BTreeMap<String, String>,
    /// Nodes that pods may run on.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that they tolerate.
    pub tolerations: Vec<Toleration>,
    /// Where they would rather run.
    pub affinity: Option<Affinity>,
    /// Their priority class.
    pub priority_class_name: Option<String>,
    /// Their runtime class.
    pub runtime_class_name: Option<String>,
    /// Secrets in the objects' namespaces to pull the image with.
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Variables of the container, such as `HTTPS_PROXY`. Whoever may read pods can read them.
    pub env: Vec<EnvVar>,
    /// Further volumes, such as a ConfigMap in the objects' namespaces with certificate authorities.
    pub volumes: Vec<Volume>,
    /// Where the container finds them.
    pub volume_mounts: Vec<VolumeMount>,
    /// The most that temporary files may take.
    pub scratch_size: Quantity,
}

/// Names of the volumes that each pod has, or may have, by itself.
const OWN: [&str; 5] = ["task", "secrets", "scratch", "source", "destination"];

/// Where it has them.
const OWN_PLACES: [&str; 3] = ["/etc/imagepush", "/tmp", VOLUMES];

// === impl JobSettings ===

impl JobSettings {
    /// How the objects of a namespace get a folder of a node; `None` if they may not have it.
    pub(crate) fn host_mount(&self, namespace: &str, volume: &HostPathVolume) -> Option<HostMount> {
        host_folders::mount(&self.host_folders, namespace, &volume.path)
    }
}

// === impl PodSettings ===

impl PodSettings {
    /// Reads YAML or JSON.
    pub fn parse(text: &str) -> Result<Self> {
        let mut value: Value = serde_yaml::from_str(text)
            .map_err(|cause| wrong(format!("it is not YAML: {cause}")))?;
        if value.is_null() {
            return Ok(Self::default());
        }
        for list in ["/resources/requests", "/resources/limits"] {
            let quantities = value.pointer_mut(list).and_then(Value::as_object_mut);
            quantities.into_iter().flat_map(|it| it.values_mut()).for_each(spell);
        }
        let settings: Self =
            serde_json::from_value(value).map_err(|cause| wrong(cause.to_string()))?;
        if settings.scratch_bytes().is_none() {
            let size = settings.scratch_size.0;
            return Err(wrong(format!(
                "`scratchSize` is `{size}`, and not a whole number such as `1Gi`"
            )));
        }
        settings.check_volumes()?;
        Ok(settings)
    }

    /// The API server would refuse every Job, or a pod would not find its task.
    fn check_volumes(&self) -> Result<()> {
        if let Some(volume) = self.volumes.iter().find(|it| OWN.contains(&it.name.as_str())) {
            return Err(wrong(format!("a volume of pods may not have the name `{}`", volume.name)));
        }
        for VolumeMount { name, mount_path, .. } in &self.volume_mounts {
            if self.volumes.iter().all(|it| it.name != *name) {
                return Err(wrong(format!(
                    "`volumeMounts` names `{name}`, and `volumes` has none"
                )));
            }
            let path = Path::new(mount_path);
            if let Some(place) = OWN_PLACES.iter().find(|place| path.starts_with(place)) {
                return Err(wrong(format!(
                    "`{mount_path}` may not be mounted in pods: `{place}` is theirs"
                )));
            }
        }
        Ok(())
    }

    /// The most that temporary files may take, in bytes.
    pub(crate) fn scratch_bytes(&self) -> Option<u64> {
        let units = [
            ("Ki", 1 << 10),
            ("Mi", 1 << 20),
            ("Gi", 1 << 30),
            ("Ti", 1 << 40),
            ("k", 1000),
            ("M", 1_000_000),
            ("G", 1_000_000_000),
            ("T", 1_000_000_000_000),
            ("", 1),
        ];
        units.into_iter().find_map(|(unit, factor)| {
            let number = self.scratch_size.0.strip_suffix(unit)?.parse::<u64>().ok()?;
            number.checked_mul(factor)
        })
    }
}

impl Default for PodSettings {
    fn default() -> Self {
        let quantities = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, it)| ((*name).into(), Quantity((*it).into())));
            Some(pairs.collect())
        };
        Self {
            resources: ResourceRequirements {
                requests: quantities(&[("cpu", "50m"), ("memory", "64Mi")]),
                limits: quantities(&[("memory", "512Mi")]),
                ..ResourceRequirements::default()
            },
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            node_selector: BTreeMap::new(),
            tolerations: vec![],
            affinity: None,
            priority_class_name: None,
            runtime_class_name: None,
            image_pull_secrets: vec![],
            env: vec![],
            volumes: vec![],
            volume_mounts: vec![],
            scratch_size: Quantity("1Gi".into()),
        }
    }
}

/// A quantity may be a number in YAML, and is a text in the API.
fn spell(quantity: &mut Value) {
    if let Value::Number(number) = quantity {
        *quantity = Value::String(number.to_string());
    }
}

fn wrong(message: String) -> Error {
    Error::new(Kind::InvalidOptions, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_has_its_default() {
        for text in ["", "{}", "tolerations: []"] {
            assert_eq!(PodSettings::parse(text).unwrap(), PodSettings::default(), "{text}");
        }
        let text = "resources: {limits: {memory: 1Gi, cpu: 2}}\ntolerations: [{key: a, operator: Exists}]\nscratchSize: 2Gi";
        let settings = PodSettings::parse(text).unwrap();
        assert_eq!(settings.resources.requests, None);
        assert_eq!(settings.resources.limits.clone().unwrap()["cpu"].0, "2");
        assert_eq!(settings.tolerations[0].key.as_deref(), Some("a"));
        assert_eq!(
            (settings.scratch_size.0.as_str(), settings.scratch_bytes()),
            ("2Gi", Some(2 << 30))
        );
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let error = PodSettings::parse("privileged: true").unwrap_err();
        let message = error.to_string();
        assert!(message.starts_with("unknown field `privileged`"), "{message}");
        assert_eq!(error.exit_code(), 2);
        assert!(PodSettings::parse("[").is_err());
        let mounted = |path: &str| {
            let text =
                format!("volumes: [{{name: a}}]\nvolumeMounts: [{{name: a, mountPath: {path}}}]");
            PodSettings::parse(&text).map(|_| ()).map_err(|error| error.to_string())
        };
        assert_eq!(mounted("/etc/ca"), Ok(()));
        for (path, place) in [
            ("/tmp", "/tmp"),
            ("/etc/imagepush/task/x", "/etc/imagepush"),
            ("/volumes", "/volumes"),
        ] {
            let message = format!("`{path}` may not be mounted in pods: `{place}` is theirs");
            assert_eq!(mounted(path), Err(message));
        }
        for (text, message) in [
            ("volumes: [{name: scratch}]", "a volume of pods may not have the name `scratch`"),
            (
                "volumeMounts: [{name: a, mountPath: /a}]",
                "`volumeMounts` names `a`, and `volumes` has none",
            ),
        ] {
            assert_eq!(PodSettings::parse(text).unwrap_err().to_string(), message);
        }
        let error = PodSettings::parse("scratchSize: 1.5Gi").unwrap_err();
        let message = "`scratchSize` is `1.5Gi`, and not a whole number such as `1Gi`";
        assert_eq!(error.to_string(), message);
    }
}
