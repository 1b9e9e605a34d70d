//! What the operator tells: the status of an ImagePush.
//!
//! Everything in here can be found out again by looking, except for the count of failed attempts: losing it costs time,
//! never content. The list of manifests is bounded, since every list and watch of objects carries it.
#![expect(
    unreachable_pub,
    reason = "the derive of `KubeSchema` repeats the type where nothing reaches it"
)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator knows about the push. Written by the operator only.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ImagePushStatus {
    /// The last generation of the spec for which it was decided that the push is done, can't be done, or is
    /// suspended. -1 before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The last request to look at once that was handled: the value of the annotation `imagepush.dev/requestedAt` or
    /// `reconcile.fluxcd.io/requestedAt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 300))]
    pub last_handled_reconcile_at: Option<String>,

    /// `Ready` sums up: True when the destination holds the image. `Reconciling` is there while the operator works on
    /// it or waits to try again, `Stalled` while it takes a change by somebody else to get done, so that nothing is tried
    /// again, or if it is `Continuous` at its interval only; never both.
    /// `SourceResolved` tells whether the source could be read. `Drifted` is there while the destination holds something
    /// that was not pushed from here and may not be overwritten. `CustomResourcesApplied` tells whether the image's bundle is
    /// applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// The image that was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceStatus>,

    /// The image that the destination holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Artifact>,

    /// When the destination was last written. A check that finds everything in place does not change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_push_time: Option<Time>,

    /// Digest over the fields of the spec that decide what is pushed, at the last success. Another one means that the
    /// image is pushed again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub observed_spec_digest: Option<String>,

    /// Digest over the fields of the spec that decide how the two sides are reached, and over the versions of the Secrets
    /// that they name, at the last attempt. Another one means that what has stalled is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub observed_access_digest: Option<String>,

    /// The last attempts that brought something new, the latest first: up to 5, where equal ones in a row are one. A
    /// check that finds everything in place is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub history: Vec<HistoryEntry>,

    /// The failed attempts since the last success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryStatus>,

    /// Where the last attempt ran that changed this status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executor: Option<ExecutorStatus>,

    /// How far the running attempt is; updated every few seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,

    /// What a push would do; only with `mode: DryRun`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<Preview>,

    /// What was decided about the custom resources that the image carries; only with `spec.customResources`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_resources: Option<CustomResourcesStatus>,

    /// What was applied, or is about to be, for `spec.customResources.apply`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<Inventory>,
}

/// What was applied, or is about to be.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Inventory {
    /// Digest of the source's manifest or index that was looked into last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub source: Option<String>,
    /// Digest of the bundle that it has, which is to be applied; not set where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub digest: Option<String>,
    /// The objects, all in this object's namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub entries: Vec<InventoryEntry>,
}

/// An object that was applied, or is about to be.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct InventoryEntry {
    /// API group; not set for the core group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub group: Option<String>,
    /// The version of the group under which it was applied.
    #[schemars(length(max = 253))]
    pub version: String,
    /// Kind.
    #[schemars(length(max = 253))]
    pub kind: String,
    /// Name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its uid; not set where it may not have been made yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub uid: Option<String>,
}

/// What was decided about the custom resources that the image carries.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CustomResourcesStatus {
    /// `pushed`, `push` (in a dry run), `unchanged`, `absent` (the image carries none), `notSearched`, `skipped` or `failed`
    /// (the image is there without them, and the next attempt looks for them).
    #[schemars(length(max = 64))]
    pub decision: String,
    /// Why nothing was done, where that isn't plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub reason: Option<String>,
    /// Digest of their canonical form, where they were found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub digest: Option<String>,
    /// How many objects there are, where they were found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub objects: Option<i64>,
    /// Digest of the artifact that holds them at the destination, where it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub artifact: Option<String>,
    /// What became of them in the cluster when that was last something new; only with `apply`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<AppliedStatus>,
}

/// What became of custom resources in the cluster.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AppliedStatus {
    /// Whether nothing was written, and this is what would be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Digest of the bundle; not set where the image carries none any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub digest: Option<String>,
    /// Digest of the source's manifest or index that the bundle is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub source: Option<String>,
    /// How many objects were made.
    #[schemars(range(min = 0))]
    pub created: i64,
    /// How many were changed.
    #[schemars(range(min = 0))]
    pub configured: i64,
    /// How many were as they should be.
    #[schemars(range(min = 0))]
    pub unchanged: i64,
    /// How many were taken away.
    #[schemars(range(min = 0))]
    pub pruned: i64,
    /// How many should have been written and were not.
    #[schemars(range(min = 0))]
    pub failed: i64,
    /// The first objects that were made or changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub changes: Vec<ChangedObjectStatus>,
}

