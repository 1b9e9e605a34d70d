//! A bound on bytes in a second, shared by all the streams that pass it.
//!
//! Each chunk waits for its own turn, in the order in which chunks come. So streams that move at the same time get equal
//! shares whatever their pushes are, no push waits as a whole, and what one doesn't use, the others do.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::time::{Instant, sleep_until};

use super::Chunks;
use crate::limits::PACE_BURST;

/// A bound on bytes in a second; clones share it. The default has none.
#[derive(Clone, Debug, Default)]
pub struct Pace(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    bytes_per_second: NonZeroU64,
    /// When everything that was let through is paid for, at the bound.
    paid_at: Mutex<Option<Instant>>,
}

// === impl Pace ===

impl Pace {
    /// At most so many bytes in a second, but for the first ones after a pause.
    pub fn new(bytes_per_second: NonZeroU64) -> Self {
        Self(Some(Arc::new(Shared { bytes_per_second, paid_at: Mutex::default() })))
    }

    /// Passes the stream on, no faster than the bound allows.
    pub fn limit(&self, chunks: Chunks) -> Chunks {
        let Some(shared) = self.0.clone() else { return chunks };
        chunks
            .and_then(move |chunk: Bytes| {
                let turn = shared.turn(chunk.len() as u64, Instant::now());
                async move {
                    sleep_until(turn).await;
                    Ok(chunk)
                }
            })
            .boxed()
    }
}

// === impl Shared ===

impl Shared {
    /// When so many bytes may pass.
    fn turn(&self, bytes: u64, now: Instant) -> Instant {
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        // Time in which nothing moved is not saved up.
        let turn = paid_at.map_or(now, |paid_at| paid_at.max(now));
        *paid_at = Some(turn + self.cost(bytes));
        // What is within the burst needn't wait until it is paid for.
        turn.checked_sub(PACE_BURST).unwrap_or(now).max(now)
    }

    /// The time that so many bytes take.
    fn cost(&self, bytes: u64) -> Duration {
        let nanoseconds =
            u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second.get());
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    const MIB: usize = 1 << 20;

    fn pace(bytes: usize) -> Pace {
        Pace::new(NonZeroU64::new(bytes as u64).unwrap())
    }

    fn chunks(count: usize, bytes: usize) -> Chunks {
        stream::iter((0..count).map(move |_| Ok(Bytes::from(vec![0; bytes])))).boxed()
    }

    /// Seconds that streams of so many chunks take to pass together.
    async fn seconds(pace: &Pace, streams: &[usize], bytes: usize) -> Vec<f64> {
        let start = Instant::now();
        let pass = async |count: &usize| {
            let through: Vec<Bytes> =
                pace.limit(chunks(*count, bytes)).try_collect().await.unwrap();
            assert_eq!(through.len(), *count);
            start.elapsed().as_secs_f64()
        };
        futures::future::join_all(streams.iter().map(pass)).await
    }

    #[tokio::test(start_paused = true)]
    async fn streams_share_the_bound_equally() {
        let took = seconds(&pace(MIB), &[20, 20, 5], MIB / 4).await;
        // 45 quarters of a MiB at one MiB a second; the short stream is through when each has had five.
        assert!((took[0] - 11.0).abs() < 0.6 && (took[1] - 11.0).abs() < 0.6, "{took:?}");
        assert!((took[2] - 3.5).abs() < 0.6, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_saves_no_more_than_a_burst() {
        let pace = pace(MIB);
        seconds(&pace, &[4], MIB).await;
        tokio::time::sleep(Duration::from_hours(1)).await;
        let took = seconds(&pace, &[10], MIB).await[0];
        assert!((took - 9.0).abs() < 1.1, "{took}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_bound_nothing_waits() {
        assert_eq!(seconds(&Pace::default(), &[1000], MIB).await, [0.0]);
    }
}
