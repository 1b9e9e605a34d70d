//! How many blobs and manifests move at the same time.
//!
//! Small blobs are bound by round trips, so many of them move at once; large ones by the link, which a few fill. What is in
//! flight takes memory, so small blobs count by their size. A registry that asks to slow down gets fewer requests at once
//! from then on.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::{Error, Kind};
use crate::limits::{
    FEWEST_PARALLEL_BLOBS, PARALLEL_BLOBS, PARALLEL_INSTANCES, PARALLEL_SMALL_BLOBS, SMALL_BLOB,
};

/// The permits of one push.
pub(super) struct Width {
    /// One for each blob that is looked for or sent.
    blobs: Semaphore,
    /// How many these are by now.
    left: AtomicUsize,
    /// One for each [`SMALL_UNIT`] of a small blob that is sent.
    small: Semaphore,
    /// One for each large blob that is sent.
    large: Semaphore,
    /// One for each manifest that is written or read back.
    manifests: Semaphore,
}

/// What a blob holds while it is looked for.
pub(super) struct Turn<'a> {
    width: &'a Width,
    permit: Option<SemaphorePermit<'a>>,
}

/// Bytes of small blobs that one permit stands for: all permits together are [`PARALLEL_SMALL_BLOBS`] of these.
const SMALL_UNIT: u64 = SMALL_BLOB / 8;

// === impl Width ===

impl Width {
    pub(super) fn new() -> Self {
        Self {
            blobs: Semaphore::new(PARALLEL_SMALL_BLOBS),
            left: AtomicUsize::new(PARALLEL_SMALL_BLOBS),
            small: Semaphore::new(PARALLEL_SMALL_BLOBS),
            large: Semaphore::new(PARALLEL_BLOBS),
            manifests: Semaphore::new(PARALLEL_INSTANCES),
        }
    }

    /// Waits for a blob's turn to be looked for.
    pub(super) async fn turn(&self) -> Turn<'_> {
        Turn { width: self, permit: self.blobs.acquire().await.ok() }
    }

    /// Waits until a blob that goes on as it is may be sent. A small one keeps its turn, a large one lets others have it.
    pub(super) async fn send<'a>(
        &'a self,
        turn: &mut Turn<'a>,
        size: u64,
    ) -> Option<SemaphorePermit<'a>> {
        if size > SMALL_BLOB {
            turn.permit = None;
            return self.large.acquire().await.ok();
        }
        let units = u32::try_from(size.div_ceil(SMALL_UNIT)).unwrap_or(u32::MAX);
        self.small.acquire_many(units).await.ok()
    }

    /// Waits until a manifest may be written or read back. Indexes may be nested, which bounds of their own would multiply.
    pub(super) async fn manifest(&self) -> Option<SemaphorePermit<'_>> {
        self.manifests.acquire().await.ok()
    }

    /// Waits until a layer may be rewritten. It counts as large: small as it may be, its codec isn't.
    pub(super) async fn rewrite(&self) -> Option<SemaphorePermit<'_>> {
        self.large.acquire().await.ok()
    }
}

// === impl Turn ===

impl Turn<'_> {
    /// Ends the turn of a blob that failed: for good, if the other side asked to slow down and enough others are left.
    pub(super) fn failed(self, error: &Error) {
        let Some(permit) = self.permit.filter(|_| error.kind() == Kind::RateLimited) else {
            return;
        };
        let fewer = |left: usize| (left > FEWEST_PARALLEL_BLOBS).then(|| left - 1);
        if self.width.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).is_ok() {
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    /// How many blobs of a size are sent at once, looked for first.
    fn at_once(width: &Width, size: u64) -> usize {
        let mut held = vec![];
        while let Some(mut turn) = width.turn().now_or_never() {
            match width.send(&mut turn, size).now_or_never() {
                Some(permit) => held.push((turn, permit)),
                None => break,
            }
        }
        held.len()
    }

    #[test]
    fn many_small_blobs_move_at_once_and_few_large_ones() {
        const KIB: u64 = 1 << 10;
        let cases =
            [(0, 64), (1, 64), (100 * KIB, 64), (256 * KIB, 32), (1024 * KIB, 8), (1025 * KIB, 4)];
        let width = Width::new();
        for (size, expected) in cases {
            assert_eq!(at_once(&width, size), expected, "{size}");
        }
    }

    #[test]
    fn large_blobs_hold_no_turn_while_they_are_sent() {
        let width = Width::new();
        let mut sent = vec![];
        for _ in 0..PARALLEL_BLOBS {
            let mut turn = width.turn().now_or_never().unwrap();
            sent.push((width.send(&mut turn, u64::MAX).now_or_never(), turn));
        }
        assert!(width.rewrite().now_or_never().is_none());
        assert_eq!(at_once(&width, 1), PARALLEL_SMALL_BLOBS);
    }

    #[test]
    fn fewer_move_at_once_when_the_registry_asks_to_slow_down() {
        let width = Width::new();
        let turns = |count| (0..count).map(|_| width.turn().now_or_never().unwrap());
        for turn in turns(10).collect::<Vec<_>>() {
            turn.failed(&Error::new(Kind::Timeout, ""));
        }
        assert_eq!(at_once(&width, 1), 64);
        for turn in turns(10).collect::<Vec<_>>() {
            turn.failed(&Error::new(Kind::RateLimited, ""));
        }
        assert_eq!(at_once(&width, 1), 54);
        for turn in turns(100) {
            turn.failed(&Error::new(Kind::RateLimited, ""));
        }
        assert_eq!(at_once(&width, 1), FEWEST_PARALLEL_BLOBS);
    }
}
