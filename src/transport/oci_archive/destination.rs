//! Writing an image into an OCI archive.
//!
//! Blobs and manifests go to their final places in a file beside the archive as they come. At commit the other named
//! images of the archive that is there are copied too, under its lock; the index comes last, and one rename publishes it.
//! Images without a name are replaced, as is the one that had this name.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt as _;

use super::store::{ArchiveLayout, folder, member};
use crate::blob::Blob;
use crate::error::{Error, Kind, Result};
use crate::image::{Descriptor, Digest, Manifest, ManifestFormat, MediaType};
use crate::limits::MAX_LAYOUT_INDEX;
use crate::transport::local::attachments::Changes;
use crate::transport::local::layout::{
    BLOBS, CAPABILITIES, INDEX_FILE, LAYOUT_CONTENT, LAYOUT_FILE, LayoutIndex,
};
use crate::transport::local::{Archive, ArchiveTarget, TarWriter, UserPath};
use crate::transport::{
    BlobKind, Capabilities, Commit, Current, ImageDestination, Repository, Reused, Role,
};

/// An image being written.
pub(super) struct OciArchiveDestination {
    name: Option<String>,
    target: ArchiveTarget,
    /// What is there when the push starts.
    existing: Option<ArchiveLayout>,
    named: Mutex<Option<Descriptor>>,
    attachments: Mutex<Changes>,
}

/// Permission bits of the files in the archive.
const MODE: u32 = 0o644;

// === impl OciArchiveDestination ===

impl OciArchiveDestination {
    /// Looks at what is there. A file that isn't an OCI archive is refused.
    pub(super) async fn open(path: UserPath, name: Option<String>) -> Result<Self> {
        let target = ArchiveTarget::new(path, MODE);
        let existing = layout_of(&target, target.existing().await).await?;
        let (named, attachments) = (Mutex::default(), Mutex::default());
        Ok(Self { name, target, existing, named, attachments })
    }

    /// The new archive, with the directory that the blob belongs to.
    async fn writer_for(&self, digest: &Digest) -> Result<&TarWriter> {
        let writer = self.target.writer().await?;
        make_folder(writer, digest).await?;
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
        write_manifest(self.target.writer().await?, manifest).await?;
        if role == Role::Named {
            *lock(&self.named) = Some(manifest.descriptor());
        }
        Ok(())
    }

    async fn attachments(
        &self,
        subject: &Digest,
        artifact_type: Option<&MediaType>,
    ) -> Result<Vec<Descriptor>> {
        let list = match &self.existing {
            Some(layout) => layout.list(subject).await?,
            None => None,
        };
        lock(&self.attachments).seen(subject, list.as_ref(), artifact_type)
    }

    async fn put_attachment(&self, artifact: &Manifest) -> Result<()> {
        write_manifest(self.target.writer().await?, artifact).await?;
        lock(&self.attachments).add(artifact)
    }

    async fn delete_attachment(&self, subject: &Digest, attachment: &Digest) -> Result<()> {
        lock(&self.attachments).remove(subject, attachment);
        Ok(())
    }

    async fn prepare(self: Box<Self>) -> Result<Commit> {
        let Self { name, target, existing: _, named, attachments } = *self;
        let image = named.into_inner().unwrap_or_else(PoisonError::into_inner);
        let changes = attachments.into_inner().unwrap_or_else(PoisonError::into_inner);
        if image.is_none() && changes.is_empty() {
            return Err(Error::internal("commit came before the named manifest"));
        }
        let writer = target.writer().await?;
        let held = target.hold().await?;
        let existing = layout_of(&target, Ok(held.archive().cloned())).await?;
        let merged = merge(writer, existing.as_ref(), image.as_ref(), name.as_deref(), &changes);
        let index = merged.await.map_err(|error| target.not_ours(error, "a whole OCI archive"))?;
        write_index(writer, &index).await?;
        Ok(target.finish(held).await?.publish().boxed())
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

/// The index of the new archive. Copies what stays of the one that is there.
async fn merge(
    writer: &TarWriter,
    existing: Option<&ArchiveLayout>,
    image: Option<&Descriptor>,
    name: Option<&str>,
    changes: &Changes,
) -> Result<LayoutIndex> {
    let mut index = existing.map_or_else(LayoutIndex::new, |layout| layout.index.clone());
    if image.is_some() {
        let name = index.name_for(name, !changes.is_empty());
        index.keep_named(name);
    }
    if let Some(layout) = existing {
        let mut subjects = layout.parts(index.images()).await?;
        for subject in index.subjects() {
            // Of the new image, or of one of its instances.
            if writer.has(&member(&subject)).await {
                subjects.insert(subject);
            }
        }
        index.keep_lists_of(subjects.iter());
    }
    let before = lists_of(existing, changes).await?;
    let mut new = vec![];
    index.merge(
        image,
        name,
        changes,
        |list| {
            let known = before.iter().find(|manifest| *manifest.digest() == list.digest);
            known.cloned().ok_or_else(|| Error::internal("a list of attachments was not read"))
        },
        |list| {
            new.push(list.clone());
            Ok(())
        },
    )?;
    for list in &new {
        write_manifest(writer, list).await?;
    }
    if let Some(layout) = existing {
        let attached =
            new.iter().filter_map(Manifest::as_index).flat_map(|list| list.manifests.clone());
        // The new image has been written whole; what the archive had under its digest may be damaged.
        let is_new = |kept: &Descriptor| image.is_some_and(|new| new.digest == kept.digest);
        let images = index.images().into_iter().filter(|image| !is_new(image));
        let kept = images.chain(index.lists()).chain(attached);
        copy_kept(writer, layout, kept.collect()).await?;
    }
    Ok(index)
}

/// The lists of attachments that are to change, as they are.
async fn lists_of(existing: Option<&ArchiveLayout>, changes: &Changes) -> Result<Vec<Manifest>> {
    let mut lists = vec![];
    if let Some(layout) = existing {
        for subject in changes.subjects() {
            lists.extend(layout.list(subject).await?);
        }
    }
    Ok(lists)
}

async fn make_folder(writer: &TarWriter, digest: &Digest) -> Result<()> {
    writer.directory(BLOBS).await?;
    writer.directory(&folder(digest)).await
}

async fn write_manifest(writer: &TarWriter, manifest: &Manifest) -> Result<()> {
    make_folder(writer, manifest.digest()).await?;
    let name = member(manifest.digest());
    if writer.has(&name).await {
        return Ok(());
    }
    writer.bytes(&name, manifest.bytes().clone()).await
}

/// Copies what images and artifacts consist of, as far as it is there.
async fn copy_kept(
    writer: &TarWriter,
    layout: &ArchiveLayout,
    kept: Vec<Descriptor>,
) -> Result<()> {
    for digest in layout.parts(kept).await? {
        let name = member(&digest);
        if let Some(extent) = layout.extent(&digest)?
            && !writer.has(&name).await
        {
            make_folder(writer, &digest).await?;
            writer.file(&name, extent.size, layout.blob(&digest)?).await?;
        }
    }
    Ok(())
}

/// Nothing panics while holding this lock; if something did, the data is still whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
