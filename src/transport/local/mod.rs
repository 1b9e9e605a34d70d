//! Files and directories, as every transport that keeps images on a file system uses them.
//!
//! Reading never follows a symbolic link below a directory that was opened, and is bounded. Writing goes to a
//! temporary name beside the final one and is published by one rename, so that a reader sees the old content
//! or the new, and a crash leaves neither half of one. Everything that blocks runs on blocking threads:
//! functions that are not `async` are called from inside [`blocking`]. Nothing in here knows an image format
//! but [`layout`], which holds what the transports of OCI layouts share.

mod archive_target;
pub(crate) mod attachments;
mod complete;
mod directory;
pub(crate) mod layout;
mod lock;
mod read;
mod staged;
mod staged_directory;
mod tar_read;
mod tar_write;
mod temporary;
mod user_path;

pub(crate) use archive_target::ArchiveTarget;
pub(crate) use complete::{Store, is_complete};
pub(crate) use directory::Directory;
pub(crate) use lock::Lock;
pub(crate) use read::{is_intact, read_range, read_whole, write_chunks};
pub(crate) use staged::StagedFile;
pub(crate) use staged_directory::{Published, StagedDirectory};
pub(crate) use tar_read::{Archive, Extent, Found};
pub(crate) use tar_write::TarWriter;
pub(crate) use temporary::{is_temporary, sweep, sweep_all};
pub(crate) use user_path::UserPath;

use crate::error::{Error, Result};

/// Runs work that blocks on a thread where it may.
///
/// If the returned future is dropped, the work still runs to its end.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(stopped) => Err(Error::internal(format!("file work stopped: {stopped}"))),
    }
}
