//! Bodies: read with a bound, streamed with an eye on the clock, and sent with both.
//!
//! A peer that stops reading or writing is given up after a while; waiting for the other end of the push is not its fault
//! and doesn't count.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use reqwest::{Body, Response};
use tokio::time::{Instant, timeout};

use super::error;
use crate::blob::Chunks;
use crate::error::{Error, Kind, Result, Side};
use crate::limits::{
    CONNECT_TIMEOUT, IDLE_TIMEOUT, MIN_RECEIVED, RESPONSE_TIMEOUT, SENT_PIECE, SOURCE_TIMEOUT,
    WATCH_PERIOD,
};

/// Reads a whole body of at most `limit` bytes; `what` names it in the error.
pub(super) async fn read(response: Response, limit: u64, what: &str) -> Result<Bytes> {
    read_up_to(response, limit).await?.ok_or_else(|| {
        let message = format!("the {what} has more than the limit of {limit} bytes");
        Error::new(Kind::LimitExceeded, message)
    })
}

/// Reads a whole body, unless it has more than `limit` bytes: then no more is read than shows that.
pub(super) async fn read_up_to(response: Response, limit: u64) -> Result<Option<Bytes>> {
    if response.content_length().is_some_and(|length| length > limit) {
        return Ok(None);
    }
    let mut whole = BytesMut::new();
    let mut incoming = Incoming::new(response);
    while let Some(chunk) = incoming.next().await? {
        if (whole.len() + chunk.len()) as u64 > limit {
            return Ok(None);
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(Some(whole.freeze()))
}

/// A body as it comes, from a peer that has to keep sending.
pub(super) struct Incoming {
    response: Response,
    /// Time that we have waited for the peer since it was last looked at, and what it has sent in that time.
    waited: Duration,
    received: u64,
}

// === impl Incoming ===

impl Incoming {
    /// The body of an answer.
    pub(super) fn new(response: Response) -> Self {
        Self { response, waited: Duration::ZERO, received: 0 }
    }

    /// The next chunk. Fails if the peer is silent, or nearly so.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        let start = Instant::now();
        match timeout(IDLE_TIMEOUT, self.response.chunk()).await {
            Ok(Ok(Some(chunk))) => {
                self.keep_pace(start.elapsed(), chunk.len() as u64)?;
                Ok(Some(chunk))
            }
            Ok(Ok(None)) => Ok(None),
            Ok(Err(failure)) => Err(error::of_broken_body(&failure, self.response.url())),
            Err(_) => Err(self.too_slow("nothing")),
        }
    }

    /// Looks at the peer's pace whenever we have waited for it long enough; how long we take ourselves doesn't count.
    fn keep_pace(&mut self, waited: Duration, received: u64) -> Result<()> {
        self.waited += waited;
        self.received += received;
        if self.waited < IDLE_TIMEOUT {
            return Ok(());
        }
        if self.received < MIN_RECEIVED {
            return Err(self.too_slow(&format!("no more than {} bytes", self.received)));
        }
        (self.waited, self.received) = (Duration::ZERO, 0);
        Ok(())
    }

    fn too_slow(&self, what: &str) -> Error {
        let (place, seconds) = (error::place(self.response.url()), IDLE_TIMEOUT.as_secs());
        Error::new(Kind::Timeout, format!("`{place}` sent {what} for {seconds} s"))
    }
}

/// Watches a body being sent.
#[derive(Clone)]
pub(super) struct Watch(Arc<Mutex<Phase>>);

#[derive(Clone, Copy)]
enum Phase {
    /// Nobody has asked for the first piece, since then: we are being connected.
    Connecting(Instant),
    /// We wait for the next chunk ourselves, since then.
    Waiting(Instant),
    /// The peer has to take a piece, since then.
    Handed(Instant),
    /// The peer has everything, since then.
    Sent(Instant),
}

/// A body that sends a stream, and what watches it.
pub(super) fn outgoing(chunks: Chunks) -> (Body, Watch) {
    let watch = Watch(Arc::new(Mutex::new(Phase::Connecting(Instant::now()))));
    let sending = Sending { chunks, rest: Bytes::new(), watch: watch.clone() };
    let next = async |mut sending: Sending| {
        Ok::<_, Error>(sending.next().await?.map(|piece| (piece, sending)))
    };
    (Body::wrap_stream(stream::try_unfold(sending, next)), watch)
}

/// A stream that is handed to the peer in pieces.
struct Sending {
    chunks: Chunks,
    /// What of a chunk has not been handed on.
    rest: Bytes,
    watch: Watch,
}

// === impl Sending ===

impl Sending {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        while self.rest.is_empty() {
            self.watch.set(Phase::Waiting(Instant::now()));
            let Some(chunk) = self.chunks.next().await else {
                self.watch.set(Phase::Sent(Instant::now()));
                return Ok(None);
            };
            self.rest = chunk?;
        }
        self.watch.set(Phase::Handed(Instant::now()));
        // Lets the runtime find out that an answer has come. Else a server that refuses and closes is written to until
        // that fails, and then hyper doesn't read what it has answered.
        tokio::task::yield_now().await;
        Ok(Some(self.rest.split_to(self.rest.len().min(SENT_PIECE))))
    }
}

// === impl Watch ===

impl Watch {
    /// Waits until somebody has been idle for too long; forever, if nobody ever is.
    pub(super) async fn stalled(&self) -> Error {
        loop {
            let phase = *self.lock();
            let (since, limit) = phase.deadline();
            if since.elapsed() >= limit {
                return phase.stalled();
            }
            // The phase may change meanwhile, to one that lasts less long.
            tokio::time::sleep_until((since + limit).min(Instant::now() + WATCH_PERIOD)).await;
        }
    }

    fn set(&self, phase: Phase) {
        *self.lock() = phase;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Phase> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Phase ===

impl Phase {
    /// Since when it lasts, and how long it may.
    fn deadline(self) -> (Instant, Duration) {
        match self {
            Self::Connecting(since) => (since, CONNECT_TIMEOUT + IDLE_TIMEOUT),
            Self::Waiting(since) => (since, SOURCE_TIMEOUT),
            Self::Handed(since) => (since, IDLE_TIMEOUT),
            Self::Sent(since) => (since, RESPONSE_TIMEOUT),
        }
    }

    /// What is told of a phase that has lasted too long.
    fn stalled(self) -> Error {
        let seconds = self.deadline().1.as_secs();
        let timeout = |message: String| Error::new(Kind::Timeout, message);
        match self {
            Self::Waiting(_) => {
                timeout(format!("there was nothing to send for {seconds} s")).on(Side::Source)
            }
            _ => timeout(format!("the registry took nothing and answered nothing for {seconds} s")),
        }
    }
}

#[cfg(test)]
mod tests;
