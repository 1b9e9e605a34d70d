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
    CONNECT_TIMEOUT, IDLE_TIMEOUT, MAX_SETTLING, MIN_RATE, RESPONSE_TIMEOUT, SENT_PIECE,
    SETTLING_RATE, SOURCE_TIMEOUT, WATCH_PERIOD,
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
    headway: Headway,
}

/// How a peer gets on: the time that we have waited for it since it was last looked at, and the bytes that it has sent or
/// taken in that time. How long we take ourselves doesn't count.
#[derive(Clone, Copy, Default)]
struct Headway {
    waited: Duration,
    moved: u64,
}

// === impl Incoming ===

impl Incoming {
    /// The body of an answer.
    pub(super) fn new(response: Response) -> Self {
        Self { response, headway: Headway::default() }
    }

    /// The next chunk. Fails if the peer is silent, or nearly so.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        let start = Instant::now();
        match timeout(IDLE_TIMEOUT, self.response.chunk()).await {
            Ok(Ok(Some(chunk))) => {
                let slow = self.headway.made(start.elapsed(), chunk.len() as u64);
                slow.map_or(Ok(Some(chunk)), |slow| Err(self.too_slow(&slow.told())))
            }
            Ok(Ok(None)) => Ok(None),
            Ok(Err(failure)) => Err(error::of_broken_body(&failure, self.response.url())),
            Err(_) => Err(self.too_slow(&format!("nothing for {} s", IDLE_TIMEOUT.as_secs()))),
        }
    }

    fn too_slow(&self, what: &str) -> Error {
        let place = error::place(self.response.url());
        Error::new(Kind::Timeout, format!("`{place}` sent {what}"))
    }
}

// === impl Headway ===

impl Headway {
    /// Looks at the peer's pace whenever we have waited for it long enough. Gives back the pace if it is too slow.
    fn made(&mut self, waited: Duration, moved: u64) -> Option<Self> {
        self.waited += waited;
        self.moved = self.moved.saturating_add(moved);
        if self.waited < IDLE_TIMEOUT {
            return None;
        }
        let pace = std::mem::take(self);
        (pace.moved < MIN_RATE.saturating_mul(pace.waited.as_secs())).then_some(pace)
    }

    /// What is told of a peer with this pace.
    fn told(self) -> String {
        let Self { waited, moved } = self;
        format!("{moved} bytes in {} s, fewer than {MIN_RATE} a second", waited.as_secs())
    }
}

/// Watches a body being sent.
#[derive(Clone)]
pub(super) struct Watch(Arc<Mutex<Watched>>);

struct Watched {
    phase: Phase,
    headway: Headway,
    /// Bytes that the peer has been handed.
    handed: u64,
}

/// How long the head of an answer may take to what has carried so many bytes, or ends what has.
pub(super) fn time_to_answer(bytes: u64) -> Duration {
    RESPONSE_TIMEOUT + Duration::from_secs(bytes / SETTLING_RATE).min(MAX_SETTLING)
}

#[derive(Clone, Copy)]
enum Phase {
    /// Nobody has asked for the first piece, since then: we are being connected.
    Connecting(Instant),
    /// We wait for the next chunk ourselves, since then.
    Waiting(Instant),
    /// The peer has to take a piece of so many bytes, since then.
    Handed(Instant, u64),
    /// The peer has everything, so many bytes, since then.
    Sent(Instant, u64),
    /// The peer takes what it is handed, but at this pace.
    Slow(Instant, Headway),
}

/// A body that sends a stream, and what watches it.
pub(super) fn outgoing(chunks: Chunks) -> (Body, Watch) {
    let (phase, headway) = (Phase::Connecting(Instant::now()), Headway::default());
    let watch = Watch(Arc::new(Mutex::new(Watched { phase, headway, handed: 0 })));
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
                let handed = self.watch.lock().handed;
                self.watch.set(Phase::Sent(Instant::now(), handed));
                return Ok(None);
            };
            self.rest = chunk?;
        }
        let piece = self.rest.split_to(self.rest.len().min(SENT_PIECE));
        self.watch.set(Phase::Handed(Instant::now(), piece.len() as u64));
        // Lets the runtime find out that an answer has come. Else a server that refuses and closes is written to until
        // that fails, and then hyper doesn't read what it has answered.
        tokio::task::yield_now().await;
        Ok(Some(piece))
    }
}

// === impl Watch ===

impl Watch {
    /// Waits until somebody has been idle for too long; forever, if nobody ever is.
    pub(super) async fn stalled(&self) -> Error {
        loop {
            let phase = self.lock().phase;
            let (since, limit) = phase.deadline();
            if since.elapsed() >= limit {
                return phase.stalled();
            }
            // The phase may change meanwhile, to one that lasts less long.
            tokio::time::sleep_until((since + limit).min(Instant::now() + WATCH_PERIOD)).await;
        }
    }

    /// Goes on to another phase; by that the peer has taken the piece that it was handed.
    fn set(&self, phase: Phase) {
        let mut watched = self.lock();
        if let Phase::Handed(_, size) = phase {
            watched.handed += size;
        }
        watched.phase = match watched.phase {
            Phase::Slow(..) => return,
            Phase::Handed(since, size) => match watched.headway.made(since.elapsed(), size) {
                Some(slow) => Phase::Slow(Instant::now(), slow),
                None => phase,
            },
            _ => phase,
        };
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Watched> {
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
            Self::Handed(since, _) => (since, IDLE_TIMEOUT),
            Self::Sent(since, bytes) => (since, time_to_answer(bytes)),
            Self::Slow(since, _) => (since, Duration::ZERO),
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
            Self::Slow(_, pace) => timeout(format!("the registry took {}", pace.told())),
            _ => timeout(format!("the registry took nothing and answered nothing for {seconds} s")),
        }
    }
}

#[cfg(test)]
mod tests;
