//! Bytes from files to streams, and from streams to files.
//!
//! One chunk is read ahead and one is written behind, each on a blocking thread, so that the disk works while
//! the stages in between do. What the system has in memory is read in place: to wake a thread for a chunk costs more than to
//! copy it. Positions are given with each call: a file can be read from several places at once.

use std::fs::File;
use std::io::IoSliceMut;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use rustix::buffer::spare_capacity;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};
use tokio::task::JoinHandle;

use super::StagedFile;
use super::directory::{file_type, not_a_file, refused};
use crate::blob::{Blob, Chunks};
use crate::error::{Error, Kind, Result};
use crate::image::Descriptor;
use crate::limits::{CHUNK, SMALL_BLOB, SMALL_CHUNK};

/// Opens a regular file by the user's own path; a link as its last part is followed. Blocks.
pub(super) fn open_file(path: &Path, access: OFlags) -> Result<File> {
    // Opening a FIFO would wait for its other end.
    let flags = access | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    regular(opened.map_err(|cause| refused(path, cause))?, path)
}

/// What was opened, if it is a regular file.
pub(super) fn regular(handle: OwnedFd, path: &Path) -> Result<File> {
    let file = File::from(handle);
    let stat = rustix::fs::fstat(&file).map_err(|cause| refused(path, cause))?;
    match file_type(&stat) {
        FileType::RegularFile => Ok(file),
        other => Err(not_a_file(path, other)),
    }
}

/// The `length` bytes of a file from `offset` on. A file that ends before them is an error; `path` is for messages.
pub(crate) fn read_range(file: Arc<File>, path: PathBuf, offset: u64, length: u64) -> Chunks {
    let reading = Reading {
        file,
        path: path.into(),
        offset,
        end: offset.saturating_add(length),
        chunk: if length > SMALL_BLOB { CHUNK } else { SMALL_CHUNK },
        in_memory: true,
        ahead: None,
    };
    stream::try_unfold(reading, Reading::next).boxed()
}

/// A whole file; `path` is for messages.
pub(crate) fn read_whole(file: File, path: PathBuf) -> Result<Chunks> {
    let length = file.metadata().map_err(|cause| Error::io("examine", &path, &cause))?.len();
    Ok(read_range(Arc::new(file), path, 0, length))
}

/// Whether a file's content is what `descriptor` says, by its size and its digest.
pub(crate) async fn is_intact(file: File, path: PathBuf, descriptor: &Descriptor) -> Result<bool> {
    let length = file.metadata().map_err(|cause| Error::io("examine", &path, &cause))?.len();
    if length != descriptor.size {
        return Ok(false);
    }
    let blob = Blob::verified(read_range(Arc::new(file), path, 0, length), descriptor);
    let mut chunks = blob.into_parts().0;
    loop {
        match chunks.try_next().await {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(true),
            Err(error) if error.kind() == Kind::ContentMismatch => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

struct Reading {
    file: Arc<File>,
    path: Arc<Path>,
    offset: u64,
    end: u64,
    chunk: usize,
    /// Whether nothing had to be waited for so far.
    in_memory: bool,
    ahead: Option<JoinHandle<Result<Bytes>>>,
}

impl Reading {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>> {
        if self.in_memory {
            if let Some(chunk) = read_in_place(&self.file, self.offset, self.length()) {
                self.offset += chunk.len() as u64;
                return Ok(Some((chunk, self)));
            }
            self.in_memory = false;
        }
        let Some(running) = self.ahead.take().or_else(|| self.start()) else { return Ok(None) };
        let stopped = |error| Error::internal(format!("reading stopped: {error}"));
        let chunk = running.await.map_err(stopped)??;
        self.ahead = self.start();
        Ok(Some((chunk, self)))
    }

    /// The length of the next chunk in bytes.
    fn length(&self) -> usize {
        let left = self.end - self.offset;
        usize::try_from(left).map_or(self.chunk, |left| left.min(self.chunk))
    }

    /// Starts to read the next chunk, if there is one.
    fn start(&mut self) -> Option<JoinHandle<Result<Bytes>>> {
        let length = self.length();
        let (file, path, offset) = (Arc::clone(&self.file), Arc::clone(&self.path), self.offset);
        self.offset += length as u64;
        let read = move || read_chunk(&file, &path, offset, length);
        (length > 0).then(|| tokio::task::spawn_blocking(read))
    }
}

/// Reads a chunk without waiting for a disk; `None` if that takes waiting, or the file system can't tell.
fn read_in_place(file: &File, offset: u64, length: usize) -> Option<Bytes> {
    if length == 0 {
        return None;
    }
    let mut chunk = vec![0; length];
    let buffers = &mut [IoSliceMut::new(&mut chunk)];
    let read = rustix::io::preadv2(file, buffers, offset, ReadWriteFlags::NOWAIT);
    (read == Ok(length)).then(|| chunk.into())
}

fn read_chunk(file: &File, path: &Path, offset: u64, length: usize) -> Result<Bytes> {
    let mut chunk = Vec::with_capacity(length);
    while chunk.len() < length {
        let end = offset + chunk.len() as u64;
        match rustix::io::pread(file, spare_capacity(&mut chunk), end) {
            Ok(0) => {
                let message =
                    format!("`{}` ends after {end} bytes, before its content does", path.display());
                return Err(Error::new(Kind::InvalidImage, message));
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(cause) => return Err(Error::io("read", path, &cause.into())),
        }
    }
    // What is allocated may be more than what was asked for.
    chunk.truncate(length);
    Ok(chunk.into())
}

/// Writes a stream to a file from its start; returns how many bytes that were. The stream's error comes back unchanged.
pub(crate) async fn write_chunks(staged: &StagedFile, mut chunks: Chunks) -> Result<u64> {
    let target: Arc<Path> = staged.target().into();
    let mut offset = 0;
    let mut behind: Option<JoinHandle<Result<()>>> = None;
    while let Some(chunk) = chunks.try_next().await? {
        settle(behind.take()).await?;
        let (file, target, at) = (Arc::clone(staged.file()), Arc::clone(&target), offset);
        offset += chunk.len() as u64;
        let write = move || {
            file.write_all_at(&chunk, at).map_err(|cause| Error::io("write", &target, &cause))
        };
        behind = Some(tokio::task::spawn_blocking(write));
    }
    settle(behind).await?;
    Ok(offset)
}

async fn settle(write: Option<JoinHandle<Result<()>>>) -> Result<()> {
    match write {
        None => Ok(()),
        Some(write) => {
            write.await.map_err(|error| Error::internal(format!("writing stopped: {error}")))?
        }
    }
}

#[cfg(test)]
mod tests;
