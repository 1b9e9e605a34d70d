//! The names of the flat layout, and reading by them.
//!
//! `manifest.json` is the image's manifest or index, `HEX.manifest.json` one of the index's, `HEX` any other blob, and
//! `version` marks the directory. HEX has `sha512-` before it for that algorithm. The functions that read block.

use std::fs::File;

use super::super::local::layout::{BLOBS, INDEX_FILE, LayoutIndex, manifest_of, readable};
use super::super::local::{self, Directory, is_temporary};
use crate::error::{Error, Kind, Result};
use crate::image::{Algorithm, Descriptor, Digest, MAX_MANIFEST_SIZE, Manifest};
use crate::limits::MAX_LAYOUT_INDEX;

/// The manifest or index that the directory stands for.
pub(super) const MANIFEST_FILE: &str = "manifest.json";
/// The file that marks the directory.
pub(super) const VERSION_FILE: &str = "version";

/// What stands before the number in that file.
const VERSION_PREFIX: &str = "Directory Transport Version: ";
/// Versions that are known: 1.2 has digests that are not SHA-256.
const VERSIONS: [&str; 2] = ["1.1", "1.2"];
/// Largest such file that is read; it holds one short line.
const MAX_VERSION_FILE: u64 = 4096;
/// What the names of the manifests of an index end with.
const INSTANCE_SUFFIX: &str = ".manifest.json";
/// What `mkfs.ext4` leaves in an otherwise empty file system.
const LOST_AND_FOUND: &str = "lost+found";

/// A directory with one image.
#[derive(Clone, Debug)]
pub(super) struct DirStore {
    directory: Directory,
}

/// The line that marks a directory with content of these algorithms.
pub(super) fn version(algorithms: &[Algorithm]) -> String {
    let others = algorithms.iter().any(|algorithm| *algorithm != Algorithm::Sha256);
    format!("{VERSION_PREFIX}{}\n", VERSIONS[usize::from(others)])
}

/// The name of a blob.
pub(super) fn blob_name(digest: &Digest) -> String {
    match digest.algorithm() {
        Algorithm::Sha256 => digest.hex().to_owned(),
        algorithm @ Algorithm::Sha512 => format!("{}-{}", algorithm.as_str(), digest.hex()),
    }
}

/// The name of a manifest of an index.
pub(super) fn instance_name(digest: &Digest) -> String {
    format!("{}{INSTANCE_SUFFIX}", blob_name(digest))
}

/// The digest of the content that has this name, if it is one of a blob or of a manifest of an index.
pub(super) fn digest_of(name: &str) -> Option<Digest> {
    let name = name.strip_suffix(INSTANCE_SUFFIX).unwrap_or(name);
    let (algorithm, hex) = name.split_once('-').unwrap_or((Algorithm::Sha256.as_str(), name));
    format!("{algorithm}:{hex}").parse().ok().filter(|digest| blob_name(digest) == name)
}

