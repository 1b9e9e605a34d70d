//! What a push tells while it runs: bars on a terminal, a line for each step where standard error goes elsewhere,
//! nothing with `--quiet`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};

use super::output::Printer;
use crate::engine::{BlobOutcome, Event, NoProgress, Progress};
use crate::image::Digest;
use crate::transport::BlobKind;

/// One line for each step.
struct Lines(Printer);

/// A bar for each blob that moves, above one for all of them.
struct Bars {
    screen: MultiProgress,
    total: ProgressBar,
    moving: Mutex<HashMap<Digest, ProgressBar>>,
}

/// The listener that suits where standard error goes.
pub(crate) fn to(printer: &Printer) -> Arc<dyn Progress> {
    if !printer.talks() {
        Arc::new(NoProgress)
    } else if printer.bars().is_hidden() {
        Arc::new(Lines(printer.clone()))
    } else {
        Arc::new(Bars::new(printer.bars().clone()))
    }
}

/// The line for an event, if it is worth one.
fn line(event: &Event<'_>) -> Option<String> {
    match event {
        Event::Planned { blobs, bytes } => {
            Some(format!("copying {blobs} blobs, {}", HumanBytes(*bytes)))
        }
        Event::BlobFinished { digest, outcome } => {
            Some(format!("blob {digest}: {}", word(*outcome)))
        }
        Event::Manifest { digest } => Some(format!("manifest {digest}: written")),
        Event::Retrying { error, attempt, attempts, delay } => Some(format!(
            "attempt {attempt} of {attempts} follows in {}: {error}",
            humantime::format_duration(*delay)
        )),
        Event::BlobStarted { .. } | Event::BlobAdvanced { .. } | Event::BlobRestarted { .. } => {
            None
        }
    }
}

fn word(outcome: BlobOutcome) -> &'static str {
    match outcome {
        BlobOutcome::Sent => "sent",
        BlobOutcome::Reused => "already there",
        BlobOutcome::Mounted => "mounted",
        BlobOutcome::Left => "left where its URLs point",
    }
}

// === impl Lines ===

impl Progress for Lines {
    fn event(&self, event: Event<'_>) {
        if let Some(line) = line(&event) {
            self.0.say(&line);
        }
    }
}

// === impl Bars ===

impl Bars {
    fn new(screen: MultiProgress) -> Self {
        let total = screen.add(ProgressBar::no_length().with_style(style("total")));
        Self { screen, total, moving: Mutex::default() }
    }

    fn moving(&self) -> MutexGuard<'_, HashMap<Digest, ProgressBar>> {
        // A map of bars is whole whatever happened to the thread that held it.
        self.moving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, digest: &Digest, size: u64, kind: BlobKind) {
        let name = match kind {
            BlobKind::Config => "config",
            BlobKind::Layer => "layer",
        };
        let bar = ProgressBar::new(size).with_style(style(name)).with_message(short(digest));
        let bar = self.screen.insert_before(&self.total, bar);
        self.moving().insert(digest.clone(), bar);
    }

    fn finish(&self, digest: &Digest) {
        if let Some(bar) = self.moving().remove(digest) {
            // What was not read, because it was there, counts as done.
            self.total.inc(bar.length().unwrap_or_default().saturating_sub(bar.position()));
            bar.finish_and_clear();
            self.screen.remove(&bar);
        }
    }

    fn restart(&self, digest: &Digest) {
        if let Some(bar) = self.moving().get(digest) {
            self.total.dec(bar.position());
            bar.set_position(0);
        }
    }
}

impl Progress for Bars {
    fn event(&self, event: Event<'_>) {
        if let (Some(line), false) = (line(&event), matches!(event, Event::Planned { .. })) {
            // The bars are talk: where they can't be drawn, the push goes on.
            let _ = self.screen.println(line);
        }
        match event {
            Event::Planned { bytes, .. } => self.total.set_length(bytes),
            Event::BlobStarted { digest, size, kind } => self.start(digest, size, kind),
            Event::BlobAdvanced { digest, bytes } => {
                if let Some(bar) = self.moving().get(digest) {
                    bar.inc(bytes);
                    self.total.inc(bytes);
                }
            }
            Event::BlobRestarted { digest } => self.restart(digest),
            Event::BlobFinished { digest, .. } => self.finish(digest),
            Event::Manifest { .. } | Event::Retrying { .. } => {}
        }
    }
}

fn style(name: &str) -> ProgressStyle {
    let template =
        format!("{name:>6} {{msg:12}} [{{bar:30}}] {{bytes}}/{{total_bytes}} {{bytes_per_sec}}");
    ProgressStyle::with_template(&template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

fn short(digest: &Digest) -> String {
    digest.short().to_owned()
}
