//! The source of a push, for whoever needs more of the image than moves: every read is tried again where that may help, and
//! checked against what pointed to it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use futures::{TryStreamExt as _, future};
use tokio::sync::OnceCell;

use super::blob::read_config;
use super::plan::Tree;
use super::progress::{Event, Progress};
use super::retry::retry;
use super::tree::{Reader, Selection, select};
use crate::blob::{Blob, LayerObserver, Looks, Pace, observe};
use crate::error::{Error, Kind, Result, Side};
use crate::image::{Annotations, Config, Descriptor, Digest, Manifest, MediaType};
use crate::options::{Endpoint, Platforms, Retry};
use crate::transport::{ImageSource, Locality};

/// An image that is being read.
#[derive(Clone, Copy)]
pub struct Origin<'a> {
    pub(super) source: &'a dyn ImageSource,
    pub(super) locality: Locality,
    pub(super) named: &'a Manifest,
    pub(super) pinned: Option<&'a Digest>,
    pub(super) platforms: &'a Platforms,
    pub(super) retry: Retry,
    pub(super) pace: &'a Pace,
    pub(super) progress: &'a Arc<dyn Progress>,
    pub(super) seen: &'a Seen,
}

/// What has been read of a source, so that it is read once.
#[derive(Default)]
pub(super) struct Seen {
    tree: OnceCell<Tree>,
    configs: Mutex<HashMap<Digest, Bytes>>,
}

/// A source that has been opened for reading alone.
pub struct Opened {
    endpoint: Endpoint,
    platforms: Platforms,
    retry: Retry,
    /// Nobody bounds what is only read.
    pace: Pace,
    progress: Arc<dyn Progress>,
    source: Box<dyn ImageSource>,
    named: Manifest,
    seen: Seen,
}

// === impl Opened ===

impl Opened {
    pub(super) async fn open(
        endpoint: Endpoint,
        platforms: Platforms,
        retry: Retry,
        progress: Arc<dyn Progress>,
    ) -> Result<Self> {
        let opened = endpoint.reference.source(&endpoint.access).await;
        let source = opened.map_err(|error| error.on(Side::Source))?;
        let pinned = endpoint.reference.digest();
        let named = Reader::new(source.as_ref(), pinned, retry, progress.as_ref()).named().await?;
        let (pace, seen) = (Pace::default(), Seen::default());
        Ok(Self { endpoint, platforms, retry, pace, progress, source, named, seen })
    }

    /// The image.
    pub fn origin(&self) -> Origin<'_> {
        Origin {
            source: self.source.as_ref(),
            locality: self.endpoint.reference.transport().locality(),
            named: &self.named,
            pinned: self.endpoint.reference.digest(),
            platforms: &self.platforms,
            retry: self.retry,
            pace: &self.pace,
            progress: &self.progress,
            seen: &self.seen,
        }
    }
}

// === impl Origin ===

impl<'a> Origin<'a> {
    /// The digests that the source knows what is pushed by, the narrower first: the image chosen from an index, and the index.
    pub fn digests(&self) -> Result<Vec<Digest>> {
        let named = self.named.digest().clone();
        Ok(match select(self.named, self.platforms)? {
            Selection::Instance(entry) => vec![entry.digest, named],
            Selection::Whole | Selection::Subset(_) => vec![named],
        })
    }

    /// Where the image is: what is asked of it may cost a request.
    pub fn locality(&self) -> Locality {
        self.locality
    }