/// Whether content of an image has this name: what may be removed when another image takes its place.
pub(super) fn is_content(name: &str) -> bool {
    // Signatures are numbered: `signature-1`, `HEX.signature-1`.
    let signature = name.rsplit_once("signature-").filter(|(_, number)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    match signature {
        Some(("", _)) => true,
        Some((of, _)) => of.strip_suffix('.').is_some_and(|of| digest_of(of).is_some()),
        None => digest_of(name).is_some(),
    }
}

/// A directory that an image may be written to: one that holds an image, or nothing. Any other is refused.
pub(super) fn check_writable(directory: &Directory) -> Result<()> {
    let names = directory.names()?;
    if names.iter().all(|name| is_temporary(name) || *name == *LOST_AND_FOUND) {
        return Ok(());
    }
    let path = directory.path().display();
    let refused = || {
        let message =
            format!("`{path}` is neither empty nor an image directory; it is left as it is");
        Error::new(Kind::DestinationExists, message).hint("choose another directory")
    };
    if directory.size_of(VERSION_FILE)?.is_none() {
        return Err(refused());
    }
    let content = directory.read_small(VERSION_FILE, MAX_VERSION_FILE).map_err(|_| refused())?;
    let content = std::str::from_utf8(&content).map_err(|_| refused())?;
    let version = content.strip_prefix(VERSION_PREFIX).ok_or_else(refused)?.trim_end();
    if VERSIONS.contains(&version) {
        return Ok(());
    }
    let message =
        format!("`{path}` has version `{version}` of the image directory, which is not known");
    Err(Error::new(Kind::DestinationExists, message).hint("choose another directory"))
}

// === impl DirStore ===

impl DirStore {
    /// A directory to read from.
    pub(super) fn new(directory: Directory) -> Self {
        Self { directory }
    }

    /// The directory.
    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Reads the manifest or index that the directory stands for.
    pub(super) fn named(&self) -> Result<Manifest> {
        let bytes = self.directory.read_small(MANIFEST_FILE, MAX_MANIFEST_SIZE)?;
        Manifest::parse(bytes, None).map_err(|cause| {
            let path = self.directory.path_of(MANIFEST_FILE);
            Error::from(cause).doing(format!("reading `{}`", path.display()))
        })
    }

    /// Reads a manifest of the index, and checks that it is the right one.
    pub(super) fn instance(&self, descriptor: &Descriptor) -> Result<Manifest> {
        let digest = &descriptor.digest;
        for name in [instance_name(digest), format!("{}{INSTANCE_SUFFIX}", digest.hex())] {
            let reading = |error: Error| {
                error.doing(format!("reading directory `{}`", self.directory.path().display()))
            };
            let size = readable(descriptor, self.directory.size_of(&name)?).map_err(reading)?;
            match self.directory.read_small(&name, size) {
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => return Err(error),
                Ok(bytes) => return manifest_of(bytes, descriptor).map_err(reading),
            }
        }
        Err(self.missing(digest))
    }

    /// Opens a blob; the name says which of its possible names it has.
    pub(super) fn blob(&self, digest: &Digest) -> Result<Option<(File, String)>> {
        // Older tools leave the algorithm out of the name.
        for name in [blob_name(digest), digest.hex().to_owned()] {
            match self.directory.open_file(&name) {
                Ok(file) => return Ok(Some((file, name))),
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The error of content that isn't there.
    pub(super) fn missing(&self, digest: &Digest) -> Error {
        let path = self.directory.path().display();
        Error::new(Kind::InvalidImage, format!("`{digest}` is missing from directory `{path}`"))
    }

    /// What `index.json` says; nothing if there is none.
    pub(super) fn index(&self) -> Result<LayoutIndex> {
        match self.directory.read_small(INDEX_FILE, MAX_LAYOUT_INDEX) {
            Ok(bytes) => LayoutIndex::parse(&bytes),
            Err(error) if error.kind() == Kind::NotFound => Ok(LayoutIndex::new()),
            Err(error) => Err(error),
        }
    }

    /// Reads the list of what is attached to a manifest.
    pub(super) fn list(&self, subject: &Digest) -> Result<Option<Manifest>> {
        self.index()?.list(subject).map(|list| self.instance(&list)).transpose()
    }

    /// The image, if it is there as one of ours: whole, and with an OCI layout of the same image.
    pub(super) fn current(&self) -> Option<Manifest> {
        let named = self.named().ok()?;
        let listed = self.index().ok()?.current(None)?;
        let size = self.size_in_layout(named.digest())?;
        let same = listed.digest == *named.digest() && size == named.bytes().len() as u64;
        (same && local::is_complete(&named, self)).then_some(named)
    }

    fn size_in_layout(&self, digest: &Digest) -> Option<u64> {
        let blobs = self.directory.subdirectory(BLOBS).ok()??;
        let blobs = blobs.subdirectory(digest.algorithm().as_str()).ok()??;
        blobs.size_of(digest.hex()).ok()?
    }
}

impl local::Store for DirStore {
    fn manifest(&self, descriptor: &Descriptor) -> Option<Manifest> {
        let instance = self.instance(descriptor).ok()?;
        (self.size_in_layout(&descriptor.digest)? == descriptor.size).then_some(instance)
    }

    fn size_of(&self, digest: &Digest) -> Option<u64> {
        let flat = self.directory.size_of(&blob_name(digest)).ok()??;
        (self.size_in_layout(digest)? == flat).then_some(flat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_content_and_nothing_else_are_known() {
        let hex = Digest::of(b"a").hex().to_owned();
        let long = "0f".repeat(64);
        let cases = [
            (hex.clone(), Some(format!("sha256:{hex}")), true),
            (format!("{hex}.manifest.json"), Some(format!("sha256:{hex}")), true),
            (format!("sha512-{long}"), Some(format!("sha512:{long}")), true),
            (format!("sha512-{long}.manifest.json"), Some(format!("sha512:{long}")), true),
            (format!("sha256-{hex}"), None, false),
            (long, None, false),
            (hex.to_uppercase(), None, false),
            ("manifest.json".into(), None, false),
            ("version".into(), None, false),
            ("signature-1".into(), None, true),
            ("signature-".into(), None, false),
            (format!("{hex}.signature-12"), None, true),
            (format!("{hex}signature-1"), None, false),
            ("my.signature-1".into(), None, false),
            ("..".into(), None, false),
        ];
        for (name, digest, content) in cases {
            let found = digest_of(&name).map(|digest| digest.to_string());
            assert_eq!((found, is_content(&name)), (digest, content), "{name}");
        }
    }

    #[test]
    fn the_version_tells_of_other_algorithms() {
        assert_eq!(version(&[Algorithm::Sha256]), "Directory Transport Version: 1.1\n");
        let both = [Algorithm::Sha256, Algorithm::Sha512];
        assert_eq!(version(&both), "Directory Transport Version: 1.2\n");
    }
}
