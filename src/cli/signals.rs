//! What SIGINT, SIGTERM and SIGHUP do: the first one cancels and everything is cleaned up, the second one ends the program at
//! once. A SIGHUP that whoever started the program has it ignore, as `nohup` does, stays ignored.
//!
//! A thread of its own listens, so that the second signal is heard also while the main runtime waits for a file operation
//! that doesn't return.

use std::fs;

use tokio::runtime::{self, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::output::Printer;
use crate::error::{Error, Result};

/// What a shell reports for a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// The number of SIGHUP.
const HANG_UP: i32 = SignalKind::hangup().as_raw_value();

/// The signals that ask the program to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// `None`: it is ignored.
    hang_up: Option<Signal>,
}

/// A token that the first signal cancels. Call it once, before anything that has to be cleaned up.
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
        let terminate = signal(SignalKind::terminate())?;
        let hang_up = if ignores_hang_up() { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self { interrupt, terminate, hang_up })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hung_up(self.hang_up.as_mut()) => {}
        }
    }
}

async fn hung_up(signal: Option<&mut Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    }
}

/// Whether the program was started with SIGHUP ignored. Where that can't be known, it is left as it is.
fn ignores_hang_up() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored(&status).is_none_or(|ignored| ignored & 1 << (HANG_UP - 1) != 0)
}

/// The mask of ignored signals (`proc_pid_status(5)`).
fn ignored(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}
