//! What is kept of an attempt while it runs, and until status tells of its end.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Counters;
use crate::controller::decide::Outcome;
use crate::controller::resources::Finding;
use crate::engine::Pushed;
use crate::telemetry::Place;

/// One attempt.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// Digest of what the spec asked for.
    pub(crate) work: String,
    pub(crate) progress: Arc<Counters>,
    /// Whether it is made by a Job, which goes on when the operator ends.
    pub(crate) in_job: bool,
    pub(crate) outcome: Option<Outcome>,
    /// What it has pushed, where it was called off after that.
    pub(super) pushed: Option<Box<Pushed>>,
    /// What became of the image's bundle then.
    pub(crate) bundle: Option<Finding>,
    /// How long it took from when it got its turn, once it has ended.
    pub(crate) took: Option<Duration>,
    /// The look that has ordered it, where it was one.
    pub(crate) trace: Option<Place>,
    pub(super) cancel: CancellationToken,
}

// === impl Record ===

impl Record {
    /// An attempt that begins.
    pub(crate) fn new(work: &str) -> Self {
        Self {
            work: work.to_owned(),
            progress: Arc::default(),
            in_job: false,
            outcome: None,
            pushed: None,
            bundle: None,
            took: None,
            trace: None,
            cancel: CancellationToken::new(),
        }
    }

    /// It was called off after it had pushed an image of this digest.
    #[cfg(test)]
    pub(crate) fn called_off_after(&mut self, digest: &crate::image::Digest) {
        self.outcome = Some(Outcome::Cancelled);
        self.pushed = Some(Box::new(Pushed {
            source: crate::engine::SourceImage {
                digest: digest.clone(),
                media_type: crate::image::MediaType::OCI_MANIFEST,
                platforms: vec![],
            },
            digest: digest.clone(),
            replaced: None,
            media_type: crate::image::MediaType::OCI_MANIFEST,
            size_bytes: None,
            manifests: vec![],
            blobs: crate::engine::BlobCounts::default(),
            bytes_sent: 0,
            already_present: false,
            beside: None,
        }));
    }

    /// What it has put at the destination, once it has ended, whether or not all that was asked for is done.
    pub(crate) fn landed(&self) -> Option<&Pushed> {
        match self.outcome.as_ref()? {
            Outcome::Pushed(pushed) => Some(pushed),
            _ => self.pushed.as_deref(),
        }
    }
}
