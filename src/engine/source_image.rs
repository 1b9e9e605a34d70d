//! What is told of the image that was read.

use crate::image::{Digest, Manifest, MediaType, Platform};
use crate::limits::MAX_STATUS_MANIFESTS;

/// What the source's reference names, as far as that manifest itself tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceImage {
    /// Digest of the manifest or index.
    pub digest: Digest,
    /// Its media type.
    pub media_type: MediaType,
    /// The platforms that an index names, normalised, each once and in its order, [`MAX_STATUS_MANIFESTS`] of them at most;
    /// none of a single image, which says so in its config only.
    pub platforms: Vec<Platform>,
}

// === impl SourceImage ===

impl SourceImage {
    pub(super) fn of(named: &Manifest) -> Self {
        let entries = named.as_index().map_or(&[][..], |index| &index.manifests);
        let mut platforms = vec![];
        for found in entries.iter().filter_map(|entry| entry.platform.as_ref()) {
            let platform = Platform::new(&found.os, &found.architecture, found.variant.as_deref());
            if platforms.len() == MAX_STATUS_MANIFESTS {
                break;
            }
            if !found.is_unknown() && !platforms.contains(&platform) {
                platforms.push(platform);
            }
        }
        Self { digest: named.digest().clone(), media_type: named.media_type().clone(), platforms }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_index_names_its_platforms_once_and_without_what_nothing_runs_on() {
        let entry = |n: u8, platform: serde_json::Value| {
            json!({
                "mediaType": MediaType::OCI_MANIFEST, "digest": Digest::of(&[n]), "size": 7,
                "platform": platform,
            })
        };
        let index = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [
            entry(1, json!({"os": "linux", "architecture": "arm", "variant": "v7"})),
            entry(6, json!({"os": "linux", "architecture": "arm64", "variant": "v8"})),
            entry(7, json!({"os": "windows", "architecture": "amd64", "os.version": "10.1"})),
            entry(8, json!({"os": "windows", "architecture": "amd64", "os.version": "10.2"})),
            entry(2, json!({"os": "linux", "architecture": "amd64"})),
            entry(3, json!({"os": "unknown", "architecture": "unknown"})),
            entry(4, json!({"os": "linux", "architecture": "amd64"})),
            entry(5, json!(null)),
        ]});
        let named = Manifest::parse(Bytes::from(index.to_string()), None).unwrap();
        let expected = SourceImage {
            digest: named.digest().clone(),
            media_type: MediaType::OCI_INDEX,
            platforms: ["linux/arm/v7", "linux/arm64", "windows/amd64", "linux/amd64"]
                .map(|it| it.parse().unwrap())
                .to_vec(),
        };
        assert_eq!(SourceImage::of(&named), expected);
    }
}
