//! Listens to a push.

use std::sync::Mutex;

use crate::engine::{Event, Progress};

/// Keeps the events of a push as text.
#[derive(Default)]
pub(super) struct Listener(Mutex<Vec<String>>);

// === impl Listener ===

impl Listener {
    pub(super) fn events(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Progress for Listener {
    fn event(&self, event: Event<'_>) {
        let text = match event {
            Event::Planned { blobs, bytes } => format!("planned {blobs} blobs of {bytes} bytes"),
            Event::BlobStarted { digest, .. } => format!("started {digest}"),
            Event::BlobAdvanced { digest, bytes } => format!("advanced {digest} by {bytes}"),
            Event::BlobRestarted { digest } => format!("restarted {digest}"),
            Event::BlobFinished { digest, outcome } => {
                format!("{} {digest}", format!("{outcome:?}").to_lowercase())
            }
            Event::LayerRead { digest, size } => format!("reading {digest} of {size} bytes"),
            Event::Naming => "naming".to_owned(),
            Event::Attaching => "attaching".to_owned(),
            Event::Manifest { digest } => format!("manifest {digest}"),
            Event::Named { manifest } => format!("named {}", manifest.digest),
            Event::Retrying { attempt, .. } => format!("attempt {attempt}"),
        };
        self.0.lock().unwrap().push(text);
    }
}
