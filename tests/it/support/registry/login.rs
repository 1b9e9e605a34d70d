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
    user: String,
    password: String,
    /// The scopes of the tokens that were given out.
    tokens: BTreeMap<String, String>,
    given: usize,
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
        let (user, password) = (user.to_owned(), password.to_owned());
        Self { kind: Kind::Basic, user, password, ..Self::default() }
    }

    /// Tokens from our own token server, which wants user and password or the identity token `password`.
    pub(crate) fn bearer(user: &str, password: &str) -> Self {
        Self::bearer_at("", user, password)
    }

    /// Tokens from a token server that stands elsewhere.
    pub(crate) fn bearer_at(realm: &str, user: &str, password: &str) -> Self {
        Self { kind: Kind::Bearer(realm.to_owned()), ..Self::basic(user, password) }
    }

    pub(super) fn revoke(&mut self) {
        self.tokens.clear();
    }

    /// The refusal of a request by somebody who isn't let in.
    pub(super) fn refuse(&self, seen: &Seen, host: &str) -> Option<Response> {
        let challenge = match &self.kind {
            Kind::Nobody => return None,
            Kind::Basic if seen.authorization() == Some(&self.expected()) => return None,
            Kind::Basic => "Basic realm=\"test\"".to_owned(),
            Kind::Bearer(_) if self.token_allows(seen) => return None,
            Kind::Bearer(realm) => {
                let own = format!("http://{host}/token");
                let realm = if realm.is_empty() { &own } else { realm };
                format!("Bearer realm=\"{realm}\",service=\"test-service\"")
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
        let by_form = form.get("refresh_token") == Some(&self.password);
        let by_header = seen.authorization() == Some(&self.expected());
        if !(by_form && seen.method == Method::POST || by_header && seen.method == Method::GET) {
            return refusal(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "who is it");
        }
        let scopes: Vec<String> = if by_form {
            vec![form.get("scope").cloned().unwrap_or_default()]
        } else {
            let pairs = url::form_urlencoded::parse(seen.query.as_bytes());
            pairs.filter(|(key, _)| key == "scope").map(|(_, value)| value.into_owned()).collect()
        };
        self.given += 1;
        let token = format!("token-{}", self.given);
        self.tokens.insert(format!("Bearer {token}"), scopes.join(" "));
        Response::new(serde_json::json!({"token": token, "expires_in": 300}).to_string().into())
    }

    fn expected(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.user, self.password)))
    }

    /// Whether the request's token covers its repository, and that of a mount.
    fn token_allows(&self, seen: &Seen) -> bool {
        let scopes = seen.authorization().and_then(|token| self.tokens.get(token));
        let path = seen.path.strip_prefix("/v2/").unwrap_or_default();
        let cut = ["/manifests/", "/blobs/"].iter().find_map(|part| path.split_once(part));
        let (Some(scopes), Some((name, _))) = (scopes, cut) else { return false };
        let reads = matches!(seen.method, Method::GET | Method::HEAD);
        let action = if reads { "pull" } else { "pull,push" };
        let own = scopes.contains(&format!("repository:{name}:{action}"));
        let from = seen.argument("from");
        own && from.is_none_or(|from| scopes.contains(&format!("repository:{from}:pull")))
    }
}
