//! The stages that a blob's bytes pass on their way from source to destination.
//!
//! A blob is a stream of chunks. Every stage takes such a stream and returns one, holds a bounded number of
//! chunks, and does hashing and codec work on blocking threads while the next chunk is on its way. An error ends
//! the stream; no stage reports success before the end of the bytes.

mod codec;
mod codec_memory;
mod compress;
mod decompress;
mod observe;
mod pace;
mod verify;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::stream;
use futures::stream::{BoxStream, StreamExt as _};

pub use codec::Codec;
pub use codec_memory::CodecMemory;
pub use compress::compress;
pub use decompress::decompress;
pub use observe::{LayerObserver, Looks, observe};
pub use pace::Pace;
pub use verify::{Expected, check_size, measure, measure_as, verify};

use crate::error::{Error, Result};
use crate::image::{Descriptor, Digest};

/// Bytes on their way. Dropping the stream stops whatever produces them.
pub type Chunks = BoxStream<'static, Result<Bytes>>;

/// A blob on its way to a destination: its bytes, and its identity as far as that is known.
///
/// The bytes have been verified by the time the stream ends well; whoever writes them doesn't verify again. The exception is
/// a blob that is [believed](Blob::believed).
pub struct Blob {
    chunks: Chunks,
    identity: Identity,
}

/// The digest and size of a blob: known before it moves, or once its last byte has passed. Clones are the same identity.
#[derive(Clone, Debug)]
pub struct Identity(Arc<Claim>);

#[derive(Debug)]
struct Claim {
    known: OnceLock<(Digest, u64)>,
    believed: bool,
    confirmed: AtomicBool,
}

/// Who has compared a blob's bytes with its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The stream does, by its end.
    Stream,
    /// The destination: it was told the digest, and has said that this is what it stored.
    Destination,
    /// Nobody has, so far.
    None,
}

// === impl Blob ===

impl Blob {
    /// A blob whose digest and size are known; the stream fails if the bytes are others.
    pub fn verified(chunks: Chunks, descriptor: &Descriptor) -> Self {
        let identity = Identity::known(descriptor.digest.clone(), descriptor.size);
        Self { chunks: verify(chunks, Expected::of(descriptor)), identity }
    }

    /// A blob that has been read and compared with its digest already.
    pub fn compared(bytes: Bytes, descriptor: &Descriptor) -> Self {
        let identity = Identity::known(descriptor.digest.clone(), descriptor.size);
        let chunks = stream::iter([Ok(bytes)]).boxed();
        Self { chunks: check_size(chunks, descriptor.size), identity }
    }

    /// A blob of which only the size is checked: for a destination that compares the digest itself before it takes it. It
    /// has no [`Proof`] until that destination [confirms](Identity::confirm) it.
    pub fn believed(chunks: Chunks, descriptor: &Descriptor) -> Self {
        let identity = Identity::believed(descriptor.digest.clone(), descriptor.size);
        Self { chunks: check_size(chunks, descriptor.size), identity }
    }

    /// A blob that is made on its way, such as a layer being compressed.
    pub fn measured(chunks: Chunks) -> Self {
        let identity = Identity::unknown();
        Self { chunks: measure(chunks, identity.clone()), identity }
    }

    /// The same for one that has to have this digest in the end.
    pub fn measured_as(chunks: Chunks, digest: Digest) -> Self {
        let identity = Identity::unknown();
        Self { chunks: measure_as(chunks, identity.clone(), digest), identity }
    }

    /// The same blob with its chunks passed through `observe`, for progress.
    #[must_use]
    pub fn map_chunks(self, observe: impl FnOnce(Chunks) -> Chunks) -> Self {
        Self { chunks: observe(self.chunks), identity: self.identity }
    }

    /// The identity, which may be unknown until the stream has ended.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The stream, and the identity to ask once it has ended.
    pub fn into_parts(self) -> (Chunks, Identity) {
        (self.chunks, self.identity)
    }
}

// === impl Identity ===

impl Identity {
    fn known(digest: Digest, size: u64) -> Self {
        Self::of(OnceLock::from((digest, size)), false)
    }

    fn believed(digest: Digest, size: u64) -> Self {
        Self::of(OnceLock::from((digest, size)), true)
    }

    fn unknown() -> Self {
        Self::of(OnceLock::new(), false)
    }

    fn of(known: OnceLock<(Digest, u64)>, believed: bool) -> Self {
        Self(Arc::new(Claim { known, believed, confirmed: AtomicBool::new(false) }))
    }

    /// Digest and size in bytes, if known by now.
    pub fn get(&self) -> Option<(&Digest, u64)> {
        self.0.known.get().map(|(digest, size)| (digest, *size))
    }

    /// The destination has compared the bytes with the digest, by its own word.
    pub fn confirm(&self) {
        self.0.confirmed.store(true, Ordering::Relaxed);
    }

    /// Who has compared the bytes with the digest, once the blob is written.
    pub fn proof(&self) -> Proof {
        match (self.0.confirmed.load(Ordering::Relaxed), self.0.believed) {
            (true, _) => Proof::Destination,
            (false, true) => Proof::None,
            (false, false) => Proof::Stream,
        }
    }

    fn settle(&self, digest: Digest, size: u64) {
        // A stream that is polled again after its end finds the same identity there.
        let _ = self.0.known.set((digest, size));
    }

    /// Digest and size in bytes of a stream that has ended well.
    pub fn settled(&self) -> Result<(&Digest, u64)> {
        self.get()
            .ok_or_else(|| Error::internal("the digest of a blob was asked for before its end"))
    }
}
