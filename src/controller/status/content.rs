//! What the engine found, in the fields of a status.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::number;
use crate::api::v1alpha1::{
    AppliedStatus, Artifact, ArtifactManifest, CustomResourcesStatus, Preview, SourceStatus,
};
use crate::controller::decide::Previewed;
use crate::engine::{self, Beside, Decision, Pushed, SourceImage};
use crate::image::Descriptor;
use crate::limits::{MAX_CONDITION_MESSAGE, MAX_STATUS_MANIFESTS, MAX_STATUS_TEXT};

/// The image that was read.
pub(super) fn source(read: &SourceImage, reference: &str) -> SourceStatus {
    // The report of a pod may name more than the engine does.
    let platforms = read.platforms.iter().take(MAX_STATUS_MANIFESTS);
    SourceStatus {
        reference: reference.to_owned(),
        digest: read.digest.to_string(),
        media_type: Some(short(read.media_type.as_str())).filter(|text| !text.is_empty()),
        platforms: platforms.map(|platform| short(&platform.to_string())).collect(),
    }
}

/// What the destination holds. A check that found the index in place has read nothing below it: then the rest is
/// taken from what was known of the same digest.
pub(super) fn artifact(
    pushed: &Pushed,
    reference: &str,
    known: Option<&Artifact>,
    now: Timestamp,
) -> Artifact {
    let digest = pushed.digest.to_string();
    let held_since = held_since(reference, known, !pushed.already_present, now);
    if let Some(known) = known.filter(|known| known.digest == digest && pushed.already_present) {
        return Artifact { reference: Some(reference.to_owned()), held_since, ..known.clone() };
    }
    let manifests = pushed.manifests.iter().take(MAX_STATUS_MANIFESTS);
    Artifact {
        reference: Some(reference.to_owned()),
        held_since,
        digest,
        media_type: short(pushed.media_type.as_str()),
        size_bytes: pushed.size_bytes.map(number),
        manifests: manifests
            .map(|manifest| ArtifactManifest {
                digest: manifest.digest.to_string(),
                platform: manifest.platform.as_ref().map(|platform| short(&platform.to_string())),
                size_bytes: number(manifest.size_bytes),
            })
            .collect(),
    }
}

/// What a name was given by an attempt that has not come to its end.
pub(super) fn named(
    manifest: &Descriptor,
    reference: &str,
    known: Option<&Artifact>,
    now: Timestamp,
) -> Artifact {
    Artifact {
        reference: Some(reference.to_owned()),
        held_since: held_since(reference, known, true, now),
        digest: manifest.digest.to_string(),
        media_type: short(manifest.media_type.as_str()),
        ..Artifact::default()
    }
}

/// When the object first wrote the name that it has to do with now.
fn held_since(
    reference: &str,
    known: Option<&Artifact>,
    wrote: bool,
    now: Timestamp,
) -> Option<Time> {
    let same = known.filter(|known| known.reference.as_deref() == Some(reference));
    same.and_then(|known| known.held_since.clone()).or_else(|| wrote.then_some(Time(now)))
}

/// What an image says of itself, as long as status may carry it.
fn short(text: &str) -> String {
    text.chars().take(MAX_STATUS_TEXT).collect()
}

/// The decision about custom resources that were to be put beside the image, where that failed.
pub(crate) const BUNDLE_FAILED: &str = "failed";
/// The decision about custom resources that can't be used.
pub(crate) const BUNDLE_SKIPPED: &str = "skipped";

/// What was decided about the custom resources that the image carries. Where nobody has looked, what was decided `before`
/// about the same image holds. What became of them in the cluster is told later.
pub(super) fn custom_resources(
    beside: &Beside,
    before: Option<&CustomResourcesStatus>,
    applied: Option<AppliedStatus>,
) -> CustomResourcesStatus {
    let Beside { decision, digest, objects, artifact } = beside;
    if let (Some(before), Decision::NotSearched(_)) = (before, decision) {
        return CustomResourcesStatus { applied, ..before.clone() };
    }
    CustomResourcesStatus {
        decision: decision.as_str().to_owned(),
        reason: decision.reason().map(cut),
        digest: digest.as_ref().map(ToString::to_string),
        objects: objects.map(|objects| number(objects as u64)),
        artifact: artifact.as_ref().map(ToString::to_string),
        applied,
    }
}

/// The custom resources are not beside the image, since putting them there failed.
pub(super) fn bundle_failed(reason: &str, applied: Option<AppliedStatus>) -> CustomResourcesStatus {
    CustomResourcesStatus {
        decision: BUNDLE_FAILED.to_owned(),
        reason: Some(cut(reason)),
        applied,
        ..CustomResourcesStatus::default()
    }
}

fn cut(reason: &str) -> String {
    reason.chars().take(MAX_CONDITION_MESSAGE).collect()
}

