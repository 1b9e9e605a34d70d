//! How we stand with registries: what they ask for, and the tokens that their token servers gave us.
//!
//! Shared by all sides and pushes, so that a program that stays needs no new token for each question. A token is found again
//! only by the one it was given to: the key holds a fingerprint of the credential. Kept in memory only, and bounded.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::header::HeaderValue;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::access::helper::Question;
use crate::access::{Credential, TlsPolicy};
use crate::error::Error;
use crate::limits::MAX_STANDINGS;

/// What registries ask for, and the tokens for them.
#[derive(Default)]
pub(crate) struct Standings {
    challenges: Mutex<HashMap<StandingKey, Challenge>>,
    tokens: Mutex<HashMap<TokenKey, Arc<Slot>>>,
}

/// A way of identifying ourselves that a registry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token from a token server.
    Bearer(Bearer),
}

/// Where tokens are to be had.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Bearer {
    /// The token server's URL, as the registry wrote it.
    pub(crate) realm: String,
    /// The name that the token server knows the registry by.
    pub(crate) service: String,
}

/// Who we are, without telling: two are the same if the credentials are.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint(pub(super) [u8; 32]);

/// As whom we speak to a registry, and whom we believe. What somebody heard who doesn't verify is nothing to those who do, nor
/// what was heard by those who trust another authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Terms {
    pub(crate) policy: TlsPolicy,
    /// Authorities, and the client certificate.
    pub(crate) trust: Fingerprint,
    pub(crate) owner: Fingerprint,
}

/// With whom we have a standing, and on what terms.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StandingKey {
    /// Host and port.
    pub(crate) registry: String,
    /// Some registries have a token server for each repository.
    pub(crate) repository: String,
    pub(crate) terms: Terms,
}

/// What a token is for, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TokenKey {
    /// Scheme, host and port of the registry: a token goes there and nowhere else.
    pub(crate) registry: String,
    pub(crate) bearer: Bearer,
    /// Sorted.
    pub(crate) scopes: Vec<String>,
    pub(crate) terms: Terms,
}

/// A token, and when to get another one.
#[derive(Clone)]
pub(crate) struct Token {
    /// The value of `Authorization`.
    pub(crate) value: HeaderValue,
    pub(crate) renew_at: Instant,
    /// The same by the token server's own word, however short. A request that is cheap to repeat may be sent after that, one
    /// with a long body had better not be.
    pub(crate) doubtful_at: Instant,
}

/// Why there is no token.
#[derive(Clone, Debug)]
pub(crate) enum NoToken {
    /// The token server doesn't accept us, in these words.
    Refused(String),
    /// It can't be asked, or answers nonsense.
    Failed(Error),
}

/// One token, or the place for it while it is fetched.
#[derive(Default)]
struct Slot {
    /// How often it was fetched, with success or without.
    rounds: AtomicU64,
    latest: tokio::sync::Mutex<Option<Result<Token, NoToken>>>,
}

// === impl Standings ===

impl Standings {
    /// What a registry asked for when it last did.
    pub(crate) fn challenge(&self, key: &StandingKey) -> Option<Challenge> {
        lock(&self.challenges).get(key).cloned()
    }

    /// Keeps in mind what a registry asks for.
    pub(crate) fn remember(&self, key: StandingKey, challenge: Challenge) {
        let mut challenges = lock(&self.challenges);
        make_room(&mut challenges, |_| false);
        challenges.insert(key, challenge);
    }

    /// The token for `key` if it is `good`, else the one that `fetch` brings.
    ///
    /// Whoever asks for the same while it is fetched waits and gets what comes of it, failure included; requests for other
    /// tokens are not held up. When a fetch is cancelled, the next one who waits does it.
    pub(crate) async fn token<F: Future<Output = Result<Token, NoToken>>>(
        &self,
        key: TokenKey,
        good: impl Fn(&Token) -> bool,
        fetch: impl FnOnce() -> F,
    ) -> Result<Token, NoToken> {
        let slot = self.slot(&key);
        let round = slot.rounds.load(Ordering::Acquire);
        let mut latest = slot.latest.lock().await;
        let fetched_meanwhile = slot.rounds.load(Ordering::Acquire) != round;
        match latest.as_ref() {
            Some(Ok(token)) if good(token) => return Ok(token.clone()),
            Some(Err(failure)) if fetched_meanwhile => return Err(failure.clone()),
            _ => {}
        }
        let fetched = fetch().await;
        if fetched.is_err() {
            // Those who wait have it in hand.
            lock(&self.tokens).remove(&key);
        }
        slot.rounds.fetch_add(1, Ordering::Release);
        *latest = Some(fetched.clone());
        fetched
    }

    fn slot(&self, key: &TokenKey) -> Arc<Slot> {
        let mut tokens = lock(&self.tokens);
        if let Some(slot) = tokens.get(key) {
            return Arc::clone(slot);
        }
        let now = Instant::now();
        make_room(&mut tokens, |slot| {
            // One that is being fetched can't be looked at, and stays.
            slot.latest.try_lock().is_ok_and(|latest| match latest.as_ref() {
                Some(Ok(token)) => token.renew_at <= now,
                _ => true,
            })
        });
        Arc::clone(tokens.entry(key.clone()).or_default())
    }
}

