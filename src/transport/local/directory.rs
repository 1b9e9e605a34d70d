//! A directory that was opened once, and what is reached from there.
//!
//! Every call is relative to the open handle, takes one name (not a path), and never follows a symbolic link: a
//! directory that is swapped for a link while we work, or a link planted in an image, leads nowhere. The names
//! come from digests, constants and listings only. All functions block.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, StatxAttributes};
use rustix::fs::{Stat, StatxFlags};
use rustix::io::Errno;

use super::read::regular;
use crate::error::{Error, Kind, Result};

/// A directory; see the module's documentation.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    handle: Arc<OwnedFd>,
    /// For messages only.
    path: Arc<Path>,
}

/// Directories deeper than this are left where they are; ours have three levels.
const MAX_DEPTH: usize = 32;

/// Follows the symbolic links in a path whose last part may not exist yet: its parent, and its name there.
///
/// The path is the user's own, so links in it are meant.
pub(super) fn locate(path: &Path) -> Result<(Directory, OsString)> {
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(cause)
            if cause.kind() == io::ErrorKind::NotFound && path.symlink_metadata().is_err() =>
        {
            let parent = match path.parent() {
                Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
                Some(parent) => parent,
                None => path,
            };
            let missing = |cause| {
                Error::io("open", parent, &cause)
                    .hint("create the directory first, then push again")
            };
            let parent = parent.canonicalize().map_err(missing)?;
            parent.join(path.file_name().ok_or_else(|| Error::io("resolve", path, &cause))?)
        }
        Err(cause) => return Err(Error::io("resolve", path, &cause)),
    };
    let (Some(parent), Some(name)) = (real.parent(), real.file_name()) else {
        let message = format!("`{}` is the root directory", path.display());
        return Err(Error::new(Kind::DestinationExists, message));
    };
    Ok((Directory::open(parent)?, name.to_owned()))
}

// === impl Directory ===

