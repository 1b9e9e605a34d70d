//! The lock that writers of one place take, so that none loses what another one wrote.
//!
//! Advisory (`flock`), held by an open file: the kernel gives it back when its holder dies. The file is never removed,
//! since two processes could then hold two different ones. Readers need no lock.

use std::fs::{File, TryLockError};
use std::future::ready;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::blocking;
use super::directory::{Directory, refused};
use crate::error::{Error, Kind, Result};
use crate::limits::LOCK_TIMEOUT;

/// A lock, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

/// Between two attempts to get a lock: writers hold it for milliseconds.
const PAUSE: Duration = Duration::from_millis(20);

// === impl Lock ===

impl Lock {
    /// Takes the lock of a file in `directory`, which is made if it isn't there. Waits at most [`LOCK_TIMEOUT`].
    ///
    /// A file system without locks is refused: writers would lose each other's work without a word.
    pub(crate) async fn acquire_in(directory: &Directory, name: &str) -> Result<Self> {
        let path = directory.path_of(name);
        let (directory, name) = (directory.clone(), name.to_owned());
        let opened = blocking(move || {
            directory.open_lock(&name).map_err(|cause| refused(&directory.path_of(&name), cause))
        });
        Self::of_file(opened.await?, &path, || ready(None::<()>)).await
    }

    /// Takes the lock of a file that is open; `path` is for messages. Waits for as long as its holder gets on, which may be
    /// copying gigabytes: at most [`LOCK_TIMEOUT`] from when he has last written something, as `last_written` tells.
    pub(crate) async fn of_file<T: Ord + Send, F: Future<Output = Option<T>> + Send>(
        file: File,
        path: &Path,
        last_written: impl Fn() -> F + Send,
    ) -> Result<Self> {
        let (mut deadline, mut seen) = (Instant::now() + LOCK_TIMEOUT, last_written().await);
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { file }),
                Err(TryLockError::Error(cause)) => return Err(Error::io("lock", path, &cause)),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    let now = last_written().await;
                    if now <= seen {
                        return Err(held_too_long(path));
                    }
                    (deadline, seen) = (Instant::now() + LOCK_TIMEOUT, now);
                }
                Err(TryLockError::WouldBlock) => sleep(PAUSE).await,
            }
        }
    }

    /// The file that is locked.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

fn held_too_long(path: &Path) -> Error {
    let seconds = LOCK_TIMEOUT.as_secs();
    let message = format!("another process has held the lock `{}` for {seconds} s", path.display());
    Error::new(Kind::Timeout, message).hint("wait for the other push to end, then push again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_second_writer_waits_and_then_says_for_what() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        let path = folder.path().join("lock");
        let first = Lock::acquire_in(&directory, "lock").await.unwrap();
        let error = Lock::acquire_in(&directory, "lock").await.unwrap_err();
        let expected = format!("another process has held the lock `{}` for 60 s", path.display());
        assert_eq!((error.to_string(), error.exit_code()), (expected, 75));

        let (second, ()) = tokio::join!(Lock::acquire_in(&directory, "lock"), async {
            sleep(Duration::from_secs(5)).await;
            drop(first);
        });
        second.unwrap();
        assert!(path.exists(), "the file of a lock is never removed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_gets_on_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive");
        let open = || File::options().create(true).append(true).open(&path).unwrap();
        // He writes once a second, for three minutes and a half.
        let start = Instant::now();
        let written = || ready(Some(start.elapsed().as_secs().min(210)));
        let first = Lock::of_file(open(), &path, written).await.unwrap();
        let error = Lock::of_file(open(), &path, written).await.unwrap_err();
        let expected = format!("another process has held the lock `{}` for 60 s", path.display());
        assert_eq!((error.to_string(), error.exit_code()), (expected, 75));
        assert_eq!(start.elapsed().as_secs(), 300);
        drop(first);
        Lock::of_file(open(), &path, written).await.unwrap();
    }

    #[tokio::test]
    async fn a_link_is_not_taken_for_a_lock() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", folder.path().join("lock")).unwrap();
        let error = Lock::acquire_in(&directory, "lock").await.unwrap_err();
        let path = folder.path().join("lock");
        let expected = format!("`{}` is a symbolic link, not a regular file", path.display());
        assert_eq!(error.to_string(), expected);
    }
}
