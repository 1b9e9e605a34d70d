//! Reading an image of a layout.
//!
//! `index.json` is read once, so that a push sees one state of it; content is addressed by digest from there on.

use async_trait::async_trait;

use super::super::ImageSource;
use super::super::local::attachments;
use super::super::local::layout::Selection;
use super::super::local::{UserPath, blocking, read_whole};
use super::store::LayoutStore;
use crate::blob::Chunks;
use crate::error::Result;
use crate::image::{Descriptor, Digest, Manifest, MediaType};

/// An image of a layout, being read.
pub(super) struct LayoutSource {
    store: LayoutStore,
    image: Descriptor,
}

// === impl LayoutSource ===

impl LayoutSource {
    /// Opens the layout and finds the image.
    pub(super) async fn open(path: UserPath, selection: Selection) -> Result<Self> {
        blocking(move || {
            let store = LayoutStore::open(&path)?;
            let image = store.index()?.choose(&selection, &path.path().display().to_string())?;
            Ok(Self { store, image })
        })
        .await
    }
}

#[async_trait]
impl ImageSource for LayoutSource {
    async fn manifest(&self, instance: Option<&Descriptor>) -> Result<Manifest> {
        let store = self.store.clone();
        let descriptor = instance.unwrap_or(&self.image).clone();
        blocking(move || store.manifest(&descriptor)).await
    }

    async fn blob(&self, descriptor: &Descriptor) -> Result<Chunks> {
        let store = self.store.clone();
        let digest = descriptor.digest.clone();
        blocking(move || {
            let file = store.blob(&digest)?.ok_or_else(|| store.missing(&digest))?;
            read_whole(file, store.blob_path(&digest))
        })
        .await
    }

    async fn attachments(
        &self,
        subject: &Digest,
        artifact_type: Option<&MediaType>,
    ) -> Result<Vec<Descriptor>> {
        let (store, subject) = (self.store.clone(), subject.clone());
        let list = blocking(move || store.list(&subject)).await?;
        attachments::entries(list.as_ref(), artifact_type)
    }

    fn place_by_digest(&self, descriptor: &Descriptor) -> Option<String> {
        Some(self.store.blob_path(&descriptor.digest).display().to_string())
    }
}
