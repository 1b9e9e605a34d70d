//! A path that a user named, and the folder that it must not lead out of.
//!
//! Without such a folder the path is the user's own, and links in it are meant. With one, such as a volume that others write
//! to as well, the kernel itself resolves the path below it (`openat2` with `RESOLVE_BENEATH`): neither `..` nor a symbolic
//! link, nor one that is put in its place in this moment, leads out of it. All functions block.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{self, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::directory::{Directory, file_type, locate, not_a_file, refused};
use super::read::{self, regular};
use crate::access::Access;
use crate::error::{Error, Kind, Result};

/// A path that a user named; see the module's documentation.
#[derive(Clone, Debug)]
pub(crate) struct UserPath {
    path: PathBuf,
    root: Option<Arc<Path>>,
    scratch_bytes: Option<u64>,
}

/// The kernel asks for another try when something is renamed while it looks; more of them are somebody's doing.
const ATTEMPTS: usize = 64;

// === impl UserPath ===

impl UserPath {
    /// The path, as far as this side of a push may follow it.
    pub(crate) fn new(path: &Path, access: &Access) -> Self {
        Self {
            path: path.to_owned(),
            root: access.root.clone(),
            scratch_bytes: access.scratch_bytes,
        }
    }

    /// A path that may lead anywhere.
    #[cfg(test)]
    pub(crate) fn anywhere(path: impl AsRef<Path>) -> Self {
        Self::new(path.as_ref(), &Access::default())
    }

    /// The path, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The most bytes that whoever reads it may put into the folder for temporary files.
    pub(crate) fn scratch_bytes(&self) -> Option<u64> {
        self.scratch_bytes
    }

    /// Opens the directory that it names.
    pub(crate) fn open_directory(&self) -> Result<Directory> {
        match &self.root {
            None => Directory::open(&self.path),
            Some(root) => self.directory_below(root, &self.path),
        }
    }

    /// Opens the regular file that it names.
    pub(crate) fn open_file(&self) -> Result<File> {
        self.open_as(OFlags::RDONLY)
    }

    fn open_as(&self, access: OFlags) -> Result<File> {
        let Some(root) = &self.root else { return read::open_file(&self.path, access) };
        // Opening a FIFO would wait for its other end.
        regular(self.open_below(root, &self.path, access | OFlags::NONBLOCK)?, &self.path)
    }

    /// The same for locking it. NFS makes of an exclusive `flock` a lock of a range, which takes a file that is open for
    /// writing; elsewhere one that can't be written can be locked as well.
    pub(crate) fn open_to_lock(&self) -> Result<File> {
        self.open_as(OFlags::RDWR).or_else(|_| self.open_as(OFlags::RDONLY))
    }

    /// The directory that it is in.
    pub(crate) fn open_parent(&self) -> Result<Directory> {
        let parent = self.path.parent().unwrap_or(Path::new(""));
        match &self.root {
            None if parent.as_os_str().is_empty() => Directory::open(Path::new(".")),
            None => Directory::open(parent),
            Some(root) => self.directory_below(root, parent),
        }
    }

    /// The directory that it is in or is to be in, and its name there. Below a folder, directories that are missing on the
    /// way are made: whoever has a volume can't reach into it to make them.
    pub(crate) fn locate(&self) -> Result<(Directory, OsString)> {
        let Some(root) = &self.root else { return locate(&self.path) };
        let (Some(parent), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            let message = format!("`{}` is the volume itself", self.path.display());
            let error = Error::new(Kind::InvalidReference, message);
            return Err(error.hint("name a folder or file in the volume"));
        };
        let directory = self.made_below(root, parent)?;
        match directory.stat(name)? {
            Some(stat) if file_type(&stat) == FileType::Symlink => {
                Err(not_a_file(&self.path, FileType::Symlink))
            }
            _ => Ok((directory, name.to_owned())),
        }
    }

