//! What SIGINT and SIGTERM do: the first one cancels and everything is cleaned up, the second one ends the program at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};

/// What a shell reports for a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// A token that the first signal cancels. Call it once, inside the runtime.
pub(crate) fn cancel_on_signal() -> Result<CancellationToken> {
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let token = CancellationToken::new();
    let first = token.clone();
    tokio::spawn(async move {
        either(&mut interrupt, &mut terminate).await;
        first.cancel();
        either(&mut interrupt, &mut terminate).await;
        end_at_once();
    });
    Ok(token)
}

fn listen(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(|cause| Error::internal(format!("cannot listen to signals: {cause}")))
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

#[expect(clippy::exit, reason = "the user asked a second time: nothing is waited for any more")]
fn end_at_once() {
    std::process::exit(INTERRUPTED);
}
