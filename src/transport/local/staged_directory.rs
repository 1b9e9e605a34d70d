//! A directory being filled beside its final place, or inside it.
//!
//! Beside is the rule: the finished directory then takes its place in one step. Inside is for a place that can't be
//! renamed, such as a mount point: the files are then moved one by one, in an order that the caller chooses.
//! Dropping it removes it; what a killed process leaves is removed by the next one for the same target.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use rustix::fs::RenameFlags;
use rustix::io::Errno;

use super::directory::Directory;
use super::temporary;
use crate::error::{Error, Result};

/// A directory being filled; see the module's documentation. Its creation, and its drop, block.
#[derive(Debug)]
pub(crate) struct StagedDirectory {
    parent: Directory,
    name: OsString,
    directory: Directory,
}

/// What became of an attempt to put a directory in its place in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Published {
    /// It is there.
    Done,
    /// Something has the name already (asked not to replace), or nothing has (asked to exchange).
    Conflict,
    /// The file system can't do it, or the place is a mount point.
    Unsupported,
}

// === impl StagedDirectory ===

impl StagedDirectory {
    /// Creates an empty directory, open to its owner only, that is to become `target` in `parent`.
    pub(crate) fn beside(parent: &Directory, target: &OsStr) -> Result<Self> {
        Self::create(parent, target, parent.path_of(target))
    }

    /// Creates an empty directory, open to its owner only, whose content is to be moved to `parent`. `name` tells it from
    /// others that are made there.
    pub(crate) fn inside(parent: &Directory, name: &str) -> Result<Self> {
        Self::create(parent, OsStr::new(name), parent.path().to_owned())
    }

    /// `place` is what messages are about.
    fn create(parent: &Directory, target: &OsStr, place: PathBuf) -> Result<Self> {
        temporary::sweep(parent, target);
        for _ in 0..temporary::ATTEMPTS {
            let name = temporary::name_for(target);
            let directory = match parent.make_private(&name) {
                Ok(directory) => directory,
                // Swept between its creation and its opening.
                Err(Errno::EXIST | Errno::NOENT) => continue,
                Err(cause) => {
                    return Err(Error::io("write to", parent.path(), &cause.into()));
                }
            };
            if temporary::hold_directory(&directory, parent, &name) {
                let directory = directory.shown_as(place);
                return Ok(Self { parent: parent.clone(), name, directory });
            }
        }
        Err(Error::internal(format!("no temporary name for `{}` was free", place.display())))
    }

    /// The directory.
    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Gives it the name `target` in its parent, where nothing may have it yet; `fsync`s the parent.
    pub(crate) fn publish_new(&self, target: &OsStr) -> Result<Published> {
        self.publish(target, RenameFlags::NOREPLACE)
    }

    /// Exchanges it with `target` in its parent; `fsync`s the parent. What was there is removed on drop.
    pub(crate) fn publish_exchange(&self, target: &OsStr) -> Result<Published> {
        self.publish(target, RenameFlags::EXCHANGE)
    }

    fn publish(&self, target: &OsStr, flags: RenameFlags) -> Result<Published> {
        match self.parent.rename_with(&self.name, target, flags) {
            Ok(()) => {
                self.parent.sync()?;
                Ok(Published::Done)
            }
            Err(Errno::EXIST | Errno::NOENT) => Ok(Published::Conflict),
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::BUSY | Errno::XDEV) => {
                Ok(Published::Unsupported)
            }
            Err(cause) => Err(Error::io("replace", &self.parent.path_of(target), &cause.into())),
        }
    }
}

impl Drop for StagedDirectory {
    fn drop(&mut self) {
        if let Err(error) = self.parent.remove_tree(&self.name) {
            tracing::warn!(%error, "a temporary directory is left behind");
        }
    }
}

#[cfg(test)]
mod tests;
