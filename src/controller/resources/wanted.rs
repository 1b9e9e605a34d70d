//! Which bundle is to be applied after an attempt, and where it can be read. Pure.

use super::Recorded;
use crate::controller::decide::Outcome;
use crate::engine::{Beside, Decision};
use crate::error::Side;
use crate::image::Digest;

/// What is to be in the cluster after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// What is there now, for this reason.
    Leave(String),
    /// The bundle of this image, or nothing if it carries none.
    Have { of: Recorded, place: Place },
}

/// Where a bundle can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Only at the source: nothing was pushed.
    Source,
    /// Where it was pushed to.
    Destination,
    /// There is none.
    Nowhere { preview: bool },
}

// === impl Place ===

impl Place {
    /// Which end of the push it is.
    pub(super) fn side(self) -> Side {
        match self {
            Self::Source => Side::Source,
            Self::Destination | Self::Nowhere { .. } => Side::Destination,
        }
    }

    /// Whether nothing is to be written.
    pub(super) fn is_preview(self) -> bool {
        matches!(self, Self::Source | Self::Nowhere { preview: true })
    }
}

/// What is wanted; `None` where the attempt came to nothing. `known` is what the image had that was looked into last, and
/// `pushed` the image that was pushed last.
pub(super) fn wanted(
    outcome: &Outcome,
    known: Option<&Recorded>,
    pushed: Option<&Digest>,
) -> Option<Wanted> {
    match outcome {
        Outcome::Pushed(pushed) => {
            Some(of_beside(pushed.beside.as_ref(), &pushed.source.digest, known, false))
        }
        Outcome::Previewed(preview) => {
            Some(of_beside(preview.beside.as_ref(), &preview.source.digest, known, true))
        }
        Outcome::Unchanged => {
            // Another image may be there than the one that was looked into, since its bundle could not be used.
            let known = known.filter(|known| pushed == Some(&known.source));
            Some(of_known(known, false, "nothing was looked for"))
        }
        Outcome::Failed(_) | Outcome::Cancelled => None,
    }
}

fn of_beside(
    beside: Option<&Beside>,
    source: &Digest,
    known: Option<&Recorded>,
    preview: bool,
) -> Wanted {
    let Some(Beside { decision, digest, .. }) = beside else {
        return Wanted::Leave("the image was pushed alone".to_owned());
    };
    let of = |bundle: Option<&Digest>| Recorded { source: source.clone(), bundle: bundle.cloned() };
    let have = |place| Wanted::Have { of: of(digest.as_ref()), place };
    match decision {
        Decision::Absent => Wanted::Have { of: of(None), place: Place::Nowhere { preview } },
        Decision::Push if digest.is_some() => have(Place::Source),
        // A dry run compares with what is at the source, which it has seen.
        Decision::Unchanged if preview && digest.is_some() => have(Place::Source),
        Decision::Pushed | Decision::Unchanged if digest.is_some() => have(Place::Destination),
        decision => {
            let known = known.filter(|known| known.source == *source);
            of_known(known, preview, decision.reason().unwrap_or("it is not known yet"))
        }
    }
}

