//! What is told of a push that writes nothing: because all is in place, or because it was only asked what it would do.

use std::collections::HashMap;

use super::plan::{LayerAction, Plan};
use super::{BlobCounts, Preview, PreviewBlob, PreviewImage, Pushed, PushedManifest, SourceImage};
use crate::image::{Descriptor, Digest, ImageManifest, Manifest};
use crate::transport::Current;

/// The result where the destination has `current` already.
///
/// `source` is the manifest that the source's reference names; without a plan nothing below it has been read.
pub(super) fn present(source: &Manifest, plan: Option<&Plan>, current: Option<&Current>) -> Pushed {
    let planned = plan.map_or(source, |plan| plan.exact.as_ref().unwrap_or(&plan.source));
    Pushed {
        source: SourceImage::of(source),
        digest: current.map_or(planned.digest(), |now| &now.digest).clone(),
        replaced: None,
        media_type: current.map_or(planned.media_type(), |now| &now.media_type).clone(),
        // Of an image that is known by its config, the sizes there are not those of the source's layers.
        size_bytes: match current {
            Some(now) if now.digest != *planned.digest() => None,
            _ => size_of(plan, planned),
        },
        manifests: present_manifests(plan, planned, current),
        blobs: BlobCounts::default(),
        bytes_sent: 0,
        already_present: true,
        beside: None,
    }
}

/// What a push by this plan would do.
pub(super) fn preview_of(source: &Manifest, plan: &Plan, already_present: bool) -> Preview {
    let index = plan.source.as_index().is_some();
    let media_type = if index { plan.format.index_type() } else { plan.format.manifest_type() };
    let images = plan.images();
    Preview {
        source: SourceImage::of(source),
        digest: plan.exact.as_ref().map(|exact| exact.digest().clone()),
        media_type,
        already_present,
        beside: None,
        images: images
            .into_iter()
            .map(|(plan, image, actions)| of_image(plan, image, actions))
            .collect(),
    }
}

fn of_image(plan: &Plan, image: &ImageManifest, actions: &[LayerAction]) -> PreviewImage {
    let layers = image.layers.iter().zip(actions.iter().map(|action| action.as_str()));
    let blobs = layers.chain([(&image.config, LayerAction::Keep.as_str())]);
    let blobs = blobs.map(|(blob, action)| PreviewBlob {
        digest: blob.digest.clone(),
        size_bytes: blob.size,
        action,
    });
    PreviewImage {
        source_digest: plan.source.digest().clone(),
        platform: plan.platform.clone(),
        blobs: blobs.collect(),
    }
}

/// Sizes of a manifest and all below it, as far as these were read. `Left` layers are not at the destination.
fn size_of(plan: Option<&Plan>, manifest: &Manifest) -> Option<u64> {
    let images: Vec<(&ImageManifest, &[LayerAction])> = match (plan, manifest.as_image()) {
        (Some(plan), _) => {
            plan.images().into_iter().map(|(_, image, actions)| (image, actions)).collect()
        }
        (None, Some(image)) => vec![(image, &[])],
        (None, None) => return None,
    };
    let mut sizes: HashMap<&Digest, u64> = HashMap::new();
    for (image, actions) in images {
        let left = |n: usize| actions.get(n) == Some(&LayerAction::Leave);
        let layers =
            image.layers.iter().enumerate().filter(|(n, _)| !left(*n)).map(|(_, layer)| layer);
        sizes.extend(layers.chain([&image.config]).map(|blob| (&blob.digest, blob.size)));
    }
    if let Some(index) = manifest.as_index() {
        sizes.extend(index.manifests.iter().map(|entry| (&entry.digest, entry.size)));
    }
    // Nothing of this has been verified: the sizes may be absurd.
    let own = manifest.bytes().len() as u64;
    Some(sizes.values().fold(own, |sum, size| sum.saturating_add(*size)))
}

fn present_manifests(
    plan: Option<&Plan>,
    manifest: &Manifest,
    now: Option<&Current>,
) -> Vec<PushedManifest> {
    if let Some(index) = manifest.as_index() {
        let entry = |entry: &Descriptor| PushedManifest {
            digest: entry.digest.clone(),
            platform: entry.platform.clone(),
            size_bytes: entry.size,
        };
        return index.manifests.iter().map(entry).collect();
    }
    vec![PushedManifest {
        digest: now.map_or(manifest.digest(), |now| &now.digest).clone(),
        platform: plan.and_then(|plan| plan.platform.clone()),
        size_bytes: now.map_or(manifest.bytes().len() as u64, |now| now.size),
    }]
}
