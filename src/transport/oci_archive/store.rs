//! An OCI archive being read: its index, its manifests, and where its blobs are.

use std::collections::BTreeSet;

use crate::blob::Chunks;
use crate::error::{Error, Kind, Result};
use crate::image::{Body, Descriptor, Digest, Manifest};
use crate::limits::{MAX_INDEX_DEPTH, MAX_LAYOUT_INDEX};
use crate::transport::local::layout::{
    BLOBS, INDEX_FILE, LAYOUT_FILE, LayoutIndex, MAX_LAYOUT_FILE, check_version, manifest_of,
    readable,
};
use crate::transport::local::{Archive, Extent, Store, blocking, is_complete};

/// An archive and its `index.json`.
#[derive(Clone)]
pub(super) struct ArchiveLayout {
    archive: Archive,
    pub(super) index: LayoutIndex,
}

// === impl ArchiveLayout ===

impl ArchiveLayout {
    /// Reads what says that this is a layout, and which images it has.
    pub(super) async fn read(archive: Archive) -> Result<Self> {
        let Some(version) = archive.read(LAYOUT_FILE, MAX_LAYOUT_FILE).await? else {
            let error =
                archive.fault(format!("it has no `{LAYOUT_FILE}`, so it is not an OCI archive"));
            return Err(match archive.find("manifest.json") {
                Ok(Some(_)) => error.hint("it looks like a Docker archive: try `docker-archive:`"),
                _ => error,
            });
        };
        check_version(&version).map_err(|error| archive.in_archive(error))?;
        let index = archive.read(INDEX_FILE, MAX_LAYOUT_INDEX).await?;
        let index = index.ok_or_else(|| archive.fault(format!("`{INDEX_FILE}` is missing")))?;
        let index = LayoutIndex::parse(&index).map_err(|error| archive.in_archive(error))?;
        Ok(Self { archive, index })
    }

    /// Where the archive is, for messages.
    pub(super) fn path(&self) -> String {
        self.archive.path().display().to_string()
    }

    /// Reads and verifies a manifest.
    pub(super) async fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest> {
        let (layout, descriptor) = (self.clone(), descriptor.clone());
        blocking(move || layout.manifest_now(&descriptor)).await
    }

    /// Reads the list of what is attached to a manifest.
    pub(super) async fn list(&self, subject: &Digest) -> Result<Option<Manifest>> {
        match self.index.list(subject) {
            Some(list) => self.manifest(&list).await.map(Some),
            None => Ok(None),
        }
    }

    fn manifest_now(&self, descriptor: &Descriptor) -> Result<Manifest> {
        let found = self.extent(&descriptor.digest)?.map(|extent| extent.size);
        let size = readable(descriptor, found).map_err(|error| self.archive.in_archive(error))?;
        let bytes = self.archive.read_now(&member(&descriptor.digest), size)?;
        let bytes = bytes.ok_or_else(|| self.missing("manifest", &descriptor.digest))?;
        manifest_of(bytes, descriptor).map_err(|error| self.archive.in_archive(error))
    }

    /// The bytes of a blob, as they stand.
    pub(super) fn blob(&self, digest: &Digest) -> Result<Chunks> {
        let extent = self.extent(digest)?.ok_or_else(|| self.missing("blob", digest))?;
        Ok(self.archive.chunks(extent))
    }

    /// Where a blob is, if it is there.
    pub(super) fn extent(&self, digest: &Digest) -> Result<Option<Extent>> {
        Ok(self.archive.find(&member(digest))?.map(|found| found.extent))
    }

    /// The manifest of an image that is there with all its blobs.
    pub(super) async fn whole(&self, image: &Descriptor) -> Result<Option<Manifest>> {
        let (layout, image) = (self.clone(), image.clone());
        blocking(move || {
            let manifest = layout.manifest_now(&image).ok();
            Ok(manifest.filter(|manifest| is_complete(manifest, &layout)))
        })
        .await
    }

    /// Every blob and manifest that these images consist of and that the archive has.
    pub(super) async fn parts(&self, images: Vec<Descriptor>) -> Result<BTreeSet<Digest>> {
        let layout = self.clone();
        blocking(move || {
            let mut parts = BTreeSet::new();
            for image in &images {
                layout.collect(image, MAX_INDEX_DEPTH, &mut parts)?;
            }
            Ok(parts)
        })
        .await
    }

    fn collect(
        &self,
        descriptor: &Descriptor,
        depth: usize,
        parts: &mut BTreeSet<Digest>,
    ) -> Result<()> {
        let digest = &descriptor.digest;
        if self.extent(digest)?.is_none() || !parts.insert(digest.clone()) {
            return Ok(());
        }
        if !descriptor.media_type.is_index() && !descriptor.media_type.is_image_manifest() {
            return Ok(());
        }
        let Some(depth) = depth.checked_sub(1) else {
            let message = format!("indexes are nested deeper than {MAX_INDEX_DEPTH}");
            return Err(self.archive.fault_of(Kind::LimitExceeded, message));
        };
        match self.manifest_now(descriptor)?.body() {
            Body::Image(image) => {
                for blob in image.blobs() {
                    if self.extent(&blob.digest)?.is_some() {
                        parts.insert(blob.digest.clone());
                    }
                }
                Ok(())
            }
            Body::Index(index) => {
                index.manifests.iter().try_for_each(|entry| self.collect(entry, depth, parts))
            }
        }
    }

    fn missing(&self, what: &str, digest: &Digest) -> Error {
        self.archive.fault_of(Kind::NotFound, format!("{what} `{digest}` is missing"))
    }
}

impl Store for ArchiveLayout {
    fn manifest(&self, descriptor: &Descriptor) -> Option<Manifest> {
        self.manifest_now(descriptor).ok()
    }

    fn size_of(&self, digest: &Digest) -> Option<u64> {
        self.extent(digest).ok().flatten().map(|extent| extent.size)
    }
}

/// The member that holds a blob.
pub(super) fn member(digest: &Digest) -> String {
    format!("{}/{}", folder(digest), digest.hex())
}

/// The directory that holds blobs of this algorithm.
pub(super) fn folder(digest: &Digest) -> String {
    format!("{BLOBS}/{}", digest.algorithm().as_str())
}