/// What a push would do.
pub(crate) fn preview(found: &engine::Preview) -> Previewed {
    let blobs: std::collections::BTreeMap<_, _> = found
        .images
        .iter()
        .flat_map(|image| &image.blobs)
        .map(|blob| (&blob.digest, blob.size_bytes))
        .collect();
    let preview = Preview {
        digest: found.digest.as_ref().map(ToString::to_string),
        media_type: short(found.media_type.as_str()),
        already_present: found.already_present,
        images: number(found.images.len() as u64),
        blobs: number(blobs.len() as u64),
        bytes: number(blobs.values().fold(0, |sum: u64, size| sum.saturating_add(*size))),
    };
    Previewed { source: found.source.clone(), preview, beside: found.beside.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{BlobCounts, PushedManifest};
    use crate::image::{Digest, MediaType, Platform};

    /// An image says what it likes of itself; the schema takes 256 characters of it, and 64 manifests.
    #[test]
    fn whatever_an_image_says_fits_into_a_status() {
        let long = "é".repeat(300);
        let manifest = |number: u32| PushedManifest {
            digest: Digest::of(&number.to_le_bytes()),
            platform: Some(Platform::new(&long, "amd64", None)),
            size_bytes: u64::MAX,
        };
        let pushed = Pushed {
            source: SourceImage {
                digest: Digest::of(b"source"),
                media_type: MediaType::new(long.clone()),
                platforms: (0..100).map(|n| Platform::new(&long, &n.to_string(), None)).collect(),
            },
            digest: Digest::of(b"destination"),
            replaced: None,
            media_type: MediaType::new(long.clone()),
            size_bytes: Some(u64::MAX),
            manifests: (0..100).map(manifest).collect(),
            blobs: BlobCounts::default(),
            bytes_sent: 0,
            already_present: false,
            beside: None,
        };
        let found = artifact(&pushed, "docker://r.example/app:1", None, Timestamp::UNIX_EPOCH);
        let short = "é".repeat(256);
        assert_eq!((&found.media_type, found.size_bytes), (&short, Some(i64::MAX)));
        assert_eq!(found.manifests.len(), 64);
        assert!(found.manifests.iter().all(|it| it.platform.as_ref() == Some(&short)));
        let found = source(&pushed.source, "docker://r.example/app:1");
        assert_eq!(found.media_type.as_ref(), Some(&short));
        assert_eq!(found.platforms, vec![short; 64]);
    }

    /// Everything that is known of a bundle, and of one that nobody has looked for what was known before.
    #[test]
    fn what_was_decided_about_a_bundle_is_told_in_full() {
        let told = |decision: &str, reason: Option<&str>, known: bool| CustomResourcesStatus {
            decision: decision.to_owned(),
            reason: reason.map(str::to_owned),
            digest: known.then(|| Digest::of(b"bundle").to_string()),
            objects: known.then_some(3),
            artifact: known.then(|| Digest::of(b"artifact").to_string()),
            applied: Some(AppliedStatus::default()),
        };
        let skipped = told("skipped", Some("it is broken"), false);
        for (decision, before, expected) in [
            (Decision::Pushed, None, told("pushed", None, true)),
            (Decision::Unchanged, Some(&skipped), told("unchanged", None, true)),
            (Decision::Absent, None, told("absent", None, false)),
            (Decision::Skipped("it is broken".into()), None, skipped.clone()),
            (Decision::NotSearched("no".into()), None, told("notSearched", Some("no"), false)),
            (Decision::NotSearched("no".into()), Some(&skipped), skipped.clone()),
        ] {
            let known = matches!(decision, Decision::Pushed | Decision::Unchanged);
            let beside = Beside {
                decision,
                digest: known.then(|| Digest::of(b"bundle")),
                objects: known.then_some(3),
                artifact: known.then(|| Digest::of(b"artifact")),
            };
            let applied = Some(AppliedStatus::default());
            assert_eq!(custom_resources(&beside, before, applied), expected, "{beside:?}");
        }
        let failed = bundle_failed("it is broken", Some(AppliedStatus::default()));
        assert_eq!(failed, told("failed", Some("it is broken"), false));
    }

    /// Who only finds what is there, be it by what others have pushed, has no part in the name.
    #[test]
    fn a_name_is_held_from_its_first_write_until_another_one_is_written() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let held = |reference: &str, since| Artifact {
            reference: Some(reference.to_owned()),
            held_since: Some(Time(at(since))),
            ..Artifact::default()
        };
        for (known, wrote, expected) in [
            (None, false, None),
            (None, true, Some(9)),
            (Some(held("here", 5)), false, Some(5)),
            (Some(held("here", 5)), true, Some(5)),
            (Some(held("there", 5)), false, None),
            (Some(held("there", 5)), true, Some(9)),
        ] {
            let found = held_since("here", known.as_ref(), wrote, at(9));
            assert_eq!(found, expected.map(|second| Time(at(second))), "{known:?} {wrote}");
        }
    }
}
