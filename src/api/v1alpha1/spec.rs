//! What a person asks for: the spec of an ImagePush.
//!
//! Every string and list has a bound, which also keeps the cost of the CEL rules finite. Defaults stand only where
//! the API server may fill them in without a later diff: on single values at fixed places. Of a field that may be
//! absent and has one of a few values, the schema shows the documentation of the type, not of the field.
#![expect(
    unreachable_pub,
    reason = "the derive of `KubeSchema` repeats the type where nothing reaches it"
)]
#![expect(clippy::duplicated_attributes, reason = "several columns have the same type")]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::location::ImageLocation;
use super::status::ImagePushStatus;

/// What is pushed: from where, to where, how, and how often.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[kube(
    group = "imagepush.dev",
    version = "v1alpha1",
    kind = "ImagePush",
    plural = "imagepushes",
    shortname = "ipush",
    category = "imagepush",
    namespaced,
    status = "ImagePushStatus",
    derive = "PartialEq",
    doc = "ImagePush copies a container image from its source to its destination, and keeps it there. \
           Wait for it with `kubectl wait --for=condition=Ready`.",
    selectable = ".spec.destination.reference",
    selectable = ".spec.suspend",
    printcolumn(
        name = "Destination",
        type_ = "string",
        json_path = ".spec.destination.reference",
        description = "Where the image is written"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the destination holds the image"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why it is ready or not, in one word"
    ),
    printcolumn(
        name = "Progress",
        type_ = "string",
        json_path = ".status.progress.percent",
        description = "How far the running attempt is"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Digest",
        type_ = "string",
        json_path = ".status.artifact.digest",
        description = "Digest of the image at the destination",
        priority = 1
    ),
    printcolumn(
        name = "Last Push",
        type_ = "date",
        json_path = ".status.lastPushTime",
        description = "When the destination was last written",
        priority = 1
    ),
    printcolumn(
        name = "Retries",
        type_ = "integer",
        json_path = ".status.retry.count",
        description = "Failed attempts since the last success",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        description = "Why it is ready or not, in a sentence",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.runPolicy == 'Continuous') == has(self.interval)")
    .message("`interval` must be set when `runPolicy` is 'Continuous', and may not be set otherwise"))]
#[x_kube(validation = Rule::new("!has(self.interval) || duration(self.interval) >= duration('1m')")
    .message("`interval` must be greater than or equal to 1m").field_path(".interval"))]
#[x_kube(validation = Rule::new(
    "!has(self.timeout) || (duration(self.timeout) >= duration('1s') && duration(self.timeout) <= duration('24h'))")
    .message("`timeout` must be between 1s and 24h").field_path(".timeout"))]
#[x_kube(validation = Rule::new("!has(self.ttlSecondsAfterFinished) || self.runPolicy == 'Once'")
    .message("`ttlSecondsAfterFinished` may only be specified when `runPolicy` is 'Once'"))]
#[x_kube(validation = Rule::new(
    "self.deletionPolicy == 'Retain' || (self.destination.reference.startsWith('docker:') && !self.destination.reference.contains('@'))")
    .message("`deletionPolicy` may only be 'Delete' for docker destinations with a tag").field_path(".deletionPolicy"))]
#[x_kube(validation = Rule::new("oldSelf.runPolicy == self.runPolicy")
    .message("`runPolicy` is immutable").field_path(".runPolicy"))]
#[x_kube(validation = Rule::new(
    "self.runPolicy != 'Once' || (self.source == oldSelf.source && self.destination == oldSelf.destination)")
    .message("`source` and `destination` are immutable when `runPolicy` is 'Once'"))]
#[x_kube(validation = Rule::new(
    "self.executor != 'InProcess' || !(has(self.source.volume) || has(self.destination.volume))")
    .message("`executor` may not be 'InProcess' when a `volume` is specified").field_path(".executor"))]
#[x_kube(validation = Rule::new(
    "!has(self.destination.volume) || !has(self.destination.volume.persistentVolumeClaim) || !self.destination.volume.persistentVolumeClaim.readOnly")
    .message("`destination.volume` may not be read-only"))]
pub struct ImagePushSpec {
    /// Where the image is read.
    pub source: ImageLocation,

    /// Where the image is written. Its name points to the image only once everything the image consists of is there.
    pub destination: ImageLocation,

    /// How often the push is done. `Once` is done when it has succeeded. `Continuous` looks again after each `interval`,
    /// follows a source whose tag moves, and restores a destination that was changed or deleted. Can't be
    /// changed afterwards.
    #[serde(default)]
    pub run_policy: RunPolicy,

    /// How long after a check the next one comes, for example `1h`; varied by a tenth, so that many objects
    /// don't check at the same moment. At least `1m`. Must be set when `runPolicy` is `Continuous`, and only then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]{1,6}(ms|s|m|h))+$"))]
    pub interval: Option<String>,