    fn directory_below(&self, root: &Path, path: &Path) -> Result<Directory> {
        let handle = self.open_below(root, path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        Ok(Directory::of(handle, path))
    }

    /// Opens a directory below the root; what is missing of it is made, one part after another.
    fn made_below(&self, root: &Path, path: &Path) -> Result<Directory> {
        match self.directory_below(root, path) {
            Err(error) if error.kind() == Kind::NotFound => {}
            opened => return opened,
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(OsStr::to_str))
        else {
            return self.directory_below(root, path);
        };
        self.made_below(root, parent)?.make_subdirectory(name)
    }

    fn open_below(&self, root: &Path, path: &Path, flags: OFlags) -> Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let start = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = fs::openat(CWD, root, start, Mode::empty())
            .map_err(|cause| Error::io("open", root, &cause.into()))?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..ATTEMPTS {
            match fs::openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(cause) => return Err(self.refused_below(path, cause)),
                Ok(handle) => return Ok(handle),
            }
        }
        Err(self.refused_below(path, Errno::AGAIN))
    }

    fn refused_below(&self, path: &Path, cause: Errno) -> Error {
        let shown = self.path.display();
        match cause {
            Errno::XDEV => {
                let message = format!("`{shown}` leads out of the volume");
                Error::new(Kind::AccessDenied, message)
                    .hint("name a path in the volume, without links that lead elsewhere")
            }
            Errno::NOSYS | Errno::PERM => {
                let message =
                    format!("`{shown}` can't be kept in its volume here: openat2: {cause}");
                Error::new(Kind::StorageFailed, message)
                    .hint("run it on Linux 5.6 or later, in a runtime that lets openat2 through")
            }
            cause => refused(path, cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder `outside` with a secret, and a volume beside it that has links of all kinds.
    fn volume() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (outside, volume) = (folder.path().join("outside"), folder.path().join("volume"));
        std::fs::create_dir_all(outside.join("deep")).unwrap();
        std::fs::write(outside.join("secret"), "canary").unwrap();
        std::fs::create_dir_all(volume.join("a/b")).unwrap();
        std::fs::write(volume.join("a/file"), "fine").unwrap();
        symlink("../outside", volume.join("up")).unwrap();
        symlink(&outside, volume.join("absolute")).unwrap();
        symlink("/", volume.join("slash")).unwrap();
        symlink("/proc/self/root", volume.join("magic")).unwrap();
        symlink("up", volume.join("chain")).unwrap();
        symlink("../outside/secret", volume.join("link")).unwrap();
        symlink("a/file", volume.join("inside")).unwrap();
        symlink("a", volume.join("same")).unwrap();
        symlink("loop", volume.join("loop")).unwrap();
        (folder, volume)
    }

    fn below(root: &Path, path: &str) -> UserPath {
        UserPath { path: path.into(), root: Some(root.into()), scratch_bytes: None }
    }

    #[test]
    fn nothing_leads_out_of_a_volume() {
        let (folder, volume) = volume();
        let absolute = folder.path().join("outside/secret");
        let cases = [
            "..",
            "../outside/secret",
            "a/../../outside/secret",
            "a/b/../../../outside/secret",
            absolute.to_str().unwrap(),
            "up/secret",
            "absolute/secret",
            "slash/etc/passwd",
            "magic/etc/passwd",
            "chain/secret",
            "link",
            "same/../up/secret",
        ];
        for path in cases {
            let denied = |error: Error| (error.kind(), error.to_string());
            let expected = (Kind::AccessDenied, format!("`{path}` leads out of the volume"));
            let path = below(&volume, path);
            assert_eq!(denied(path.open_file().unwrap_err()), expected);
            assert_eq!(denied(path.open_directory().unwrap_err()), expected);
        }
    }

    #[test]
    fn what_is_written_stays_in_a_volume() {
        let (_folder, volume) = volume();
        for path in ["up/new", "absolute/new", "chain/new", "../new", "a/../../new", "magic/tmp/x"]
        {
            let error = below(&volume, path).locate().unwrap_err();
            assert_eq!(error.to_string(), format!("`{path}` leads out of the volume"));
        }
        for path in ["link", "inside", "up", "loop"] {
            let error = below(&volume, path).locate().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("`{path}` is a symbolic link, not a regular file")
            );
        }
        for path in [".", "/", ""] {
            let error = below(&volume, path).locate().unwrap_err();
            assert_eq!(error.to_string(), format!("`{path}` is the volume itself"));
        }
    }

    #[test]
    fn what_is_in_the_volume_is_found() {
        let (_folder, volume) = volume();
        for path in ["a/file", "inside", "same/file", "a/b/../file"] {
            below(&volume, path).open_file().unwrap();
        }
        for path in [".", "a", "same/b"] {
            below(&volume, path).open_directory().unwrap();
        }
        for (path, parent) in [("new", ""), ("a/new", "a"), ("same/b", "same")] {
            let (directory, name) = below(&volume, path).locate().unwrap();
            assert_eq!(directory.path(), Path::new(parent));
            assert!(path.ends_with(name.to_str().unwrap()));
        }
        assert_eq!(below(&volume, "none").open_file().unwrap_err().kind(), Kind::NotFound);
    }

    #[test]
    fn folders_that_are_missing_are_made_in_the_volume() {
        let (folder, volume) = volume();
        let (directory, name) = below(&volume, "a/new/deep/x").locate().unwrap();
        assert_eq!((directory.path(), name.to_str()), (Path::new("a/new/deep"), Some("x")));
        assert!(volume.join("a/new/deep").is_dir());
        let error = below(&volume, "a/file/x").locate().unwrap_err();
        assert_eq!(error.to_string(), "cannot open `a/file`: Not a directory (os error 20)");
        for path in ["up/new/x", "absolute/new/x", "magic/tmp/new/x"] {
            let error = below(&volume, path).locate().unwrap_err();
            assert!(error.to_string().ends_with("leads out of the volume"), "{error}");
        }
        assert!(!folder.path().join("outside/new").exists());
    }

    /// Somebody exchanges a folder for a link out of the volume, as fast as possible.
    #[test]
    fn a_link_that_is_swapped_in_leads_nowhere() {
        let (_folder, volume) = volume();
        symlink("../outside", volume.join("a/x")).unwrap();
        std::fs::create_dir(volume.join("a/y")).unwrap();
        std::fs::write(volume.join("a/y/secret"), "fine").unwrap();
        let ended = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let swapper = std::thread::spawn({
            let (ended, a) = (ended.clone(), Directory::open(&volume.join("a")).unwrap());
            move || {
                while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                    let swap = fs::RenameFlags::EXCHANGE;
                    a.rename_with("x".as_ref(), "y".as_ref(), swap).unwrap();
                }
            }
        });
        let path = below(&volume, "a/x/secret");
        for _ in 0..20_000 {
            if let Ok(file) = path.open_file() {
                assert_eq!(std::io::read_to_string(file).unwrap(), "fine");
            }
        }
        ended.store(true, std::sync::atomic::Ordering::Relaxed);
        swapper.join().unwrap();
    }
}
