//! A bundle as an artifact that belongs to an image: how it is written, and which of several is meant.

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::Bundle;
use crate::image::{Annotations, Artifact, Descriptor, Digest, EMPTY_CONFIG, Manifest, MediaType};

/// The type of the artifact.
pub const ARTIFACT_TYPE: MediaType = MediaType::fixed("application/vnd.imagepush.bundle.v1");
/// The type of its one layer.
const LAYER_TYPE: MediaType = MediaType::fixed("application/yaml");
/// What the layer is called by tools that write it to a file.
const TITLE: (&str, &str) = ("org.opencontainers.image.title", "bundle.yaml");
/// When it was made.
const CREATED: &str = "org.opencontainers.image.created";
/// The digest of the bundle's canonical form.
const DIGEST: &str = "imagepush.dev/bundle.digest";
/// How many objects it has.
const OBJECTS: &str = "imagepush.dev/bundle.objects";
/// The digest of the manifest or index in whose layers it was found.
const FROM: &str = "imagepush.dev/bundle.from";

/// An artifact and the blobs that it consists of.
pub(super) struct Packed {
    pub(super) manifest: Manifest,
    pub(super) blobs: Vec<(Descriptor, Bytes)>,
}

/// Makes the artifact. It is newer than all that are attached already.
pub(super) fn pack(
    bundle: &Bundle,
    subject: &Descriptor,
    from: Option<&Digest>,
    attached: &[Descriptor],
    now: Timestamp,
) -> Packed {
    let yaml = Bytes::copy_from_slice(bundle.yaml().as_bytes());
    let mut layer = Descriptor::of(LAYER_TYPE, &yaml);
    layer.annotations.insert(TITLE.0.into(), TITLE.1.into());
    let mut annotations = Annotations::from([
        (CREATED.to_owned(), after(attached, now).to_string()),
        (DIGEST.to_owned(), bundle.digest().to_string()),
        (OBJECTS.to_owned(), bundle.objects().len().to_string()),
    ]);
    if let Some(from) = from {
        annotations.insert(FROM.to_owned(), from.to_string());
    }
    let config = Descriptor::of(MediaType::OCI_EMPTY, EMPTY_CONFIG);
    let blobs = vec![(config, Bytes::from_static(EMPTY_CONFIG)), (layer.clone(), yaml)];
    let artifact = Artifact {
        artifact_type: ARTIFACT_TYPE,
        subject: subject.clone(),
        layers: vec![layer],
        annotations,
    };
    Packed { manifest: artifact.into_manifest(), blobs }
}

/// Now, in whole seconds; or, where somebody's clock runs ahead, a second after the newest.
fn after(attached: &[Descriptor], now: Timestamp) -> Timestamp {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let newest = attached.iter().filter_map(created).max();
    let next = newest.and_then(|newest| newest.checked_add(SignedDuration::from_secs(1)).ok());
    next.map_or(now, |next| next.max(now))
}

/// The newest of several.
pub(super) fn newest(attached: &[Descriptor]) -> Option<&Descriptor> {
    attached.iter().max_by_key(|entry| created(entry))
}

/// The digest of the bundle that an artifact says that it holds.
pub(super) fn digest_of(attached: &Descriptor) -> Option<Digest> {
    attached.annotations.get(DIGEST)?.parse().ok()
}

/// How many objects an artifact says that it holds.
pub(super) fn objects_of(attached: &Descriptor) -> Option<usize> {
    attached.annotations.get(OBJECTS)?.parse().ok()
}

/// Whether an artifact was made of the layers of this manifest or index, so that it holds what is in them.
pub(super) fn is_from(attached: &Descriptor, origin: &Digest) -> bool {
    attached.annotations.get(FROM).is_some_and(|from| *from == origin.to_string())
}

/// Whether this product has made an artifact.
pub(super) fn is_ours(attached: &Descriptor) -> bool {
    attached.annotations.contains_key(DIGEST)
}

fn created(attached: &Descriptor) -> Option<Timestamp> {
    attached.annotations.get(CREATED)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> Bundle {
        Bundle::parse(b"apiVersion: a.b/v1\nkind: T\nmetadata: {name: thing}\n").unwrap()
    }

    fn entry(created: Option<&str>) -> Descriptor {
        let mut entry =
            Descriptor::of(MediaType::OCI_MANIFEST, created.unwrap_or_default().as_bytes());
        entry.annotations.extend(created.map(|created| (CREATED.to_owned(), created.to_owned())));
        entry
    }

    #[test]
    fn the_artifact_says_what_it_holds() {
        let subject = Descriptor::of(MediaType::OCI_MANIFEST, b"subject");
        let now: Timestamp = "2026-01-02T03:04:05.678Z".parse().unwrap();
        let from = Digest::of(b"source");
        let Packed { manifest, blobs } = pack(&bundle(), &subject, Some(&from), &[], now);
        let image = manifest.as_image().unwrap();
        assert_eq!((image.kind(), image.subject.as_ref()), (&ARTIFACT_TYPE, Some(&subject)));
        let listed = Descriptor { annotations: image.annotations.clone(), ..manifest.descriptor() };
        assert_eq!(listed.annotations[CREATED], "2026-01-02T03:04:05Z");
        assert_eq!(
            (digest_of(&listed), objects_of(&listed)),
            (Some(bundle().digest().clone()), Some(1))
        );
        assert!(is_ours(&listed) && is_from(&listed, &from) && !is_from(&listed, &subject.digest));
        let held: Vec<&Descriptor> = [&image.config].into_iter().chain(&image.layers).collect();
        assert_eq!(blobs.iter().map(|(descriptor, _)| descriptor).collect::<Vec<_>>(), held);
        assert_eq!(image.layers[0].media_type.as_str(), "application/yaml");
        assert_eq!(blobs[1].1, bundle().yaml());
    }

    #[test]
    fn the_newest_is_meant_and_a_new_one_is_newer() {
        let (old, late) =
            (entry(Some("2026-01-01T00:00:00Z")), entry(Some("2027-01-01T00:00:00Z")));
        let entries = [entry(None), late.clone(), old.clone(), entry(Some("soon"))];
        assert_eq!(newest(&entries), Some(&late));
        assert_eq!(newest(&[]), None);
        assert!(newest(&[entry(None)]).is_some());
        let now: Timestamp = "2026-06-01T00:00:00Z".parse().unwrap();
        assert_eq!(after(&[old], now), now);
        assert_eq!(after(&entries, now).to_string(), "2027-01-01T00:00:01Z");
    }
}
