//! The last question before a name changes: is the push still wanted?
//!
//! Everything that a push waits for can be interrupted, but for the one exchange by which the destination's name may change:
//! who stops listening there doesn't know what the name points to. That exchange passes a [`Gate`].

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Kind, Result};
use crate::limits::STILL_WANTED_TIMEOUT;

/// What else a push depends on, such as a lease that its caller holds.
#[async_trait]
pub trait StillWanted: Send + Sync {
    /// Fails if the push is no longer wanted, with the error that it is to end with; one that is transient is asked for
    /// again if the push has attempts left.
    ///
    /// Asked each time right before the destination's name may change, and has to answer within
    /// [`STILL_WANTED_TIMEOUT`]. Whoever learns earlier that a push is not wanted cancels it as well.
    async fn check(&self) -> Result<()>;
}

/// Until when a push is wanted: until it is cancelled, or something that it depends on ends.
#[derive(Clone)]
pub struct Wanted {
    cancel: CancellationToken,
    condition: Option<Arc<dyn StillWanted>>,
}

/// Where the exchange passes by which a destination's name may change.
pub struct Gate {
    wanted: Wanted,
    /// Held during such an exchange.
    outcome: Mutex<Outcome>,
}

/// What such exchanges have come to so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The name is as it was.
    Unchanged,
    /// The name may have changed.
    Open,
}

/// An exchange that is under way. Dropping it leaves open whether the name has changed.
pub struct Passage<'a> {
    outcome: MutexGuard<'a, Outcome>,
    before: Outcome,
}

// === impl Wanted ===

impl Wanted {
    /// Until it is cancelled.
    pub fn until_cancelled(cancel: &CancellationToken) -> Self {
        Self { cancel: cancel.clone(), condition: None }
    }

    /// And only while this holds, too.
    #[must_use]
    pub fn while_holds(self, condition: Arc<dyn StillWanted>) -> Self {
        Self { condition: Some(condition), ..self }
    }

    /// What cancels the push.
    pub fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }

    async fn check(&self) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(Error::cancelled());
        }
        let Some(condition) = &self.condition else { return Ok(()) };
        let check = tokio::time::timeout(STILL_WANTED_TIMEOUT, condition.check());
        let Some(checked) = self.cancel.run_until_cancelled(check).await else {
            return Err(Error::cancelled());
        };
        checked.unwrap_or_else(|_| {
            let seconds = STILL_WANTED_TIMEOUT.as_secs();
            let message = format!("nobody said within {seconds} s whether it is still wanted");
            Err(Error::new(Kind::Timeout, message))
        })
    }
}

impl From<&CancellationToken> for Wanted {
    fn from(cancel: &CancellationToken) -> Self {
        Self::until_cancelled(cancel)
    }
}

// === impl Gate ===

impl Gate {
    /// A gate that is open while the push is wanted.
    pub fn new(wanted: Wanted) -> Self {
        Self { wanted, outcome: Mutex::new(Outcome::Unchanged) }
    }

    /// Starts an exchange by which the name may change, if the push is still wanted. Nothing must be waited for between this
    /// and the exchange.
    pub async fn pass(&self) -> Result<Passage<'_>> {
        let mut outcome = self.outcome.lock().await;
        self.wanted.check().await?;
        let before = std::mem::replace(&mut *outcome, Outcome::Open);
        Ok(Passage { outcome, before })
    }

    /// Does the work unless the push is cancelled; an exchange that is under way then is let come to its end.
    pub async fn unless_cancelled<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let cancelled = async {
            self.wanted.cancel.cancelled().await;
            // Whoever holds this is in the middle of it.
            drop(self.outcome.lock().await);
        };
        tokio::select! {
            biased;
            result = work => result,
            () = cancelled => Err(Error::cancelled()),
        }
    }

    /// Whether the name may have changed.
    pub async fn may_have_changed(&self) -> bool {
        *self.outcome.lock().await == Outcome::Open
    }
}

// === impl Passage ===

impl Passage<'_> {
    /// The exchange has changed nothing: it was refused, or never took place.
    pub fn refused(mut self) {
        *self.outcome = self.before;
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;

    struct Slow;

    #[async_trait]
    impl StillWanted for Slow {
        async fn check(&self) -> Result<()> {
            pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_waiting_can_be_interrupted_but_no_exchange() {
        // Cancelled after 5 s: while waiting, at once; in the middle of an exchange, at its end.
        for (waits, exchange, kind, seconds) in
            [(9, 9, Some(Kind::Cancelled), 5), (0, 9, None, 9), (3, 9, None, 12)]
        {
            let cancel = CancellationToken::new();
            let gate = Gate::new(Wanted::until_cancelled(&cancel));
            let work = async {
                sleep(Duration::from_secs(waits)).await;
                let _passage = gate.pass().await?;
                sleep(Duration::from_secs(exchange)).await;
                Ok(())
            };
            let start = tokio::time::Instant::now();
            let cancelling = async {
                sleep(Duration::from_secs(5)).await;
                cancel.cancel();
            };
            let (result, ()) = tokio::join!(gate.unless_cancelled(work), cancelling);
            let took = start.elapsed().as_secs();
            assert_eq!((result.err().map(|error| error.kind()), took), (kind, seconds));
            assert_eq!(gate.may_have_changed().await, kind.is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_passes_that_is_not_wanted() {
        let cancel = CancellationToken::new();
        let gate = Gate::new(Wanted::until_cancelled(&cancel));
        gate.pass().await.unwrap().refused();
        assert!(!gate.may_have_changed().await);
        drop(gate.pass().await.unwrap());
        assert!(gate.may_have_changed().await);
        // One that was refused changes nothing of what is known of those before it.
        gate.pass().await.unwrap().refused();
        assert!(gate.may_have_changed().await);
        cancel.cancel();
        assert_eq!(gate.pass().await.err().unwrap().kind(), Kind::Cancelled);

        let wanted = Wanted::until_cancelled(&CancellationToken::new());
        let gate = Gate::new(wanted.while_holds(Arc::new(Slow)));
        let error = gate.pass().await.err().unwrap();
        assert_eq!(error.to_string(), "nobody said within 5 s whether it is still wanted");
        assert!(!gate.may_have_changed().await);

        // Nor is an answer waited for that no longer matters.
        let cancel = CancellationToken::new();
        let gate = Gate::new(Wanted::until_cancelled(&cancel).while_holds(Arc::new(Slow)));
        let start = tokio::time::Instant::now();
        let cancelling = async {
            sleep(Duration::from_secs(2)).await;
            cancel.cancel();
        };
        let (passed, ()) = tokio::join!(gate.unless_cancelled(gate.pass()), cancelling);
        assert_eq!(passed.err().unwrap().kind(), Kind::Cancelled);
        assert_eq!((start.elapsed().as_secs(), gate.may_have_changed().await), (2, false));
    }
}
