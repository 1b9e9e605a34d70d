//! What is at the destination after a copy, and the sums that are told of it.

use std::collections::HashMap;

use super::blob::CopiedBlob;
use super::copy_state::CopyState;
use super::progress::BlobOutcome;
use super::{BlobCounts, Pushed, PushedManifest, SourceImage};
use crate::image::{Digest, Manifest, Platform};

/// A manifest with everything below it, as the destination has it.
pub(super) struct Copied {
    pub(super) manifest: Manifest,
    /// Its image manifests, itself or instances, in the order of the index.
    images: Vec<PushedManifest>,
    /// Everything below it: blobs, and manifests of instances with no outcome.
    below: HashMap<Digest, (u64, Option<BlobOutcome>)>,
}

impl Copied {
    /// An image with its blobs.
    pub(super) fn image(
        manifest: Manifest,
        platform: Option<Platform>,
        blobs: Vec<CopiedBlob>,
    ) -> Self {
        let images = vec![PushedManifest {
            digest: manifest.digest().clone(),
            platform,
            size_bytes: manifest.bytes().len() as u64,
        }];
        let entry = |blob: CopiedBlob| (blob.digest, (blob.size, Some(blob.outcome)));
        Self { manifest, images, below: blobs.into_iter().map(entry).collect() }
    }

    /// An index with its instances.
    pub(super) fn index(manifest: Manifest, instances: Vec<Self>) -> Self {
        let (mut images, mut below) = (vec![], HashMap::new());
        for instance in instances {
            let size = instance.manifest.bytes().len() as u64;
            below.insert(instance.manifest.digest().clone(), (size, None));
            below.extend(instance.below);
            images.extend(instance.images);
        }
        Self { manifest, images, below }
    }

    /// Whether a blob was sent, as far as this copy went.
    pub(super) fn sent_anything(&self) -> bool {
        self.below.values().any(|(_, outcome)| *outcome == Some(BlobOutcome::Sent))
    }

    /// The result of a push that wrote this in the place of another, with all that was done for its blobs.
    pub(super) fn pushed(
        self,
        source: SourceImage,
        replaced: Option<Digest>,
        state: &CopyState,
    ) -> Pushed {
        let mut blobs = BlobCounts::default();
        let (mut bytes_sent, mut size) = (0u64, self.manifest.bytes().len() as u64);
        for (digest, (bytes, outcome)) in self.below {
            size = size.saturating_add(bytes);
            match outcome.map(|outcome| state.outcome(&digest).unwrap_or(outcome)) {
                Some(BlobOutcome::Sent) => {
                    blobs.sent += 1;
                    bytes_sent = bytes_sent.saturating_add(bytes);
                }
                Some(BlobOutcome::Reused) => blobs.reused += 1,
                Some(BlobOutcome::Mounted) => blobs.mounted += 1,
                Some(BlobOutcome::Left) | None => {}
            }
        }
        Pushed {
            source,
            digest: self.manifest.digest().clone(),
            replaced,
            media_type: self.manifest.media_type().clone(),
            size_bytes: Some(size),
            manifests: self.images,
            blobs,
            bytes_sent,
            already_present: false,
            beside: None,
        }
    }
}
