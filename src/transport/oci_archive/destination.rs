//! Writing an image into an OCI archive.
//!
//! Blobs and manifests go to their final places in a file beside the archive as they come. At commit the other named
//! images of the archive that is there are copied too, under its lock; the index comes last, and one rename publishes it.
//! Images without a name are replaced, as is the one that had this name.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::store::{ArchiveLayout, folder, member};
use crate::blob::Blob;
use crate::error::{Error, Kind, Result};
use crate::image::{Descriptor, Digest, Manifest, ManifestFormat};
use crate::limits::MAX_LAYOUT_INDEX;
use crate::transport::local::layout::{
    BLOBS, CAPABILITIES, INDEX_FILE, LAYOUT_CONTENT, LAYOUT_FILE, LayoutIndex,
};
use crate::transport::local::{Archive, ArchiveTarget, TarWriter, UserPath};
use crate::transport::{
    BlobKind, Capabilities, Current, ImageDestination, Repository, Reused, Role,
};

/// An image being written.
pub(super) struct OciArchiveDestination {
    name: Option<String>,
    target: ArchiveTarget,
    /// What is there when the push starts.
    existing: Option<ArchiveLayout>,
    named: Mutex<Option<Descriptor>>,
}

/// Permission bits of the files in the archive.
const MODE: u32 = 0o644;

// === impl OciArchiveDestination ===

impl OciArchiveDestination {
    /// Looks at what is there. A file that isn't an OCI archive is refused.
    pub(super) async fn open(path: UserPath, name: Option<String>) -> Result<Self> {
        let target = ArchiveTarget::new(path, MODE);
        let existing = layout_of(&target, target.existing().await).await?;
        Ok(Self { name, target, existing, named: Mutex::new(None) })
    }

    /// The new archive, with the directory that the blob belongs to.
    async fn writer_for(&self, digest: &Digest) -> Result<&TarWriter> {
        let writer = self.target.writer().await?;
        writer.directory(BLOBS).await?;
        writer.directory(&folder(digest)).await?;
        Ok(writer)
    }
}

#[async_trait]
impl ImageDestination for OciArchiveDestination {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn current(&self) -> Result<Option<Current>> {
        let Some(layout) = &self.existing else { return Ok(None) };
        let Some(image) = layout.index.current(self.name.as_deref()) else { return Ok(None) };
        Ok(layout.whole(&image).await?.map(|manifest| Current::of(&manifest)))
    }

    async fn reuse_blob(
        &self,
        descriptor: &Descriptor,
        _mount_from: Option<&Repository>,
    ) -> Result<Option<Reused>> {
        let Some(layout) = &self.existing else { return Ok(None) };
        let digest = &descriptor.digest;
        match layout.extent(digest)? {
            Some(extent) if extent.size == descriptor.size => {
                self.writer_for(digest).await?;
                self.target.reuse(descriptor, layout.blob(digest)?, member).await
            }
            _ => Ok(None),
        }
    }

    async fn put_blob(&self, blob: Blob, _: BlobKind) -> Result<()> {
        // A blob whose digest isn't known yet gets a SHA-256.
        let digest = blob.identity().get().map(|(digest, _)| digest.clone());
        self.writer_for(&digest.unwrap_or_else(|| Digest::of(b""))).await?;
        self.target.put(blob, member).await
    }

    async fn put_manifest(&self, manifest: &Manifest, role: Role) -> Result<()> {
        if manifest.format() != ManifestFormat::Oci {
            let message = format!("an OCI archive holds no `{}`", manifest.media_type());
            return Err(Error::new(Kind::ManifestRejected, message));
        }
        let writer = self.writer_for(manifest.digest()).await?;
        writer.bytes(&member(manifest.digest()), manifest.bytes().clone()).await?;
        if role == Role::Named {
            let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
            *named = Some(manifest.descriptor());
        }
        Ok(())
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        let Self { name, target, existing: _, named } = *self;
        let image = named.into_inner().unwrap_or_else(PoisonError::into_inner);
        let image =
            image.ok_or_else(|| Error::internal("commit came before the named manifest"))?;
        let writer = target.writer().await?;
        let held = target.hold().await?;
        let existing = layout_of(&target, Ok(held.archive().cloned())).await?;
        let mut index = match existing {
            Some(layout) => {
                let mut index = layout.index.clone();
                index.keep_named(name.as_deref());
                let kept = copy_kept(writer, &layout, &index).await;
                kept.map_err(|error| target.not_ours(error, "a whole OCI archive"))?;
                index
            }
            None => LayoutIndex::new(),
        };
        index.put(image, name.as_deref())?;
        write_index(writer, &index).await?;
        target.publish(held).await
    }
}

async fn layout_of(
    target: &ArchiveTarget,
    archive: Result<Option<Archive>>,
) -> Result<Option<ArchiveLayout>> {
    let layout = match archive {
        Ok(Some(archive)) => ArchiveLayout::read(archive).await.map(Some),
        Ok(None) => Ok(None),
        Err(error) => Err(error),
    };
    layout.map_err(|error| target.not_ours(error, "an OCI archive"))
}

/// Copies what the images of an index consist of, as far as it is there.
async fn copy_kept(writer: &TarWriter, layout: &ArchiveLayout, index: &LayoutIndex) -> Result<()> {
    for digest in layout.parts(index.images()).await? {
        let name = member(&digest);
        if let Some(extent) = layout.extent(&digest)?
            && !writer.has(&name).await
        {
            writer.directory(&folder(&digest)).await?;
            writer.file(&name, extent.size, layout.blob(&digest)?).await?;
        }
    }
    Ok(())
}

async fn write_index(writer: &TarWriter, index: &LayoutIndex) -> Result<()> {
    let bytes = index.to_bytes()?;
    if bytes.len() as u64 > MAX_LAYOUT_INDEX {
        let message = format!(
            "`{INDEX_FILE}` would have {} bytes, more than the limit of {MAX_LAYOUT_INDEX}",
            bytes.len()
        );
        return Err(Error::new(Kind::LimitExceeded, message)
            .hint("push into another archive: this one holds too many images"));
    }
    writer.bytes(LAYOUT_FILE, Bytes::from_static(LAYOUT_CONTENT)).await?;
    writer.bytes(INDEX_FILE, bytes).await
}
