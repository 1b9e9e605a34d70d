//! Who we are to a registry: answers its challenges, and binds what we show it to where it belongs.
//!
//! Nothing is sent before the registry has asked; what it asked for is kept in the [`Network`], and with it the tokens.
//! [`Authorization::attach`] is the one place that sets the header, and does it only for the scheme, host and port that the
//! value was made for, and for those that the user has named to get it, too.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, Request};
use tokio::time::Instant;
use url::{Origin, Url};

use super::call::About;
use super::challenge;
use super::connections::Connections;
use super::echo;
use super::error::{Refusal, Who};
use super::refused::{self, Tried};
use super::scope::Scopes;
use super::token;
use crate::access::{
    Bearer, Challenge, Credential, Network, NoToken, Search, StandingKey, Terms, Token, TokenKey,
};
use crate::error::{Error, Kind, Result};
use crate::transport::Repository;

/// A value of the `Authorization` header, and the only origins it may be sent to.
#[derive(Clone)]
pub(super) struct Authorization {
    origin: Origin,
    /// Where the registry takes its uploads, if the user wants it to be shown there.
    uploads: Vec<Origin>,
    value: HeaderValue,
}

/// What one side does with a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Actions {
    /// Reads.
    Pull,
    /// Reads and writes.
    PullPush,
}

/// What a request needs to be let in.
#[derive(Clone, Copy)]
pub(super) struct Need<'a> {
    pub(super) method: &'a Method,
    /// Another repository that has to be readable, too.
    pub(super) other: Option<&'a Repository>,
    pub(super) effort: Effort,
    /// Where an upload goes that the registry doesn't take itself: who does may want to know something else.
    pub(super) elsewhere: Option<&'a Url>,
}

/// What it costs to send a request again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effort {
    /// A round trip.
    Little,
    /// The bytes of a blob.
    Much,
}

/// Our standing with a registry's repository.
pub(super) struct Auth {
    repository: Repository,
    actions: Actions,
    search: Search,
    network: Network,
    key: StandingKey,
    /// What the registry asks for.
    heard: Mutex<Option<Heard>>,
    /// What those ask for who take its uploads.
    elsewhere: Mutex<HashMap<Origin, Challenge>>,
}

/// What a registry asks for, and whether this side has heard it.
#[derive(Clone)]
enum Heard {
    /// In answer to one of its requests.
    Now(Challenge),
    /// Some time ago, by another: it need not be true any more.
    Before(Challenge),
}

// === impl Authorization ===

impl Authorization {
    /// Binds a value to the origin of a URL.
    pub(super) fn new(url: &Url, mut value: HeaderValue) -> Self {
        value.set_sensitive(true);
        Self { origin: url.origin(), uploads: vec![], value }
    }

    /// Lets the value go to these origins, too.
    fn also_to(self, uploads: Vec<Origin>) -> Self {
        Self { uploads, ..self }
    }

    /// Whether a request to this URL is to have the value.
    pub(super) fn is_for(&self, url: &Url, about: About) -> bool {
        let origin = url.origin();
        origin == self.origin || about == About::Session && self.uploads.contains(&origin)
    }

    /// Adds the value to a request, if the request goes where it belongs.
    pub(super) fn attach(&self, request: &mut Request, about: About) {
        if self.is_for(request.url(), about) {
            request.headers_mut().insert(AUTHORIZATION, self.value.clone());
        }
    }

    /// Takes the value out of what somebody said who was sent it.
    fn hide(&self, words: &mut String) {
        let value = self.value.to_str().ok().and_then(|value| value.split_once(' '));
        if let Some((_, secret)) = value {
            echo::hide_secret(secret.trim_end_matches('='), words);
        }
    }

    fn is_token(&self) -> bool {
        self.value.as_bytes().starts_with(b"Bearer ")
    }
}

// === impl Auth ===

impl Auth {
    /// Starts with the standing that the network has for this registry, repository and credential.
    pub(super) fn new(
        repository: Repository,
        actions: Actions,
        search: Search,
        network: Network,
        terms: Terms,
    ) -> Self {
        let key = StandingKey {
            registry: repository.registry.clone(),
            repository: repository.path.clone(),
            terms,
        };
        let heard = Mutex::new(network.standings().challenge(&key).map(Heard::Before));
        Self { repository, actions, search, network, key, heard, elsewhere: Mutex::default() }
    }

