//! Writing the image of a directory.
//!
//! The whole directory is built anew in one of our own. Blobs of the image that is there are taken over as hard links,
//! once their bytes have been verified. Commit adds the OCI layout and hands over to `publish`; dropping removes all.

use std::ffi::OsString;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::FutureExt as _;
use tokio::sync::OnceCell;

use super::super::local::attachments::Changes;
use super::super::local::layout::LayoutIndex;
use super::super::local::{
    Directory, StagedDirectory, StagedFile, UserPath, blocking, is_intact, sweep, write_chunks,
};
use super::super::{
    BlobKind, Capabilities, Commit, Current, ImageDestination, ImageIdentity, LayerForm,
    Repository, Reused, Role, Verifier,
};
use super::publish;
use super::store::{DirStore, MANIFEST_FILE, blob_name, check_writable, is_content};
use crate::blob::Blob;
use crate::error::{Error, Result};
use crate::image::{Descriptor, Digest, Manifest, ManifestFormat, MediaType};

/// What a directory is staged as inside the one that it can't be put beside.
const STAGED: &str = "dir";

/// The image of a directory, being written.
pub(super) struct DirDestination {
    place: Place,
    /// Made when the first content comes, so that a push with nothing to do leaves no trace.
    staging: OnceCell<Arc<Staging>>,
    named: Mutex<Option<Descriptor>>,
    attachments: Mutex<Changes>,
}

/// Where the directory is, or is to be.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) parent: Directory,
    pub(super) target: OsString,
    /// The directory, if it was there when we came.
    existing: Option<Directory>,
}

/// The directory that is being built.
pub(super) struct Staging {
    pub(super) staged: StagedDirectory,
    pub(super) location: Location,
}

/// Where a directory is built.
#[derive(Clone, Debug)]
pub(super) enum Location {
    /// Beside the target: the two can be exchanged.
    Beside,
    /// Inside the target, which can't be renamed or whose parent can't be written.
    Inside(Directory),
}

// === impl DirDestination ===

impl DirDestination {
    /// Looks at the place; writes nothing, but removes what killed pushes left.
    pub(super) async fn open(path: UserPath) -> Result<Self> {
        let place = blocking(move || {
            let (parent, target) = path.locate()?;
            sweep(&parent, &target);
            let existing = match parent.stat(&target)? {
                Some(_) => Some(parent.directory(&target)?),
                None => None,
            };
            if let Some(existing) = &existing {
                sweep(existing, STAGED.as_ref());
                check_writable(existing)?;
            }
            Ok(Place { parent, target, existing })
        });
        let (named, attachments) = (Mutex::default(), Mutex::default());
        Ok(Self { place: place.await?, staging: OnceCell::new(), named, attachments })
    }

    async fn staging(&self) -> Result<Arc<Staging>> {
        let place = self.place.clone();
        let made = || async { blocking(move || Staging::create(&place).map(Arc::new)).await };
        self.staging.get_or_try_init(made).await.cloned()
    }
}

