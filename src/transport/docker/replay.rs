//! The start of a stream, kept while it is being sent, so that a registry that refuses the request at once can be sent it
//! again.
//!
//! A refusal for want of a valid token usually comes before the registry has read anything, but after we have sent what the
//! socket takes. Without this, the blob would have to be read again from its source.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use bytes::Bytes;
use futures::{StreamExt as _, stream};

use crate::blob::Chunks;
use crate::error::Error;
use crate::limits::MAX_REPLAY;

/// Gives the stream back from its start, if not too much of it has passed.
pub(super) struct Replay(Arc<Mutex<State>>);

struct State {
    /// `None` once the stream was taken back.
    rest: Option<Chunks>,
    /// What has passed; `None` once that was too much, or the stream has failed.
    passed: Option<Vec<Bytes>>,
}

/// A stream that can be taken back, and the way to do that.
pub(super) fn keep(chunks: Chunks) -> (Chunks, Replay) {
    let state = State { rest: Some(chunks), passed: Some(vec![]) };
    let state = Arc::new(Mutex::new(state));
    let replay = Replay(Arc::clone(&state));
    let passing = stream::poll_fn(move |context| {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(rest) = &mut state.rest else {
            // Whoever still reads here belongs to a request that has been given up.
            return Poll::Ready(Some(Err(Error::cancelled())));
        };
        let polled = rest.poll_next_unpin(context);
        match &polled {
            Poll::Ready(Some(Ok(chunk))) => state.remember(chunk),
            Poll::Ready(Some(Err(_))) => state.passed = None,
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled
    });
    (passing.boxed(), replay)
}

// === impl Replay ===

impl Replay {
    /// The whole stream, unless too much of it has passed. Nobody else can read it any more.
    pub(super) fn rewind(self) -> Option<Chunks> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (rest, passed) = (state.rest.take()?, state.passed.take()?);
        Some(stream::iter(passed.into_iter().map(Ok)).chain(rest).boxed())
    }
}

// === impl State ===

impl State {
    fn remember(&mut self, chunk: &Bytes) {
        let Some(passed) = &mut self.passed else { return };
        let bytes: usize = passed.iter().map(Bytes::len).sum();
        if bytes + chunk.len() > MAX_REPLAY {
            self.passed = None;
        } else {
            passed.push(chunk.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;

    use super::*;
    use crate::error::Kind;

    fn chunks(sizes: &[usize]) -> Chunks {
        let chunk = |(at, size): (usize, &usize)| {
            Ok(Bytes::from(vec![u8::try_from(at).unwrap_or_default(); *size]))
        };
        stream::iter(sizes.iter().enumerate().map(chunk).collect::<Vec<_>>()).boxed()
    }

    async fn whole(chunks: Chunks) -> Vec<u8> {
        chunks.try_collect::<Vec<Bytes>>().await.unwrap().concat()
    }

    #[tokio::test]
    async fn what_has_passed_comes_again() {
        let sizes = [10, MAX_REPLAY - 10, 5];
        for read in 0..=2 {
            let (mut passing, replay) = keep(chunks(&sizes));
            for _ in 0..read {
                passing.try_next().await.unwrap();
            }
            let again = replay.rewind().unwrap();
            assert_eq!(passing.try_next().await.unwrap_err().kind(), Kind::Cancelled);
            assert_eq!(whole(again).await, whole(chunks(&sizes)).await, "{read}");
        }
    }

    #[tokio::test]
    async fn what_is_too_much_or_failed_does_not() {
        let (mut passing, replay) = keep(chunks(&[10, MAX_REPLAY, 5]));
        passing.try_next().await.unwrap();
        passing.try_next().await.unwrap();
        assert!(replay.rewind().is_none());
        let failing = stream::iter([Err(Error::new(Kind::StorageFailed, "it burns"))]).boxed();
        let (mut passing, replay) = keep(failing);
        passing.try_next().await.unwrap_err();
        assert!(replay.rewind().is_none());
    }
}