    /// What to send along, if it is known what the registry asks for.
    pub(super) async fn known(
        &self,
        connections: &Connections,
        need: Need<'_>,
    ) -> Result<Option<Authorization>> {
        let elsewhere = need.elsewhere.and_then(|url| self.elsewhere().get(&url.origin()).cloned());
        let heard = elsewhere.map(Heard::Now).or_else(|| self.heard().clone());
        let (challenge, now) = match heard {
            None => return Ok(None),
            Some(Heard::Now(challenge)) => (challenge, true),
            Some(Heard::Before(challenge)) => (challenge, false),
        };
        let bearer = match challenge {
            Challenge::Basic => return self.basic(connections).await,
            Challenge::Bearer(bearer) => bearer,
        };
        let token = self.token(connections, &bearer, &self.scopes(need), need.effort, None).await;
        if now || token.is_ok() {
            return token;
        }
        // The token server may have moved. The registry will tell.
        *self.heard() = None;
        Ok(None)
    }

    /// What to send instead, after the registry has answered 401 to a request with `sent`. `None`: there is nothing else.
    pub(super) async fn answer(
        &self,
        connections: &Connections,
        headers: &HeaderMap,
        need: Need<'_>,
        sent: Option<&Authorization>,
        tried: &mut Tried,
    ) -> Result<Option<Authorization>> {
        let base = connections.base()?;
        // What was made for TLS has not gone out where the registry turned out to speak none.
        let sent = sent.filter(|sent| sent.origin == base.origin());
        let credential = self.search.finish().await?.credential.as_ref();
        let has_password = matches!(credential, Some(Credential::Basic { .. }));
        let is_served = |challenge: &Challenge| has_password || *challenge != Challenge::Basic;
        let offer = challenge::choose(headers, is_served);
        let offer = offer.ok_or_else(refused::no_way_in)?;
        match need.elsewhere {
            None => self.hear(offer.challenge.clone()),
            Some(url) => self.elsewhere().extend([(url.origin(), offer.challenge.clone())]),
        }
        let bearer = match offer.challenge {
            // A password that is wrong stays so; a token may have been sent to a registry that takes none any more.
            Challenge::Basic if sent.is_some_and(|sent| !sent.is_token()) => return Ok(None),
            Challenge::Basic => return self.basic(connections).await,
            Challenge::Bearer(bearer) => bearer,
        };
        let scopes = self.scopes(need);
        let sent = sent.filter(|sent| sent.is_token());
        let mut missing = sent.and(offer.missing);
        if let Some(missing) = &mut missing {
            self.hide_secrets(missing, sent);
        }
        let Some(scopes) = tried.next(scopes, need.method, missing) else { return Ok(None) };
        self.token(connections, &bearer, &scopes, need.effort, sent).await
    }

    /// The error for a registry that doesn't accept us, which `said` this.
    pub(super) fn refused(&self, said: &str) -> Error {
        refused::error(&self.repository.registry, self.search.so_far(), said)
    }

    /// The error for a registry that knows who we are, or doesn't ask, and does not let us.
    pub(super) fn forbidden(&self, refusal: Refusal) -> Error {
        let (said, who) = (refusal.words(), refusal.who.clone());
        let error = refusal.into_error();
        // A helper that has not been asked may know somebody.
        match (error.kind(), self.search.known(), who) {
            (Kind::AccessDenied, Some(lookup), Who::Registry { shown }) => {
                refused::forbidden(&self.repository.registry, lookup, said, shown)
            }
            _ => error,
        }
    }

    /// Whether there are no credentials for the registry.
    pub(super) fn is_anonymous(&self) -> bool {
        self.search.known().is_some_and(|lookup| lookup.credential.is_none())
    }

    /// Takes our secrets out of a registry's words, and what it was sent.
    pub(super) fn hide_secrets(&self, words: &mut String, sent: Option<&Authorization>) {
        if let Some(credential) = &self.search.so_far().credential {
            echo::hide(credential, words);
        }
        if let Some(sent) = sent {
            sent.hide(words);
        }
    }