/// An object that was made or changed.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ChangedObjectStatus {
    /// Its version, kind and name.
    #[schemars(length(max = 1024))]
    pub object: String,
    /// The first fields that changed, with `+`, `~` or `-` before each, and never their values; none for a new object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 17), inner(length(max = 256)))]
    pub fields: Vec<String>,
}

/// The image that was read.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// Its name.
    #[schemars(length(max = 600))]
    pub reference: String,
    /// Digest of the manifest or index that the name pointed to.
    #[schemars(length(max = 256))]
    pub digest: String,
    /// Its media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub media_type: Option<String>,
    /// The platforms that an index names, as `OS/ARCH` or `OS/ARCH/VARIANT`; the first 64 of them. A single image names none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 256)))]
    pub platforms: Vec<String>,
}

/// The image that the destination holds.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// The name that it was pushed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 600))]
    pub reference: Option<String>,
    /// When this object first wrote that name; not set where it has only ever found the image there. Of several namespaces
    /// that push to one name, the first one goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_since: Option<Time>,
    /// Digest of its manifest or index: `repository@digest` pulls it.
    #[schemars(length(max = 256))]
    pub digest: String,
    /// Media type of its manifest or index.
    #[schemars(length(max = 256))]
    pub media_type: String,
    /// Size of everything it consists of, in bytes; what several images share counts once. Not set where an index was
    /// in place already, so that nothing below it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub size_bytes: Option<i64>,
    /// Its images, one for each platform; the first 64 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub manifests: Vec<ArtifactManifest>,
}

/// One image of an artifact.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactManifest {
    /// Digest of its manifest.
    #[schemars(length(max = 256))]
    pub digest: String,
    /// Its platform, as `OS/ARCH` or `OS/ARCH/VARIANT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub platform: Option<String>,
    /// Size of its manifest, in bytes.
    #[schemars(range(min = 0))]
    pub size_bytes: i64,
}

/// How an attempt ended, or several in a row that ended alike.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// The reason that `Ready` had then.
    #[schemars(length(max = 64))]
    pub result: String,
    /// Digest of what the destination then held; not set for a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub digest: Option<String>,
    /// How many in a row ended like this.
    #[schemars(range(min = 1))]
    pub count: i32,
    /// When the last of them ended.
    pub last_time: Time,
    /// How long it took from when it got its turn, for example `1m 5s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub duration: Option<String>,
}

/// The failed attempts since the last success.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RetryStatus {
    /// How many there were.
    #[schemars(range(min = 0))]
    pub count: i32,
    /// How many of them, up to the last one, failed in a row for the same reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub consecutive: Option<i32>,
    /// When the next attempt starts; not set where none is planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_retry_time: Option<Time>,
    /// Why the last one failed, in the word that conditions use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub last_failure_reason: Option<String>,
}

/// Where an attempt ran.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ExecutorStatus {
    /// `InProcess`, in the operator, or `Job`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub kind: Option<String>,
    /// Name of the Job; it is kept for ten minutes, with the log of its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub job_name: Option<String>,
    /// Identity of the Job, by which its outcome is not reported twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub attempt_id: Option<String>,
    /// Identity of the attempt's trace, which the operator's log lines have, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub trace_id: Option<String>,
}

/// How far the running attempt is. Sizes are those at the source.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// What it is doing: `Resolving` (reading manifests), `Copying`, `Tagging` (the name is changed, and checked),
    /// `Attaching` (what belongs beside the image) or `Applying` (custom resources in the cluster). Of a Job it is known only
    /// whether it is `Starting` or `Running`. It never goes back within an attempt.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 32))]
    pub stage: String,
    /// The share of the bytes that were read, such as `42%`; it never goes back within an attempt. Not set before it is known
    /// what is to be copied.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 8))]
    pub percent: String,
    /// How many blobs the push consists of.
    #[schemars(range(min = 0))]
    pub blobs_total: i64,
    /// How many of them are at the destination.
    #[schemars(range(min = 0))]
    pub blobs_done: i64,
    /// How many bytes they have.
    #[schemars(range(min = 0))]
    pub bytes_total: i64,
    /// How many of them were read.
    #[schemars(range(min = 0))]
    pub bytes_done: i64,
}

/// What a push would do.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
    /// Digest that the destination would have; not set where layers have to be compressed to know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub digest: Option<String>,
    /// Media type that the destination would have.
    #[schemars(length(max = 256))]
    pub media_type: String,
    /// Whether the destination holds it already.
    pub already_present: bool,
    /// How many images would be copied.
    #[schemars(range(min = 0))]
    pub images: i64,
    /// How many different blobs they have.
    #[schemars(range(min = 0))]
    pub blobs: i64,
    /// Size of those blobs at the source, in bytes.
    #[schemars(range(min = 0))]
    pub bytes: i64,
}
