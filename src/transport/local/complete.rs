//! Whether an image that is there already is there whole.
//!
//! A push that finds its manifest in place sends nothing; it must not trust a store that lost a blob or, after a power
//! failure, has an empty file in its place. Sizes are compared, not digests: those are checked when a blob is reused.

use std::collections::HashSet;

use crate::image::{Body, Descriptor, Digest, Manifest};
use crate::limits::MAX_INDEX_DEPTH;

/// Content by digest. Both functions block.
pub(crate) trait Store {
    /// The manifest, if it is there and is what its descriptor says.
    fn manifest(&self, descriptor: &Descriptor) -> Option<Manifest>;

    /// The size in bytes of a blob, if it is there.
    fn size_of(&self, digest: &Digest) -> Option<u64>;
}

/// Whether everything that `manifest` points to is there, by its size. Foreign layers may be elsewhere.
pub(crate) fn is_complete(manifest: &Manifest, store: &dyn Store) -> bool {
    has_all(manifest, store, &mut HashSet::new(), MAX_INDEX_DEPTH)
}

fn has_all(
    manifest: &Manifest,
    store: &dyn Store,
    seen: &mut HashSet<Digest>,
    depth: usize,
) -> bool {
    match manifest.body() {
        Body::Image(image) => image.blobs().all(|blob| {
            blob.media_type.is_foreign_layer() || store.size_of(&blob.digest) == Some(blob.size)
        }),
        Body::Index(index) => index.manifests.iter().all(|entry| {
            // Each once, or a small document could ask for endless work.
            if !seen.insert(entry.digest.clone()) {
                return true;
            }
            let instance = store.manifest(entry).filter(|_| depth > 0);
            instance.is_some_and(|instance| has_all(&instance, store, seen, depth - 1))
        }),
    }
}
