//! A layout directory: reading it, and moving new content into it.
//!
//! Everything is reached from one open handle, through no symbolic link. The functions block.

use std::fs::File;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::super::local::attachments::Changes;
use super::super::local::layout::{
    BLOBS, INDEX_FILE, LAYOUT_CONTENT, LAYOUT_FILE, LayoutIndex, MAX_LAYOUT_FILE, check_version,
    manifest_of, readable,
};
use super::super::local::{self, Directory, StagedFile, UserPath, is_temporary};
use crate::error::{Error, Kind, Result};
use crate::image::{Algorithm, Descriptor, Digest, Manifest};
use crate::limits::MAX_LAYOUT_INDEX;

/// The lock that writers take. It stays in the layout: see [`local::Lock`].
pub(super) const LOCK_FILE: &str = ".imagepush.lock";
/// What `mkfs.ext4` leaves in an otherwise empty file system.
const LOST_AND_FOUND: &str = "lost+found";
/// Attempts to replace `index.json` when writers that take no lock replace it in between.
const MERGE_ATTEMPTS: usize = 16;

/// A layout, or a directory that is to become one.
#[derive(Clone, Debug)]
pub(super) struct LayoutStore {
    directory: Directory,
}

// === impl LayoutStore ===

impl LayoutStore {
    /// Opens a layout for reading.
    pub(super) fn open(path: &UserPath) -> Result<Self> {
        let store = Self { directory: path.open_directory()? };
        if store.is_layout()? {
            return Ok(store);
        }
        let message = format!(
            "`{}` is not an OCI layout: it has no `{LAYOUT_FILE}` file",
            path.path().display()
        );
        Err(Error::new(Kind::InvalidImage, message))
    }

    /// A directory that new content may go to: a layout, or an empty one. Any other is refused.
    pub(super) fn writable(directory: Directory) -> Result<Self> {
        let store = Self { directory };
        if store.is_layout()? || store.is_empty()? {
            return Ok(store);
        }
        let path = store.path().display();
        let message = format!("`{path}` is neither empty nor an OCI layout; it is left as it is");
        Err(Error::new(Kind::DestinationExists, message).hint("choose another directory"))
    }

    /// A directory of our own.
    pub(super) fn staging(directory: Directory) -> Self {
        Self { directory }
    }

    fn is_layout(&self) -> Result<bool> {
        if self.directory.stat(LAYOUT_FILE)?.is_none() {
            return Ok(false);
        }
        let content = self.directory.read_small(LAYOUT_FILE, MAX_LAYOUT_FILE)?;
        check_version(&content)
            .map_err(|error| error.doing(format!("reading layout `{}`", self.path().display())))?;
        Ok(true)
    }

    fn is_empty(&self) -> Result<bool> {
        let names = self.directory.names()?;
        Ok(names
            .iter()
            .all(|name| is_temporary(name) || *name == *LOCK_FILE || *name == *LOST_AND_FOUND))
    }

    /// The directory.
    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Where it is, for messages.
    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What `index.json` says; nothing if there is none yet.
    pub(super) fn index(&self) -> Result<LayoutIndex> {
        self.parse_index(self.index_bytes()?.as_ref())
    }