impl Directory {
    /// Opens a directory by the user's own path.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match fs::open(path, flags, Mode::empty()) {
            Ok(handle) => Ok(Self { handle: Arc::new(handle), path: path.into() }),
            Err(cause) => Err(Error::io("open", path, &cause.into())),
        }
    }

    /// A directory that is open; `path` is for messages.
    pub(super) fn of(handle: OwnedFd, path: &Path) -> Self {
        Self { handle: Arc::new(handle), path: path.into() }
    }

    /// The same directory, which messages call by another path: the one that it is to have.
    pub(super) fn shown_as(self, path: PathBuf) -> Self {
        Self { handle: self.handle, path: path.into() }
    }

    /// Where it was opened, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of something in it, for messages.
    pub(crate) fn path_of(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Opens a directory in it; `None` if there is nothing of that name.
    pub(crate) fn subdirectory(&self, name: &str) -> Result<Option<Self>> {
        match self.open_directory(OsStr::new(name)) {
            Ok(directory) => Ok(Some(directory)),
            Err(Errno::NOENT) => Ok(None),
            Err(cause) => Err(self.refused(OsStr::new(name), cause)),
        }
    }

    /// Opens a directory in it that has to be there.
    pub(crate) fn directory(&self, name: &OsStr) -> Result<Self> {
        self.open_directory(name).map_err(|cause| self.refused(name, cause))
    }

    /// Opens a directory in it, made first if it isn't there.
    pub(crate) fn make_subdirectory(&self, name: &str) -> Result<Self> {
        match fs::mkdirat(&*self.handle, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                let made = self.open_directory(OsStr::new(name));
                let made = made.map_err(|cause| self.refused(OsStr::new(name), cause))?;
                made.set_mode(0o755)?;
                Ok(made)
            }
            Err(Errno::EXIST) => {
                let there = self.open_directory(OsStr::new(name));
                there.map_err(|cause| self.refused(OsStr::new(name), cause))
            }
            Err(cause) => Err(Error::io("create", &self.path_of(name), &cause.into())),
        }
    }

    /// A file without a name, which is gone as soon as nobody has it open.
    pub(super) fn unnamed_file(&self) -> std::result::Result<File, Errno> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        fs::openat(&*self.handle, ".", flags, mode).map(File::from)
    }

    /// Makes a directory that only its owner may enter; `Errno::EXIST` if the name is taken.
    pub(super) fn make_private(&self, name: &OsStr) -> std::result::Result<Self, Errno> {
        fs::mkdirat(&*self.handle, name, Mode::from_raw_mode(0o700))?;
        self.open_directory(name)
    }

    pub(super) fn open_directory(&self, name: &OsStr) -> std::result::Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let handle = fs::openat(&*self.handle, name, flags, Mode::empty())?;
        Ok(Self { handle: Arc::new(handle), path: self.path_of(name).into() })
    }

    /// Opens a regular file in it for reading; a link, a device, a socket or a FIFO is refused.
    pub(crate) fn open_file(&self, name: impl AsRef<OsStr>) -> Result<File> {
        self.open_as(name.as_ref(), OFlags::RDONLY)
    }

    /// The same for locking it; see [`super::UserPath::open_to_lock`].
    pub(super) fn open_to_lock(&self, name: &OsStr) -> Result<File> {
        self.open_as(name, OFlags::RDWR).or_else(|_| self.open_as(name, OFlags::RDONLY))
    }

    fn open_as(&self, name: &OsStr, access: OFlags) -> Result<File> {
        // Opening a FIFO would wait for its other end.
        let flags = access | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let handle = fs::openat(&*self.handle, name, flags, Mode::empty());
        let handle = handle.map_err(|cause| self.refused(name, cause))?;
        regular(handle, &self.path_of(name))
    }

    /// Reads a file in it that has at most `max` bytes.
    pub(crate) fn read_small(&self, name: impl AsRef<OsStr>, max: u64) -> Result<Bytes> {
        let name = name.as_ref();
        read_all(&self.open_file(name)?, &self.path_of(name), max)
    }

    /// What is there under a name, links not followed; `None` if nothing is.
    pub(crate) fn stat(&self, name: impl AsRef<OsStr>) -> Result<Option<Stat>> {
        let name = name.as_ref();
        match fs::statat(&*self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(cause) => Err(Error::io("examine", &self.path_of(name), &cause.into())),
        }
    }

    /// The size in bytes of a regular file in it; `None` if there is no such file.
    pub(crate) fn size_of(&self, name: &str) -> Result<Option<u64>> {
        let stat = self.stat(name)?.filter(|stat| file_type(stat) == FileType::RegularFile);
        Ok(stat.and_then(|stat| u64::try_from(stat.st_size).ok()))
    }

    /// The names in it, sorted.
    pub(crate) fn names(&self) -> Result<Vec<OsString>> {
        let failed = |cause: Errno| Error::io("list", &self.path, &cause.into());
        let mut names = Vec::new();
        for entry in Dir::read_from(&*self.handle).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Creates a file in it that only its owner may open; `Errno::EXIST` if the name is taken.
    pub(super) fn create_file(&self, name: &OsStr) -> std::result::Result<File, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        fs::openat(&*self.handle, name, flags, Mode::from_raw_mode(0o600)).map(File::from)
    }

    /// Opens a file in it for locking, made if it isn't there.
    pub(super) fn open_lock(&self, name: &str) -> std::result::Result<File, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        fs::openat(&*self.handle, name, flags, Mode::from_raw_mode(0o644)).map(File::from)
    }

    /// Gives a file in it a second name in `to`. Fails where the file system, or a rule of the system, forbids it.
    pub(crate) fn link(&self, name: &str, to: &Self, new: &str) -> io::Result<()> {
        Ok(fs::linkat(&*self.handle, name, &*to.handle, new, AtFlags::empty())?)
    }

    /// Moves something to another name, over what is there.
    pub(crate) fn rename(
        &self,
        name: impl AsRef<OsStr>,
        to: &Self,
        new: impl AsRef<OsStr>,
    ) -> Result<()> {
        let (name, new) = (name.as_ref(), new.as_ref());
        let moved = fs::renameat(&*self.handle, name, &*to.handle, new);
        moved.map_err(|cause| Error::io("replace", &to.path_of(new), &cause.into()))
    }

    /// Moves something within this directory with one of the flags of `renameat2`.
    pub(super) fn rename_with(
        &self,
        name: &OsStr,
        new: &OsStr,
        flags: RenameFlags,
    ) -> std::result::Result<(), Errno> {
        fs::renameat_with(&*self.handle, name, &*self.handle, new, flags)
    }

    /// Removes a file or link in it; that there is none is fine.
    pub(crate) fn remove_file(&self, name: impl AsRef<OsStr>) -> Result<()> {
        let name = name.as_ref();
        match fs::unlinkat(&*self.handle, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(cause) => Err(Error::io("remove", &self.path_of(name), &cause.into())),
        }
    }

    /// Removes whatever has this name, with everything below it; that there is nothing is fine.
    pub(crate) fn remove_tree(&self, name: impl AsRef<OsStr>) -> Result<()> {
        self.remove_to_depth(name.as_ref(), MAX_DEPTH)
    }

    fn remove_to_depth(&self, name: &OsStr, depth: usize) -> Result<()> {
        let Some(stat) = self.stat(name)? else { return Ok(()) };
        if file_type(&stat) != FileType::Directory {
            return self.remove_file(name);
        }
        let failed = |cause: Errno| Error::io("remove", &self.path_of(name), &cause.into());
        if depth == 0 {
            return Err(failed(Errno::NAMETOOLONG));
        }
        let directory = self.open_directory(name).map_err(failed)?;
        for below in directory.names()? {
            directory.remove_to_depth(&below, depth - 1)?;
        }
        match fs::unlinkat(&*self.handle, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(cause) => Err(failed(cause)),
        }
    }

    /// Makes the names in it durable.
    pub(crate) fn sync(&self) -> Result<()> {
        match fs::fsync(&*self.handle) {
            // Some network file systems have nothing to do for a directory, and say so.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(cause) => Err(Error::io("sync", &self.path, &cause.into())),
        }
    }

    /// The permissions of the directory itself.
    pub(crate) fn mode(&self) -> Result<u32> {
        match fs::fstat(&*self.handle) {
            Ok(stat) => Ok(stat.st_mode & 0o7777),
            Err(cause) => Err(Error::io("examine", &self.path, &cause.into())),
        }
    }

    /// Sets the permissions of the directory itself, whatever the umask.
    pub(crate) fn set_mode(&self, mode: u32) -> Result<()> {
        let changed = fs::fchmod(&*self.handle, Mode::from_raw_mode(mode));
        changed.map_err(|cause| Error::io("change the mode of", &self.path, &cause.into()))
    }

    /// Whether something is mounted on it, so that it can't be renamed and its parent is another file system.
    pub(crate) fn is_mount_point(&self) -> bool {
        let statx = fs::statx(&*self.handle, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS);
        statx.is_ok_and(|statx| statx.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
    }

    /// Whether the open handle is what `parent` has under `name` now.
    pub(super) fn is_at(&self, parent: &Self, name: &OsStr) -> bool {
        same_file(fs::fstat(&*self.handle), parent, name)
    }

    /// Tries to take the directory's lock; see [`super::temporary`].
    pub(super) fn try_lock(&self) -> std::result::Result<(), Errno> {
        fs::flock(&*self.handle, fs::FlockOperation::NonBlockingLockExclusive)
    }

    fn refused(&self, name: &OsStr, cause: Errno) -> Error {
        refused(&self.path_of(name), cause)
    }
}

