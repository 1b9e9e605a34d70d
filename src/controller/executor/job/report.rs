//! How an attempt in a Job ended, as its pod says it in its termination message.
//!
//! The kubelet keeps 4096 bytes of that. What doesn't fit is left out from the ends of the lists of manifests and platforms;
//! everything else has a bound that fits.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::v1alpha1;
use crate::controller::decide::{Outcome, Previewed};
use crate::controller::failure::Failure;
use crate::engine::{Beside, BlobCounts, Decision, Pushed, PushedManifest, SourceImage};
use crate::error::{Class, Error, Side};
use crate::image::{Descriptor, Digest, MediaType};
use crate::limits::{MAX_CONDITION_MESSAGE, MAX_TERMINATION_MESSAGE};

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all_fields = "camelCase", deny_unknown_fields)]
pub(crate) enum Report {
    /// See [`Pushed`].
    Pushed {
        source_digest: Digest,
        #[serde(default)]
        source: Traits,
        digest: Digest,
        media_type: MediaType,
        size_bytes: Option<u64>,
        /// Digest, platform and size of each, without names to fit as many as can be.
        manifests: Vec<(Digest, Option<String>, u64)>,
        /// Sent, reused and mounted.
        blobs: (u64, u64, u64),
        bytes_sent: u64,
        already_present: bool,
        replaced: Option<Digest>,
        beside: Option<Beside>,
    },
    /// See [`Previewed`].
    Previewed {
        source_digest: Digest,
        #[serde(default)]
        source: Traits,
        preview: v1alpha1::Preview,
        beside: Option<Beside>,
    },
    /// See [`Failure`].
    Failed {
        reason: String,
        message: String,
        transient: bool,
        side: Option<String>,
        retry_after_seconds: Option<u64>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        beside: bool,
        /// What the destination's name had got by then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        named: Option<Descriptor>,
    },
    /// Both ends are as they were.
    Unchanged,
    /// It was called off.
    Cancelled {
        /// What the destination's name had got by then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        named: Option<Descriptor>,
    },
}

/// Media type and platforms of a source; not told by pods of earlier versions.
type Traits = (String, Vec<String>);

// === impl Report ===