    /// What the manifest or index that the reference names says of itself. It has been read.
    pub fn annotations(&self) -> Option<&'a Annotations> {
        let image = self.named.as_image().map(|image| &image.annotations);
        image.or_else(|| self.named.as_index().map(|index| &index.annotations))
    }

    /// One image of what is pushed; of an index that hasn't been read the first, which is read alone.
    pub async fn first_image(&self) -> Result<Manifest> {
        let entry = match (self.seen.tree.get(), select(self.named, self.platforms)?) {
            (Some(_), _) => None,
            (None, Selection::Instance(entry)) => Some(entry),
            (None, Selection::Subset(index)) => index.manifests.into_iter().next(),
            (None, Selection::Whole) => {
                self.named.as_index().and_then(|index| index.manifests.first().cloned())
            }
        };
        match entry {
            Some(entry) if entry.media_type.is_image_manifest() => {
                self.reader().instance(&entry).await
            }
            _ => {
                let first = self.images().await?.into_iter().next();
                first.ok_or_else(|| {
                    Error::new(Kind::InvalidImage, "the index is empty").on(Side::Source)
                })
            }
        }
    }

    /// Every image of what is pushed, in the order of the index.
    pub async fn images(&self) -> Result<Vec<Manifest>> {
        let mut images = vec![];
        collect(self.tree().await?, &mut images);
        Ok(images)
    }

    /// What is pushed, down to the images.
    pub(super) async fn tree(&self) -> Result<&'a Tree> {
        let read = || async {
            let selection = select(self.named, self.platforms)?;
            self.reader().tree(self.named.clone(), &selection).await
        };
        self.seen.tree.get_or_try_init(read).await
    }

    /// The config of a container image.
    pub async fn config(&self, descriptor: &Descriptor) -> Result<Config> {
        let bytes = match self.known_config(&descriptor.digest) {
            Some(bytes) => bytes,
            None => {
                read_config(self.source, self.retry, self.progress.as_ref(), descriptor).await?
            }
        };
        let configs = &self.seen.configs;
        let mut configs = configs.lock().unwrap_or_else(PoisonError::into_inner);
        configs.insert(descriptor.digest.clone(), bytes.clone());
        Config::parse(&bytes).map_err(|error| {
            let reading = format!("reading config `{}`", descriptor.digest);
            Error::from(error).doing(reading).on(Side::Source)
        })
    }

    /// The bytes of a config that has been read.
    pub(super) fn known_config(&self, digest: &Digest) -> Option<Bytes> {
        let configs = self.seen.configs.lock().unwrap_or_else(PoisonError::into_inner);
        configs.get(digest).cloned()
    }

    /// Reads a blob into memory, unless it has more than `limit` bytes.
    pub async fn small_blob(&self, descriptor: &Descriptor, limit: usize) -> Result<Bytes> {
        if descriptor.size > limit as u64 {
            let (digest, size) = (&descriptor.digest, descriptor.size);
            let message = format!("`{digest}` has {size} bytes, more than the limit of {limit}");
            return Err(Error::new(Kind::LimitExceeded, message).on(Side::Source));
        }
        self.reading(&descriptor.digest, || async {
            let chunks = self.pace.limit(self.source.blob(descriptor).await?);
            let (chunks, _) = Blob::verified(chunks, descriptor).into_parts();
            let whole = chunks.try_fold(BytesMut::new(), |mut whole, chunk| {
                whole.extend_from_slice(&chunk);
                future::ready(Ok(whole))
            });
            whole.await.map(BytesMut::freeze)
        })
        .await
    }

    /// Reads a layer and shows it to an observer; each attempt has its own.
    pub async fn layer(
        &self,
        layer: &Descriptor,
        observer: impl Fn() -> Box<dyn LayerObserver>,
    ) -> Result<()> {
        self.progress.event(Event::LayerRead { digest: &layer.digest, size: layer.size });
        self.reading(&layer.digest, || async {
            let chunks = self.pace.limit(self.source.blob(layer).await?);
            let (chunks, _) = Blob::verified(chunks, layer).into_parts();
            let chunks = observe(chunks, None, observer(), &Looks::default());
            chunks.try_for_each(|_| future::ready(Ok(()))).await
        })
        .await
    }

    /// What is attached to a manifest at the source.
    pub async fn attachments(
        &self,
        subject: &Digest,
        artifact_type: &MediaType,
    ) -> Result<Vec<Descriptor>> {
        let list = || self.source.attachments(subject, Some(artifact_type));
        let listed = retry(self.retry, self.progress.as_ref(), list).await;
        listed.map_err(|error| error.on(Side::Source))
    }

    /// The same by one question; nothing where that takes another one.
    pub async fn attachments_at_once(
        &self,
        subject: &Digest,
        artifact_type: &MediaType,
    ) -> Result<Option<Vec<Descriptor>>> {
        let list = || self.source.attachments_at_once(subject, Some(artifact_type));
        let listed = retry(self.retry, self.progress.as_ref(), list).await;
        listed.map_err(|error| error.on(Side::Source))
    }

    /// The manifest of an attachment.
    pub async fn attachment(&self, listed: &Descriptor) -> Result<Manifest> {
        self.reading(&listed.digest, || self.source.attachment(listed)).await
    }

    async fn reading<T, F: Future<Output = Result<T>>>(
        &self,
        digest: &Digest,
        read: impl FnMut() -> F,
    ) -> Result<T> {
        let read = retry(self.retry, self.progress.as_ref(), read).await;
        read.map_err(|error| error.during(format!("reading `{digest}`")).on(Side::Source))
    }

    fn reader(&self) -> Reader<'a> {
        Reader::new(self.source, self.pinned, self.retry, self.progress.as_ref())
    }
}

fn collect(tree: &Tree, images: &mut Vec<Manifest>) {
    if tree.manifest.as_image().is_some() {
        images.push(tree.manifest.clone());
    }
    tree.children.iter().for_each(|child| collect(child, images));
}
