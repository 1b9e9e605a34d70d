//! Writes a status.
//!
//! The whole of it is sent by one server-side apply: what is left out disappears, and fields of others stay. One that the
//! server does not take is written anew with less, at last with the least that tools wait for, so that an object is never left
//! without an answer.

use kube::api::{Patch, PatchParams};
use kube::core::Status;
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::json;

use crate::api::FIELD_MANAGER;
use crate::api::v1alpha1::{Artifact, ImagePush, ImagePushStatus, SourceStatus};
use crate::limits::MAX_CONFLICTS;

/// What became of a status that was to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// The object has it, and this version.
    Done(Option<String>),
    /// The object has a part of it, and this version.
    Cut(Option<String>),
    /// The object is gone, or another one has its name.
    Gone,
}

/// Writes a status. Idempotent; an error means that it may or may not have been written.
pub(crate) async fn write(
    api: &Api<ImagePush>,
    object: &ImagePush,
    status: &ImagePushStatus,
) -> Result<Written, kube::Error> {
    let mut parts = vec![status.clone(), kept(status), least(status)];
    parts.dedup();
    let last = parts.len() - 1;
    for (place, part) in parts.iter().enumerate() {
        match persist(api, object, part).await {
            Err(kube::Error::Api(refusal)) if is_refused(&refusal) && place < last => {
                let (name, namespace) = (object.name_any(), object.namespace());
                tracing::warn!(%refusal, name, namespace, "a status was refused; less is written");
            }
            written => return written.map(|written| written.of(place == 0)),
        }
    }
    Ok(Written::Gone)
}

/// Whether a status is too large or has what the definition does not allow. An older definition that lacks a field of it is
/// told by a 500 without a reason: faults of the server have one.
fn is_refused(refusal: &Status) -> bool {
    matches!(refusal.code, 413 | 422) || (refusal.code == 500 && refusal.reason.is_empty())
}

/// Applies a status, anew where another write of the same object came between.
///
/// It is the same status again, and not decided anew: nobody but the one operator that holds the lease decides about these
/// fields, and what it has decided from is its own last write ([`Memory::unseen_status`]) and a spec that is watched, so that
/// an edit brings another look. What others write (a spec, metadata, conditions of theirs) an apply leaves alone.
///
/// [`Memory::unseen_status`]: crate::controller::executor::Memory::unseen_status
async fn persist(
    api: &Api<ImagePush>,
    object: &ImagePush,
    status: &ImagePushStatus,
) -> Result<Written, kube::Error> {
    let name = object.name_any();
    for conflicts in 0.. {
        match apply(api, object, status).await {
            Ok(version) => return Ok(Written::Done(version)),
            Err(kube::Error::Api(answer)) if answer.code == 404 => return Ok(Written::Gone),
            Err(kube::Error::Api(answer)) if answer.code == 409 => {
                // Either the object is another one by now, or somebody else was faster.
                let found = api.get_metadata_opt(&name).await?;
                if found.is_none_or(|found| found.uid() != object.uid()) {
                    return Ok(Written::Gone);
                }
                if conflicts >= MAX_CONFLICTS {
                    return Err(kube::Error::Api(answer));
                }
            }
            Err(cause) => return Err(cause),
        }
    }
    Ok(Written::Gone)
}

async fn apply(
    api: &Api<ImagePush>,
    object: &ImagePush,
    status: &ImagePushStatus,
) -> Result<Option<String>, kube::Error> {
    // It has a manager of its own.
    let status = &ImagePushStatus { inventory: None, ..status.clone() };
    let patch = json!({
        "apiVersion": ImagePush::api_version(&()),
        "kind": ImagePush::kind(&()),
        "metadata": {"uid": object.uid()},
        "status": status,
    });
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let written = api.patch_status(&object.name_any(), &parameters, &Patch::Apply(&patch)).await?;
    Ok(written.resource_version())
}

/// What of a status somebody may wait for, or the next decision needs. Of what was read and pushed, the fields that the
/// definition has always had.
fn kept(status: &ImagePushStatus) -> ImagePushStatus {
    let source = status.source.as_ref().map(|source| SourceStatus {
        reference: source.reference.clone(),
        digest: source.digest.clone(),
        ..SourceStatus::default()
    });
    let artifact = status.artifact.as_ref().map(|artifact| Artifact {
        reference: artifact.reference.clone(),
        digest: artifact.digest.clone(),
        media_type: artifact.media_type.clone(),
        ..Artifact::default()
    });
    ImagePushStatus { source, artifact, ..least(status) }
}

/// What somebody may wait for; the rest is found out again.
fn least(status: &ImagePushStatus) -> ImagePushStatus {
    let status = status.clone();
    ImagePushStatus {
        observed_generation: status.observed_generation,
        last_handled_reconcile_at: status.last_handled_reconcile_at,
        conditions: status.conditions,
        observed_spec_digest: status.observed_spec_digest,
        observed_access_digest: status.observed_access_digest,
        retry: status.retry,
        ..ImagePushStatus::default()
    }
}

// === impl Written ===

impl Written {
    /// The same, of the whole status or of a part.
    fn of(self, whole: bool) -> Self {
        match self {
            Self::Done(version) if !whole => Self::Cut(version),
            written => written,
        }
    }
}
