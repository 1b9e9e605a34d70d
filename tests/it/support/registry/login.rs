//! Asks for credentials: Basic, or Bearer with a token server at `/token`.

use std::collections::BTreeMap;

use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Seen, refusal};

/// Who is let in.
#[derive(Default)]
pub(crate) struct Login {
    kind: Kind,
    /// Users with their passwords.
    users: Vec<(String, String)>,
    /// The scopes of the tokens that were given out.
    tokens: BTreeMap<String, String>,
    given: usize,
    /// What is said of a token's life.
    expires_in: Option<u32>,
    /// Whether deleting takes a right of its own.
    guards_deletion: bool,
    /// What each token begins with.
    prefix: Option<String>,
}

#[derive(Default)]
enum Kind {
    #[default]
    Nobody,
    Basic,
    /// With the token server at this URL; an empty one is our own.
    Bearer(String),
}

impl Login {
    /// User and password with each request.
    pub(crate) fn basic(user: &str, password: &str) -> Self {
        let users = vec![(user.to_owned(), password.to_owned())];
        Self { kind: Kind::Basic, users, ..Self::default() }
    }

    /// Tokens from our own token server, which wants user and password or the identity token `password`.
    pub(crate) fn bearer(user: &str, password: &str) -> Self {
        Self::bearer_at("", user, password)
    }

    /// Tokens from a token server that stands elsewhere.
    pub(crate) fn bearer_at(realm: &str, user: &str, password: &str) -> Self {
        Self { kind: Kind::Bearer(realm.to_owned()), ..Self::basic(user, password) }
    }

    /// Lets somebody else in, too.
    #[must_use]
    pub(crate) fn and(mut self, user: &str, password: &str) -> Self {
        self.users.push((user.to_owned(), password.to_owned()));
        self
    }

    /// Says that tokens live for this many seconds; they go on being accepted.
    #[must_use]
    pub(crate) fn expires_in(self, seconds: u32) -> Self {
        Self { expires_in: Some(seconds), ..self }
    }

    /// Wants the right `delete` where something is deleted.
    #[must_use]
    pub(crate) fn guarding_deletion(self) -> Self {
        Self { guards_deletion: true, ..self }
    }

    /// Gives tokens that begin so.
    #[must_use]
    pub(crate) fn naming_tokens(self, prefix: &str) -> Self {
        Self { prefix: Some(prefix.to_owned()), ..self }
    }

    /// The secrets of those who are let in, and what its tokens begin with.
    pub(super) fn passwords(&self) -> Vec<String> {
        let passwords = self.users.iter().map(|(_, password)| password.clone());
        passwords.chain(self.prefix.clone()).collect()
    }

    pub(super) fn revoke(&mut self) {
        self.tokens.clear();
    }

    /// The refusal of a request by somebody who isn't let in.
    pub(super) fn refuse(&self, seen: &Seen, host: &str) -> Option<Response> {
        let challenge = match &self.kind {
            Kind::Nobody => return None,
            Kind::Basic if self.user(seen).is_some() => return None,
            Kind::Basic => "Basic realm=\"test\"".to_owned(),
            Kind::Bearer(_) if self.token_allows(seen) => return None,
            Kind::Bearer(realm) => {
                let own = format!("http://{host}/token");
                let realm = if realm.is_empty() { &own } else { realm };
                let missing = self.missing(seen).unwrap_or_default();
                format!("Bearer realm=\"{realm}\",service=\"test-service\"{missing}")
            }
        };
        let message = "authentication required";
        let mut response = refusal(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message);
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge.parse().unwrap());
        Some(response)
    }

    /// The token server.
    pub(super) fn token(&mut self, seen: &Seen, body: &[u8]) -> Response {
        let form: BTreeMap<_, _> = url::form_urlencoded::parse(body).into_owned().collect();
        let identity = form.get("refresh_token");
        let by_form = self.users.iter().find(|(_, password)| Some(password) == identity);
        let user = match seen.method {
            Method::POST => by_form.map(|(user, _)| user),
            _ => self.user(seen),
        };
        let Some(user) = user.cloned() else {
            return refusal(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "who is it");
        };
        let by_form = identity.is_some();
        let scopes: Vec<String> = if by_form {
            vec![form.get("scope").cloned().unwrap_or_default()]
        } else {
            let pairs = url::form_urlencoded::parse(seen.query.as_bytes());
            pairs.filter(|(key, _)| key == "scope").map(|(_, value)| value.into_owned()).collect()
        };
        self.given += 1;
        let prefix = self.prefix.as_deref().unwrap_or("token");
        let token = format!("{prefix}-{user}-{}", self.given);
        self.tokens.insert(format!("Bearer {token}"), scopes.join(" "));
        let expires_in = self.expires_in.unwrap_or(300);
        let answer = serde_json::json!({"token": token, "expires_in": expires_in});
        Response::new(answer.to_string().into())
    }

    /// Whose name and password stand in the request.
    fn user(&self, seen: &Seen) -> Option<&String> {
        let expected = |(user, password): &&(String, String)| {
            let basic = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
            seen.authorization() == Some(&basic)
        };
        self.users.iter().find(expected).map(|(user, _)| user)
    }

    /// What is said of a right that the request's token lacks.
    fn missing(&self, seen: &Seen) -> Option<String> {
        let known = seen.authorization().is_some_and(|token| self.tokens.contains_key(token));
        if !known || !self.guards_deletion || seen.method != Method::DELETE {
            return None;
        }
        let (name, _) = seen.path.strip_prefix("/v2/")?.split_once("/blobs/")?;
        Some(format!(",scope=\"repository:{name}:delete\",error=\"insufficient_scope\""))
    }

    /// Whether the request's token covers its repository, and that of a mount.
    fn token_allows(&self, seen: &Seen) -> bool {
        let scopes = seen.authorization().and_then(|token| self.tokens.get(token));
        let path = seen.path.strip_prefix("/v2/").unwrap_or_default();
        let parts = ["/manifests/", "/blobs/", "/referrers/", "/tags/"];
        let cut = parts.iter().find_map(|part| path.split_once(part));
        let (Some(scopes), Some((name, _))) = (scopes, cut) else { return false };
        let reads = matches!(seen.method, Method::GET | Method::HEAD);
        let action = match seen.method {
            Method::DELETE if self.guards_deletion => "pull,push,delete",
            _ if reads => "pull",
            _ => "pull,push",
        };
        let own = scopes.contains(&format!("repository:{name}:{action}"));
        let from = seen.argument("from");
        own && from.is_none_or(|from| scopes.contains(&format!("repository:{from}:pull")))
    }
}
