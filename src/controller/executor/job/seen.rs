//! What was seen of a Job while it was waited for, by our own clock, which need not agree with that of the API server.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;

use super::outcome;

/// What was seen of a Job so far.
pub(super) struct Seen {
    /// Since when its latest pod is being deleted.
    going: Option<Instant>,
    /// Since when no pod works for it.
    idle: Instant,
    /// What made a pod of it go.
    pub(super) disrupted: Option<String>,
}

// === impl Seen ===

impl Seen {
    pub(super) fn new() -> Self {
        Self { going: None, idle: Instant::now(), disrupted: None }
    }

    /// These are its pods now.
    pub(super) fn note(&mut self, pods: &[Pod]) {
        let since = self.going.filter(|_| outcome::latest_is_going(pods));
        self.going = outcome::latest_is_going(pods).then(|| since.unwrap_or_else(Instant::now));
        // What a pod does that has come in its place counts as ever.
        let before = self.disrupted.take().filter(|_| !outcome::latest_works(pods));
        self.disrupted = outcome::disruption(pods).or(before);
    }

    /// For how long its latest pod has been going.
    pub(super) fn gone_for(&self) -> Duration {
        self.going.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// For how long nothing has worked, if it waits for something.
    pub(super) fn waited(&mut self, waits: bool) -> Duration {
        if !waits {
            self.idle = Instant::now();
        }
        self.idle.elapsed()
    }
}
