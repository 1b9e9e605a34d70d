//! What becomes of a pushed image when its object is deleted.
//!
//! With `deletionPolicy: Delete` the tag is taken away, if it still points to what was pushed and nobody else pushes to it.
//! Trying has an end, so that neither a namespace nor a person waits for a registry that is gone for ever.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use tokio_util::sync::CancellationToken;

use super::decide::{Decision, Outcome, Step};
use super::executor::Memory;
use crate::api::FORCE_CLEANUP;
use crate::api::v1alpha1::{DeletionPolicy, ImagePush, Mode};
use crate::engine;
use crate::image::Digest;
use crate::limits::{CLEANUP_PATIENCE, CLEANUP_RETRY, CLEANUP_TIMEOUT};
use crate::options::PushOptions;
use crate::transport::Removed;

/// What is to be done about an object that is being deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// Let it go, for this reason.
    Release(&'static str),
    /// Take the tag away, if it points to this.
    Remove(Digest),
}

/// How a try went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tried {
    /// The object may go.
    Settled,
    /// Try again after this time.
    Again(Duration),
}

/// Whether an object has something to clean up, or is about to have.
pub(crate) fn wants(object: &ImagePush, decision: &Decision) -> bool {
    let pushes = decision.step == Step::Start && object.spec.mode == Mode::Apply;
    object.spec.deletion_policy == DeletionPolicy::Delete
        && object.spec.destination.volume.is_none()
        && (pushes || recorded(object, decision.status.artifact.as_ref()).is_some())
}

/// Decides about an object that is being deleted. Pure.
pub(crate) fn course(object: &ImagePush, memory: &Memory, shared: bool, now: Timestamp) -> Course {
    let ended = memory.attempt.as_ref().and_then(|record| record.outcome.as_ref());
    let digest = match ended {
        // The attempt ended after the last look; nothing has told of it yet.
        Some(Outcome::Pushed(pushed)) => Some(pushed.digest.clone()),
        _ => recorded(object, object.status.as_ref().and_then(|status| status.artifact.as_ref())),
    };
    let forced = is_forced(object);
    match digest {
        _ if object.spec.deletion_policy == DeletionPolicy::Retain => {
            Course::Release("it is retained")
        }
        _ if object.spec.destination.volume.is_some() => Course::Release("it is in a volume"),
        _ if object.spec.suspend => Course::Release("the object is suspended"),
        _ if forced => Course::Release("somebody has asked for it by annotation"),
        None => Course::Release("nothing was pushed"),
        _ if shared => Course::Release("another object pushes to the same name"),
        Some(_) if is_late(object, now) => Course::Release("it could not be done for too long"),
        Some(digest) => Course::Remove(digest),
    }
}

/// Tries to take the tag away.
pub(crate) async fn remove(options: &PushOptions, digest: &Digest) -> Tried {
    let (endpoint, cancel) = (&options.destination, CancellationToken::new());
    let reference = &endpoint.reference;
    let removal = engine::remove(endpoint, digest, options.retry, &cancel);
    match tokio::time::timeout(CLEANUP_TIMEOUT, removal).await {
        Err(_) => {
            tracing::warn!(%reference, "taking the image away took too long");
            Tried::Again(CLEANUP_RETRY)
        }
        Ok(Err(error)) => {
            tracing::warn!(%reference, %error, "the image could not be taken away");
            Tried::Again(CLEANUP_RETRY)
        }
        Ok(Ok(removed)) => {
            match removed {
                Removed::Done => tracing::info!(%reference, %digest, "the image was taken away"),
                Removed::Absent => tracing::info!(%reference, "the image was gone already"),
                Removed::Changed(current) => {
                    tracing::warn!(%reference, %current, "the image was changed by somebody else, and stays");
                }
                Removed::Unsupported => {
                    tracing::warn!(%reference, "this registry can't take a tag away; the image stays");
                }
            }
            Tried::Settled
        }
    }
}

/// The digest that status has recorded of this destination.
fn recorded(
    object: &ImagePush,
    artifact: Option<&crate::api::v1alpha1::Artifact>,
) -> Option<Digest> {
    let here = Some(object.spec.destination.reference.as_str());
    let artifact = artifact.filter(|artifact| artifact.reference.as_deref() == here)?;
    artifact.digest.parse().ok()
}

