//! What a push tells of itself while it runs.

use std::time::Duration;

use crate::error::Error;
use crate::image::{Descriptor, Digest};
use crate::transport::BlobKind;

/// Listens to a push. Called from many places at once and often: return quickly.
pub trait Progress: Send + Sync {
    /// Something happened.
    fn event(&self, event: Event<'_>);
}

/// Something that happened in a push.
#[derive(Debug)]
pub enum Event<'a> {
    /// The plan is made: so many blobs, so many bytes at the source.
    Planned {
        /// Number of different blobs.
        blobs: u64,
        /// Their sizes at the source, added up.
        bytes: u64,
    },
    /// A blob is looked for or sent from now on.
    BlobStarted {
        /// Digest at the source.
        digest: &'a Digest,
        /// Size at the source, in bytes.
        size: u64,
        /// What it is.
        kind: BlobKind,
    },
    /// More bytes of a blob have been read from the source.
    BlobAdvanced {
        /// Digest at the source.
        digest: &'a Digest,
        /// How many more.
        bytes: u64,
    },
    /// A blob is to be read anew from its start, because an attempt failed.
    BlobRestarted {
        /// Digest at the source.
        digest: &'a Digest,
    },
    /// A blob is at the destination.
    BlobFinished {
        /// Digest at the source.
        digest: &'a Digest,
        /// How it got there.
        outcome: BlobOutcome,
    },
    /// A layer that doesn't move is read from now on, only to look into it.
    LayerRead {
        /// Its digest.
        digest: &'a Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// All that the image consists of is there, and its name is changed next.
    Naming,
    /// The image is there, and what belongs beside it is looked at or put there next.
    Attaching,
    /// A manifest is written.
    Manifest {
        /// Its digest.
        digest: &'a Digest,
    },
    /// The destination's name points to this from now on, whatever becomes of the push.
    Named {
        /// What it points to.
        manifest: &'a Descriptor,
    },
    /// An operation failed and is tried again after `delay`.
    Retrying {
        /// Why.
        error: &'a Error,
        /// The attempt to come, 2 for the first retry.
        attempt: u32,
        /// How many there may be in all.
        attempts: u32,
        /// How long we wait before it.
        delay: Duration,
    },
}

/// How a blob got to the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobOutcome {
    /// It was sent.
    Sent,
    /// It was there.
    Reused,
    /// The registry linked it from another repository.
    Mounted,
    /// It stays where its `urls` point.
    Left,
}

/// Listens to nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn event(&self, _event: Event<'_>) {}
}
