//! What becomes of a pushed image when its object is deleted.
//!
//! With `deletionPolicy: Delete` the tag is taken away, if it still points to what was pushed and nobody else pushes to it.
//! Where and for how long that is tried, is in `removal`.

use kube::ResourceExt as _;

use super::decide::{Decision, Step};
use super::executor::Memory;
use super::removal::Tried;
use crate::api::FORCE_CLEANUP;
use crate::api::v1alpha1::{DeletionPolicy, ImagePush, Mode};
use crate::engine::{self, Wanted};
use crate::image::Digest;
use crate::limits::CLEANUP_TIMEOUT;
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

/// Whether an object has something to clean up, or may have at any moment, since `memory` has an attempt that is under way.
/// What one that has ended has left, the decision tells.
pub(crate) fn wants(object: &ImagePush, decision: &Decision, memory: &Memory) -> bool {
    let attempted = decision.step == Step::Start || is_running(memory);
    let pushes = attempted && object.spec.mode == Mode::Apply;
    object.spec.deletion_policy == DeletionPolicy::Delete
        && object.spec.destination.volume.is_none()
        && (pushes || recorded(object, decision.status.artifact.as_ref()).is_some())
}

/// Whether an attempt is under way.
pub(crate) fn is_running(memory: &Memory) -> bool {
    memory.attempt.as_ref().is_some_and(|record| record.outcome.is_none())
}

/// Decides about an object that is being deleted. Pure.
pub(crate) fn course(object: &ImagePush, memory: &Memory, shared: bool) -> Course {
    let artifact = object.status.as_ref().and_then(|status| status.artifact.as_ref());
    let digest = untold(object, memory).or_else(|| recorded(object, artifact));
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
        Some(digest) => Course::Remove(digest),
    }
}

/// What an attempt has left at this destination that ended after the last look, so that nothing has told of it yet.
fn untold(object: &ImagePush, memory: &Memory) -> Option<Digest> {
    let here = memory.destination == object.spec.destination.reference;
    let record = memory.attempt.as_ref().filter(|_| here)?;
    match record.landed() {
        Some(pushed) => Some(pushed.digest.clone()),
        None => record.progress.named().map(|manifest| manifest.digest),
    }
}

/// Tries to take the tag away.
pub(crate) async fn remove(
    options: &PushOptions,
    digest: &Digest,
    wanted: &Wanted,
) -> Tried<Removed> {
    let endpoint = &options.destination;
    let reference = &endpoint.reference;
    let removal = engine::remove(endpoint, digest, options.retry, wanted);
    let failed = |why: String| {
        tracing::warn!(%reference, why, "the image could not be taken away");
        Tried::Failed(why)
    };
    match tokio::time::timeout(CLEANUP_TIMEOUT, removal).await {
        Err(_) => failed(format!("it took longer than {} s", CLEANUP_TIMEOUT.as_secs())),
        Ok(Err(error)) => failed(error.to_string()),
        Ok(Ok(removed)) => Tried::Settled(removed),
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::controller::decide::Outcome;
    use crate::controller::executor::Record;
    use crate::controller::failure::Failure;
    use crate::error::{Error, Kind};
    use crate::image::{Descriptor, MediaType};

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
        let remove = || Course::Remove(Digest::of(b"pushed"));
        for (changes, shared, expected) in [
            (json!({}), false, remove()),
            (json!({}), true, Course::Release("another object pushes to the same name")),
            (json!({"/spec/deletionPolicy": "Retain"}), false, Course::Release("it is retained")),
            (json!({"/spec/suspend": true}), false, Course::Release("the object is suspended")),
            (json!({"/status/artifact": null}), false, Course::Release("nothing was pushed")),
            (
                json!({"/status/artifact/reference": "docker://b.example/x:0"}),
                false,
                Course::Release("nothing was pushed"),
            ),
            (
                json!({"/spec/destination/volume": {"persistentVolumeClaim": {"claimName": "c"}}}),
                false,
                Course::Release("it is in a volume"),
            ),
            (
                json!({"/metadata/annotations": {"imagepush.dev/force-cleanup": "true"}}),
                false,
                Course::Release("somebody has asked for it by annotation"),
            ),
            (
                json!({"/metadata/annotations": {"imagepush.dev/force-cleanup": "no"}}),
                false,
                remove(),
            ),
        ] {
            let found = course(&object(&changes), &Memory::default(), shared);
            assert_eq!(found, expected, "{changes}");
        }
    }

    #[test]
    fn what_was_pushed_before_it_was_called_off_is_taken_away() {
        let mut record = Record::new("sha256:work");
        let landed = Digest::of(b"landed");
        record.called_off_after(&landed);
        let destination = "docker://b.example/x:1".to_owned();
        let memory = Memory { attempt: Some(record), destination, ..Memory::default() };
        let fresh = object(&json!({"/status/artifact": null}));
        assert_eq!(course(&fresh, &memory, false), Course::Remove(landed));
    }

    #[test]
    fn what_an_attempt_has_left_is_ours_however_it_ended() {
        let left = |outcome, destination: &str| {
            let named = Descriptor::new(MediaType::OCI_MANIFEST, Digest::of(b"left"), 7);
            let mut record = Record::new("sha256:work");
            record.outcome = Some(outcome);
            record.progress.name(&named);
            let destination = destination.to_owned();
            let memory = Memory { attempt: Some(record), destination, ..Memory::default() };
            course(&object(&json!({})), &memory, false)
        };
        let failed = || Outcome::Failed(Failure::from(&Error::new(Kind::AccessDenied, "no")));
        let here = "docker://b.example/x:1";
        assert_eq!(left(failed(), here), Course::Remove(Digest::of(b"left")));
        assert_eq!(left(Outcome::Cancelled, here), Course::Remove(Digest::of(b"left")));
        // It was left elsewhere; what is here, is what status tells of.
        let elsewhere = left(failed(), "docker://b.example/x:0");
        assert_eq!(elsewhere, Course::Remove(Digest::of(b"pushed")));
    }

    #[test]
    fn an_object_is_kept_only_while_there_is_something_to_clean_up() {
        let decide = |object: &ImagePush, step, attempt| {
            let status = object.status.clone().unwrap_or_default();
            let memory = Memory { attempt, ..Memory::default() };
            wants(object, &Decision { status, step, again: None }, &memory)
        };
        let fresh = json!({"/status/artifact": null});
        let running = || Some(Record::new("sha256:work"));
        let mut ended = Record::new("sha256:work");
        ended.outcome = Some(Outcome::Cancelled);
        assert!(!decide(&object(&fresh), Step::Wait, Some(ended)));
        let dry = json!({"/status/artifact": null, "/spec/mode": "DryRun"});
        for (changes, expected) in [(fresh.clone(), true), (dry, false)] {
            assert_eq!(decide(&object(&changes), Step::Wait, running()), expected, "{changes}");
        }
        for (changes, step, expected) in [
            (json!({}), Step::Wait, true),
            (fresh.clone(), Step::Wait, false),
            (fresh.clone(), Step::Start, true),
            (json!({"/status/artifact": null, "/spec/mode": "DryRun"}), Step::Start, false),
            (json!({"/spec/deletionPolicy": "Retain"}), Step::Start, false),
            (json!({"/spec/destination/volume": {"hostPath": {"path": "/x"}}}), Step::Start, false),
            (json!({"/status/artifact/reference": "docker://b.example/x:0"}), Step::Wait, false),
        ] {
            assert_eq!(decide(&object(&changes), step, None), expected, "{changes} {step:?}");
        }
    }
}
