//! The ImagePush object as the Kubernetes API sees it: types, conditions, and the CRD made of them.
//!
//! Plain data with documentation: what stands on a field here is what `kubectl explain` shows. Nothing in here
//! waits, talks to a cluster, or knows the engine; the controller and the command line turn a spec into options.

pub mod check;
pub mod conditions;
mod crd;
pub mod reasons;
pub mod v1alpha1;

pub use crd::{crd, crd_yaml};

/// The API group. Annotations and labels use it as their prefix.
pub const GROUP: &str = "imagepush.dev";

/// The group with the version of the types, as it stands in an object's `apiVersion`.
pub const API_VERSION: &str = "imagepush.dev/v1alpha1";

/// The kind of the objects.
pub const KIND: &str = "ImagePush";

/// The annotation that asks for an attempt at once; each new value asks again.
pub const REQUESTED_AT: &str = "imagepush.dev/requestedAt";

/// The same as Flux's tools write it.
pub const FLUX_REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";

/// The finalizer that keeps an object until what it pushed is cleaned up.
pub const FINALIZER: &str = "imagepush.dev/cleanup";

/// The annotation that, set to `true`, lets a deleted object go without cleaning up.
pub const FORCE_CLEANUP: &str = "imagepush.dev/force-cleanup";

/// The annotation of a Secret that names the one registry it is for: one of type `kubernetes.io/basic-auth`, or one with
/// a client certificate.
pub const REGISTRY: &str = "imagepush.dev/registry";

/// The label of a ServiceAccount that, set to `true`, says that bundles may be applied as it.
pub const APPLY_BUNDLES: &str = "imagepush.dev/apply-bundles";

/// The field manager under which the operator writes status.
pub const FIELD_MANAGER: &str = "imagepush-controller";

/// The field manager under which it writes what was applied, which is written at other times than the rest.
pub const INVENTORY_MANAGER: &str = "imagepush-inventory";
