//! The finalizer, which keeps a deleted object until what it pushed is cleaned up.
//!
//! It is there only while there is something to clean up, so that an operator that has been uninstalled leaves no object
//! that can't be deleted.

use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::api::FINALIZER;
use crate::api::v1alpha1::ImagePush;
use crate::limits::MAX_CONFLICTS;

/// Whether an object is kept.
pub(crate) fn is_set(object: &ImagePush) -> bool {
    object.finalizers().iter().any(|name| name == FINALIZER)
}

/// Sets or takes away the finalizer; those of others stay as they are. Idempotent; `false` if the object is gone.
pub(crate) async fn set(
    api: &Api<ImagePush>,
    object: &ImagePush,
    wanted: bool,
) -> Result<bool, kube::Error> {
    for conflicts in 0.. {
        // The watch may show an older one; and what is written has to be about the latest.
        let Some(found) = api.get_metadata_opt(&object.name_any()).await? else {
            return Ok(false);
        };
        let mut names: Vec<String> = found.finalizers().to_vec();
        let there = names.iter().any(|name| name == FINALIZER);
        if found.uid() != object.uid() {
            return Ok(false);
        }
        if there == wanted {
            return Ok(true);
        }
        names.retain(|name| name != FINALIZER);
        if wanted {
            names.push(FINALIZER.to_owned());
        }
        let patch =
            json!({"metadata": {"resourceVersion": found.resource_version(), "finalizers": names}});
        let patched = api
            .patch_metadata(&object.name_any(), &PatchParams::default(), &Patch::Merge(&patch))
            .await;
        match patched {
            Ok(_) => return Ok(true),
            Err(kube::Error::Api(answer)) if answer.code == 404 => return Ok(false),
            Err(kube::Error::Api(answer)) if answer.code == 409 && conflicts < MAX_CONFLICTS => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(true)
}
