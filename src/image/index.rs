//! Indexes: OCI image indexes and Docker manifest lists, whose shapes agree.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::descriptor::or_default;
use super::{Annotations, Descriptor, Digest, MediaType, Platform};

/// Most manifests an index may list; real ones have dozens.
pub const MAX_INDEX_ENTRIES: usize = 4096;

/// Marks an instance with zstd layers, as containers/image writes it.
const ZSTD_ANNOTATION: &str = "io.github.containers.compression.zstd";

/// A list of manifests, usually one a platform.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u64,
    /// The document's own media type, where it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// The manifests.
    #[serde(default, deserialize_with = "or_default")]
    pub manifests: Vec<IndexEntry>,
    /// What its author noted of the index.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Annotations::is_empty"
    )]
    pub annotations: Annotations,
    /// Fields that have no meaning here.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// One manifest of an index.
pub type IndexEntry = Descriptor;

// === impl Index ===

impl Index {
    /// An OCI index of these manifests.
    pub fn new(manifests: Vec<IndexEntry>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(MediaType::OCI_INDEX),
            manifests,
            annotations: Annotations::new(),
            other: BTreeMap::new(),
        }
    }

    /// The manifest that the index is attached to, if it says so (image specification v1.1, "Image Index Property
    /// Descriptions"). One that makes no sense is none.
    pub fn subject(&self) -> Option<Descriptor> {
        Descriptor::deserialize(self.other.get("subject")?).ok()
    }

    /// What kind of artifact it is, if it says so.
    pub fn artifact_type(&self) -> Option<MediaType> {
        MediaType::deserialize(self.other.get("artifactType")?).ok()
    }

    /// The entry with this digest.
    pub fn entry(&self, digest: &Digest) -> Option<&IndexEntry> {
        self.manifests.iter().find(|entry| entry.digest == *digest)
    }

    /// The entry whose image runs best on `platform`.
    ///
    /// Goes through the compatible platforms in order of preference. Entries of equal platform: one
    /// with zstd layers first, then the order of the list. Entries without a platform come last.
    pub fn choose(&self, platform: &Platform) -> Option<&IndexEntry> {
        let candidates = |wanted: &Platform| {
            let wanted = wanted.clone();
            self.manifests.iter().filter(move |entry| {
                entry.platform.as_ref().is_some_and(|own| own.matches(&wanted))
            })
        };
        let best = platform.compatible().iter().find_map(|wanted| {
            candidates(wanted).find(|entry| is_zstd(entry)).or_else(|| candidates(wanted).next())
        });
        best.or_else(|| {
            self.manifests
                .iter()
                .find(|entry| entry.platform.is_none() && entry.media_type.is_image_manifest())
        })
    }

    /// The platforms listed, in the order of the list, for messages.
    pub fn platforms(&self) -> Vec<String> {
        self.manifests
            .iter()
            .filter_map(|entry| entry.platform.as_ref())
            .map(Platform::to_string)
            .collect()
    }
}

fn is_zstd(entry: &IndexEntry) -> bool {
    entry.annotations.get(ZSTD_ANNOTATION).is_some_and(|value| value == "true")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(platform: Option<&str>, content: &[u8]) -> IndexEntry {
        let mut entry = Descriptor::of(MediaType::OCI_MANIFEST, content);
        entry.platform = platform.map(|text| text.parse().unwrap());
        entry
    }

    fn chosen(index: &Index, platform: &str) -> Option<usize> {
        let entry = index.choose(&platform.parse().unwrap())?;
        index.manifests.iter().position(|other| other == entry)
    }

    #[test]
    fn the_most_capable_compatible_instance_is_chosen() {
        let index = Index::new(vec![
            entry(Some("linux/amd64"), b"0"),
            entry(Some("linux/arm/v5"), b"1"),
            entry(Some("linux/arm/v6"), b"2"),
            entry(Some("windows/amd64"), b"3"),
        ]);
        let cases = [
            ("linux/amd64", Some(0)),
            ("linux/amd64/v3", Some(0)),
            ("linux/arm/v7", Some(2)),
            ("linux/arm/v5", Some(1)),
            ("windows/amd64", Some(3)),
            ("linux/arm64", None),
        ];
        for (platform, expected) in cases {
            assert_eq!(chosen(&index, platform), expected, "{platform}");
        }
    }

    #[test]
    fn entries_without_a_platform_are_the_last_resort() {
        let index = Index::new(vec![entry(None, b"0"), entry(Some("linux/amd64"), b"1")]);
        assert_eq!(chosen(&index, "linux/amd64"), Some(1));
        assert_eq!(chosen(&index, "linux/s390x"), Some(0));
    }

    #[test]
    fn zstd_wins_among_equals() {
        let mut zstd = entry(Some("linux/amd64"), b"1");
        zstd.annotations.insert(ZSTD_ANNOTATION.into(), "true".into());
        let index = Index::new(vec![entry(Some("linux/amd64"), b"0"), zstd]);
        assert_eq!(chosen(&index, "linux/amd64"), Some(1));
    }
}
