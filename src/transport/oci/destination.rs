//! Writing an image into a layout.
//!
//! Until commit everything goes to a directory of our own: beside the layout's place if nothing is there yet, else inside
//! the layout, so that moving a file is a rename. Commit puts the whole directory in its place, or moves the blobs in
//! and merges `index.json`. Dropping removes that directory.

use std::ffi::OsString;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::FutureExt as _;
use tokio::sync::OnceCell;

use super::super::local::attachments::Changes;
use super::super::local::layout::BLOBS;
use super::super::local::{
    Directory, Lock, Published, StagedDirectory, StagedFile, UserPath, blocking, is_complete,
    is_intact, layout, sweep, sweep_all, write_chunks,
};
use super::super::{
    BlobKind, Capabilities, Commit, Current, ImageDestination, Repository, Reused, Role,
};
use super::store::{LOCK_FILE, LayoutStore};
use crate::blob::Blob;
use crate::error::{Error, Kind, Result};
use crate::image::{Descriptor, Digest, Manifest, ManifestFormat, MediaType};

/// What directories in a layout are staged as.
const STAGED: &str = "layout";

/// An image of a layout, being written.
pub(super) struct LayoutDestination {
    name: Option<String>,
    place: Place,
    /// Made when the first content comes, so that a push with nothing to do leaves no trace.
    staging: OnceCell<Arc<Staging>>,
    named: Mutex<Option<Descriptor>>,
    attachments: Mutex<Changes>,
}

/// Where the layout is, or is to be.
#[derive(Clone, Debug)]
struct Place {
    parent: Directory,
    target: OsString,
    /// The directory, if it was there when we came.
    existing: Option<LayoutStore>,
}

/// What is new in the layout.
#[derive(Clone, Debug)]
struct New {
    /// The image, unless it is there.
    image: Option<Descriptor>,
    name: Option<String>,
    changes: Changes,
}

/// The directory that new content is collected in.
struct Staging {
    directory: StagedDirectory,
    store: LayoutStore,
}

// === impl LayoutDestination ===

impl LayoutDestination {
    /// Looks at the place; writes nothing, but removes what killed pushes left.
    pub(super) async fn open(path: UserPath, name: Option<String>) -> Result<Self> {
        let place = blocking(move || {
            let (parent, target) = path.locate()?;
            sweep(&parent, &target);
            let existing = match parent.stat(&target)? {
                Some(_) => Some(LayoutStore::writable(parent.directory(&target)?)?),
                None => None,
            };
            if let Some(layout) = &existing {
                sweep_all(layout.directory());
            }
            Ok(Place { parent, target, existing })
        });
        let place = place.await?;
        let (named, attachments) = (Mutex::default(), Mutex::default());
        Ok(Self { name, place, staging: OnceCell::new(), named, attachments })
    }

    async fn staging(&self) -> Result<Arc<Staging>> {
        let place = self.place.clone();
        let made = || async { blocking(move || Staging::create(&place).map(Arc::new)).await };
        self.staging.get_or_try_init(made).await.cloned()
    }
}

#[async_trait]
impl ImageDestination for LayoutDestination {
    fn capabilities(&self) -> Capabilities {
        layout::CAPABILITIES
    }

    async fn current(&self) -> Result<Option<Current>> {
        let Some(store) = self.place.existing.clone() else { return Ok(None) };
        let name = self.name.clone();
        blocking(move || {
            let Some(image) = store.index()?.current(name.as_deref()) else { return Ok(None) };
            let manifest = store.manifest(&image).ok();
            let whole = manifest.filter(|manifest| is_complete(manifest, &store));
            Ok(whole.map(|manifest| Current::of(&manifest)))
        })
        .await
    }

    async fn reuse_blob(
        &self,
        descriptor: &Descriptor,
        _: Option<&Repository>,
    ) -> Result<Option<Reused>> {
        let Some(store) = self.place.existing.clone() else { return Ok(None) };
        let digest = descriptor.digest.clone();
        let path = store.blob_path(&digest);
        // A link, or a directory, in a blob's place is replaced like a blob with other bytes.
        let opened = blocking(move || Ok(store.blob(&digest).ok().flatten())).await?;
        let Some(file) = opened else { return Ok(None) };
        Ok(is_intact(file, path, descriptor).await?.then_some(Reused::Present))
    }

    async fn put_blob(&self, blob: Blob, _: BlobKind) -> Result<()> {
        let staging = self.staging().await?;
        let (chunks, identity) = blob.into_parts();
        let parent = staging.store.directory().clone();
        let staged = blocking(move || StagedFile::create_in(&parent, BLOBS)).await?;
        write_chunks(&staged, chunks).await?;
        let digest = identity.settled()?.0.clone();
        blocking(move || staging.store.place_blob(staged, &digest)).await
    }

