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

/// What to do about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Send the blob in this manner.
    Manner(Manner),
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
        (405 | 411 | 501, Manner::Whole) => Next::Manner(Manner::Patch),
        (400 | 404, Manner::Whole) if knows_patch_only(refusal.code()) => {
            Next::Manner(Manner::Patch)
        }
        _ => Next::GiveUp,
    }
}

/// The longest pieces that are shorter than what was refused.
fn shorter(length: u64, minimum: u64) -> Next {
    let mut pieces =
        [PIECE, SMALL_PIECE].map(|piece| piece.max(minimum).min(LARGEST_PIECE)).into_iter();
    match pieces.find(|piece| *piece < length) {
        Some(piece) => Next::Manner(Manner::Pieces(piece)),
        None => Next::GiveUp,
    }
}

/// A registry that takes no body with the PUT finds that the blob, or its upload, is empty.
fn knows_patch_only(code: Option<&Code>) -> bool {
    matches!(code, Some(Code::BlobUnknown | Code::BlobUploadInvalid | Code::Unsupported))
}

// === impl Manner ===

impl Manner {
    /// The manner for a blob of known size: what is no longer than a piece needs no pieces.
    pub(super) fn of_size(self, size: u64) -> Self {
        match self {
            Self::Pieces(piece) if size <= piece => Self::Whole,
            manner => manner,
        }
    }

    /// The manner for a blob whose size isn't known.
    pub(super) fn without_size(self) -> Self {
        match self {
            Self::Whole => Self::Patch,
            manner => manner,
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
        let (first, second) = (Next::Manner(Pieces(PIECE)), Next::Manner(Pieces(SMALL_PIECE)));
        let patch = Next::Manner(Patch);
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
            let expected = expected.map_or(Next::GiveUp, |size| Next::Manner(Manner::Pieces(size)));
            assert_eq!(next(&refused), expected, "{length} {minimum}");
        }
    }
}
