//! Names of things that are being made, and the removal of what a killed process left behind.
//!
//! A temporary name is `.<target>.imagepush-<random>.tmp`. Whoever makes it holds a lock on it (`flock`) for as long as
//! he works, which the kernel gives back when he dies: such a name whose lock is free is litter, and the next
//! run for the same target removes it. A name of any other form is never touched.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use rustix::fs::{FileType, Stat};

use super::directory::{Directory, file_type, is_file_at};
use crate::error::Result;

const MARK: &[u8] = b".imagepush-";
const SUFFIX: &[u8] = b".tmp";
const RANDOM_DIGITS: usize = 16;

/// Most bytes of the target's name that are repeated, so that the whole stays below the usual limit of 255.
const MAX_REPEATED: usize = 200;

/// Attempts to make something before giving up; a second one is needed only if a name is taken.
pub(super) const ATTEMPTS: usize = 8;

/// A new temporary name for `target`.
pub(super) fn name_for(target: &OsStr) -> OsString {
    // Seeded by the system; the exclusive creation of the name is what guards against a guess.
    let random = RandomState::new().build_hasher().finish();
    let mut name = prefix_for(target);
    name.extend_from_slice(format!("{random:016x}").as_bytes());
    name.extend_from_slice(SUFFIX);
    OsString::from_vec(name)
}

/// Whether this is a temporary name, for whatever target.
pub(crate) fn is_temporary(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let mark = name.windows(MARK.len()).rposition(|window| window == MARK);
    mark.is_some_and(|mark| name.starts_with(b".") && is_ending(&name[mark + MARK.len()..]))
}

/// Removes what killed processes left of `target` in `directory`. Best effort: whatever fails is left.
pub(crate) fn sweep(directory: &Directory, target: &OsStr) {
    let prefix = prefix_for(target);
    sweep_names(directory, |name| is_of(name, &prefix));
}

/// Removes what killed processes left in a directory that is ours, whatever it was to be.
pub(crate) fn sweep_all(directory: &Directory) {
    sweep_names(directory, is_temporary);
}

/// When somebody last wrote to what is to become `target`, in nanoseconds since 1970; `None` if nobody does. Best effort.
pub(super) fn last_written(directory: &Directory, target: &OsStr) -> Option<i128> {
    let prefix = prefix_for(target);
    let names = directory.names().unwrap_or_default();
    let ours = names.iter().filter(|name| is_of(name, &prefix));
    let stats = ours.filter_map(|name| directory.stat(name).ok().flatten());
    let written =
        |stat: Stat| i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec);
    stats.map(written).max()
}

fn sweep_names(directory: &Directory, is_ours: impl Fn(&OsStr) -> bool) {
    for name in directory.names().unwrap_or_default() {
        if is_ours(&name)
            && let Err(error) = remove_if_stale(directory, &name)
        {
            tracing::debug!(%error, "a stale temporary file could not be removed");
        }
    }
}

fn remove_if_stale(directory: &Directory, name: &OsStr) -> Result<()> {
    let Some(stat) = directory.stat(name)? else { return Ok(()) };
    match file_type(&stat) {
        FileType::RegularFile => {
            let file = directory.open_to_lock(name)?;
            // Still held while the name goes away, so that nobody takes it up in between.
            if file.try_lock().is_ok() { directory.remove_file(name) } else { Ok(()) }
        }
        FileType::Directory => {
            let Ok(stale) = directory.open_directory(name) else { return Ok(()) };
            if stale.try_lock().is_ok() { directory.remove_tree(name) } else { Ok(()) }
        }
        _ => Ok(()),
    }
}

/// Locks a file just made. `false` if another process took it for litter in between.
///
/// Where the file system has no locks, nobody sweeps either.
pub(super) fn hold_file(file: &File, directory: &Directory, name: &OsStr) -> bool {
    match file.lock() {
        Ok(()) => is_file_at(file, directory, name),
        Err(_) => true,
    }
}

/// The same for a directory.
pub(super) fn hold_directory(made: &Directory, directory: &Directory, name: &OsStr) -> bool {
    match made.try_lock() {
        Err(rustix::io::Errno::WOULDBLOCK) => false,
        Ok(()) => made.is_at(directory, name),
        Err(_) => true,
    }
}

fn prefix_for(target: &OsStr) -> Vec<u8> {
    let target = target.as_bytes();
    [b".", &target[..target.len().min(MAX_REPEATED)], MARK].concat()
}

fn is_of(name: &OsStr, prefix: &[u8]) -> bool {
    name.as_bytes().strip_prefix(prefix).is_some_and(is_ending)
}

/// Whether this can follow the mark.
fn is_ending(ending: &[u8]) -> bool {
    ending.strip_suffix(SUFFIX).is_some_and(|random| {
        random.len() == RANDOM_DIGITS && random.iter().all(u8::is_ascii_hexdigit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_our_own_form_are_temporary() {
        let made = name_for(OsStr::new("a.imagepush-b"));
        let cases = [
            (made.to_str().unwrap(), true),
            (".x.imagepush-0123456789abcdef.tmp", true),
            ("..imagepush-0123456789abcdef.tmp", true),
            ("x.imagepush-0123456789abcdef.tmp", false),
            (".x.imagepush-0123456789abcde.tmp", false),
            (".x.imagepush-0123456789abcdef", false),
            (".x.imagepush-0123456789abcdeg.tmp", false),
            ("dir-put-blob123", false),
            ("", false),
        ];
        for (name, expected) in cases {
            assert_eq!(is_temporary(OsStr::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn who_writes_is_seen_by_the_time_of_what_is_being_made() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        let seconds = |seconds| std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        for (name, at) in [
            (".a.tar.imagepush-0123456789abcdef.tmp", 7),
            (".a.tar.imagepush-0123456789abcdee.tmp", 9),
            (".b.tar.imagepush-0123456789abcdef.tmp", 11),
            ("a.tar", 12),
        ] {
            File::create(folder.path().join(name)).unwrap().set_modified(seconds(at)).unwrap();
        }
        assert_eq!(last_written(&directory, OsStr::new("a.tar")), Some(9_000_000_000));
        assert_eq!(last_written(&directory, OsStr::new("c.tar")), None);
    }

    #[test]
    fn names_differ_and_stay_within_the_limit() {
        let long = OsString::from("n".repeat(255));
        let (one, other) = (name_for(&long), name_for(&long));
        assert!(one.len() <= 255 && is_temporary(&one), "{}", one.display());
        assert_ne!(one, other);
    }
}