impl Report {
    pub(crate) fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Pushed(pushed) => Self::pushed(pushed),
            Outcome::Previewed(previewed) => Self::Previewed {
                source_digest: previewed.source.digest.clone(),
                source: traits(&previewed.source),
                preview: previewed.preview.clone(),
                beside: previewed.beside.as_ref().map(shortened),
            },
            Outcome::Failed(failure) => Self::Failed {
                reason: failure.reason.to_owned(),
                message: failure.message.clone(),
                transient: failure.class == Class::Transient,
                side: failure.side.map(|side| side.as_str().to_owned()),
                retry_after_seconds: failure.retry_after.map(|wait| wait.as_secs()),
                beside: failure.beside,
                named: None,
            },
            Outcome::Unchanged => Self::Unchanged,
            Outcome::Cancelled => Self::Cancelled { named: None },
        }
    }

    /// With what the destination's name has got by the attempt, though that did not come to its end.
    pub(crate) fn naming(mut self, manifest: Option<Descriptor>) -> Self {
        if let Self::Failed { named, .. } | Self::Cancelled { named } = &mut self {
            *named = manifest;
        }
        self
    }

    /// What the destination's name has got by an attempt that did not come to its end.
    pub(crate) fn named(&self) -> Option<&Descriptor> {
        match self {
            Self::Failed { named, .. } | Self::Cancelled { named } => named.as_ref(),
            Self::Pushed { .. } | Self::Previewed { .. } | Self::Unchanged => None,
        }
    }

    fn pushed(pushed: &Pushed) -> Self {
        let Pushed {
            source,
            digest,
            media_type,
            size_bytes,
            manifests,
            blobs: BlobCounts { sent, reused, mounted },
            bytes_sent,
            already_present,
            replaced,
            beside,
        } = pushed;
        let short = |PushedManifest { digest, platform, size_bytes }: &PushedManifest| {
            (digest.clone(), platform.as_ref().map(ToString::to_string), *size_bytes)
        };
        Self::Pushed {
            source_digest: source.digest.clone(),
            source: traits(source),
            digest: digest.clone(),
            media_type: media_type.clone(),
            size_bytes: *size_bytes,
            manifests: manifests.iter().map(short).collect(),
            blobs: (*sent, *reused, *mounted),
            bytes_sent: *bytes_sent,
            already_present: *already_present,
            replaced: replaced.clone(),
            beside: beside.as_ref().map(shortened),
        }
    }

    /// The termination message.
    pub(crate) fn to_message(&self) -> String {
        let mut report = self.clone();
        loop {
            let text = serde_json::to_string(&report).unwrap_or_default();
            if text.len() <= MAX_TERMINATION_MESSAGE || !report.shorten() {
                return text;
            }
        }
    }

    /// Leaves out the last entry of the longest list; `false` if there is none.
    fn shorten(&mut self) -> bool {
        match self {
            Self::Pushed { manifests, source: (_, platforms), .. } => {
                if platforms.len() > manifests.len() {
                    platforms.pop().is_some()
                } else {
                    manifests.pop().is_some()
                }
            }
            Self::Previewed { source: (_, platforms), .. } => platforms.pop().is_some(),
            Self::Failed { .. } | Self::Unchanged | Self::Cancelled { .. } => false,
        }
    }

    /// Reads a termination message; `None` if it is not one of ours.
    pub(crate) fn parse(message: &str) -> Option<Self> {
        serde_json::from_str(message).ok()
    }

    pub(crate) fn into_outcome(self) -> Outcome {
        match self {
            Self::Pushed {
                source_digest,
                source,
                digest,
                media_type,
                size_bytes,
                manifests,
                blobs: (sent, reused, mounted),
                bytes_sent,
                already_present,
                replaced,
                beside,
            } => {
                let long = |(digest, platform, size_bytes): (Digest, Option<String>, u64)| {
                    let platform = platform.and_then(|text| text.parse().ok());
                    PushedManifest { digest, platform, size_bytes }
                };
                Outcome::Pushed(Box::new(Pushed {
                    source: source_image(source_digest, source),
                    digest,
                    media_type,
                    size_bytes,
                    manifests: manifests.into_iter().map(long).collect(),
                    blobs: BlobCounts { sent, reused, mounted },
                    bytes_sent,
                    already_present,
                    replaced,
                    beside,
                }))
            }
            Self::Previewed { source_digest, source, preview, beside } => {
                let source = source_image(source_digest, source);
                Outcome::Previewed(Box::new(Previewed { source, preview, beside }))
            }
            Self::Failed {
                reason,
                message,
                transient,
                side,
                retry_after_seconds,
                beside,
                named: _,
            } => {
                let class = if transient { Class::Transient } else { Class::Permanent };
                let side = [Side::Source, Side::Destination]
                    .into_iter()
                    .find(|it| Some(it.as_str()) == side.as_deref());
                let retry_after = retry_after_seconds.map(Duration::from_secs);
                Outcome::Failed(match Failure::told(&reason, &message, class, side, retry_after) {
                    Some(failure) => Failure { beside, ..failure },
                    None => Failure::from(&Error::internal(format!(
                        "the Job failed for a reason that is not known here: {message}"
                    ))),
                })
            }
            Self::Unchanged => Outcome::Unchanged,
            Self::Cancelled { named: _ } => Outcome::Cancelled,
        }
    }
}

fn traits(source: &SourceImage) -> Traits {
    let platforms = source.platforms.iter().map(ToString::to_string);
    (source.media_type.as_str().to_owned(), platforms.collect())
}

/// What is no platform is left out: its parts may have any letters in an index.
fn source_image(digest: Digest, (media_type, platforms): Traits) -> SourceImage {
    let platforms = platforms.iter().filter_map(|text| text.parse().ok()).collect();
    SourceImage { digest, media_type: MediaType::new(media_type), platforms }
}

