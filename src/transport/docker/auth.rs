//! Who we are to a registry: answers its challenges, keeps its tokens, and binds both to where they belong.
//!
//! Nothing is sent before the registry asks. [`Authorization::attach`] is the one place that sets the header, and does it only for
//! the scheme, host and port that the value was made for.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use reqwest::Request;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use tokio::time::Instant;
use url::{Origin, Url};

use super::challenge::{self, Bearer, Challenge};
use super::connections::Connections;
use super::token::{self, Token};
use crate::access::Lookup;
use crate::error::{Error, Kind, Result};
use crate::transport::Repository;

/// A value of the `Authorization` header, and the only origin it may be sent to.
pub(super) struct Authorization {
    origin: Origin,
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

/// What a token is for: realm, service and scopes.
type TokenKey = (String, String, Vec<String>);

/// Our standing with a registry.
pub(super) struct Auth {
    repository: Repository,
    actions: Actions,
    lookup: Lookup,
    /// What the registry asked for when it last did.
    challenge: Mutex<Option<Challenge>>,
    /// Held while a token is fetched, so that it is fetched once.
    tokens: tokio::sync::Mutex<HashMap<TokenKey, Token>>,
}

// === impl Authorization ===

impl Authorization {
    /// Binds a value to the origin of a URL.
    pub(super) fn new(url: &Url, mut value: HeaderValue) -> Self {
        value.set_sensitive(true);
        Self { origin: url.origin(), value }
    }

    /// Adds the value to a request, if the request goes where it belongs.
    pub(super) fn attach(&self, request: &mut Request) {
        if request.url().origin() == self.origin {
            request.headers_mut().insert(AUTHORIZATION, self.value.clone());
        }
    }
}

// === impl Auth ===

impl Auth {
    /// Starts without any standing.
    pub(super) fn new(repository: Repository, actions: Actions, lookup: Lookup) -> Self {
        let (challenge, tokens) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { repository, actions, lookup, challenge, tokens }
    }

    /// What to send along, if the registry has asked before. Also covers reading `other`, for a mount.
    pub(super) async fn known(
        &self,
        connections: &Connections,
        other: Option<&Repository>,
    ) -> Result<Option<Authorization>> {
        let challenge = self.challenge().clone();
        match challenge {
            None => Ok(None),
            Some(Challenge::Basic) => self.basic(connections),
            Some(Challenge::Bearer(bearer)) => {
                self.token(connections, &bearer, other, None).await.map(Some)
            }
        }
    }

    /// What to send instead, after the registry has answered 401 to a request with `sent`. `None`: there is nothing else.
    pub(super) async fn answer(
        &self,
        connections: &Connections,
        headers: &HeaderMap,
        other: Option<&Repository>,
        sent: Option<&Authorization>,
    ) -> Result<Option<Authorization>> {
        let Some(challenge) = challenge::choose(headers) else { return Ok(None) };
        *self.challenge() = Some(challenge.clone());
        match challenge {
            Challenge::Basic if sent.is_some() => Ok(None),
            Challenge::Basic => self.basic(connections),
            Challenge::Bearer(bearer) => {
                self.token(connections, &bearer, other, sent).await.map(Some)
            }
        }
    }

    /// The error for a registry that doesn't accept us.
    pub(super) fn refused(&self) -> Error {
        let registry = &self.repository.registry;
        let looked_at = &self.lookup.looked_at;
        match (&self.lookup.credential, looked_at.last()) {
            (Some(credential), found) => {
                let found = found.map(|place| format!(" ({place})")).unwrap_or_default();
                let user = credential.user();
                let message =
                    format!("`{registry}` does not accept the credentials of `{user}`{found}");
                Error::new(Kind::AuthenticationFailed, message)
                    .hint("check user and password, and what the user may do")
            }
            (None, looked) => {
                let looked = match looked {
                    Some(_) => format!("none were found in {}", looked_at.join("; nor in ")),
                    None => "none were given".to_owned(),
                };
                let message = format!("`{registry}` wants credentials, and {looked}");
                Error::new(Kind::AuthenticationFailed, message)
                    .hint(format!("log in with `podman login {registry}`, or pass `--creds`"))
            }
        }
    }

    fn basic(&self, connections: &Connections) -> Result<Option<Authorization>> {
        match &self.lookup.credential {
            Some(credential) => token::basic(&connections.base()?, credential),
            None => Ok(None),
        }
    }

    /// A token, from the cache unless it is old or `rejected`.
    async fn token(
        &self,
        connections: &Connections,
        bearer: &Bearer,
        other: Option<&Repository>,
        rejected: Option<&Authorization>,
    ) -> Result<Authorization> {
        let scopes = self.scopes(other);
        let key = (bearer.realm.clone(), bearer.service.clone(), scopes.clone());
        let mut tokens = self.tokens.lock().await;
        let fresh = |token: &&Token| {
            let refused = rejected.is_some_and(|rejected| rejected.value == token.value);
            !refused && token.renew_at > Instant::now()
        };
        let base = connections.base()?;
        if let Some(token) = tokens.get(&key).filter(fresh) {
            return Ok(Authorization::new(&base, token.value.clone()));
        }
        let credential = self.lookup.credential.as_ref();
        let token = token::fetch(connections, bearer, &scopes, credential).await?;
        let token = token.ok_or_else(|| self.refused())?;
        let value = token.value.clone();
        tokens.insert(key, token);
        Ok(Authorization::new(&base, value))
    }

    fn scopes(&self, other: Option<&Repository>) -> Vec<String> {
        let actions = match self.actions {
            Actions::Pull => "pull",
            Actions::PullPush => "pull,push",
        };
        let own = format!("repository:{}:{actions}", self.repository.path);
        let other = other.filter(|other| other.path != self.repository.path);
        std::iter::once(own)
            .chain(other.map(|other| format!("repository:{}:pull", other.path)))
            .collect()
    }

    fn challenge(&self) -> std::sync::MutexGuard<'_, Option<Challenge>> {
        self.challenge.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use reqwest::Method;

    use super::*;

    #[test]
    fn a_value_goes_to_its_own_origin_only() {
        let own = Url::parse("https://r.example/v2/").unwrap();
        let value = Authorization::new(&own, HeaderValue::from_static("Basic canary"));
        for (url, sent) in [
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
            let mut request = Request::new(Method::GET, Url::parse(url).unwrap());
            value.attach(&mut request);
            assert_eq!(request.headers().contains_key(AUTHORIZATION), sent, "{url}");
            assert!(!format!("{request:?}").contains("canary"));
        }
    }
}
