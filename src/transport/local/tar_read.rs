//! Reads an image archive: a tar file, perhaps compressed, whose members are found by name.
//!
//! The headers are read once; bodies are read in place, by range, as often as needed. A compressed archive is first
//! decompressed into a file that has no name. Nothing is unpacked.

mod index;
mod name;

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;

pub(crate) use index::Extent;
use index::{Fault, Member, Members};

use super::{Directory, UserPath, blocking, read_range};
use crate::blob::{Chunks, CodecMemory, decompress};
use crate::error::{Error, Kind, Result};
use crate::image::Compression;
use crate::limits::MAX_ARCHIVE_EXPANDED;

/// An archive open for reading.
#[derive(Clone)]
pub(crate) struct Archive {
    path: Arc<Path>,
    /// The archive, or what it decompresses to.
    file: Arc<File>,
    members: Arc<Members>,
}

/// A file found in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The member that holds it, links followed.
    pub(crate) name: String,
    /// Where its bytes are.
    pub(crate) extent: Extent,
}

// === impl Archive ===

impl Archive {
    /// Opens an archive and reads its headers.
    ///
    /// Fails with `NotFound` if there is no such file, with `InvalidImage` if it isn't a whole, plain tar archive.
    pub(crate) async fn open(path: &UserPath) -> Result<Self> {
        let (owned, user_path) = (path.clone(), path);
        let path = user_path.path();
        let doing = |error: Error| error.doing(format!("reading archive `{}`", path.display()));
        let (file, compression) = blocking(move || open_and_look(&owned)).await?;
        let mut file = Arc::new(file);
        if compression != Compression::None {
            file = Arc::new(decompressed(file, user_path).await.map_err(doing)?);
        }
        let indexed = Arc::clone(&file);
        let members = blocking(move || find_members(&indexed)).await.map_err(doing)?;
        Ok(Self { path: Arc::from(path), file, members: Arc::new(members) })
    }

    /// Where the archive is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Finds a file; a symbolic link is followed once.
    ///
    /// `None` if there is no such member, or what the link points to isn't there.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Found>> {
        let name = name::normalise(name.as_bytes())
            .map_err(|reason| self.fault(format!("member `{name}` {reason}")))?;
        let target = match self.members.get(&name) {
            Some(Member::Link(target)) => target.clone(),
            _ => name.clone(),
        };
        match self.members.get(&target) {
            Some(Member::File(extent)) => Ok(Some(Found { name: target, extent: *extent })),
            Some(Member::Link(_)) => {
                Err(self.fault(format!("member `{name}` is a link to another link")))
            }
            None => Ok(None),
        }
    }

    /// Reads a small file. `limit` is the most bytes it may have.
    pub(crate) async fn read(&self, name: &str, limit: u64) -> Result<Option<Bytes>> {
        let (archive, name) = (self.clone(), name.to_owned());
        blocking(move || archive.read_now(&name, limit)).await
    }

    /// The same. Blocks.
    pub(crate) fn read_now(&self, name: &str, limit: u64) -> Result<Option<Bytes>> {
        let Some(found) = self.find(name)? else { return Ok(None) };
        let Extent { offset, size } = found.extent;
        if size > limit {
            let message =
                format!("member `{name}` has {size} bytes, more than the limit of {limit}");
            return Err(self.fault_of(Kind::LimitExceeded, message));
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        let read = self.file.read_exact_at(&mut bytes, offset);
        read.map_err(|cause| Error::io("read", &self.path, &cause))?;
        Ok(Some(bytes.into()))
    }

    /// The bytes of a file, as they stand in the archive.
    pub(crate) fn chunks(&self, extent: Extent) -> Chunks {
        read_range(Arc::clone(&self.file), self.path.to_path_buf(), extent.offset, extent.size)
    }

    /// How the bytes of a file are compressed, by their first ones.
    pub(crate) async fn compression(&self, extent: Extent) -> Result<Compression> {
        let head = Extent { size: extent.size.min(Compression::MAGIC_LENGTH as u64), ..extent };
        let head: Vec<Bytes> = self.chunks(head).try_collect().await?;
        Ok(Compression::detect(&head.concat()))
    }

    /// An error about what the archive holds.
    pub(crate) fn fault(&self, message: impl Into<String>) -> Error {
        self.fault_of(Kind::InvalidImage, message)
    }

    /// As `fault`, of another kind.
    pub(crate) fn fault_of(&self, kind: Kind, message: impl Into<String>) -> Error {
        self.in_archive(Error::new(kind, message))
    }

    /// The same error, saying which archive it is about.
    pub(crate) fn in_archive(&self, error: Error) -> Error {
        error.doing(format!("reading archive `{}`", self.path.display()))
    }
}

