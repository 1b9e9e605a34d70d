//! Sends again what a destination has lost, and doubts its word the more the longer that takes.
//!
//! First the destination is asked anew what it has. If it says that it has all of it, it may only be slow to know: its manifest
//! is then written again with the patience of the retry policy. At last everything is sent, whatever the destination says.

use super::copied::Copied;
use crate::error::{Error, Kind, Result};
use crate::limits::MAX_HEALS;

/// How often what a destination has lost was looked for again, for one manifest.
#[derive(Default)]
pub(super) struct Heals(u32);

/// What of a destination's answers about blobs is no longer believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Doubt {
    /// Nothing.
    None,
    /// That it has linked a blob from another repository.
    Mounts,
    /// That a blob is there.
    All,
}

// === impl Heals ===

impl Heals {
    /// Whether everything is to be looked at once more, because the destination has lost something of it.
    pub(super) fn are_due(&mut self, error: &Error) -> bool {
        if error.kind() != Kind::ContentMissing || self.0 == MAX_HEALS {
            return false;
        }
        self.0 += 1;
        tracing::warn!(%error, "the destination lacks something, looking at everything again");
        true
    }

    /// What is doubted by now of what is below a manifest. The manifests below an index are written anew each time.
    pub(super) fn doubt(&self) -> Doubt {
        match self.0 {
            0 => Doubt::None,
            MAX_HEALS => Doubt::All,
            _ => Doubt::Mounts,
        }
    }

    /// Whether it is worth waiting for the destination to find what it says that it lacks: nothing was sent, since it says
    /// that it has it; or there is nothing else left to do.
    pub(super) fn are_patient(&self, copied: &Copied) -> bool {
        self.0 == MAX_HEALS || (self.0 > 0 && !copied.sent_anything())
    }
}

/// Takes what is lacking out of what is tried again, unless it is worth waiting for: asking alone doesn't bring it back.
pub(super) fn waiting(patient: bool, result: Result<()>) -> Result<Result<()>> {
    match result {
        Err(error) if error.kind() == Kind::ContentMissing && !patient => Ok(Err(error)),
        result => result.map(Ok),
    }
}