    async fn put_manifest(&self, manifest: &Manifest, role: Role) -> Result<()> {
        if manifest.format() != ManifestFormat::Oci {
            let message = format!("a layout holds no `{}`", manifest.media_type());
            return Err(Error::new(Kind::ManifestRejected, message));
        }
        let staging = self.staging().await?;
        let copy = manifest.clone();
        blocking(move || staging.store.put_manifest(&copy)).await?;
        if role == Role::Named {
            let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
            *named = Some(manifest.descriptor());
        }
        Ok(())
    }

    async fn attachments(
        &self,
        subject: &Digest,
        artifact_type: Option<&MediaType>,
    ) -> Result<Vec<Descriptor>> {
        let changes = lock(&self.attachments).clone();
        let Some(store) = self.place.existing.clone() else {
            return changes.seen(subject, None, artifact_type);
        };
        let (subject, artifact_type) = (subject.clone(), artifact_type.cloned());
        blocking(move || {
            changes.seen(&subject, store.list(&subject)?.as_ref(), artifact_type.as_ref())
        })
        .await
    }

    async fn put_attachment(&self, artifact: &Manifest) -> Result<()> {
        let staging = self.staging().await?;
        let copy = artifact.clone();
        blocking(move || staging.store.put_manifest(&copy)).await?;
        lock(&self.attachments).add(artifact)
    }

    async fn delete_attachment(&self, subject: &Digest, attachment: &Digest) -> Result<()> {
        lock(&self.attachments).remove(subject, attachment);
        Ok(())
    }

    async fn prepare(self: Box<Self>) -> Result<Commit> {
        let Self { name, place, staging, named, attachments } = *self;
        let image = named.into_inner().unwrap_or_else(PoisonError::into_inner);
        let changes = attachments.into_inner().unwrap_or_else(PoisonError::into_inner);
        let staging = staging.into_inner().filter(|_| image.is_some() || !changes.is_empty());
        let Some(staging) = staging else {
            return Err(Error::internal("commit came before the named manifest"));
        };
        let new = New { image, name, changes };
        if let Some(target) = place.existing {
            let lock = Lock::acquire_in(target.directory(), LOCK_FILE).await?;
            return Ok(new.move_in(staging, target, lock).boxed());
        }
        let (made, layout) = (Arc::clone(&staging), new.clone());
        blocking(move || made.complete(&layout)).await?;
        Ok(new.put_in_place(staging, place).boxed())
    }
}

// === impl New ===

impl New {
    fn publish(&self, store: &LayoutStore) -> Result<()> {
        store.publish(self.image.as_ref(), self.name.as_deref(), &self.changes)
    }

    /// Enters it into a layout that is there.
    async fn move_in(self, staging: Arc<Staging>, target: LayoutStore, lock: Lock) -> Result<()> {
        blocking(move || {
            target.take_blobs(&staging.store)?;
            self.publish(&target)?;
            drop((staging, lock));
            Ok(())
        })
        .await
    }

    /// Puts a layout where none was. If there is one now, the lock is waited for that writers hold for milliseconds.
    async fn put_in_place(self, staging: Arc<Staging>, place: Place) -> Result<()> {
        let made = Arc::clone(&staging);
        let Some(target) = blocking(move || made.publish(&place)).await? else { return Ok(()) };
        let lock = Lock::acquire_in(target.directory(), LOCK_FILE).await?;
        self.move_in(staging, target, lock).await
    }
}

/// Nothing panics while holding this lock; if something did, the data is still whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Staging ===

impl Staging {
    fn create(place: &Place) -> Result<Self> {
        let directory = match &place.existing {
            None => StagedDirectory::beside(&place.parent, &place.target)?,
            Some(layout) => {
                // Of a process that was killed when there was no layout yet.
                sweep(&place.parent, &place.target);
                StagedDirectory::inside(layout.directory(), STAGED)?
            }
        };
        let store = LayoutStore::staging(directory.directory().clone());
        Ok(Self { directory, store })
    }

    /// Makes the directory a layout.
    fn complete(&self, new: &New) -> Result<()> {
        self.store.sync_blobs()?;
        new.publish(&self.store)?;
        self.store.directory().set_mode(0o755)
    }

    /// Puts the directory in its place in one step. If another process has made one there meanwhile, or the file system can't
    /// do it, returns the layout that the content has to be moved to.
    fn publish(&self, place: &Place) -> Result<Option<LayoutStore>> {
        match self.directory.publish_new(&place.target)? {
            Published::Done => Ok(None),
            Published::Conflict => {
                let there = place.parent.directory(&place.target)?;
                LayoutStore::writable(there).map(Some)
            }
            Published::Unsupported => {
                let target = place.target.to_string_lossy();
                let made = place.parent.make_subdirectory(&target)?;
                place.parent.sync()?;
                LayoutStore::writable(made).map(Some)
            }
        }
    }
}
