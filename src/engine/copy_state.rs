//! What a push has copied so far, so that nothing is moved twice.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::blob::CopiedBlob;
use super::heal::Doubt;
use super::plan::LayerAction;
use super::progress::BlobOutcome;
use super::width::Width;
use crate::blob::{CodecMemory, Looks};
use crate::image::{Digest, Manifest};

/// What has been copied so far. Shared by the attempts with different formats.
pub(super) struct CopyState {
    pub(super) width: Width,
    pub(super) looks: Looks,
    pub(super) codecs: CodecMemory,
    blobs: Mutex<HashMap<BlobKey, Once<CopiedBlob>>>,
    /// Manifests below an index that were put.
    instances: Mutex<HashMap<Digest, Once<()>>>,
    /// The most that was done for each blob, by its digest at the destination.
    outcomes: Mutex<HashMap<Digest, BlobOutcome>>,
    /// Whether the destination has taken a blob without saying what it stored: then it may compare nothing.
    silent: AtomicBool,
}

/// What makes two blobs the same work. All that is claimed of a blob is part of it: where two descriptors differ in the
/// size of one digest, or two configs in what it decompresses to, each claim is checked for itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct BlobKey {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) action: LayerAction,
    pub(super) diff_id: Option<Digest>,
    pub(super) doubt: Doubt,
}

/// Something that is done once; who comes while it is being done waits for it.
type Once<T> = Arc<OnceCell<T>>;

// === impl CopyState ===

impl CopyState {
    pub(super) fn new(codecs: CodecMemory) -> Self {
        Self {
            width: Width::new(),
            looks: Looks::default(),
            codecs,
            blobs: Mutex::default(),
            instances: Mutex::default(),
            outcomes: Mutex::default(),
            silent: AtomicBool::new(false),
        }
    }

    /// What becomes of a blob.
    pub(super) fn blob(&self, key: BlobKey) -> Once<CopiedBlob> {
        Arc::clone(lock(&self.blobs).entry(key).or_default())
    }

    /// What becomes of a manifest below an index.
    pub(super) fn instance(&self, manifest: &Manifest) -> Once<()> {
        Arc::clone(lock(&self.instances).entry(manifest.digest().clone()).or_default())
    }

    /// Whether the destination is still believed to compare blobs with their digests.
    pub(super) fn believes(&self) -> bool {
        !self.silent.load(Ordering::Relaxed)
    }

    /// Has everything hashed from now on.
    pub(super) fn stop_believing(&self) {
        if !self.silent.swap(true, Ordering::Relaxed) {
            tracing::info!(
                "the destination doesn't say what it has stored, hashing what it is sent"
            );
        }
    }

    /// Forgets what is at the destination, which has lost something of it.
    pub(super) fn forget(&self) {
        lock(&self.blobs).clear();
        lock(&self.instances).clear();
    }

    /// Takes down what was done for a blob. What was sent counts as sent, even if it is found there later.
    pub(super) fn record(&self, digest: &Digest, outcome: BlobOutcome) {
        let mut outcomes = lock(&self.outcomes);
        let known = outcomes.entry(digest.clone()).or_insert(outcome);
        if outcome == BlobOutcome::Sent {
            *known = outcome;
        }
    }

    /// The most that was done for a blob.
    pub(super) fn outcome(&self, digest: &Digest) -> Option<BlobOutcome> {
        lock(&self.outcomes).get(digest).copied()
    }
}

/// Nothing panics while holding one of these locks; if something did, the data is still whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
