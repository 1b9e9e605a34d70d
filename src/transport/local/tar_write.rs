//! Writes an image archive in one pass: every blob goes to its final place at once, and several at the same time.
//!
//! A blob of known size gets a range of its own, so that blobs need not wait for each other. One whose size shows at its
//! end only is written at the tail, behind a hole that its header fills afterwards; meanwhile nobody else gets a range.
//! Metadata depend on names and sizes alone: no time, no owner. What a broken blob left behind is overwritten or cut off,
//! and an archive with a blob missing is never finished.

mod header;
mod pour;

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tar_core::HEADER_SIZE;
use tokio::sync::{Mutex, OwnedMutexGuard};

pub(crate) use header::Kind;
use header::header;
use pour::{Target, pour};

use super::read_range;
use crate::blob::Chunks;
use crate::error::{Error, Result};

/// An archive being written. All methods may be called at the same time.
pub(crate) struct TarWriter {
    file: Arc<File>,
    path: Arc<Path>,
    /// Permission bits of regular files.
    mode: u32,
    tail: Arc<Mutex<Tail>>,
}

#[derive(Default)]
struct Tail {
    /// Where the next member starts.
    end: u64,
    members: HashMap<String, Arc<Mutex<Region>>>,
}

/// The range of the archive that holds the body of a member.
struct Region {
    offset: u64,
    size: u64,
    complete: bool,
}

// === impl TarWriter ===

impl TarWriter {
    /// Starts an archive in an empty file. `path` is its name in errors.
    pub(crate) fn new(file: Arc<File>, path: PathBuf, mode: u32) -> Self {
        Self { file, path: path.into(), mode, tail: Arc::default() }
    }

    /// Whether a member has been written, or is being written.
    pub(crate) async fn has(&self, name: &str) -> bool {
        self.tail.lock().await.members.contains_key(name)
    }

    /// Adds a directory.
    pub(crate) async fn directory(&self, name: &str) -> Result<()> {
        self.bodiless(name, &Kind::Directory).await
    }

    /// Adds a symbolic link.
    pub(crate) async fn symlink(&self, name: &str, target: &str) -> Result<()> {
        self.bodiless(name, &Kind::Symlink { target }).await
    }

    /// Adds a small file.
    pub(crate) async fn bytes(&self, name: &str, bytes: Bytes) -> Result<()> {
        let size = bytes.len() as u64;
        let chunks = futures::stream::iter([Ok(bytes)]);
        self.file(name, size, Box::pin(chunks)).await
    }

    /// Adds a file of known size. One that is there already is not written again.
    ///
    /// After a failure it may be called again with the same name and size; until that succeeds the archive can't be
    /// finished.
    pub(crate) async fn file(&self, name: &str, size: u64, chunks: Chunks) -> Result<()> {
        let region = self.reserve(name, size).await?.lock_owned().await;
        if region.complete {
            return Ok(());
        }
        let (offset, target) = (region.offset, self.target());
        let (written, mut region) = pour(target, offset, Some(size), chunks, region).await?;
        if written != size {
            let message = format!("member `{name}` got {written} bytes instead of {size}");
            return Err(Error::internal(message));
        }
        region.complete = true;
        Ok(())
    }

    /// Adds a file whose name and size are known once its last byte has come.
    ///
    /// A failure leaves nothing behind. A file that is there already is not kept twice.
    pub(crate) async fn append(
        &self,
        chunks: Chunks,
        name: impl FnOnce() -> Result<String>,
    ) -> Result<()> {
        let tail = Arc::clone(&self.tail).lock_owned().await;
        let start = tail.end;
        let offset = start + HEADER_SIZE as u64;
        let (size, tail) = pour(self.target(), offset, None, chunks, tail).await?;
        let name = name()?;
        if let Some(region) = tail.members.get(&name).cloned() {
            return self.fill(region, Region { offset, size, complete: true }).await;
        }
        let header = header(&name, &Kind::File { mode: self.mode, size })?;
        if header.len() != HEADER_SIZE {
            return Err(Error::internal(format!("the name `{name}` does not fit into one header")));
        }
        let tail = self.write_around(tail, start, header, size).await?;
        register(tail, start, HEADER_SIZE, name, Region { offset, size, complete: true });
        Ok(())
    }

