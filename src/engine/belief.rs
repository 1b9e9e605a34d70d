//! Leaves comparing a blob with its digest to the destination, as long as that says that it does.
//!
//! What a local store keeps by digest goes out without being hashed, if the destination compares it anyway. Its answer has to
//! name the digest. Where it doesn't, the source is hashed afterwards, and the next blobs while they are sent: nothing is sent
//! twice. A refusal has the source hashed, too, to tell a damaged file from a registry in trouble.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::{TryStreamExt as _, future};

use super::blob::{observed, open, put};
use super::copy::Copy;
use crate::blob::{Blob, Expected, Proof, verify};
use crate::error::{Class, Error, Kind, Result, Side};
use crate::image::Descriptor;
use crate::transport::{BlobKind, Verifier};

const DAMAGED: &str = "the file is damaged: remove it, and get the image again from where it came";

/// The same, where the destination may have taken it for what it is not.
const DAMAGED_AND_TAKEN: &str = "the file is damaged: remove it, and get the image again from where it came; the registry has \
                                 taken it all the same, and may have it under that digest from now on";

/// What is known of one blob while it is copied.
#[derive(Default)]
pub(super) struct Belief {
    /// Whether it was sent without being hashed, and nobody has confirmed it since.
    open: AtomicBool,
}

// === impl Belief ===

impl Belief {
    /// Sends a blob without hashing it, unless it turns out that nobody has.
    pub(super) async fn send(
        &self,
        copy: &Copy<'_>,
        descriptor: &Descriptor,
        kind: BlobKind,
        place: &str,
    ) -> Result<()> {
        let blob = observed(copy, descriptor, kind, open(copy, descriptor, Blob::believed).await?);
        let identity = blob.identity().clone();
        self.open.store(true, Ordering::Relaxed);
        if let Err(refusal) = put(copy, descriptor, blob, kind).await {
            return Err(examined(copy, descriptor, place, refusal).await);
        }
        if identity.proof() == Proof::None {
            copy.state.stop_believing();
            compare(copy, descriptor, place, DAMAGED_AND_TAKEN).await?;
        }
        self.open.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Makes sure of a blob that is found where it may have been sent without being hashed, by an attempt that failed.
    pub(super) async fn check_found(&self, copy: &Copy<'_>, descriptor: &Descriptor) -> Result<()> {
        match copy.source.place_by_digest(descriptor) {
            Some(place) if self.open.load(Ordering::Relaxed) => {
                compare(copy, descriptor, &place, DAMAGED_AND_TAKEN).await
            }
            _ => Ok(()),
        }
    }
}

/// Where a blob stands under its digest, if the destination compares that digest itself: to hash it here as well would find
/// nothing more.
pub(super) fn believed_at(copy: &Copy<'_>, descriptor: &Descriptor) -> Option<String> {
    let verifier = copy.destination.capabilities().verifier;
    let verified_there = verifier == Verifier::Destination && copy.state.believes();
    let believed = verified_there && !copy.verify_source;
    believed.then(|| copy.source.place_by_digest(descriptor)).flatten()
}

/// The error for a blob that was believed and is refused: if it is not what it should be, that, and where it is.
async fn examined(copy: &Copy<'_>, descriptor: &Descriptor, place: &str, refusal: Error) -> Error {
    let refused = match refusal.kind() {
        Kind::ContentMismatch => true,
        Kind::RegistryUnavailable => refusal.class() == Class::Permanent,
        _ => false,
    };
    // What is only to be sent in another manner is not worth reading all of it once more.
    let adapts = refusal.wants_sending_again();
    if !refused || adapts || refusal.side() == Some(Side::Source) {
        return refusal;
    }
    match compare(copy, descriptor, place, DAMAGED).await {
        Err(error) if error.kind() == Kind::ContentMismatch => error,
        _ => refusal,
    }
}

/// Compares a blob of the source with its digest. If it is another, the error names the place, with what to do as `hint`.
async fn compare(copy: &Copy<'_>, descriptor: &Descriptor, place: &str, hint: &str) -> Result<()> {
    let read = async {
        let chunks = verify(copy.source.blob(descriptor).await?, Expected::of(descriptor));
        chunks.try_for_each(|_| future::ready(Ok(()))).await
    };
    read.await.map_err(|error| {
        let damaged = error.kind() == Kind::ContentMismatch;
        let reading = format!("reading blob `{}` from `{place}`", descriptor.digest);
        let error = error.during(reading).on(Side::Source);
        if damaged { error.hint(hint) } else { error }
    })
}
