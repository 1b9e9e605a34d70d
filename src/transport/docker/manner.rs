//! How a registry takes blobs: decided by what it refuses, never by its name.
//!
//! Everything starts with the manner that costs least. The refusals that are answered by another manner, and who is known
//! for them: GHCR has an upper bound for a request (416), as have proxies (413); Artifactory knows PATCH only (404
//! `BLOB_UNKNOWN`); some proxies want a length with each body (411).

use oci_client::errors::OciErrorCode as Code;

use super::error::Refusal;
use crate::limits::{LARGEST_PIECE, PIECE, SMALL_PIECE};

/// How the bytes of a blob go to the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// In the PUT that ends the session; without a known size like `Patch`.
    Whole,
    /// In one PATCH.
    Patch,
    /// By PATCH in pieces of at most so many bytes, each with its length.
    Pieces(u64),
}

/// What is known by now of how a registry takes blobs. It gets stricter only, whoever learns what first: blobs move at the
/// same time, and one that is sent by what was known before must not take back what another has learnt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Manners {
    /// The registry takes bytes by PATCH only.
    patch_only: bool,
    /// It takes at most so many bytes with one request.
    piece: Option<u64>,
}

/// What a refusal teaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lesson {
    /// Bytes go by PATCH only.
    PatchOnly,
    /// At most so many bytes with one request.
    Piece(u64),
}

/// What to do about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Send the blob in the manner that follows from this.
    Learn(Lesson),
    /// Send it from its first byte: where the registry said that it stood, it did not.
    Restart,
    /// Report it.
    GiveUp,
}

/// A refused request.
pub(super) struct Refused<'a> {
    /// The manner it was made in.
    pub(super) used: Manner,
    /// Whether it went on with an earlier upload.
    pub(super) resumed: bool,
    /// The most bytes that it had.
    pub(super) length: u64,
    /// The shortest piece that the registry says it takes.
    pub(super) minimum: u64,
    /// What the registry answered.
    pub(super) refusal: &'a Refusal,
}

/// Decides about a refusal.
pub(super) fn next(refused: &Refused<'_>) -> Next {
    let Refused { used, resumed, length, minimum, refusal } = *refused;
    match (refusal.status.as_u16(), used) {
        (401 | 403 | 407 | 408 | 429 | 500 | 502..600, _) => Next::GiveUp,
        (413, _) => shorter(length, minimum),
        (400..500, _) if resumed => Next::Restart,
        (416, _) | (411, Manner::Patch) => shorter(length, minimum),
        (405 | 411 | 501, Manner::Whole) => Next::Learn(Lesson::PatchOnly),
        (400 | 404, Manner::Whole) if knows_patch_only(refusal.code()) => {
            Next::Learn(Lesson::PatchOnly)
        }
        _ => Next::GiveUp,
    }
}

/// The longest pieces that are shorter than what was refused.
fn shorter(length: u64, minimum: u64) -> Next {
    let mut pieces =
        [PIECE, SMALL_PIECE].map(|piece| piece.max(minimum).min(LARGEST_PIECE)).into_iter();
    match pieces.find(|piece| *piece < length) {
        Some(piece) => Next::Learn(Lesson::Piece(piece)),
        None => Next::GiveUp,
    }
}

/// A registry that takes no body with the PUT finds that the blob, or its upload, is empty.
fn knows_patch_only(code: Option<&Code>) -> bool {
    matches!(code, Some(Code::BlobUnknown | Code::BlobUploadInvalid | Code::Unsupported))
}

// === impl Manners ===

impl Manners {
    /// The manner for a blob of this size, or of one that isn't known: what is no longer than a piece needs no pieces.
    pub(super) fn manner(self, size: Option<u64>) -> Manner {
        let long = |piece: &u64| size.is_none_or(|size| size > *piece);
        match self.piece.filter(long) {
            Some(piece) => Manner::Pieces(piece),
            None if self.patch_only || size.is_none() => Manner::Patch,
            None => Manner::Whole,
        }
    }