#[async_trait]
impl ImageDestination for DirDestination {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            formats: &[ManifestFormat::Oci, ManifestFormat::V2s2],
            index: true,
            artifacts: true,
            attachments: true,
            layers: LayerForm::AsIs,
            foreign_layers: false,
            identity: ImageIdentity::Manifest,
            verifier: Verifier::Engine,
        }
    }

    async fn current(&self) -> Result<Option<Current>> {
        let Some(existing) = self.place.existing.clone() else { return Ok(None) };
        let current = || Ok(DirStore::new(existing).current().map(|it| Current::of(&it)));
        blocking(current).await
    }

    async fn reuse_blob(
        &self,
        descriptor: &Descriptor,
        _: Option<&Repository>,
    ) -> Result<Option<Reused>> {
        let Some(existing) = self.place.existing.clone() else { return Ok(None) };
        let staging = self.staging().await?;
        let (directory, digest) = (staging.directory().clone(), descriptor.digest.clone());
        let adopted = blocking(move || Ok(adopt(&DirStore::new(existing), &directory, &digest)));
        let Some(file) = adopted.await? else { return Ok(None) };
        let name = blob_name(&descriptor.digest);
        if is_intact(file, staging.directory().path_of(&name), descriptor).await? {
            return Ok(Some(Reused::Present));
        }
        blocking(move || staging.directory().remove_file(name)).await?;
        Ok(None)
    }

    async fn put_blob(&self, blob: Blob, _: BlobKind) -> Result<()> {
        let staging = self.staging().await?;
        let (chunks, identity) = blob.into_parts();
        let directory = staging.directory().clone();
        let staged = blocking(move || StagedFile::create_in(&directory, "blob")).await?;
        write_chunks(&staged, chunks).await?;
        let name = blob_name(identity.settled()?.0);
        blocking(move || staged.place(staging.directory(), name)).await
    }

    async fn put_manifest(&self, manifest: &Manifest, role: Role) -> Result<()> {
        let staging = self.staging().await?;
        let copy = manifest.clone();
        blocking(move || match role {
            Role::Named => {
                StagedFile::write_small(staging.directory(), MANIFEST_FILE, copy.bytes())
            }
            Role::Instance => publish::put_instance(staging.directory(), &copy),
        })
        .await?;
        if role == Role::Named {
            *lock(&self.named) = Some(manifest.descriptor());
        }
        Ok(())
    }

    async fn attachments(
        &self,
        subject: &Digest,
        artifact_type: Option<&MediaType>,
    ) -> Result<Vec<Descriptor>> {
        let changes = lock(&self.attachments).clone();
        // Where another image comes, nothing stays of what is there.
        let stays = lock(&self.named).is_none();
        let Some(existing) = self.place.existing.clone().filter(|_| stays) else {
            return changes.seen(subject, None, artifact_type);
        };
        let (subject, artifact_type) = (subject.clone(), artifact_type.cloned());
        blocking(move || {
            let list = DirStore::new(existing).list(&subject)?;
            changes.seen(&subject, list.as_ref(), artifact_type.as_ref())
        })
        .await
    }

    async fn put_attachment(&self, artifact: &Manifest) -> Result<()> {
        let staging = self.staging().await?;
        let copy = artifact.clone();
        blocking(move || publish::put_instance(staging.directory(), &copy)).await?;
        lock(&self.attachments).add(artifact)
    }

    async fn delete_attachment(&self, subject: &Digest, attachment: &Digest) -> Result<()> {
        lock(&self.attachments).remove(subject, attachment);
        Ok(())
    }

    async fn prepare(self: Box<Self>) -> Result<Commit> {
        let Self { place, staging, named, attachments } = *self;
        let named = named.into_inner().unwrap_or_else(PoisonError::into_inner);
        let changes = attachments.into_inner().unwrap_or_else(PoisonError::into_inner);
        let staging = staging.into_inner().filter(|_| named.is_some() || !changes.is_empty());
        let Some(staging) = staging else {
            return Err(Error::internal("commit came before the named manifest"));
        };
        let complete = move || {
            let (image, index) = match (named, &place.existing) {
                (Some(image), _) => (image, LayoutIndex::new()),
                (None, Some(existing)) => staging.take_over(existing)?,
                (None, None) => return Err(Error::internal("there is no image to attach to")),
            };
            publish::complete(staging.directory(), &image, index, &changes)?;
            Ok((staging, place))
        };
        let (staging, place) = blocking(complete).await?;
        Ok(blocking(move || publish::publish(&staging, &place)).boxed())
    }
}

// === impl Staging ===

impl Staging {
    fn create(place: &Place) -> Result<Self> {
        let beside = || StagedDirectory::beside(&place.parent, &place.target);
        let inside = |existing: &Directory| {
            let staged = StagedDirectory::inside(existing, STAGED)?;
            Ok(Self { staged, location: Location::Inside(existing.clone()) })
        };
        match &place.existing {
            Some(existing) if existing.is_mount_point() => inside(existing),
            Some(existing) => match beside() {
                Ok(staged) => Ok(Self { staged, location: Location::Beside }),
                // Such as a parent that belongs to somebody else.
                Err(_) => inside(existing),
            },
            None => Ok(Self { staged: beside()?, location: Location::Beside }),
        }
    }

    pub(super) fn directory(&self) -> &Directory {
        self.staged.directory()
    }

    /// Gives all content of the image that is there a second name in the new directory.
    fn take_over(&self, existing: &Directory) -> Result<(Descriptor, LayoutIndex)> {
        let store = DirStore::new(existing.clone());
        let (image, index) = (store.named()?.descriptor(), store.index()?);
        for name in existing.names()? {
            let name = name.to_str().filter(|name| *name == MANIFEST_FILE || is_content(name));
            let Some(name) = name else { continue };
            if self.directory().stat(name)?.is_none() {
                publish::link_or_copy(existing, name, self.directory(), name)?;
            }
        }
        Ok((image, index))
    }
}

/// Nothing panics while holding this lock; if something did, the data is still whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives a blob of the image that is there a second name in the new directory; its bytes are still to be verified.
/// `None` if it isn't there, or can't be linked.
fn adopt(existing: &DirStore, staging: &Directory, digest: &Digest) -> Option<File> {
    let (_, name) = existing.blob(digest).ok()??;
    let new = blob_name(digest);
    match existing.directory().link(&name, staging, &new) {
        Ok(()) => {}
        Err(cause) if cause.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => {
            tracing::debug!(%error, "a blob can't be linked and is sent again");
            return None;
        }
    }
    let file = staging.open_file(new).ok()?;
    // Whoever wrote it may not have.
    file.sync_all().ok()?;
    Some(file)
}
