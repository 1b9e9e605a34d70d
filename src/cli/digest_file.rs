//! The file of `--digestfile`: the digest of what was pushed and nothing else, not even a line end.
//!
//! It is written after success only, to a file beside it that then takes its name, so that a reader sees the old content or
//! the new. A pipe or device is written to as it is.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Error, Kind, Result};
use crate::image::Digest;

/// Finds out before the push what would make [`write()`] fail after it. Writes nothing.
pub(crate) fn check(path: &Path) -> Result<()> {
    let refuse = |message: String| Err(Error::new(Kind::InvalidOptions, message));
    if path.is_dir() {
        return refuse(format!("the digest file `{}` is a directory", path.display()));
    }
    if path.file_name().is_none() {
        return refuse(format!("`{}` is not the name of a digest file", path.display()));
    }
    let folder = folder(path);
    if !folder.is_dir() {
        let message =
            format!("the directory `{}` of the digest file isn't there", folder.display());
        return refuse(message);
    }
    Ok(())
}

/// Writes the digest.
pub(crate) fn write(path: &Path, digest: &Digest) -> Result<()> {
    replace(path, digest.to_string().as_bytes())
        .map_err(|error| error.doing("writing the digest file of an image that has been pushed"))
}

fn replace(path: &Path, content: &[u8]) -> Result<()> {
    // A link keeps pointing where it points; what it points to is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if target.exists() && !target.is_file() {
        return OpenOptions::new()
            .write(true)
            .open(&target)
            .and_then(|mut file| file.write_all(content))
            .map_err(|cause| Error::io("write", path, &cause));
    }
    let temporary = beside(&target);
    let written = write_new(&temporary, content)
        .and_then(|()| fs::rename(&temporary, &target))
        .and_then(|()| File::open(folder(&target))?.sync_all());
    written.map_err(|cause| {
        // Best effort: the fault that is reported is the one that came first.
        let _ = fs::remove_file(&temporary);
        Error::io("write", path, &cause)
    })
}

fn write_new(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// A name in the same directory that no other process uses; containers on one volume may have equal process ids.
fn beside(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    target.with_file_name(format!(".{name}.{}-{now}.tmp", std::process::id()))
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_the_digest_and_replaces_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("digest"), folder.path().join("link"));
        std::os::unix::fs::symlink(&file, &link).unwrap();
        fs::write(&file, "old content, longer than a digest is".repeat(4)).unwrap();
        let digest = Digest::of(b"image");
        for path in [&file, &link] {
            check(path).unwrap();
            write(path, &digest).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), digest.to_string());
        }
        assert!(link.is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_cannot_be_a_digest_file_is_refused_beforehand() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let cases = [
            (folder.path().into(), format!("the digest file `{path}` is a directory")),
            (
                folder.path().join("no/digest"),
                format!("the directory `{path}/no` of the digest file isn't there"),
            ),
            (PathBuf::new(), "`` is not the name of a digest file".to_owned()),
        ];
        for (path, expected) in cases {
            let error = check(&path).unwrap_err();
            assert_eq!((error.exit_code(), error.to_string()), (2, expected));
        }
    }
}
