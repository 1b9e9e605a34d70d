//! Reading the image of a directory: its flat files, whoever wrote them.
//!
//! The `version` file need not be there: skopeo doesn't ask for it either.

use async_trait::async_trait;

use super::super::ImageSource;
use super::super::local::attachments;
use super::super::local::layout::LAYOUT_FILE;
use super::super::local::{UserPath, blocking, read_whole};
use super::store::{DirStore, MANIFEST_FILE, blob_name};
use crate::blob::Chunks;
use crate::error::{Error, Kind, Result};
use crate::image::{Descriptor, Digest, Manifest, MediaType};

/// The image of a directory, being read.
pub(super) struct DirSource {
    store: DirStore,
}

// === impl DirSource ===

impl DirSource {
    /// Opens the directory.
    pub(super) async fn open(path: UserPath) -> Result<Self> {
        blocking(move || {
            let directory = path.open_directory()?;
            if directory.stat(MANIFEST_FILE)?.is_some() {
                return Ok(Self { store: DirStore::new(directory) });
            }
            let path = path.path().display();
            let message =
                format!("`{path}` is not an image directory: it has no `{MANIFEST_FILE}`");
            let error = Error::new(Kind::InvalidImage, message);
            Err(match directory.stat(LAYOUT_FILE)? {
                Some(_) => error.hint(format!("it is an OCI layout: read it as `oci:{path}`")),
                None => error,
            })
        })
        .await
    }
}

#[async_trait]
impl ImageSource for DirSource {
    async fn manifest(&self, instance: Option<&Descriptor>) -> Result<Manifest> {
        let (store, instance) = (self.store.clone(), instance.cloned());
        blocking(move || match instance {
            Some(descriptor) => store.instance(&descriptor),
            None => store.named(),
        })
        .await
    }

    async fn blob(&self, descriptor: &Descriptor) -> Result<Chunks> {
        let (store, digest) = (self.store.clone(), descriptor.digest.clone());
        blocking(move || {
            let (file, name) = store.blob(&digest)?.ok_or_else(|| store.missing(&digest))?;
            read_whole(file, store.directory().path_of(name))
        })
        .await
    }

    async fn attachments(
        &self,
        subject: &Digest,
        artifact_type: Option<&MediaType>,
    ) -> Result<Vec<Descriptor>> {
        let (store, subject) = (self.store.clone(), subject.clone());
        let list = blocking(move || store.list(&subject)).await?;
        attachments::entries(list.as_ref(), artifact_type)
    }

    fn place_by_digest(&self, descriptor: &Descriptor) -> Option<String> {
        let name = blob_name(&descriptor.digest);
        Some(self.store.directory().path_of(name).display().to_string())
    }
}
