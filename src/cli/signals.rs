//! What SIGINT and SIGTERM do: the first one cancels and everything is cleaned up, the second one ends the program at once.
//!
//! A thread of its own listens, so that the second signal is heard also while the main runtime waits for a file operation
//! that doesn't return.

use tokio::runtime::{self, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::output::Printer;
use crate::error::{Error, Result};

/// What a shell reports for a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// Both signals that ask the program to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

/// A token that the first signal cancels. Call it once.
pub(crate) fn cancel_on_signal(printer: &Printer) -> Result<CancellationToken> {
    let failed = |cause| Error::internal(format!("cannot listen to signals: {cause}"));
    let listener = runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
    let signals = Signals::listen(&listener).map_err(failed)?;
    let (token, printer) = (CancellationToken::new(), printer.clone());
    let first = token.clone();
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || listener.block_on(act(signals, &first, &printer)))
        .map_err(failed)?;
    Ok(token)
}

async fn act(mut signals: Signals, token: &CancellationToken, printer: &Printer) {
    signals.next().await;
    printer.say("interrupted: cleaning up; a second signal ends the program at once");
    token.cancel();
    signals.next().await;
    end_at_once();
}

#[expect(clippy::exit, reason = "the user asked a second time: nothing is waited for any more")]
fn end_at_once() {
    std::process::exit(INTERRUPTED);
}

// === impl Signals ===

impl Signals {
    fn listen(runtime: &Runtime) -> std::io::Result<Self> {
        let _guard = runtime.enter();
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
