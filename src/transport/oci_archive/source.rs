//! Reading an image of an OCI archive.

use async_trait::async_trait;

use super::store::{ArchiveLayout, member};
use crate::blob::Chunks;
use crate::error::Result;
use crate::image::{Descriptor, Digest, Manifest, MediaType};
use crate::transport::ImageSource;
use crate::transport::local::layout::Selection;
use crate::transport::local::{Archive, UserPath, attachments};

/// An image being read.
pub(super) struct OciArchiveSource {
    layout: ArchiveLayout,
    image: Descriptor,
}

impl OciArchiveSource {
    /// Opens an archive and finds the image.
    pub(super) async fn open(path: &UserPath, selection: &Selection) -> Result<Self> {
        let layout = ArchiveLayout::read(Archive::open(path).await?).await?;
        let image = layout.index.choose(selection, &layout.path())?;
        Ok(Self { layout, image })
    }
}

#[async_trait]
impl ImageSource for OciArchiveSource {
    async fn manifest(&self, instance: Option<&Descriptor>) -> Result<Manifest> {
        self.layout.manifest(instance.unwrap_or(&self.image)).await
    }

    async fn blob(&self, descriptor: &Descriptor) -> Result<Chunks> {
        self.layout.blob(&descriptor.digest)
    }

    async fn attachments(
        &self,
        subject: &Digest,
        artifact_type: Option<&MediaType>,
    ) -> Result<Vec<Descriptor>> {
        let list = self.layout.list(subject).await?;
        attachments::entries(list.as_ref(), artifact_type)
    }

    fn place_by_digest(&self, descriptor: &Descriptor) -> Option<String> {
        Some(format!("{}:{}", self.layout.path(), member(&descriptor.digest)))
    }
}
