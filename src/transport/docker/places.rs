//! Reads an image that may be in several places: mirrors, and the registry that they are mirrors of.
//!
//! Manifests are asked for in order until a place has the right one; blobs come from where the manifest came from. A place that
//! fails, lacks something or sends something else is passed over for the next one. Credentials, certificates and
//! strictness are each place's own: `access` made them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::sync::OnceCell;

use super::reference::DockerReference;
use super::source::DockerSource;
use crate::access::Access;
use crate::blob::Chunks;
use crate::error::{Class, Error, Kind, Result};
use crate::image::{Descriptor, Digest, Manifest, MediaType};
use crate::transport::{ImageReference as _, ImageSource, Repository};

/// An image in several places.
pub(super) struct Places {
    all: Vec<Place>,
    /// The one that has been found good, which is asked first.
    preferred: AtomicUsize,
    blobs: Arc<Blobs>,
}

/// One of the places.
pub(super) struct Place {
    reference: DockerReference,
    access: Access,
    source: OnceCell<DockerSource>,
}

/// Which places of each blob have been read from, and which of them are not to be asked again for it.
#[derive(Default)]
struct Blobs(Mutex<HashMap<Digest, Tried>>);

#[derive(Clone, Default)]
struct Tried {
    last: usize,
    failed: Vec<usize>,
}

// === impl Place ===

impl Place {
    /// The image's name in this place, and what may be used there.
    pub(super) fn new(reference: DockerReference, access: Access) -> Self {
        Self { reference, access, source: OnceCell::new() }
    }

    async fn source(&self) -> Result<&DockerSource> {
        self.source.get_or_try_init(|| self.reference.open(&self.access)).await
    }

    async fn manifest(&self, instance: Option<&Descriptor>) -> Result<Manifest> {
        let manifest = self.source().await?.manifest(instance).await?;
        let named = instance.map(|instance| &instance.digest).or(self.reference.digest());
        match named {
            Some(expected) if manifest.digest() != expected => {
                let message = format!(
                    "the content has the digest `{}` instead of `{expected}`",
                    manifest.digest()
                );
                let reading = format!("reading manifest `{expected}` of `{}`", self.reference);
                Err(Error::new(Kind::ContentMismatch, message).doing(reading))
            }
            _ => Ok(manifest),
        }
    }
}

// === impl Places ===

impl Places {
    /// Reads from these, in this order.
    pub(super) fn new(all: Vec<Place>) -> Self {
        Self { all, preferred: AtomicUsize::new(0), blobs: Arc::default() }
    }

    /// The places in the order in which they are asked now.
    fn in_order(&self) -> impl Iterator<Item = (usize, &Place)> {
        let preferred = self.preferred.load(Ordering::Relaxed);
        let all = || self.all.iter().enumerate();
        let first = all().filter(move |(at, _)| *at == preferred);
        first.chain(all().filter(move |(at, _)| *at != preferred))
    }

    /// Says that something was got from `at` after the places before it failed.
    ///
    /// One that can't be reached is not asked again first; one that only lacked something else may have the rest.
    fn settle(&self, at: usize, failures: &[Error]) {
        for error in failures {
            tracing::warn!(%error, instead = %self.all[at].reference, "reading elsewhere");
        }
        if failures.iter().any(|error| error.class() == Class::Transient) {
            self.preferred.store(at, Ordering::Relaxed);
        }
    }
}

#[async_trait]
impl ImageSource for Places {
    async fn manifest(&self, instance: Option<&Descriptor>) -> Result<Manifest> {
        let mut failures = vec![];
        for (at, place) in self.in_order() {
            match place.manifest(instance).await {
                Ok(manifest) => {
                    self.settle(at, &failures);
                    if instance.is_none() {
                        self.preferred.store(at, Ordering::Relaxed);
                    }
                    return Ok(manifest);
                }
                Err(error) => failures.push(error),
            }
        }
        Err(all_failed(failures))
    }

