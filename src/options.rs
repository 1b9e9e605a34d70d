//! The one input of the engine, whichever door it came through.
//!
//! The command line's arguments and the ImagePush object's spec each have one function that turns them into
//! [`PushOptions`]. Defaults live here only.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::access::Access;
use crate::blob::{Codec, CodecMemory, Pace};
use crate::error::{Error, Kind, Result};
use crate::image::{Digest, ManifestFormat, ParseDigestError, Platform};
use crate::limits::MAX_RETRIES;
use crate::transport::Reference;

/// Every choice of one push, validated.
#[derive(Clone, Debug)]
pub struct PushOptions {
    /// Where the image is read.
    pub source: Endpoint,
    /// Where the image is written.
    pub destination: Endpoint,
    /// Which of an index's images are pushed.
    pub platforms: Platforms,
    /// The format of manifests at the destination; `None` keeps the source's where the destination can hold it.
    pub format: Option<ManifestFormat>,
    /// The form of layers at the destination.
    pub layers: Layers,
    /// How often and when an operation is tried again.
    pub retry: Retry,
    /// Hash also what a local store keeps by digest and a registry compares with it anyway.
    pub verify_source: bool,
    /// How fast blobs are read. Shared with other pushes by whoever makes the options of several.
    pub pace: Pace,
    /// Memory for what rewrites layers. Shared like that.
    pub codecs: CodecMemory,
    /// What happens to the custom resources that the image carries.
    pub custom_resources: CustomResources,
    /// What is known of them.
    pub clues: BundleClues,
    /// Whether what was written is read back: manifests, and whether each of their blobs is there.
    pub verify_after_push: bool,
    /// What the destination's name must have right before it is changed; `None` overwrites whatever is there.
    pub overwrites: Option<Overwrites>,
}

/// What a name must have, to be given something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Overwrites {
    /// Nothing.
    Nothing,
    /// This manifest or index.
    Digest(Digest),
}

/// One end of a push.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The image's name.
    pub reference: Reference,
    /// What may be used to reach it.
    pub access: Access,
}

/// Which of an index's images are pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Platforms {
    /// The index with all of them. A source that is one image is pushed as it is.
    All,
    /// The one image that runs best on this platform.
    One(Platform),
    /// An index of those for these platforms; at least one must be there.
    List(Vec<Platform>),
}

/// The form of layers at the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Layers {
    /// As they come; plain layers are compressed with gzip where the destination wants them compressed.
    #[default]
    Keep,
    /// As they come; none is compressed.
    DoNotCompress,
    /// Compressed this way; layers compressed another way are compressed anew.
    Compress(Codec),
}

/// What happens to the custom resources that an image carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CustomResources {
    /// The image is pushed, and they beside it; it has to carry some.
    Always,
    /// The image is pushed alone.
    Never,
    /// They are pushed beside the image that is at the destination already.
    Only,
    /// Each is pushed if it differs from what is there; layers are not read only to look for them.
    #[default]
    Auto,
}

/// What whoever makes the options knows of the image's bundle already, where [`CustomResources::Auto`] is to decide. Neither
/// door has a word for it: the operator finds it in status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BundleClues {
    /// An earlier push may have left the bundle over. By now all layers may be in place, so that none passes in which it would
    /// be seen: they are read where nothing else tells.
    pub left_over: bool,
    /// The bundle is to be applied in a cluster: what the destination says of itself is not believed, and each image is looked
    /// into once, whether or not its layers move.
    pub for_cluster: bool,
    /// The manifest or index at the source that has been looked into.
    pub seen: Option<Digest>,
    /// The digest of the bundle that it has; none if it has none that can be used.
    pub bundle: Option<Digest>,
    /// The manifest or index at the source of the last push that is known to have come to its end. Where another image is in
    /// place, whoever put it there may have been cut off before its bundle: it is looked into once.
    pub finished: Option<Digest>,
}

/// How often and when an operation is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How many times after the first; 0 means one attempt.
    pub limit: u32,
    /// A fixed delay between attempts; `None` grows it exponentially.
    pub delay: Option<Duration>,
}

// === impl BundleClues ===

impl BundleClues {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

// === impl Overwrites ===

impl Overwrites {
    /// Whether that is what is there.
    pub fn matches(&self, there: Option<&Digest>) -> bool {
        match self {
            Self::Nothing => there.is_none(),
            Self::Digest(digest) => there == Some(digest),
        }
    }
}

impl FromStr for Overwrites {
    type Err = ParseDigestError;

    /// A digest, or `nothing`.
    fn from_str(text: &str) -> std::result::Result<Self, ParseDigestError> {
        if text == "nothing" { Ok(Self::Nothing) } else { text.parse().map(Self::Digest) }
    }
}

impl fmt::Display for Overwrites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Digest(digest) => write!(f, "`{digest}`"),
        }
    }
}

// === impl Retry ===

impl Retry {
    /// At most [`MAX_RETRIES`] more attempts.
    pub fn new(limit: u32, delay: Option<Duration>) -> Result<Self> {
        if limit > MAX_RETRIES {
            let message = format!("{limit} retries are more than the limit of {MAX_RETRIES}");
            return Err(Error::new(Kind::InvalidOptions, message));
        }
        Ok(Self { limit, delay })
    }
}

/// Three more attempts, each later than the one before.
impl Default for Retry {
    fn default() -> Self {
        Self { limit: 3, delay: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_retries_is_bounded() {
        assert_eq!(Retry::new(0, None).unwrap().limit, 0);
        assert_eq!(Retry::new(50, None).unwrap().limit, 50);
        let error = Retry::new(51, None).unwrap_err();
        assert_eq!(error.to_string(), "51 retries are more than the limit of 50");
        assert_eq!(error.exit_code(), 2);
    }
}
