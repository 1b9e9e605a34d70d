//! What a push tells while it runs: bars on a terminal, a line for each step where standard error goes elsewhere,
//! nothing with `--quiet`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
        Event::LayerRead { digest, size } => {
            Some(format!("blob {digest}: read to look into it, {}", HumanBytes(*size)))
        }
        Event::Manifest { digest } => Some(format!("manifest {digest}: written")),
        Event::Retrying { error, attempt, attempts, delay } => Some(format!(
            "attempt {attempt} of {attempts} follows in {}: {error}",
            humantime::format_duration(whole_millis(*delay))
        )),
        Event::BlobStarted { .. }
        | Event::BlobAdvanced { .. }
        | Event::BlobRestarted { .. }
        | Event::Named { .. }
        | Event::Naming
        | Event::Attaching => None,
    }
}

/// Nobody wants to read nanoseconds.
fn whole_millis(delay: Duration) -> Duration {
    Duration::new(delay.as_secs(), delay.subsec_millis() * 1_000_000)
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
            Event::LayerRead { .. }
            | Event::Naming
            | Event::Attaching
            | Event::Manifest { .. }
            | Event::Named { .. }
            | Event::Retrying { .. } => {}
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

#[cfg(test)]
mod tests {
    use indicatif::ProgressDrawTarget;

    use super::*;
    use crate::error::{Error, Kind};

    #[test]
    fn each_step_has_a_line() {
        let digest = Digest::of(b"blob");
        let error = Error::new(Kind::NetworkError, "the connection broke");
        let retrying = Event::Retrying {
            error: &error,
            attempt: 2,
            attempts: 4,
            delay: Duration::from_micros(1_234_567),
        };
        let finished = |outcome| Event::BlobFinished { digest: &digest, outcome };
        let cases = [
            (
                Event::Planned { blobs: 2, bytes: 2048 },
                Some("copying 2 blobs, 2.00 KiB".to_owned()),
            ),
            (finished(BlobOutcome::Sent), Some(format!("blob {digest}: sent"))),
            (finished(BlobOutcome::Reused), Some(format!("blob {digest}: already there"))),
            (finished(BlobOutcome::Mounted), Some(format!("blob {digest}: mounted"))),
            (
                finished(BlobOutcome::Left),
                Some(format!("blob {digest}: left where its URLs point")),
            ),
            (
                Event::LayerRead { digest: &digest, size: 2048 },
                Some(format!("blob {digest}: read to look into it, 2.00 KiB")),
            ),
            (Event::Manifest { digest: &digest }, Some(format!("manifest {digest}: written"))),
            (retrying, Some("attempt 2 of 4 follows in 1s 234ms: the connection broke".to_owned())),
            (Event::BlobAdvanced { digest: &digest, bytes: 1 }, None),
            (Event::BlobRestarted { digest: &digest }, None),
        ];
        for (event, expected) in cases {
            assert_eq!(line(&event), expected);
        }
    }

    /// The bars draw nothing here; what counts is that the total follows the blobs.
    #[test]
    fn the_bar_for_all_counts_what_was_read_and_what_was_there() {
        let bars = Bars::new(MultiProgress::with_draw_target(ProgressDrawTarget::hidden()));
        let (read, there) = (Digest::of(b"read"), Digest::of(b"there"));
        bars.event(Event::Planned { blobs: 2, bytes: 150 });
        bars.event(Event::BlobStarted { digest: &read, size: 100, kind: BlobKind::Layer });
        bars.event(Event::BlobStarted { digest: &there, size: 50, kind: BlobKind::Config });
        bars.event(Event::BlobAdvanced { digest: &read, bytes: 70 });
        assert_eq!(bars.total.position(), 70);
        bars.event(Event::BlobRestarted { digest: &read });
        assert_eq!(bars.total.position(), 0);
        bars.event(Event::BlobFinished { digest: &there, outcome: BlobOutcome::Reused });
        assert_eq!(bars.total.position(), 50);
        bars.event(Event::BlobAdvanced { digest: &read, bytes: 100 });
        bars.event(Event::BlobFinished { digest: &read, outcome: BlobOutcome::Sent });
        assert_eq!((bars.total.position(), bars.total.length()), (150, Some(150)));
        assert!(bars.moving().is_empty());
    }
}
