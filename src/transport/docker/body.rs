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
use crate::error::{Error, Kind, Result};
use crate::limits::{IDLE_TIMEOUT, RESPONSE_TIMEOUT};

/// Reads a whole body of at most `limit` bytes; `what` names it in the error.
pub(super) async fn read(mut response: Response, limit: u64, what: &str) -> Result<Bytes> {
    let too_long = || {
        let message = format!("the {what} has more than the limit of {limit} bytes");
        Error::new(Kind::LimitExceeded, message)
    };
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(too_long());
    }
    let mut whole = BytesMut::new();
    while let Some(chunk) = next(&mut response).await? {
        if (whole.len() + chunk.len()) as u64 > limit {
            return Err(too_long());
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

/// The body as it comes.
pub(super) fn chunks(response: Response) -> Chunks {
    let next = async |mut response| Ok(next(&mut response).await?.map(|chunk| (chunk, response)));
    stream::try_unfold(response, next).boxed()
}

async fn next(response: &mut Response) -> Result<Option<Bytes>> {
    match timeout(IDLE_TIMEOUT, response.chunk()).await {
        Ok(Ok(chunk)) => Ok(chunk),
        Ok(Err(failure)) => Err(error::of_failure(&failure, response.url())),
        Err(_) => {
            let seconds = IDLE_TIMEOUT.as_secs();
            let message =
                format!("`{}` sent nothing for {seconds} s", error::place(response.url()));
            Err(Error::new(Kind::Timeout, message))
        }
    }
}

/// Watches a body being sent.
#[derive(Clone)]
pub(super) struct Watch(Arc<Mutex<Phase>>);

#[derive(Clone, Copy)]
enum Phase {
    /// We wait for the next chunk ourselves.
    Waiting,
    /// The peer has to take a chunk, since then.
    Handed(Instant),
    /// The peer has everything, since then.
    Sent(Instant),
}

/// A body that sends a stream, and what watches it.
pub(super) fn outgoing(chunks: Chunks) -> (Body, Watch) {
    let watch = Watch(Arc::new(Mutex::new(Phase::Waiting)));
    let pass = async |(mut chunks, watch): (Chunks, Watch)| {
        watch.set(Phase::Waiting);
        match chunks.next().await {
            Some(Ok(chunk)) => {
                watch.set(Phase::Handed(Instant::now()));
                Ok(Some((chunk, (chunks, watch))))
            }
            Some(Err(failure)) => Err(failure),
            None => {
                watch.set(Phase::Sent(Instant::now()));
                Ok(None)
            }
        }
    };
    let body = Body::wrap_stream(stream::try_unfold((chunks, watch.clone()), pass));
    (body, watch)
}

// === impl Watch ===

impl Watch {
    /// Waits until the peer has been idle for too long; forever, if it never is.
    pub(super) async fn stalled(&self) -> Error {
        loop {
            let (since, limit) = match *self.lock() {
                Phase::Waiting => (Instant::now(), IDLE_TIMEOUT),
                Phase::Handed(since) => (since, IDLE_TIMEOUT),
                Phase::Sent(since) => (since, RESPONSE_TIMEOUT),
            };
            if since.elapsed() >= limit {
                return idle(limit);
            }
            tokio::time::sleep_until(since + limit).await;
        }
    }

    fn set(&self, phase: Phase) {
        *self.lock() = phase;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Phase> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn idle(limit: Duration) -> Error {
    let message =
        format!("the registry took nothing and answered nothing for {} s", limit.as_secs());
    Error::new(Kind::Timeout, message)
}
