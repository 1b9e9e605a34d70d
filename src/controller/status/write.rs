//! Writes a status.
//!
//! The whole of it is sent by one server-side apply: what is left out disappears, and fields of others stay.

use kube::api::{Patch, PatchParams};
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::json;

use crate::api::FIELD_MANAGER;
use crate::api::v1alpha1::{ImagePush, ImagePushStatus};

/// What became of a status that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// The object has it.
    Done,
    /// The object is gone, or another one has its name.
    Gone,
}

/// Writes a status.
pub(crate) async fn write(
    api: &Api<ImagePush>,
    object: &ImagePush,
    status: &ImagePushStatus,
) -> Result<Written, kube::Error> {
    // It has a manager of its own.
    let status = &ImagePushStatus { inventory: None, ..status.clone() };
    let patch = json!({
        "apiVersion": ImagePush::api_version(&()),
        "kind": ImagePush::kind(&()),
        "metadata": {"uid": object.uid()},
        "status": status,
    });
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    match api.patch_status(&object.name_any(), &parameters, &Patch::Apply(&patch)).await {
        Ok(_) => Ok(Written::Done),
        Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => Ok(Written::Gone),
        Err(cause) => Err(cause),
    }
}