/// Forgets what is of no more use, if there are too many; all of it, if that is not enough: it can be had again.
fn make_room<K: Eq + Hash, V>(map: &mut HashMap<K, V>, useless: impl Fn(&V) -> bool) {
    if map.len() >= MAX_STANDINGS {
        map.retain(|_, value| !useless(value));
    }
    if map.len() >= MAX_STANDINGS {
        map.clear();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Fingerprint ===

impl Fingerprint {
    /// The fingerprint of a credential, or of nobody.
    pub(crate) fn of(credential: Option<&Credential>) -> Self {
        let parts = match credential {
            None => ["nobody", "", ""],
            Some(Credential::Basic { username, password }) => {
                ["basic", username.as_str(), password.expose()]
            }
            Some(Credential::IdentityToken(token)) => ["identity", "", token.expose()],
            Some(Credential::RegistryToken(token)) => ["registry", "", token.expose()],
        };
        Self::of_parts(&parts)
    }

    /// The fingerprint of whomever a helper is going to name in answer to a question: always the same, as far as anybody knows.
    pub(in crate::access) fn of_helper(question: &Question) -> Self {
        let Question { file, helper, addresses } = question;
        let addresses = addresses.iter().map(String::as_str);
        let parts: Vec<&str> = ["helper", file, helper].into_iter().chain(addresses).collect();
        Self::of_parts(&parts)
    }

    fn of_parts(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            // With its length, so that no two lists of parts read the same.
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }
}

/// A fingerprint of a bad password would help to guess it.
impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use futures::future::join_all;

    use super::*;
    use crate::access::Secret;
    use crate::error::Kind;

    fn key(scope: &str, password: &str) -> TokenKey {
        let credential = Credential::basic("u", Secret::new(password));
        TokenKey {
            registry: "https://r.example".into(),
            bearer: Bearer::default(),
            scopes: vec![scope.into()],
            terms: Terms {
                policy: TlsPolicy::Verify,
                trust: Fingerprint([0; 32]),
                owner: Fingerprint::of(Some(&credential)),
            },
        }
    }

    fn token(text: &str) -> Token {
        let renew_at = Instant::now() + Duration::from_mins(1);
        Token { value: HeaderValue::from_str(text).unwrap(), renew_at, doubtful_at: renew_at }
    }

    async fn get(standings: &Standings, key: TokenKey, fetched: &Cell<usize>) -> String {
        let fetch = || async {
            fetched.set(fetched.get() + 1);
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(token(&fetched.get().to_string()))
        };
        let good = |token: &Token| token.renew_at > Instant::now();
        let token = standings.token(key, good, fetch).await.unwrap();
        token.value.to_str().unwrap().to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_fetched_once_for_each_owner_and_scope() {
        let (standings, fetched) = (Standings::default(), Cell::new(0));
        let ask = |scope, password| get(&standings, key(scope, password), &fetched);
        assert_eq!(join_all([ask("a", "x"), ask("a", "x"), ask("a", "x")]).await, ["1", "1", "1"]);
        assert_eq!(ask("a", "x").await, "1");
        assert_eq!(ask("a", "y").await, "2");
        assert_eq!(ask("b", "x").await, "3");
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(ask("a", "x").await, "4");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_token_server_holds_up_nobody_else() {
        let (standings, fetched) = (Standings::default(), Cell::new(0));
        let good = |_: &Token| true;
        let slow = standings.token(key("slow", "x"), good, std::future::pending);
        let quick = get(&standings, key("quick", "x"), &fetched);
        tokio::select! {
            _ = slow => panic!("it never ends"),
            token = quick => assert_eq!(token, "1"),
        }
        // The one that was cancelled is not waited for.
        assert_eq!(get(&standings, key("slow", "x"), &fetched).await, "2");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_shared_by_those_who_waited_and_not_kept() {
        let (standings, fetched) = (Standings::default(), Cell::new(0));
        let failing = || {
            standings.token(
                key("a", "x"),
                |_| true,
                || async {
                    fetched.set(fetched.get() + 1);
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    Err(NoToken::Failed(Error::new(Kind::Timeout, "it took too long")))
                },
            )
        };
        let outcomes = join_all([failing(), failing(), failing()]).await;
        assert!(outcomes.iter().all(Result::is_err));
        assert_eq!((fetched.get(), lock(&standings.tokens).len()), (1, 0));
        assert_eq!(get(&standings, key("a", "x"), &fetched).await, "2");
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_tokens_is_bounded() {
        let (standings, fetched) = (Standings::default(), Cell::new(0));
        let ask = |n: usize| get(&standings, key(&n.to_string(), "x"), &fetched);
        join_all((0..MAX_STANDINGS).map(ask)).await;
        tokio::time::advance(Duration::from_mins(1)).await;
        ask(MAX_STANDINGS).await;
        assert_eq!(lock(&standings.tokens).len(), 1);
    }

    #[test]
    fn fingerprints_differ_where_credentials_do() {
        let secret = || Secret::new("canary");
        let credentials = [
            None,
            Some(Credential::basic("", secret())),
            Some(Credential::basic("c", Secret::new("anary"))),
            Some(Credential::basic("can", Secret::new("ary"))),
            Some(Credential::IdentityToken(secret())),
            Some(Credential::RegistryToken(secret())),
        ];
        let fingerprints = credentials.map(|credential| Fingerprint::of(credential.as_ref()));
        for (at, one) in fingerprints.iter().enumerate() {
            let same = fingerprints.iter().filter(|other| *other == one).count();
            assert_eq!(same, 1, "{at}");
        }
        assert_eq!(format!("{:?}", key("a", "canary").terms.owner), "[hidden]");
    }
}