    /// How long one attempt may take before it is given up and tried again, for example `30m`. From `1s` to
    /// `24h`; the operator's own default, 30 minutes unless configured otherwise, holds where this is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]{1,6}(ms|s|m|h))+$"))]
    pub timeout: Option<String>,

    /// Stops the push, also one that is running, until this is false again. What is at the destination stays there.
    #[serde(default)]
    pub suspend: bool,

    /// Tells nothing of the progress of a running attempt, which saves a write of the status every few seconds. What it comes
    /// to is told all the same.
    #[serde(default)]
    pub quiet: bool,

    /// `Apply` pushes. `DryRun` only reads manifests, tells in `status.preview` what a push would send, and writes nothing.
    #[serde(default)]
    pub mode: Mode,

    /// What becomes of another image that the destination's name has. `Replace` overwrites it. `IfNotPresent` never
    /// overwrites: what was pushed stays although the source moves. `FailOnDrift` overwrites only what was pushed from here, and
    /// stalls if somebody else has changed it since. A name that was deleted is written again under each of them.
    #[serde(default)]
    pub overwrite_policy: OverwritePolicy,

    /// What becomes of the image when this object is deleted. `Retain` leaves it. `Delete` takes the tag away if it still
    /// points to what was pushed and no other object pushes there; what it points to is left to the registry. An object
    /// that is suspended leaves it, and so does another destination the one before.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,

    /// Where the digest of the image at the destination is written, beside status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest_output: Option<DigestOutput>,

    /// Deletes this object so many seconds after it is done, or has stalled. For `runPolicy: Once` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub ttl_seconds_after_finished: Option<i32>,

    /// Where the push runs. `Auto`: in the operator, or in a Job where a `volume` is mounted or the operator is told to use
    /// Jobs for everything. `InProcess`: in the operator. `Job`: in a Job of this namespace, with resources of its own.
    #[serde(default)]
    pub executor: ExecutorChoice,

    /// Which images of a multi-platform source are pushed. All of them where this is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platforms: Option<Platforms>,

    /// Format of the manifests at the destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<ManifestFormat>,

    /// How layers are compressed at the destination. Where it is not set, layers stay as they are, and plain ones are
    /// compressed with gzip where the destination wants them compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,

    /// How a single request is repeated within an attempt. Attempts themselves are repeated for as long as the failure
    /// may pass, at growing distances from 5 seconds to 15 minutes; see `status.retry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,

    /// Reads back what was written, which costs the destination a request for each blob and manifest of a push that wrote
    /// something, and sends again what the registry has lost. True where this is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_after_push: Option<bool>,

    /// What happens to the custom resources that the image carries. Where it is not set, the image is pushed alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_resources: Option<CustomResources>,
}

/// How often the push is done.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunPolicy {
    /// Until it has succeeded.
    Once,
    /// Again after each interval.
    #[default]
    Continuous,
}

/// Whether anything is written.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The image is pushed.
    #[default]
    Apply,
    /// Only what would be pushed is told.
    DryRun,
}

/// What becomes of the image when its object is deleted.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeletionPolicy {
    /// It stays.
    #[default]
    Retain,
    /// Its tag is taken away.
    Delete,
}

/// Where the digest of the image at the destination is written.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DigestOutput {
    /// A key of a ConfigMap in the object's own namespace. The ConfigMap must not be there yet: it is made, belongs to this
    /// object, and is deleted with it.
    pub config_map_key_ref: ConfigMapKeyReference,
}

/// A key of a ConfigMap in the object's own namespace.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKeyReference {
    /// Name of the ConfigMap.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// The key in its data.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// What becomes of another image that the destination's name has.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OverwritePolicy {
    /// It is overwritten.
    #[default]
    Replace,
    /// It stays, and the push stalls unless it is what would be pushed.
    IfNotPresent,
    /// It is overwritten if it was pushed from here; else the push stalls.
    FailOnDrift,
}

/// Where the push runs.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExecutorChoice {
    /// In the operator, or in a Job where that is needed.
    #[default]
    Auto,
    /// In the operator.
    InProcess,
    /// In a Job of the object's namespace.
    Job,
}

/// Which images of a multi-platform source are pushed.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.mode == 'List') == has(self.list)")
    .message("`list` must be set when `mode` is 'List', and may not be set otherwise"))]
#[x_kube(validation = Rule::new(
    "!has(self.list) || self.list.all(it, it.matches('^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+){1,2}$'))")
    .message("`list` must have entries of the form 'OS/ARCH' or 'OS/ARCH/VARIANT'"))]
pub struct Platforms {
    /// `All`: the whole index. `System`: the one image for the platform that the operator runs on. `List`: an index of
    /// the images for the platforms of `list`. A source that is a single image is pushed as it is.
    #[serde(default)]
    pub mode: PlatformMode,