/// Whether a file handle is what `parent` has under `name` now.
pub(super) fn is_file_at(file: &File, parent: &Directory, name: &OsStr) -> bool {
    same_file(fs::fstat(file), parent, name)
}

fn same_file(stat: std::result::Result<Stat, Errno>, parent: &Directory, name: &OsStr) -> bool {
    let named = parent.stat(name).ok().flatten();
    let both = stat.ok().zip(named);
    both.is_some_and(|(a, b)| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
}

/// The error of something that could not be opened.
pub(super) fn refused(path: &Path, cause: Errno) -> Error {
    match cause {
        // What O_NOFOLLOW makes of a link.
        Errno::LOOP => not_a_file(path, FileType::Symlink),
        cause => Error::io("open", path, &cause.into()),
    }
}

/// Reads a file that has at most `max` bytes, wherever its end turns out to be.
pub(super) fn read_all(file: &File, path: &Path, max: u64) -> Result<Bytes> {
    let failed = |cause| Error::io("read", path, &cause);
    let size = file.metadata().map_err(failed)?.len();
    let too_large = |size: u64| {
        let message =
            format!("`{}` has {size} bytes, more than the limit of {max}", path.display());
        Error::new(Kind::LimitExceeded, message)
    };
    if size > max {
        return Err(too_large(size));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    file.take(max + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > max {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes.into())
}

/// The type of what was examined.
pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The error of something that should be a regular file.
pub(super) fn not_a_file(path: &Path, found: FileType) -> Error {
    let found = match found {
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "something else",
    };
    let message = format!("`{}` is {found}, not a regular file", path.display());
    Error::new(Kind::StorageFailed, message)
}
