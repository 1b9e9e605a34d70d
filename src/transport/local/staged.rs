//! A file being written beside its final place.
//!
//! It becomes visible under its own name in one step, complete and durable, or not at all: dropping it removes
//! it, and what a killed process leaves is removed by the next one for the same target.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, RenameFlags};
use rustix::io::Errno;

use super::directory::{Directory, file_type, not_a_file};
use super::{UserPath, blocking, temporary};
use crate::error::{Error, Kind, Result};

/// A file being written; see the module's documentation.
#[derive(Debug)]
pub(crate) struct StagedFile {
    directory: Directory,
    /// The temporary name; empty once it has been given up.
    name: OsString,
    target: OsString,
    file: Arc<File>,
}

/// A file that has only to be given its name: nothing is left to do that takes time.
#[derive(Debug)]
pub(crate) struct SettledFile(StagedFile);

// === impl StagedFile ===

impl StagedFile {
    /// Creates a file that is to replace `target`, whose directory must exist.
    ///
    /// Symbolic links in `target` are followed, its last part included. A target that is there and isn't a regular
    /// file (a directory, a device, a FIFO, a socket) is refused. Removes what killed processes left.
    pub(crate) async fn create(target: &UserPath) -> Result<Self> {
        let target = target.clone();
        blocking(move || {
            let (directory, name) = target.locate()?;
            if let Some(stat) = directory.stat(&name)?
                && file_type(&stat) != FileType::RegularFile
            {
                return Err(not_a_file(target.path(), file_type(&stat)));
            }
            temporary::sweep(&directory, &name);
            Self::create_in(&directory, &name)
        })
        .await
    }

    /// Creates a file that is to be `target` in a directory. Blocks.
    pub(crate) fn create_in(directory: &Directory, target: impl AsRef<OsStr>) -> Result<Self> {
        let target = target.as_ref();
        for _ in 0..temporary::ATTEMPTS {
            let name = temporary::name_for(target);
            let file = match directory.create_file(&name) {
                Ok(file) => file,
                Err(Errno::EXIST) => continue,
                Err(cause) => {
                    return Err(Error::io("create", &directory.path_of(target), &cause.into()));
                }
            };
            if temporary::hold_file(&file, directory, &name) {
                let file = Arc::new(file);
                return Ok(Self {
                    directory: directory.clone(),
                    name,
                    target: target.into(),
                    file,
                });
            }
        }
        let path = directory.path_of(target);
        Err(Error::internal(format!("no temporary name beside `{}` was free", path.display())))
    }

    /// Writes a whole small file down, durably, without giving it its name. Blocks.
    pub(crate) fn write(directory: &Directory, target: &str, content: &[u8]) -> Result<Self> {
        let staged = Self::create_in(directory, target)?;
        let written = (&*staged.file).write_all(content).and_then(|()| staged.file.sync_all());
        written.map_err(|cause| Error::io("write", &staged.target(), &cause))?;
        Ok(staged)
    }

    /// Writes a whole small file. Blocks, and leaves `fsync` of the directory to the caller.
    pub(crate) fn write_small(directory: &Directory, target: &str, content: &[u8]) -> Result<()> {
        Self::write(directory, target, content)?.place(directory, target)
    }

    /// The file, for writing at offsets (`FileExt::write_all_at`) and reading back.
    pub(crate) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Where it is being written.
    #[cfg(test)]
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path_of(&self.name)
    }

    /// What it is to become, for messages.
    pub(crate) fn target(&self) -> PathBuf {
        self.directory.path_of(&self.target)
    }

    /// Makes the content readable by all, and durable.
    pub(crate) async fn settled(self) -> Result<SettledFile> {
        blocking(move || self.settle(&self.target()).map(|()| SettledFile(self))).await
    }

    /// Settles and publishes it, under any name in any directory of the same file system, and without `fsync` of that
    /// directory, which the caller does once for many files. Blocks.
    pub(crate) fn place(mut self, directory: &Directory, name: impl AsRef<OsStr>) -> Result<()> {
        self.settle(&directory.path_of(name.as_ref()))?;
        self.directory.rename(&self.name, directory, name)?;
        self.name.clear();
        Ok(())
    }

    /// Makes the content readable by all, and durable. `path` is for messages.
    fn settle(&self, path: &Path) -> Result<()> {
        let mode = self.file.set_permissions(Permissions::from_mode(0o644));
        mode.map_err(|cause| Error::io("change the mode of", path, &cause))?;
        self.file.sync_all().map_err(|cause| Error::io("sync", path, &cause))
    }
}

// === impl SettledFile ===

impl SettledFile {
    /// Makes it the target, in one step.
    pub(crate) async fn publish(self) -> Result<()> {
        let Self(mut staged) = self;
        blocking(move || {
            staged.directory.rename(&staged.name, &staged.directory, &staged.target)?;
            staged.name.clear();
            staged.directory.sync()
        })
        .await
    }

    /// As `publish`, where nothing may have the target's name yet.
    pub(crate) async fn publish_new(self) -> Result<()> {
        let Self(mut staged) = self;
        blocking(move || {
            let StagedFile { directory, name, target, .. } = &staged;
            match directory.rename_with(name, target, RenameFlags::NOREPLACE) {
                Ok(()) => {}
                Err(Errno::EXIST) => {
                    let target = staged.target();
                    let message = format!("another process has just made `{}`", target.display());
                    return Err(Error::new(Kind::StorageFailed, message)
                        .transient()
                        .hint("push again, so that both images are there"));
                }
                // Where the file system can't, the time between the look and the rename is a risk.
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                    directory.rename(name, directory, target)?;
                }
                Err(cause) => return Err(Error::io("replace", &staged.target(), &cause.into())),
            }
            staged.name.clear();
            staged.directory.sync()
        })
        .await
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if !self.name.is_empty()
            && let Err(error) = self.directory.remove_file(&self.name)
        {
            tracing::warn!(%error, "a temporary file is left behind");
        }
    }
}

#[cfg(test)]
mod tests;