    /// Platforms as `OS/ARCH` or `OS/ARCH/VARIANT`, for example `linux/arm64` or `linux/arm/v7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 3, max = 64)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub list: Option<Vec<String>>,
}

/// Which images of an index are meant.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlatformMode {
    /// All of them.
    #[default]
    All,
    /// The one for the platform that the operator runs on.
    System,
    /// Those of a list.
    List,
}

/// Format of the manifests at the destination: `oci`, or `v2s2` (Docker's version 2, schema 2). Where it is not set,
/// the source's format is kept if the destination can hold it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ManifestFormat {
    /// OCI image manifest.
    Oci,
    /// Docker image manifest version 2, schema 2.
    V2s2,
}

/// How layers are compressed at the destination.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!self.disabled || (!has(self.format) && !has(self.level))")
    .message("`format` and `level` may not be specified when `disabled` is true"))]
#[x_kube(validation = Rule::new("!has(self.level) || has(self.format)")
    .message("`level` may only be specified together with `format`"))]
#[x_kube(validation = Rule::new(
    "!has(self.level) || !has(self.format) || self.format != 'gzip' || self.level <= 9")
    .message("`level` must be between 1 and 9 when `format` is 'gzip'"))]
pub struct Compression {
    /// Layers are left as they are; none is compressed.
    #[serde(default)]
    pub disabled: bool,

    /// The compression that layers are written with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<CompressionFormat>,

    /// Level of compression: 1 to 9 for gzip (6 where it is not set), 1 to 20 for zstd (3 where it is not set).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 20))]
    pub level: Option<i32>,
}

/// Layers are written with this compression, `gzip` or `zstd`; those compressed another way are compressed anew, which
/// changes their digests and the image's.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum CompressionFormat {
    /// gzip, which every client reads.
    Gzip,
    /// Zstandard: smaller and faster, for clients that know OCI images.
    Zstd,
}

/// What happens to the custom resources that the image carries.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.apply) || self.policy != 'Never'")
    .message("`apply` may not be specified when `policy` is 'Never'"))]
pub struct CustomResources {
    /// `Always`: they are pushed beside the image, which has to carry some. `Never`: the image is pushed alone. `Only`: they
    /// are pushed beside the image that is at the destination already. `Auto`: each is pushed if it differs from what is
    /// there, and layers are looked into for them where they move anyway, or where an attempt may have been cut off before.
    #[serde(default)]
    pub policy: CustomResourcesPolicy,

    /// Applies them in this object's namespace, too. Where it is not set, they are only pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apply: Option<Apply>,
}

/// How custom resources are applied in the object's namespace. Needs an operator that applies bundles.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "!has(self.timeout) || (duration(self.timeout) >= duration('1s') && duration(self.timeout) <= duration('1h'))")
    .message("`timeout` must be between 1s and 1h").field_path(".timeout"))]
pub struct Apply {
    /// ServiceAccount in the object's own namespace as which everything is done; it needs the verbs get, create, patch and
    /// delete for the kinds, and the label `imagepush.dev/apply-bundles: "true"`.
    #[schemars(length(min = 1, max = 253))]
    pub service_account_name: String,

    /// Deletes what was applied when the image's bundle has it no more, and when this object is deleted. Else it stays.
    #[serde(default)]
    pub prune: bool,

    /// Takes over fields that belong to another manager, and objects that were not applied from here. Else that is a
    /// conflict, and nothing is applied.
    #[serde(default)]
    pub force_conflicts: bool,

    /// Ready only when the applied objects are, by the conditions that kstatus reads.
    #[serde(default)]
    pub wait: bool,

    /// How long applying, and waiting, may take, for example `5m`, which holds where this is not set. From `1s` to `1h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]{1,6}(ms|s|m|h))+$"))]
    pub timeout: Option<String>,
}

/// What happens to custom resources.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CustomResourcesPolicy {
    /// They are pushed with the image.
    Always,
    /// The image is pushed alone.
    Never,
    /// They are pushed alone.
    Only,
    /// What differs is pushed.
    #[default]
    Auto,
}

/// How a single request is repeated within an attempt.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "!has(self.delay) || (duration(self.delay) >= duration('0s') && duration(self.delay) <= duration('15m'))")
    .message("`delay` must be less than or equal to 15m").field_path(".delay"))]
pub struct Retry {
    /// How many times a failed request is repeated. 0 means that the first failure ends the attempt.
    #[serde(default = "Retry::default_limit")]
    #[schemars(range(min = 0, max = 50))]
    pub limit: i32,

    /// Wait before each repetition, for example `2s`, at most `15m`. Where it is not set, waits grow from half a second
    /// to 30 seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]{1,6}(ms|s|m|h))+$"))]
    pub delay: Option<String>,
}

// === impl Retry ===

impl Retry {
    /// What the command line has as its default, too; a test compares them.
    fn default_limit() -> i32 {
        3
    }
}
