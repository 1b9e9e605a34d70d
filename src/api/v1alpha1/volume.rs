//! Volumes that transports of files read and write.
#![expect(
    unreachable_pub,
    reason = "the derive of `KubeSchema` repeats the type where nothing reaches it"
)]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// A volume that the Job of a push mounts: a claim of the object's own namespace, or a folder of a node.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.persistentVolumeClaim) != has(self.hostPath)")
    .message("exactly one of `persistentVolumeClaim` and `hostPath` must be set"))]
pub struct VolumeSource {
    /// A claim in the object's own namespace. Files are read and written as user and group 65532.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<ClaimVolume>,

    /// A folder of the node that the Job runs on. Only what the operator's administrator lets objects of this namespace
    /// have, which is nothing unless configured otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_path: Option<HostPathVolume>,
}

/// A claim in the object's own namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.claimName.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')")
    .message("`claimName` must be the name of an object: lower-case letters and digits, with `-` and `.` between them"))]
pub struct ClaimVolume {
    /// Name of the claim.
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,

    /// Mounts it read-only, as the volume of a source always is.
    #[serde(default)]
    pub read_only: bool,
}

/// A folder of a node.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.path.startsWith('/') && !self.path.matches('(^|/)[.][.](/|$)')")
    .message("`path` must begin at the root, and may not contain '..'"))]
pub struct HostPathVolume {
    /// Its path from the root.
    #[schemars(length(min = 1, max = 512))]
    pub path: String,
}