fn open_and_look(path: &UserPath) -> Result<(File, Compression)> {
    let file = path.open_file()?;
    let mut head = [0; Compression::MAGIC_LENGTH];
    let read =
        file.read_at(&mut head, 0).map_err(|cause| Error::io("read", path.path(), &cause))?;
    Ok((file, Compression::detect(&head[..read])))
}

fn find_members(file: &File) -> Result<Members> {
    let found =
        file.metadata().map_err(Fault::Io).and_then(|metadata| index::index(file, metadata.len()));
    found.map_err(|fault| Error::new(fault.kind(), fault.to_string()))
}

/// Where an archive is decompressed to.
struct Spool {
    /// It has no name, and is gone as soon as nobody has it open.
    file: File,
    folder: PathBuf,
    /// The most bytes that it may have because of where it is, if that is less than an archive may have.
    most: Option<u64>,
}

/// Decompresses the archive beside itself or, where that can't be, in the folder for temporary files.
async fn decompressed(file: Arc<File>, path: &UserPath) -> Result<File> {
    let (spool, length) = {
        let (file, path) = (Arc::clone(&file), path.clone());
        blocking(move || {
            let read = |cause| Error::io("read", path.path(), &cause);
            let length = file.metadata().map_err(read)?.len();
            Ok((spool(&path)?, length))
        })
        .await?
    };
    let compressed = read_range(file, path.path().to_owned(), 0, length);
    unpack(decompress(compressed, &CodecMemory::default()), spool).await
}

async fn unpack(mut chunks: Chunks, spool: Spool) -> Result<File> {
    let Spool { mut file, folder, most } = spool;
    let mut offset = 0;
    while let Some(chunk) = chunks.try_next().await? {
        let end = offset + chunk.len() as u64;
        if end > MAX_ARCHIVE_EXPANDED {
            let message = format!("it decompresses to more than {MAX_ARCHIVE_EXPANDED} bytes");
            return Err(Error::new(Kind::LimitExceeded, message));
        }
        if let Some(most) = most.filter(|most| end > *most) {
            let folder = folder.display();
            let message =
                format!("it decompresses to more than the {most} bytes that `{folder}` may take");
            return Err(Error::new(Kind::LimitExceeded, message)
                .hint("decompress the archive, or have `scratchSize` of Jobs raised"));
        }
        let folder = folder.clone();
        let write = move || {
            file.write_all_at(&chunk, offset)
                .map(|()| file)
                .map_err(|cause| Error::io("write a temporary file in", &folder, &cause))
        };
        file = blocking(write).await?;
        offset = end;
    }
    Ok(file)
}

fn spool(archive: &UserPath) -> Result<Spool> {
    if let Ok(directory) = archive.open_parent()
        && let Ok(file) = directory.unnamed_file()
    {
        return Ok(Spool { file, folder: directory.path().to_owned(), most: None });
    }
    let folder = std::env::temp_dir();
    match Directory::open(&folder)?.unnamed_file() {
        // Whoever bounds that folder by what is in it doesn't see a file without a name.
        Ok(file) => Ok(Spool { file, folder, most: archive.scratch_bytes() }),
        Err(cause) => Err(Error::io("create a temporary file in", &folder, &cause.into())),
    }
}

#[cfg(test)]
mod tests;