    /// The error for a token that the registry refused when it was too late to send another: there is a new one now.
    pub(super) fn expired(&self) -> Error {
        let registry = &self.repository.registry;
        let message = format!("`{registry}` refused the token when part of the blob was sent");
        Error::new(Kind::AuthenticationFailed, message).transient()
    }

    async fn basic(&self, connections: &Connections) -> Result<Option<Authorization>> {
        match &self.search.finish().await?.credential {
            Some(credential) => {
                let basic = token::basic(&connections.base()?, credential)?;
                Ok(basic.map(|basic| basic.also_to(uploads(connections))))
            }
            None => Ok(None),
        }
    }

    /// A token that is good for long enough and not `rejected`, from the network or from the token server. `None`: no token
    /// but the rejected one is to be had.
    async fn token(
        &self,
        connections: &Connections,
        bearer: &Bearer,
        scopes: &Scopes,
        effort: Effort,
        rejected: Option<&Authorization>,
    ) -> Result<Option<Authorization>> {
        let base = connections.base()?;
        if let Some(Credential::RegistryToken(token)) = &self.search.so_far().credential {
            return if rejected.is_some() {
                Ok(None)
            } else {
                token::given(&base, token).map(|given| Some(given.also_to(uploads(connections))))
            };
        }
        let scopes = scopes.words();
        let key = TokenKey {
            registry: base.origin().ascii_serialization(),
            bearer: bearer.clone(),
            scopes: scopes.clone(),
            terms: self.key.terms,
        };
        let good = |token: &Token| {
            let until = match effort {
                Effort::Little => token.renew_at,
                Effort::Much => token.doubtful_at,
            };
            rejected.is_none_or(|rejected| rejected.value != token.value) && until > Instant::now()
        };
        let fetch = async || {
            let lookup = self.search.finish().await.map_err(NoToken::Failed)?;
            token::fetch(connections, bearer, &scopes, lookup.credential.as_ref()).await
        };
        match self.network.standings().token(key, good, fetch).await {
            Ok(token) => {
                Ok(Some(Authorization::new(&base, token.value).also_to(uploads(connections))))
            }
            Err(NoToken::Refused(said)) => Err(self.refused(&said)),
            Err(NoToken::Failed(error)) => Err(error),
        }
    }

    fn scopes(&self, need: Need<'_>) -> Scopes {
        Scopes::new(&self.repository, self.actions, need.other)
    }

    fn hear(&self, challenge: Challenge) {
        self.network.standings().remember(self.key.clone(), challenge.clone());
        *self.heard() = Some(Heard::Now(challenge));
    }

    fn heard(&self) -> MutexGuard<'_, Option<Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As many as the user has named.
    fn elsewhere(&self) -> MutexGuard<'_, HashMap<Origin, Challenge>> {
        self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the registry's uploads go that are let in by its credentials.
fn uploads(connections: &Connections) -> Vec<Origin> {
    connections.upload_origins().with_credentials
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_goes_to_its_own_origin_only() {
        let own = Url::parse("https://r.example/v2/").unwrap();
        let also = Url::parse("https://up.example:444").unwrap();
        let value = Authorization::new(&own, HeaderValue::from_static("Basic canary"))
            .also_to(vec![also.origin()]);
        for (url, sent) in [
            ("https://up.example/upload", false),
            ("http://up.example:444/upload", false),
            ("https://sub.up.example:444/upload", false),
            ("https://r.example/other", true),
            ("https://r.example:443/", true),
            ("https://R.EXAMPLE/", true),
            ("http://r.example/", false),
            ("https://r.example:444/", false),
            ("https://r.example./", false),
            ("https://sub.r.example/", false),
            ("https://r.example@evil.example/", false),
            ("http://r.example:443/", false),
        ] {
            for about in [About::Session, About::Other] {
                let mut request = Request::new(Method::GET, Url::parse(url).unwrap());
                value.attach(&mut request, about);
                assert_eq!(request.headers().contains_key(AUTHORIZATION), sent, "{url}");
                assert!(!format!("{request:?}").contains("canary"));
            }
        }
        let upload = Url::parse("https://up.example:444/upload?x").unwrap();
        let found = [About::Session, About::Other].map(|about| value.is_for(&upload, about));
        assert_eq!(found, [true, false]);
    }
}