/// Whether somebody has asked by annotation to let the object go.
pub(crate) fn is_forced(object: &ImagePush) -> bool {
    object.annotations().get(FORCE_CLEANUP).is_some_and(|value| value == "true")
}

/// Whether cleaning up has been tried for long enough.
pub(crate) fn is_late(object: &ImagePush, now: Timestamp) -> bool {
    let deleted = object.metadata.deletion_timestamp.as_ref().map(|time| time.0);
    let waited = deleted.and_then(|deleted| Duration::try_from(now.duration_since(deleted)).ok());
    waited.is_some_and(|waited| waited > CLEANUP_PATIENCE)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(changes: &Value) -> ImagePush {
        let digest = Digest::of(b"pushed").to_string();
        let mut object = json!({
            "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
            "metadata": {"name": "x", "namespace": "n", "generation": 1, "annotations": {},
                "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {
                "source": {"reference": "docker://a.example/x:1"},
                "destination": {"reference": "docker://b.example/x:1"},
                "deletionPolicy": "Delete",
            },
            "status": {"artifact": {"digest": digest, "mediaType": "x", "reference": "docker://b.example/x:1"}},
        });
        for (pointer, value) in changes.as_object().unwrap() {
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            object.pointer_mut(parent).unwrap()[field] = value.clone();
        }
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn only_what_is_ours_and_wanted_away_is_taken_away() {
        let soon: Timestamp = "2026-01-01T00:09:00Z".parse().unwrap();
        let late: Timestamp = "2026-01-01T00:11:00Z".parse().unwrap();
        let remove = || Course::Remove(Digest::of(b"pushed"));
        for (changes, shared, now, expected) in [
            (json!({}), false, soon, remove()),
            (json!({}), true, soon, Course::Release("another object pushes to the same name")),
            (json!({}), false, late, Course::Release("it could not be done for too long")),
            (
                json!({"/spec/deletionPolicy": "Retain"}),
                false,
                soon,
                Course::Release("it is retained"),
            ),
            (
                json!({"/spec/suspend": true}),
                false,
                soon,
                Course::Release("the object is suspended"),
            ),
            (json!({"/status/artifact": null}), false, soon, Course::Release("nothing was pushed")),
            (
                json!({"/status/artifact/reference": "docker://b.example/x:0"}),
                false,
                soon,
                Course::Release("nothing was pushed"),
            ),
            (
                json!({"/spec/destination/volume": {"persistentVolumeClaim": {"claimName": "c"}}}),
                false,
                soon,
                Course::Release("it is in a volume"),
            ),
            (
                json!({"/metadata/annotations": {"imagepush.dev/force-cleanup": "true"}}),
                false,
                soon,
                Course::Release("somebody has asked for it by annotation"),
            ),
            (
                json!({"/metadata/annotations": {"imagepush.dev/force-cleanup": "no"}}),
                false,
                soon,
                remove(),
            ),
        ] {
            let found = course(&object(&changes), &Memory::default(), shared, now);
            assert_eq!(found, expected, "{changes}");
        }
    }

    #[test]
    fn an_object_is_kept_only_while_there_is_something_to_clean_up() {
        let decide = |object: &ImagePush, step| {
            let status = object.status.clone().unwrap_or_default();
            wants(object, &Decision { status, step, again: None })
        };
        let fresh = json!({"/status/artifact": null});
        for (changes, step, expected) in [
            (json!({}), Step::Wait, true),
            (fresh.clone(), Step::Wait, false),
            (fresh.clone(), Step::Start, true),
            (json!({"/status/artifact": null, "/spec/mode": "DryRun"}), Step::Start, false),
            (json!({"/spec/deletionPolicy": "Retain"}), Step::Start, false),
            (json!({"/spec/destination/volume": {"hostPath": {"path": "/x"}}}), Step::Start, false),
            (json!({"/status/artifact/reference": "docker://b.example/x:0"}), Step::Wait, false),
        ] {
            assert_eq!(decide(&object(&changes), step), expected, "{changes} {step:?}");
        }
    }
}
