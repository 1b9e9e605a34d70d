//! What a push did about what goes beside the image, or would do.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::image::Digest;

/// What was decided about the bundle of an image, and what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Beside {
    /// What was decided.
    pub decision: Decision,
    /// The bundle's own digest, where it was found.
    pub digest: Option<Digest>,
    /// How many objects it has, where it was found.
    pub objects: Option<usize>,
    /// The digest of the artifact at the destination, where it is there.
    pub artifact: Option<Digest>,
}

/// What was decided about the bundle of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    /// It was put beside the image.
    Pushed,
    /// It would be.
    Push,
    /// It is beside the image already.
    Unchanged,
    /// The image carries none.
    Absent,
    /// Nobody has looked, since nothing says that there is one.
    NotSearched(String),
    /// It is left out, for this reason.
    Skipped(String),
}

// === impl Decision ===

impl Decision {
    /// The word for it in JSON and in status.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pushed => "pushed",
            Self::Push => "push",
            Self::Unchanged => "unchanged",
            Self::Absent => "absent",
            Self::NotSearched(_) => "notSearched",
            Self::Skipped(_) => "skipped",
        }
    }

    /// Why nothing was done, where that isn't plain.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::NotSearched(reason) | Self::Skipped(reason) => Some(reason),
            Self::Pushed | Self::Push | Self::Unchanged | Self::Absent => None,
        }
    }
}

impl fmt::Display for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match &self.decision {
            Decision::Pushed => "pushed",
            Decision::Push => "would be pushed",
            Decision::Unchanged => "unchanged",
            Decision::Absent => "none in the image",
            Decision::NotSearched(_) => "not searched",
            Decision::Skipped(_) => "skipped",
        };
        write!(f, "bundle: {what}")?;
        if let (Some(digest), Some(objects)) = (&self.digest, self.objects) {
            let s = if objects == 1 { "" } else { "s" };
            write!(f, ", {objects} object{s}, {digest}")?;
        }
        self.decision.reason().map_or(Ok(()), |reason| write!(f, ": {reason}"))
    }
}