    /// Copies what was written at the tail to the region that was made for it before, unless that is filled already: a
    /// member that was begun and given up has its place, and there can't be a second one of its name.
    async fn fill(&self, region: Arc<Mutex<Region>>, tail: Region) -> Result<()> {
        let region = region.lock_owned().await;
        if region.complete {
            return Ok(());
        }
        let path = self.path.to_path_buf();
        let chunks = read_range(Arc::clone(&self.file), path, tail.offset, tail.size);
        let (offset, room) = (region.offset, Some(region.size));
        let (written, mut region) = pour(self.target(), offset, room, chunks, region).await?;
        region.complete = written == region.size;
        Ok(())
    }

    /// Ends the archive. Nothing may be written afterwards.
    pub(crate) async fn finish(&self) -> Result<()> {
        let tail = Arc::clone(&self.tail).lock_owned().await;
        for (name, region) in &tail.members {
            if !region.lock().await.complete {
                let message = format!("member `{name}` was begun and never finished");
                return Err(Error::internal(message));
            }
        }
        let target = self.target();
        let work = move || {
            target.write(&[0; 2 * HEADER_SIZE], tail.end)?;
            // A blob that broke off at the tail may have left bytes behind.
            let length = tail.end + 2 * HEADER_SIZE as u64;
            target.file.set_len(length).map_err(|cause| target.failed("write", &cause))
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| stopped(&error))?
    }

    fn target(&self) -> Target {
        Target { file: Arc::clone(&self.file), path: Arc::clone(&self.path) }
    }

    async fn bodiless(&self, name: &str, kind: &Kind<'_>) -> Result<()> {
        let tail = Arc::clone(&self.tail).lock_owned().await;
        if tail.members.contains_key(name) {
            return Ok(());
        }
        let (start, header) = (tail.end, header(name, kind)?);
        let length = header.len();
        let tail = self.write_around(tail, start, header, 0).await?;
        let region = Region { offset: start + length as u64, size: 0, complete: true };
        register(tail, start, length, name.to_owned(), region);
        Ok(())
    }

    /// The region of a member, made now unless it was before.
    async fn reserve(&self, name: &str, size: u64) -> Result<Arc<Mutex<Region>>> {
        let tail = Arc::clone(&self.tail).lock_owned().await;
        if let Some(known) = tail.members.get(name).cloned() {
            drop(tail);
            let of_size = known.lock().await.size;
            if of_size != size {
                let message = format!("member `{name}` has {of_size} bytes and should have {size}");
                return Err(Error::internal(message));
            }
            return Ok(known);
        }
        let (start, header) = (tail.end, header(name, &Kind::File { mode: self.mode, size })?);
        let length = header.len();
        let tail = self.write_around(tail, start, header, size).await?;
        let region = Region { offset: start + length as u64, size, complete: false };
        Ok(register(tail, start, length, name.to_owned(), region))
    }

    /// Writes the header of a member and what pads its body to whole blocks.
    async fn write_around(
        &self,
        tail: OwnedMutexGuard<Tail>,
        start: u64,
        header: Vec<u8>,
        size: u64,
    ) -> Result<OwnedMutexGuard<Tail>> {
        let target = self.target();
        let work = move || {
            target.write(&header, start)?;
            let body_end = start + header.len() as u64 + size;
            let padding = padded(size) - size;
            target.write(&[0; HEADER_SIZE][..usize::try_from(padding).unwrap_or(0)], body_end)?;
            Ok(tail)
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| stopped(&error))?
    }
}

// === impl Target ===

impl Target {
    fn write(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(|cause| self.failed("write", &cause))
    }

    fn failed(&self, verb: &str, cause: &std::io::Error) -> Error {
        Error::io(verb, &self.path, cause)
    }
}

/// Makes a member that has been written, or reserved, part of the archive.
fn register(
    mut tail: OwnedMutexGuard<Tail>,
    start: u64,
    header: usize,
    name: String,
    region: Region,
) -> Arc<Mutex<Region>> {
    tail.end = start + header as u64 + padded(region.size);
    let region = Arc::new(Mutex::new(region));
    tail.members.insert(name, Arc::clone(&region));
    region
}

fn padded(size: u64) -> u64 {
    size.next_multiple_of(HEADER_SIZE as u64)
}

fn stopped(error: &tokio::task::JoinError) -> Error {
    Error::internal(format!("writing an archive stopped: {error}"))
}

#[cfg(test)]
mod tests;
