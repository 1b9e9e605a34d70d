//! Version `v1alpha1` of ImagePush.
//!
//! The spec is what a person writes, the status what the operator writes; each has a file. The operator never writes
//! a spec. Rules that join several fields are CEL, evaluated by the API server, so that a contradiction is refused at once.

mod location;
mod spec;
mod status;
mod volume;

pub use location::{ImageLocation, SecretReference, TlsPolicy};
pub use spec::{
    Apply, Compression, CompressionFormat, ConfigMapKeyReference, CustomResources,
    CustomResourcesPolicy, DeletionPolicy, DigestOutput, ExecutorChoice, ImagePush, ImagePushSpec,
    ManifestFormat, Mode, OverwritePolicy, PlatformMode, Platforms, Retry, RunPolicy,
};
pub use status::{
    AppliedStatus, Artifact, ArtifactManifest, ChangedObjectStatus, CustomResourcesStatus,
    ExecutorStatus, HistoryEntry, ImagePushStatus, Inventory, InventoryEntry, Preview, Progress,
    RetryStatus, SourceStatus,
};
pub use volume::{ClaimVolume, HostPathVolume, VolumeSource};