    async fn blob(&self, descriptor: &Descriptor) -> Result<Chunks> {
        let digest = &descriptor.digest;
        let failed = self.blobs.failed(digest, self.all.len());
        let (mut failures, mut absent) = (vec![], None);
        for (at, place) in self.in_order().filter(|(at, _)| !failed.contains(at)) {
            let opened = match place.source().await {
                Ok(source) => source.own_blob(descriptor).await,
                Err(error) => Err(error),
            };
            match opened {
                Ok(chunks) => {
                    self.settle(at, &failures);
                    return Ok(self.blobs.watch(digest, at, chunks));
                }
                // The registry itself: what it lacks isn't at a mirror that can't be asked.
                Err(error) if at + 1 == self.all.len() && error.kind() == Kind::NotFound => {
                    absent = Some((place, failures.len()));
                    failures.push(error);
                }
                Err(error) => failures.push(error),
            }
        }
        match absent {
            Some((registry, own)) => {
                // There is no other copy, should this one be wrong.
                self.blobs.exhaust(digest, self.all.len());
                // What is to be done is decided by the registry.
                failures[own..].rotate_left(1);
                registry.source().await?.foreign_blob(descriptor, all_failed(failures)).await
            }
            _ => Err(all_failed(failures)),
        }
    }

    async fn attachments(
        &self,
        subject: &Digest,
        artifact_type: Option<&MediaType>,
    ) -> Result<Vec<Descriptor>> {
        let (mut failures, mut answered) = (vec![], false);
        for (_, place) in self.in_order() {
            let listed = match place.source().await {
                Ok(source) => source.attachments(subject, artifact_type).await,
                Err(error) => Err(error),
            };
            match listed {
                // A mirror has the image, but seldom what is attached to it.
                Ok(listed) if listed.is_empty() => answered = true,
                Ok(listed) => return Ok(listed),
                Err(error) => failures.push(error),
            }
        }
        if answered { Ok(vec![]) } else { Err(all_failed(failures)) }
    }

    fn repository(&self) -> Option<Repository> {
        let (_, place) = self.in_order().next()?;
        place.reference.repository().cloned()
    }

    fn distrust(&self, descriptor: &Descriptor) -> bool {
        self.blobs.fail(&descriptor.digest) < self.all.len()
    }
}

// === impl Blobs ===

impl Blobs {
    /// The places that are not to be asked for a blob. If all have failed it, they are asked once more.
    fn failed(&self, digest: &Digest, all: usize) -> Vec<usize> {
        let mut blobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(tried) = blobs.get_mut(digest) else { return vec![] };
        if tried.failed.len() == all {
            tried.failed.clear();
        }
        tried.failed.clone()
    }

    /// Notes that no place has a blob.
    fn exhaust(&self, digest: &Digest, all: usize) {
        let mut blobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        blobs.entry(digest.clone()).or_default().failed = (0..all).collect();
    }

    /// Notes where a blob is read from, and when that fails.
    fn watch(self: &Arc<Self>, digest: &Digest, at: usize, chunks: Chunks) -> Chunks {
        let mut blobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        blobs.entry(digest.clone()).or_default().last = at;
        drop(blobs);
        let (blobs, digest) = (Arc::clone(self), digest.clone());
        let broken = move |_: &Error| {
            blobs.fail(&digest);
        };
        chunks.inspect_err(broken).boxed()
    }

    /// Notes that what was last read of a blob is no good; returns how many places have failed it.
    fn fail(&self, digest: &Digest) -> usize {
        let mut blobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tried = blobs.entry(digest.clone()).or_default();
        if !tried.failed.contains(&tried.last) {
            tried.failed.push(tried.last);
        }
        tried.failed.len()
    }
}

/// One error for all places. What is to be done about it is decided by the last: it is the registry itself.
fn all_failed(mut failures: Vec<Error>) -> Error {
    let Some(last) = failures.pop() else {
        return Error::internal("an image has no place to be read from");
    };
    if failures.is_empty() {
        return last;
    }
    let told: Vec<String> = failures.iter().chain([&last]).map(Error::to_string).collect();
    let message = format!("no place of {} could be read: {}", told.len(), told.join("; then "));
    let error = Error::new(last.kind(), message);
    let error = match (last.class(), last.retry_after()) {
        (Class::Permanent, _) => error.permanent(),
        (Class::Transient, None) => error.transient(),
        (Class::Transient, Some(wait)) => error.after(wait),
    };
    match last.next_step() {
        Some(hint) => error.hint(hint),
        None => error,
    }
}
