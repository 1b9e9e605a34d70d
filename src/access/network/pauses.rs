//! Hosts that have asked for a pause: nobody here sends them anything until it is over.
//!
//! One worker is told to slow down; the others would only be told the same, and make it worse. A long pause is more likely
//! about an account that has used up its share than about the host, so it holds for those who have the same credential:
//! the others soon ask for themselves.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::standing::Fingerprint;
use crate::limits::{MAX_PAUSED_HOSTS, MAX_RETRY_AFTER, MAX_SHARED_PAUSE};

/// Ends of pauses.
#[derive(Default)]
pub(super) struct Pauses(Mutex<HashMap<Key, Instant>>);

/// Scheme, host and port, and who has to pause; everybody, if it is nobody in particular.
type Key = (String, Option<Fingerprint>);

// === impl Pauses ===

impl Pauses {
    /// A host wants nothing for this long from `owner`, and nothing from others for the part of it that is shared. A longer
    /// pause that it has already stays.
    pub(super) fn begin(&self, host: &str, owner: Fingerprint, length: Duration) {
        self.put((host.to_owned(), None), length.min(MAX_SHARED_PAUSE));
        if length > MAX_SHARED_PAUSE {
            self.put((host.to_owned(), Some(owner)), length);
        }
    }

    fn put(&self, key: Key, length: Duration) {
        let now = Instant::now();
        // Nobody waits that long, so it makes no difference how much longer it is.
        let end = now + length.min(MAX_RETRY_AFTER * 2);
        let mut ends = self.ends();
        if ends.len() >= MAX_PAUSED_HOSTS {
            ends.retain(|_, end| *end > now);
        }
        if ends.len() < MAX_PAUSED_HOSTS || ends.contains_key(&key) {
            let known = ends.entry(key).or_insert(end);
            *known = end.max(*known);
        }
    }

    /// Waits until a host may be sent something by `owner`. Fails with what is left of the pause where that is more than anybody waits
    /// for, and where the host asks for one pause after another.
    pub(super) async fn over(&self, host: &str, owner: Fingerprint) -> Result<(), Duration> {
        let keys = [(host.to_owned(), None), (host.to_owned(), Some(owner))];
        let patience = Instant::now() + MAX_RETRY_AFTER;
        while let Some(end) = keys.iter().filter_map(|key| self.end(key)).max() {
            if end > patience {
                return Err(end.saturating_duration_since(Instant::now()));
            }
            sleep_until(end).await;
        }
        Ok(())
    }

    /// The end of a pause that isn't over.
    fn end(&self, key: &Key) -> Option<Instant> {
        let mut ends = self.ends();
        let end = ends.get(key).copied()?;
        if end > Instant::now() {
            return Some(end);
        }
        ends.remove(key);
        None
    }

    fn ends(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Credential, Secret};

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn begin(pauses: &Pauses, host: &str, length: Duration) {
        pauses.begin(host, Fingerprint::of(None), length);
    }

    /// How long a worker of `host` waits, or what it is told.
    async fn waited(pauses: &Pauses, host: &str) -> Result<u64, u64> {
        waited_as(pauses, host, Fingerprint::of(None)).await
    }

    async fn waited_as(pauses: &Pauses, host: &str, owner: Fingerprint) -> Result<u64, u64> {
        let start = Instant::now();
        let over = pauses.over(host, owner).await;
        over.map(|()| start.elapsed().as_secs()).map_err(|left| left.as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn all_workers_of_a_host_wait() {
        let pauses = Pauses::default();
        begin(&pauses, "r.test:1", S(3));
        let workers = tokio::join!(
            waited(&pauses, "r.test:1"),
            waited(&pauses, "r.test:1"),
            waited(&pauses, "r.test:2"),
        );
        assert_eq!(workers, (Ok(3), Ok(3), Ok(0)));
        assert_eq!(waited(&pauses, "r.test:1").await, Ok(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_pause_is_for_those_who_have_the_credential() {
        let owner = |user| Fingerprint::of(Some(&Credential::basic(user, Secret::new("canary"))));
        let pauses = Pauses::default();
        pauses.begin("https://r.test", owner("a"), S(100));
        let waits = tokio::join!(
            waited_as(&pauses, "https://r.test", owner("a")),
            waited_as(&pauses, "https://r.test", owner("b")),
            waited(&pauses, "https://r.test"),
            waited_as(&pauses, "http://r.test", owner("a")),
        );
        assert_eq!(waits, (Ok(100), Ok(10), Ok(10), Ok(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_pause_counts() {
        let pauses = Pauses::default();
        begin(&pauses, "r.test", S(5));
        begin(&pauses, "r.test", S(1));
        assert_eq!(waited(&pauses, "r.test").await, Ok(5));
        begin(&pauses, "r.test", S(1));
        let (waited, ()) = tokio::join!(waited(&pauses, "r.test"), async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            begin(&pauses, "r.test", S(2));
        });
        assert_eq!(waited, Ok(2));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let pauses = Pauses::default();
        begin(&pauses, "r.test", S(99_999_999));
        assert_eq!(waited(&pauses, "r.test").await, Err(MAX_RETRY_AFTER.as_secs() * 2));
        begin(&pauses, "again.test", S(200));
        let again = async {
            loop {
                tokio::time::sleep(S(100)).await;
                begin(&pauses, "again.test", S(200));
            }
        };
        tokio::select! {
            waited = waited(&pauses, "again.test") => assert!(waited.is_err()),
            () = again => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_hosts_is_bounded() {
        let pauses = Pauses::default();
        for n in 0..=MAX_PAUSED_HOSTS {
            begin(&pauses, &format!("r{n}.test"), S(9));
        }
        assert_eq!(pauses.ends().len(), MAX_PAUSED_HOSTS);
        tokio::time::advance(S(10)).await;
        begin(&pauses, "r.test", S(9));
        assert_eq!(pauses.ends().len(), 1);
    }
}
