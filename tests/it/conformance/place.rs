//! A place of each transport where an image can be put, and a look at what is there from outside.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use imagepush::access::{Access, TlsPolicy};

use crate::support::images::digest;
use crate::support::registry::Registry;

/// An empty place.
pub(super) struct Place {
    /// The reference, complete.
    pub(super) reference: String,
    pub(super) access: Access,
    folder: tempfile::TempDir,
    registry: Option<Registry>,
}

/// Digests of files by path, or of what a registry names.
pub(super) type Contents = BTreeMap<String, String>;

impl Place {
    pub(super) async fn new(transport: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let mut access = Access::default();
        let mut registry = None;
        let reference = match transport {
            "dir" => format!("dir:{path}/image"),
            "docker" => {
                let started = Registry::start().await;
                access.tls = TlsPolicy::PlainHttp;
                let reference = format!("docker://{}/team/image:tag", started.host);
                registry = Some(started);
                reference
            }
            "docker-archive" => {
                format!("docker-archive:{path}/image.tar:example.com/team/image:tag")
            }
            "oci" => format!("oci:{path}/layout:name"),
            "oci-archive" => format!("oci-archive:{path}/image.tar:name"),
            other => panic!("give the transport `{other}` a place to be tested in"),
        };
        Self { reference, access, folder, registry }
    }

    /// Everything there is; of a registry, what its tags point to.
    pub(super) fn contents(&self) -> Contents {
        match &self.registry {
            Some(registry) => registry.tags(),
            None => files(self.folder.path(), self.folder.path()),
        }
    }

    /// Waits until there is what was there before, and fails if that doesn't come to be: a push that was stopped in the
    /// middle of a file cleans up as soon as the file system lets go of it.
    pub(super) async fn settles_to(&self, before: &Contents) {
        let end = Instant::now() + Duration::from_secs(5);
        while self.named_contents() != *before && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(self.named_contents(), *before);
    }

    /// Everything there is but blobs of a layout that nothing points to: they do no harm, and the next push finds them.
    pub(super) fn named_contents(&self) -> Contents {
        let layout = self.reference.starts_with("oci:");
        let unnamed = |path: &String| layout && is_blob(path);
        self.contents().into_iter().filter(|(path, _)| !unnamed(path)).collect()
    }
}

/// Whether this is a complete blob of a layout, by its path.
fn is_blob(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    path.contains("/blobs/sha256/") && name.len() == 64
}

/// Files below a folder. One that vanishes while we look isn't there.
fn files(root: &Path, folder: &Path) -> Contents {
    let mut found = Contents::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        if path.is_dir() {
            found.extend(files(root, &path));
        } else if let Ok(bytes) = fs::read(&path) {
            found.insert(name, digest(&bytes));
        }
    }
    found
}
