//! The archive that a push writes, while the one that is there now stays as it is.
//!
//! What is new goes to a file beside it, begun with the first byte that has to be written. Whoever publishes holds the lock
//! of the archive that is there, so that two pushes into one archive don't lose each other's images: the second one
//! merges with what the first one made. The lock is on the archive itself and leaves no file behind.

use std::fs::File;

use tokio::sync::OnceCell;

use super::directory::is_file_at;
use super::staged::SettledFile;
use super::temporary::last_written;
use super::{Archive, Lock, StagedFile, TarWriter, UserPath, blocking, sweep};
use crate::blob::{Blob, Chunks};
use crate::error::{Error, Kind, Result};
use crate::image::{Descriptor, Digest};
use crate::transport::Reused;

/// An archive that is to be written; see the module's documentation.
pub(crate) struct ArchiveTarget {
    path: UserPath,
    /// Permission bits of the files in it.
    mode: u32,
    new: OnceCell<(StagedFile, TarWriter)>,
}

/// What is there, held against other writers until it is dropped.
pub(crate) struct Held {
    archive: Option<Archive>,
    lock: Option<Lock>,
}

/// A whole new archive that has only to be given its name.
pub(crate) struct Finished {
    new: SettledFile,
    lock: Option<Lock>,
}

// === impl ArchiveTarget ===

impl ArchiveTarget {
    /// An archive at this path, which may be there or not. `mode` are the permission bits of the files in it.
    pub(crate) fn new(path: UserPath, mode: u32) -> Self {
        Self { path, mode, new: OnceCell::new() }
    }

    /// Opens the archive that is there. An empty file, as `mktemp` makes it, counts as none. Removes what killed pushes
    /// left beside it.
    pub(crate) async fn existing(&self) -> Result<Option<Archive>> {
        let path = self.path.clone();
        blocking(move || {
            let (directory, name) = path.locate()?;
            sweep(&directory, &name);
            Ok(())
        })
        .await?;
        match self.file(UserPath::open_file).await? {
            Some(file) => self.archive_of(&file).await,
            None => Ok(None),
        }
    }

    /// The error about a file that isn't ours to replace, made of what was wrong with it. `what` it should be.
    pub(crate) fn not_ours(&self, cause: Error, what: &str) -> Error {
        match cause.kind() {
            Kind::InvalidImage
            | Kind::ContentMismatch
            | Kind::LimitExceeded
            | Kind::TransportUnsupported => {
                let message =
                    format!("`{}` is there and is not {what}: {cause}", self.path.path().display());
                Error::new(Kind::DestinationExists, message)
                    .hint("choose another path, or remove the file first")
            }
            _ => cause,
        }
    }

    /// The new archive.
    pub(crate) async fn writer(&self) -> Result<&TarWriter> {
        let begin = || async {
            let staged = StagedFile::create(&self.path).await?;
            let writer = TarWriter::new(staged.file().clone(), staged.target(), self.mode);
            Ok((staged, writer))
        };
        self.new.get_or_try_init(begin).await.map(|(_, writer)| writer)
    }

    /// Writes a blob as the member that is named for its digest.
    pub(crate) async fn put(&self, blob: Blob, member: impl Fn(&Digest) -> String) -> Result<()> {
        let writer = self.writer().await?;
        let (chunks, identity) = blob.into_parts();
        let known = identity.get().map(|(digest, size)| (member(digest), size));
        if let Some((name, size)) = known {
            return writer.file(&name, size, chunks).await;
        }
        writer.append(chunks, || identity.settled().map(|(digest, _)| member(digest))).await
    }

    /// Takes a blob over from the archive that is there, unless it turns out to be damaged.
    pub(crate) async fn reuse(
        &self,
        descriptor: &Descriptor,
        chunks: Chunks,
        member: impl Fn(&Digest) -> String,
    ) -> Result<Option<Reused>> {
        match self.put(Blob::verified(chunks, descriptor), member).await {
            Ok(()) => Ok(Some(Reused::Present)),
            Err(error) if error.kind() == Kind::ContentMismatch => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Locks what is there and reads it.
    pub(crate) async fn hold(&self) -> Result<Held> {
        loop {
            let Some(file) = self.file(UserPath::open_to_lock).await? else {
                return Ok(Held { archive: None, lock: None });
            };
            let lock = Lock::of_file(file, self.path.path(), || self.last_written()).await?;
            let path = self.path.clone();
            let (lock, same) = blocking(move || {
                let (directory, name) = path.locate()?;
                let same = is_file_at(lock.file(), &directory, &name);
                Ok((lock, same))
            })
            .await?;
            // Another push has put its archive in this one's place while we waited: that one is to be held.
            if same {
                let archive = self.archive_of(lock.file()).await?;
                return Ok(Held { archive, lock: Some(lock) });
            }
        }
    }

    /// Ends the new archive, which is to take the place of what is held.
    pub(crate) async fn finish(self, held: Held) -> Result<Finished> {
        let Some((staged, writer)) = self.new.into_inner() else {
            return Err(Error::internal("an archive ended before it was begun"));
        };
        writer.finish().await?;
        Ok(Finished { new: staged.settled().await?, lock: held.lock })
    }

    /// When somebody last wrote a new archive for this place.
    async fn last_written(&self) -> Option<i128> {
        let path = self.path.clone();
        let look = move || {
            let (directory, name) = path.locate()?;
            Ok(last_written(&directory, &name))
        };
        blocking(look).await.ok().flatten()
    }

    async fn file(&self, open: fn(&UserPath) -> Result<File>) -> Result<Option<File>> {
        let path = self.path.clone();
        match blocking(move || open(&path)).await {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn archive_of(&self, file: &File) -> Result<Option<Archive>> {
        let length =
            file.metadata().map_err(|cause| Error::io("read", self.path.path(), &cause))?.len();
        if length == 0 {
            return Ok(None);
        }
        Archive::open(&self.path).await.map(Some)
    }
}

// === impl Finished ===

impl Finished {
    /// Puts it in its place.
    pub(crate) async fn publish(self) -> Result<()> {
        match self.lock {
            Some(_lock) => self.new.publish().await,
            None => self.new.publish_new().await,
        }
    }
}

// === impl Held ===

impl Held {
    /// The archive that is there.
    pub(crate) fn archive(&self) -> Option<&Archive> {
        self.archive.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{OFlags, fcntl_getfl};

    use super::*;

    #[tokio::test]
    async fn what_is_locked_is_open_for_writing_which_nfs_demands() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        File::create(&path).unwrap();
        let target = ArchiveTarget::new(UserPath::anywhere(&path), 0o644);
        let held = target.hold().await.unwrap();
        let flags = fcntl_getfl(held.lock.unwrap().file()).unwrap();
        assert_eq!(flags & OFlags::ACCMODE, OFlags::RDWR);

        let directory = crate::transport::local::Directory::open(folder.path()).unwrap();
        let file = directory.open_to_lock("a.tar".as_ref()).unwrap();
        assert_eq!(fcntl_getfl(file).unwrap() & OFlags::ACCMODE, OFlags::RDWR);
    }
}