/// What went beside the image, with as much of a reason as fits.
fn shortened(beside: &Beside) -> Beside {
    let mut beside = beside.clone();
    if let Decision::Skipped(reason) = &mut beside.decision {
        *reason = reason.chars().take(MAX_CONDITION_MESSAGE / 4).collect();
    }
    beside
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn source(platforms: usize) -> SourceImage {
        let platform = |n: usize| format!("linux/arm/v{n}").parse().unwrap();
        SourceImage {
            digest: Digest::of(b"source"),
            media_type: MediaType::OCI_INDEX,
            platforms: (0..platforms).map(platform).collect(),
        }
    }

    fn pushed(manifests: usize) -> Pushed {
        let manifest = |n: usize| PushedManifest {
            digest: Digest::of(&n.to_be_bytes()),
            platform: Some("linux/arm64".parse().unwrap()),
            size_bytes: 500 + n as u64,
        };
        Pushed {
            source: source(manifests),
            digest: Digest::of(b"destination"),
            media_type: MediaType::OCI_INDEX,
            size_bytes: Some(12_345),
            manifests: (0..manifests).map(manifest).collect(),
            blobs: BlobCounts { sent: 3, reused: 2, mounted: 1 },
            bytes_sent: 1_000_000,
            already_present: false,
            replaced: Some(Digest::of(b"before")),
            beside: Some(Beside {
                decision: Decision::Skipped("no room".into()),
                digest: Some(Digest::of(b"bundle")),
                objects: Some(3),
                artifact: None,
            }),
        }
    }

    #[test]
    fn what_is_told_is_understood() {
        let failed = Failure::from(
            &Error::new(Kind::RateLimited, "slow down")
                .on(Side::Source)
                .after(Duration::from_secs(7)),
        );
        let preview = v1alpha1::Preview { blobs: 3, ..v1alpha1::Preview::default() };
        let previewed = Previewed { source: source(3), preview, beside: None };
        let outcomes = [
            Outcome::Pushed(Box::new(pushed(2))),
            Outcome::Pushed(Box::new(Pushed {
                already_present: true,
                size_bytes: None,
                ..pushed(0)
            })),
            Outcome::Previewed(Box::new(previewed)),
            Outcome::Failed(failed),
            Outcome::Unchanged,
            Outcome::Cancelled,
        ];
        for outcome in outcomes {
            let message = Report::of(&outcome).to_message();
            let understood = Report::parse(&message).unwrap().into_outcome();
            assert_eq!(format!("{understood:?}"), format!("{outcome:?}"));
        }
    }

    #[test]
    fn long_lists_are_cut_and_nothing_else() {
        let message = Report::of(&Outcome::Pushed(Box::new(pushed(200)))).to_message();
        assert!(message.len() <= MAX_TERMINATION_MESSAGE, "{}", message.len());
        let Outcome::Pushed(understood) = Report::parse(&message).unwrap().into_outcome() else {
            panic!("{message}")
        };
        assert!(understood.manifests.len() > 25, "{}", understood.manifests.len());
        let (manifests, read) = (understood.manifests.clone(), understood.source.clone());
        assert_eq!(manifests, pushed(200).manifests[..manifests.len()]);
        assert!(read.platforms.len() > 20, "{}", read.platforms.len());
        assert_eq!(read.platforms, source(200).platforms[..read.platforms.len()]);
        assert_eq!(*understood, Pushed { manifests, source: read, ..pushed(200) });
    }

    #[test]
    fn the_longest_failure_fits() {
        let error = Error::new(Kind::AccessDenied, "\u{7}\"".repeat(4000)).hint("x".repeat(4000));
        let named = Descriptor::new(MediaType::OCI_MANIFEST, Digest::of(b"named"), u64::MAX);
        let report = Report::of(&Outcome::Failed(Failure::from(&error))).naming(Some(named));
        let message = report.to_message();
        assert!(message.len() <= MAX_TERMINATION_MESSAGE, "{}", message.len());
    }

    /// A Job may have been made by an operator that was updated since.
    #[test]
    fn what_pods_of_earlier_versions_say_is_understood() {
        let told = Report::of(&Outcome::Pushed(Box::new(pushed(1))));
        let mut earlier: serde_json::Value = serde_json::to_value(&told).unwrap();
        assert!(earlier.as_object_mut().unwrap().remove("source").is_some());
        let Outcome::Pushed(understood) =
            Report::parse(&earlier.to_string()).unwrap().into_outcome()
        else {
            panic!("{earlier}")
        };
        let media_type = MediaType::new(String::new());
        let source = SourceImage { media_type, platforms: vec![], ..source(0) };
        assert_eq!(*understood, Pushed { source, ..pushed(1) });
    }

    #[test]
    fn what_the_name_has_got_is_told_whatever_became_of_the_attempt() {
        let named = Descriptor::new(MediaType::OCI_MANIFEST, Digest::of(b"named"), 7);
        let failure = Failure::from(&Error::new(Kind::AccessDenied, "no"));
        for outcome in [Outcome::Failed(failure), Outcome::Cancelled] {
            let message = Report::of(&outcome).naming(Some(named.clone())).to_message();
            assert_eq!(Report::parse(&message).unwrap().named(), Some(&named), "{message}");
            let message = Report::of(&outcome).to_message();
            assert!(!message.contains("named"), "{message}");
        }
    }

    #[test]
    fn other_texts_are_no_reports() {
        for text in
            ["", "Killed", "{}", r#"{"outcome": "Pushed"}"#, r#"{"outcome": "Failed", "x": 1}"#]
        {
            assert_eq!(Report::parse(text), None, "{text}");
        }
        let unknown = r#"{"outcome": "Failed", "reason": "Novel", "message": "m", "transient": true, "side": null, "retryAfterSeconds": null}"#;
        let Outcome::Failed(failure) = Report::parse(unknown).unwrap().into_outcome() else {
            panic!()
        };
        assert_eq!(failure.reason, "InternalError");
    }
}
