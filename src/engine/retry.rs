//! Tries an operation again when that may help. The one place that does.
//!
//! The class of an error, set where the fault was understood, decides; the other side's wish to wait is honoured up to
//! a bound. Delays grow exponentially and are jittered, unless the user fixed them. A refusal that told how to do better is
//! answered at once, and counts as no failure.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::progress::{Event, Progress};
use crate::error::{Class, Error, Result};
use crate::limits::{MAX_ADAPTATIONS, MAX_RETRY_AFTER, MAX_RETRY_DELAY, RETRY_DELAY};
use crate::options::Retry;

/// Runs `operation` until it succeeds, fails for good, or has been tried often enough.
///
/// Returns the last error. Cancel by dropping the future.
pub(super) async fn retry<T, F: Future<Output = Result<T>>>(
    policy: Retry,
    progress: &dyn Progress,
    operation: impl FnMut() -> F,
) -> Result<T> {
    retry_while_wanted(policy, progress, &CancellationToken::new(), operation).await
}

/// The same for an operation that must not be interrupted: it is cancelled between attempts only.
pub(super) async fn retry_while_wanted<T, F: Future<Output = Result<T>>>(
    policy: Retry,
    progress: &dyn Progress,
    cancel: &CancellationToken,
    mut operation: impl FnMut() -> F,
) -> Result<T> {
    let attempts = policy.limit + 1;
    let (mut attempt, mut adaptations) = (1, 0);
    loop {
        if cancel.is_cancelled() {
            return Err(Error::cancelled());
        }
        let error = match operation().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if error.wants_sending_again() && adaptations < MAX_ADAPTATIONS {
            adaptations += 1;
            tracing::info!(%error, "refused in a way that another attempt answers");
            continue;
        }
        let Some(delay) = delay_before_next(policy, attempt, &error, jitter()) else {
            return Err(error);
        };
        attempt += 1;
        tracing::warn!(%error, attempt, attempts, ?delay, "operation failed, trying again");
        progress.event(Event::Retrying { error: &error, attempt, attempts, delay });
        // Whether the time is over or the push is, is seen at the top.
        let _ = cancel.run_until_cancelled(tokio::time::sleep(delay)).await;
    }
}

/// How long to wait after attempt number `attempt` (from 1) failed; `None` to give up.
///
/// `jitter` is between 0 and 1.
fn delay_before_next(policy: Retry, attempt: u32, error: &Error, jitter: f64) -> Option<Duration> {
    if error.class() == Class::Permanent || attempt > policy.limit {
        return None;
    }
    let asked = error.retry_after().unwrap_or_default();
    if asked > MAX_RETRY_AFTER {
        return None;
    }
    let grown = RETRY_DELAY.saturating_mul(1 << (attempt - 1).min(16)).min(MAX_RETRY_DELAY);
    // Between half of it and all of it: workers that failed together don't come back together.
    let own = policy.delay.unwrap_or_else(|| grown.mul_f64(0.5 + jitter / 2.0));
    // The other side may ask for more patience than we have by ourselves, but not for less.
    Some(own.max(asked))
}

/// A number between 0 and 1 that differs from call to call; nothing depends on its quality.
fn jitter() -> f64 {
    let random = RandomState::new().hash_one(0u8);
    f64::from(u32::try_from(random >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::engine::NoProgress;
    use crate::error::Kind;

    fn policy(limit: u32) -> Retry {
        Retry { limit, delay: None }
    }

    fn unavailable() -> Error {
        Error::new(Kind::RegistryUnavailable, "the registry answered 503")
    }

    #[test]
    fn delays_grow_to_a_bound_and_honour_the_other_side() {
        let ms = Duration::from_millis;
        let fixed = Retry { limit: 9, delay: Some(ms(7)) };
        let cases = [
            (policy(3), 1, unavailable(), Some(ms(500))),
            (policy(3), 2, unavailable(), Some(ms(1000))),
            (policy(3), 3, unavailable(), Some(ms(2000))),
            (policy(3), 4, unavailable(), None),
            (policy(0), 1, unavailable(), None),
            (policy(50), 40, unavailable(), Some(MAX_RETRY_DELAY)),
            (fixed, 5, unavailable(), Some(ms(7))),
            (fixed, 1, unavailable().after(ms(3000)), Some(ms(3000))),
            (policy(3), 1, unavailable().after(ms(0)), Some(ms(500))),
            (fixed, 1, unavailable().after(ms(301_000)), None),
            (fixed, 1, unavailable().permanent(), None),
            (fixed, 1, Error::new(Kind::AccessDenied, ""), None),
        ];
        for (policy, attempt, error, expected) in cases {
            assert_eq!(delay_before_next(policy, attempt, &error, 1.0), expected, "{attempt}");
        }
        assert_eq!(delay_before_next(policy(3), 1, &unavailable(), 0.0), Some(ms(250)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_is_tried_as_often_as_allowed() {
        for (limit, succeeds_at, expected) in [(3, 3, Ok(3)), (3, 9, Err(4)), (0, 2, Err(1))] {
            let calls = Cell::new(0);
            let operation = || async {
                calls.set(calls.get() + 1);
                if calls.get() >= succeeds_at { Ok(calls.get()) } else { Err(unavailable()) }
            };
            let result = retry(policy(limit), &NoProgress, operation).await;
            assert_eq!(result.map_err(|_| calls.get()), expected);
        }
    }

    /// Notes what is told of further attempts: number, how many there are, and the wait in milliseconds.
    #[derive(Default)]
    struct Told(std::sync::Mutex<Vec<(u32, u32, u128)>>);

    impl Progress for Told {
        fn event(&self, event: Event<'_>) {
            let Event::Retrying { attempt, attempts, delay, .. } = event else { return };
            self.0.lock().unwrap().push((attempt, attempts, delay.as_millis()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_further_attempt_is_told() {
        let (told, policy) =
            (Told::default(), Retry { limit: 2, delay: Some(Duration::from_millis(7)) });
        retry(policy, &told, async || Err::<(), _>(unavailable())).await.unwrap_err();
        assert_eq!(*told.0.lock().unwrap(), [(2, 3, 7), (3, 3, 7)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_wants_sending_again_is_sent_at_once_within_a_bound() {
        for (refusals, expected) in [(2, Ok(3)), (u32::MAX, Err(MAX_ADAPTATIONS + 1))] {
            let calls = Cell::new(0);
            let operation = || async {
                calls.set(calls.get() + 1);
                let refused = Error::new(Kind::AccessDenied, "not like that").send_again();
                if calls.get() > refusals { Ok(calls.get()) } else { Err(refused) }
            };
            let start = tokio::time::Instant::now();
            let result = retry(policy(0), &NoProgress, operation).await;
            assert_eq!(result.map_err(|_| calls.get()), expected);
            assert_eq!(start.elapsed(), Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_tried_again_once_it_is_not_wanted() {
        let (calls, cancel) = (Cell::new(0), CancellationToken::new());
        let operation = || async {
            calls.set(calls.get() + 1);
            cancel.cancel();
            Err::<(), _>(unavailable())
        };
        let result = retry_while_wanted(policy(3), &NoProgress, &cancel, operation).await;
        assert_eq!((result.unwrap_err().kind(), calls.get()), (Kind::Cancelled, 1));
    }
}