    /// The same with what has been learnt.
    pub(super) fn learn(self, lesson: Lesson) -> Self {
        match lesson {
            Lesson::PatchOnly => Self { patch_only: true, ..self },
            Lesson::Piece(piece) => {
                let shortest = self.piece.map_or(piece, |known| known.min(piece));
                Self { piece: Some(shortest), ..self }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: u64 = 100 << 20;

    #[test]
    fn what_a_refusal_leads_to() {
        use Manner::{Patch, Pieces, Whole};
        use Next::{GiveUp, Restart};
        let (first, second) =
            (Next::Learn(Lesson::Piece(PIECE)), Next::Learn(Lesson::Piece(SMALL_PIECE)));
        let patch = Next::Learn(Lesson::PatchOnly);
        for (used, length, status, code, expected) in [
            (Whole, LARGE, 413, None, first),
            (Whole, LARGE, 416, None, first),
            (Whole, PIECE, 413, None, second),
            (Whole, SMALL_PIECE, 413, None, GiveUp),
            (Patch, LARGE, 413, None, first),
            (Patch, LARGE, 411, None, first),
            (Pieces(PIECE), PIECE, 413, None, second),
            (Pieces(SMALL_PIECE), SMALL_PIECE, 413, None, GiveUp),
            (Pieces(PIECE), PIECE, 411, None, GiveUp),
            (Whole, 5, 411, None, patch),
            (Whole, 5, 405, None, patch),
            (Whole, 5, 501, None, patch),
            (Whole, 5, 404, Some(Code::BlobUnknown), patch),
            (Whole, 5, 400, Some(Code::BlobUploadInvalid), patch),
            (Whole, 5, 400, Some(Code::Unsupported), patch),
            (Patch, 5, 404, Some(Code::BlobUnknown), GiveUp),
            (Whole, 5, 404, Some(Code::BlobUploadUnknown), GiveUp),
            (Whole, 5, 400, Some(Code::DigestInvalid), GiveUp),
            (Whole, 5, 403, Some(Code::Denied), GiveUp),
            (Whole, 5, 500, None, GiveUp),
            (Whole, 5, 507, None, GiveUp),
        ] {
            let case = format!("{used:?} {length} {status} {code:?}");
            let refusal = Refusal::coded(status, code);
            let refused = Refused { used, resumed: false, length, minimum: 0, refusal: &refusal };
            assert_eq!(next(&refused), expected, "{case}");
            let refused = Refused { resumed: true, ..refused };
            let restarts = matches!(status, 400..500) && ![403, 413].contains(&status);
            let expected = if restarts { Restart } else { expected };
            let expected = if status == 501 { patch } else { expected };
            assert_eq!(next(&refused), expected, "resumed {case}");
        }
    }

    #[test]
    fn what_was_learnt_is_never_taken_back() {
        use Lesson::{PatchOnly, Piece};
        use Manner::{Patch, Pieces, Whole};
        for (lessons, small, large, unknown) in [
            (&[][..], Whole, Whole, Patch),
            (&[PatchOnly], Patch, Patch, Patch),
            (&[Piece(PIECE)], Whole, Pieces(PIECE), Pieces(PIECE)),
            (&[Piece(SMALL_PIECE), Piece(PIECE)], Whole, Pieces(SMALL_PIECE), Pieces(SMALL_PIECE)),
            (&[PatchOnly, Piece(PIECE)], Patch, Pieces(PIECE), Pieces(PIECE)),
            (&[Piece(PIECE), PatchOnly], Patch, Pieces(PIECE), Pieces(PIECE)),
        ] {
            let known = lessons.iter().fold(Manners::default(), |known, it| known.learn(*it));
            let found = [Some(SMALL_PIECE), Some(LARGE), None].map(|size| known.manner(size));
            assert_eq!(found, [small, large, unknown], "{lessons:?}");
        }
    }

    #[test]
    fn pieces_are_as_long_as_the_registry_wants_within_our_bound() {
        let refusal = Refusal::coded(413, None);
        for (length, minimum, expected) in [
            (LARGE, 5 << 20, Some(5 << 20)),
            (5 << 20, 5 << 20, None),
            (LARGE, u64::MAX, Some(LARGEST_PIECE)),
            (LARGE, 1, Some(PIECE)),
        ] {
            let used = Manner::Whole;
            let refused = Refused { used, resumed: false, length, minimum, refusal: &refusal };
            let expected = expected.map_or(Next::GiveUp, |size| Next::Learn(Lesson::Piece(size)));
            assert_eq!(next(&refused), expected, "{length} {minimum}");
        }
    }
}