    fn index_bytes(&self) -> Result<Option<Bytes>> {
        match self.directory.read_small(INDEX_FILE, MAX_LAYOUT_INDEX) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn parse_index(&self, bytes: Option<&Bytes>) -> Result<LayoutIndex> {
        let Some(bytes) = bytes else { return Ok(LayoutIndex::new()) };
        let doing =
            |error: Error| error.doing(format!("reading layout `{}`", self.path().display()));
        LayoutIndex::parse(bytes).map_err(doing)
    }

    /// Opens a blob; `None` if it isn't there.
    pub(super) fn blob(&self, digest: &Digest) -> Result<Option<File>> {
        let Some(blobs) = self.blobs(digest.algorithm())? else { return Ok(None) };
        match blobs.open_file(digest.hex()) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The path of a blob, for messages.
    pub(super) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path().join(BLOBS).join(digest.algorithm().as_str()).join(digest.hex())
    }

    fn blobs(&self, algorithm: Algorithm) -> Result<Option<Directory>> {
        match self.directory.subdirectory(BLOBS)? {
            Some(blobs) => blobs.subdirectory(algorithm.as_str()),
            None => Ok(None),
        }
    }

    fn make_blobs(&self, algorithm: Algorithm) -> Result<Directory> {
        self.directory.make_subdirectory(BLOBS)?.make_subdirectory(algorithm.as_str())
    }

    /// The error of content that isn't there.
    pub(super) fn missing(&self, digest: &Digest) -> Error {
        let path = self.path().display();
        Error::new(Kind::InvalidImage, format!("`{digest}` is missing from layout `{path}`"))
    }

    /// Reads a manifest, and checks that it is the right one.
    pub(super) fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest> {
        let digest = &descriptor.digest;
        let blobs = self.blobs(digest.algorithm())?.ok_or_else(|| self.missing(digest))?;
        let reading =
            |error: Error| error.doing(format!("reading layout `{}`", self.path().display()));
        let size = readable(descriptor, blobs.size_of(digest.hex())?).map_err(reading)?;
        let bytes = blobs.read_small(digest.hex(), size).map_err(|error| {
            if error.kind() == Kind::NotFound { self.missing(digest) } else { error }
        })?;
        manifest_of(bytes, descriptor).map_err(reading)
    }

    /// Writes a manifest as the blob that it is.
    pub(super) fn put_manifest(&self, manifest: &Manifest) -> Result<()> {
        let digest = manifest.digest();
        let blobs = self.make_blobs(digest.algorithm())?;
        StagedFile::write_small(&blobs, digest.hex(), manifest.bytes())
    }

    /// Gives a file that was written its place among the blobs.
    pub(super) fn place_blob(&self, staged: StagedFile, digest: &Digest) -> Result<()> {
        staged.place(&self.make_blobs(digest.algorithm())?, digest.hex())
    }

    /// Makes the names of all blobs durable.
    pub(super) fn sync_blobs(&self) -> Result<()> {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            if let Some(blobs) = self.blobs(algorithm)? {
                blobs.sync()?;
            }
        }
        match self.directory.subdirectory(BLOBS)? {
            Some(blobs) => blobs.sync(),
            None => Ok(()),
        }
    }

    /// Moves the blobs of `staging` in. One that is there already is replaced: it may have been found corrupt.
    pub(super) fn take_blobs(&self, staging: &Self) -> Result<()> {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let Some(from) = staging.blobs(algorithm)? else { continue };
            let to = self.make_blobs(algorithm)?;
            for name in from.names()? {
                from.rename(&name, &to, &name)?;
            }
        }
        self.sync_blobs()
    }

    /// Reads the list of what is attached to a manifest.
    pub(super) fn list(&self, subject: &Digest) -> Result<Option<Manifest>> {
        self.index()?.list(subject).map(|list| self.manifest(&list)).transpose()
    }

    /// Marks the directory as a layout, gives the image its entry in `index.json`, and changes the lists of attachments. The
    /// caller holds the lock.
    ///
    /// A writer that takes no lock, such as skopeo, may replace `index.json` meanwhile: then it is merged again.
    pub(super) fn publish(
        &self,
        image: Option<&Descriptor>,
        name: Option<&str>,
        changes: &Changes,
    ) -> Result<()> {
        // First, so that a layout whose making was cut short is known for one by the next push.
        if self.directory.stat(LAYOUT_FILE)?.is_none() {
            StagedFile::write_small(&self.directory, LAYOUT_FILE, LAYOUT_CONTENT)?;
        }
        for _ in 0..MERGE_ATTEMPTS {
            let before = self.index_bytes()?;
            let mut index = self.parse_index(before.as_ref())?;
            let read = |list: &Descriptor| self.manifest(list);
            index.merge(image, name, changes, read, |list| self.put_manifest(list))?;
            self.sync_blobs()?;
            let after = index.to_bytes()?;
            if before.as_ref() == Some(&after) {
                return self.directory.sync();
            }
            let staged = self.stage_index(&after)?;
            if self.index_bytes()? == before {
                staged.place(&self.directory, INDEX_FILE)?;
                return self.directory.sync();
            }
        }
        let path = self.directory.path_of(INDEX_FILE);
        let message =
            format!("`{}` is being changed by another process all the time", path.display());
        Err(Error::new(Kind::StorageFailed, message).transient())
    }

    /// Writes an index down, durably, without replacing the one there is.
    fn stage_index(&self, content: &Bytes) -> Result<StagedFile> {
        let path = self.directory.path_of(INDEX_FILE);
        let size = content.len();
        if size as u64 > MAX_LAYOUT_INDEX {
            let message = format!(
                "`{}` would have {size} bytes, more than the limit of {MAX_LAYOUT_INDEX}",
                path.display()
            );
            return Err(Error::new(Kind::LimitExceeded, message));
        }
        StagedFile::write(&self.directory, INDEX_FILE, content)
    }
}

impl local::Store for LayoutStore {
    fn manifest(&self, descriptor: &Descriptor) -> Option<Manifest> {
        self.manifest(descriptor).ok()
    }

    fn size_of(&self, digest: &Digest) -> Option<u64> {
        self.blobs(digest.algorithm()).ok()??.size_of(digest.hex()).ok()?
    }
}
