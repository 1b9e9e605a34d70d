//! What goes to the destination beside an image.
//!
//! The engine doesn't know what that is. It says at which moments of a push the companion has its turn, and gives it both
//! ends; what it puts there belongs to the image and becomes visible with it at the earliest.

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream};

use super::beside::Beside;
use super::origin::Origin;
use super::progress::Progress;
use super::retry::retry;
use crate::blob::{Blob, LayerObserver};
use crate::error::{Result, Side};
use crate::image::{Descriptor, Digest, Manifest, MediaType};
use crate::options::Retry;
use crate::transport::{BlobKind, Capabilities, ImageDestination};

/// Has its turn during a push.
///
/// **Order.** `prepare`, once; then `observer` for each layer that is read from the source, each time that it is, and beside
/// that `meanwhile`, once; then `settle`, as often as the copy is begun anew; then `attach`, once. Where the image is in
/// place, no layer is read, and there is no meanwhile. Where nothing is to be written: `prepare`, `meanwhile` if the image
/// would move, then `foresee`.
///
/// **Failure.** An error ends the push. Before `attach` the destination's name has not changed yet.
///
/// A turn that isn't taken does nothing.
#[async_trait]
pub trait Companion: Send + Sync {
    /// Both ends are open, nothing has moved, and it is known whether the image will.
    async fn prepare(&self, _ends: &Ends<'_>, _image: Motion) -> Result<()> {
        Ok(())
    }

    /// The image is on its way: what is asked now keeps nobody waiting.
    async fn meanwhile(&self, _ends: &Ends<'_>) -> Result<()> {
        Ok(())
    }

    /// Who wants to see a layer that is about to be read.
    fn observer(&self, _layer: &Descriptor) -> Option<Box<dyn LayerObserver>> {
        None
    }

    /// All blobs are at the destination, and the name is to be changed next.
    async fn settle(&self, _ends: &Ends<'_>) -> Result<()> {
        Ok(())
    }

    /// Nothing is to move: says what would. The image is at the destination as `subject`, if it is.
    async fn foresee(&self, _ends: &Ends<'_>, _subject: Option<&Descriptor>) -> Result<()> {
        Ok(())
    }

    /// The image is at the destination as `subject`. Returns whether anything was put beside it.
    async fn attach(&self, _ends: &Ends<'_>, _subject: &Descriptor) -> Result<bool> {
        Ok(false)
    }

    /// What was done, once the last turn is over.
    fn report(&self) -> Option<Beside> {
        None
    }
}

/// What becomes of the image itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Motion {
    /// It is copied, as far as the destination doesn't have it.
    Moves,
    /// It stays as it is at the destination.
    Stays,
}

/// The image goes alone.
pub(super) struct Alone;

impl Companion for Alone {}

/// Both ends of a push.
pub struct Ends<'a> {
    /// Where the image is read.
    pub origin: Origin<'a>,
    pub(super) destination: &'a dyn ImageDestination,
    /// Whether both are repositories of one registry.
    pub(super) one_registry: bool,
    /// The name of the destination's transport.
    pub(super) transport: &'static str,
    pub(super) retry: Retry,
    pub(super) progress: &'a dyn Progress,
}

// === impl Ends ===

impl Ends<'_> {
    /// What the destination can hold.
    pub fn capabilities(&self) -> Capabilities {
        self.destination.capabilities()
    }

    /// Whether both ends are repositories of one registry, in which what they have in common is linked and doesn't move.
    pub fn one_registry(&self) -> bool {
        self.one_registry
    }

    /// The name of the destination's transport.
    pub fn transport(&self) -> &'static str {
        self.transport
    }

    /// What is attached to a manifest at the destination.
    pub async fn attachments(
        &self,
        subject: &Digest,
        artifact_type: &MediaType,
    ) -> Result<Vec<Descriptor>> {
        self.writing(|| self.destination.attachments(subject, Some(artifact_type))).await
    }

    /// Attaches an artifact that consists of these blobs.
    pub async fn attach(&self, artifact: &Manifest, blobs: &[(Descriptor, Bytes)]) -> Result<()> {
        for (descriptor, bytes) in blobs {
            self.writing(|| self.put(descriptor, bytes)).await?;
        }
        self.writing(|| self.destination.put_attachment(artifact)).await
    }

    /// Takes an attachment off.
    pub async fn detach(&self, subject: &Digest, attachment: &Digest) -> Result<()> {
        self.writing(|| self.destination.delete_attachment(subject, attachment)).await
    }

    async fn put(&self, descriptor: &Descriptor, bytes: &Bytes) -> Result<()> {
        if self.destination.reuse_blob(descriptor, None).await?.is_some() {
            return Ok(());
        }
        let chunks = stream::iter([Ok(bytes.clone())]).boxed();
        self.destination.put_blob(Blob::verified(chunks, descriptor), BlobKind::Layer).await
    }

    async fn writing<T, F: Future<Output = Result<T>>>(
        &self,
        write: impl FnMut() -> F,
    ) -> Result<T> {
        let written = retry(self.retry, self.progress, write).await;
        written.map_err(|error| error.on(Side::Destination))
    }
}