/// What is known from before, if anything; else nobody knows.
fn of_known(known: Option<&Recorded>, preview: bool, reason: &str) -> Wanted {
    match known {
        Some(of) if of.bundle.is_none() => {
            Wanted::Have { of: of.clone(), place: Place::Nowhere { preview } }
        }
        Some(of) => {
            let place = if preview { Place::Source } else { Place::Destination };
            Wanted::Have { of: of.clone(), place }
        }
        None => Wanted::Leave(reason.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1alpha1::Preview;
    use crate::controller::decide::Previewed;
    use crate::engine::{BlobCounts, Pushed, SourceImage};
    use crate::image::MediaType;

    fn beside(decision: Decision, digest: &str) -> Beside {
        let digest = (!digest.is_empty()).then(|| Digest::of(digest.as_bytes()));
        Beside { decision, digest, objects: None, artifact: None }
    }

    /// What fails there is told of that end: a registry that can't be read where it was pushed to is no fault of the source.
    #[test]
    fn a_place_is_at_an_end_of_the_push() {
        for (place, side) in [
            (Place::Source, Side::Source),
            (Place::Destination, Side::Destination),
            (Place::Nowhere { preview: false }, Side::Destination),
        ] {
            assert_eq!(place.side(), side);
        }
    }

    fn pushed(beside: Option<Beside>) -> Outcome {
        Outcome::Pushed(Box::new(Pushed {
            source: SourceImage {
                digest: Digest::of(b"source"),
                media_type: MediaType::OCI_MANIFEST,
                platforms: vec![],
            },
            digest: Digest::of(b"destination"),
            replaced: None,
            media_type: MediaType::OCI_MANIFEST,
            size_bytes: None,
            manifests: vec![],
            blobs: BlobCounts::default(),
            bytes_sent: 0,
            already_present: true,
            beside,
        }))
    }

    fn previewed(beside: Beside) -> Outcome {
        Outcome::Previewed(Box::new(Previewed {
            source: SourceImage {
                digest: Digest::of(b"source"),
                media_type: MediaType::OCI_MANIFEST,
                platforms: vec![],
            },
            preview: Preview::default(),
            beside: Some(beside),
        }))
    }

    fn of(source: &str, bundle: &str) -> Recorded {
        let digest = |text: &str| Digest::of(text.as_bytes());
        Recorded { source: digest(source), bundle: (!bundle.is_empty()).then(|| digest(bundle)) }
    }

    #[test]
    fn the_attempt_says_which_bundle_is_meant_and_where_it_is() {
        let have = |of, place| Some(Wanted::Have { of, place });
        let leave = |reason: &str| Some(Wanted::Leave(reason.to_owned()));
        let none = |preview| have(of("source", ""), Place::Nowhere { preview });
        let unsearched = || beside(Decision::NotSearched("nobody looked".to_owned()), "");
        let skipped = || beside(Decision::Skipped("it is broken".into()), "");
        for (outcome, recorded, expected) in [
            (
                pushed(Some(beside(Decision::Pushed, "b"))),
                None,
                have(of("source", "b"), Place::Destination),
            ),
            (
                pushed(Some(beside(Decision::Unchanged, "b"))),
                Some(of("source", "old")),
                have(of("source", "b"), Place::Destination),
            ),
            (pushed(Some(beside(Decision::Absent, ""))), Some(of("source", "old")), none(false)),
            (pushed(Some(skipped())), None, leave("it is broken")),
            (pushed(Some(unsearched())), None, leave("nobody looked")),
            // The same image has the same bundle; another one may have another.
            (
                pushed(Some(unsearched())),
                Some(of("source", "old")),
                have(of("source", "old"), Place::Destination),
            ),
            (pushed(Some(unsearched())), Some(of("other", "old")), leave("nobody looked")),
            // What was left over of it is still to be taken away.
            (pushed(Some(unsearched())), Some(of("source", "")), none(false)),
            (pushed(None), None, leave("the image was pushed alone")),
            (previewed(beside(Decision::Push, "b")), None, have(of("source", "b"), Place::Source)),
            (
                previewed(beside(Decision::Unchanged, "b")),
                None,
                have(of("source", "b"), Place::Source),
            ),
            (previewed(beside(Decision::Absent, "")), None, none(true)),
            (
                previewed(unsearched()),
                Some(of("source", "old")),
                have(of("source", "old"), Place::Source),
            ),
            (previewed(unsearched()), Some(of("source", "")), none(true)),
            (previewed(unsearched()), Some(of("other", "old")), leave("nobody looked")),
            (
                Outcome::Unchanged,
                Some(of("source", "old")),
                have(of("source", "old"), Place::Destination),
            ),
            (Outcome::Unchanged, Some(of("other", "old")), leave("nothing was looked for")),
            (Outcome::Unchanged, None, leave("nothing was looked for")),
            (Outcome::Cancelled, Some(of("source", "old")), None),
        ] {
            let found = wanted(&outcome, recorded.as_ref(), Some(&Digest::of(b"source")));
            assert_eq!(found, expected, "{outcome:?} {recorded:?}");
        }
    }
}
