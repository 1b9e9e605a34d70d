//! Fetches bearer tokens (distribution specification, "Token Authentication"; `OAuth2` for identity tokens).
//!
//! The token server is another party: it gets the registry's credentials only after [`realm`] has agreed, and what
//! it answers is bounded.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Body, Method, Request, Response, StatusCode};
use serde::Deserialize;
use tokio::time::{Duration, Instant};
use url::Url;
use url::form_urlencoded::Serializer;

use super::auth::Authorization;
use super::body;
use super::challenge::Bearer;
use super::connections::Connections;
use super::error::{Refusal, place};
use super::realm;
use crate::access::{Credential, Secret};
use crate::error::{Error, Kind, Result};
use crate::limits::{MAX_TOKEN_BODY, TOKEN_LIFE};

/// The name by which token servers know this client.
const CLIENT: &str = "imagepush";

/// A token, and when to get another one.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) value: HeaderValue,
    pub(super) renew_at: Instant,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<Secret>,
    access_token: Option<Secret>,
    expires_in: Option<f64>,
}

/// Fetches a token for `scopes`. `None` means that the token server does not accept the credential.
pub(super) async fn fetch(
    connections: &Connections,
    bearer: &Bearer,
    scopes: &[String],
    credential: Option<&Credential>,
) -> Result<Option<Token>> {
    let url = realm::check(&connections.base()?, &bearer.realm).map_err(|reason| {
        let message = format!("the registry names a token server that is not followed: {reason}");
        Error::new(Kind::AuthenticationFailed, message)
            .hint("credentials go to the registry's own host or one of the same domain only")
    })?;
    let doing = format!("asking `{}` for a token", place(&url));
    let ask = async {
        let request = request(url, bearer, scopes, credential)?;
        let response = connections.execute(request, Connections::PATIENCE).await?;
        match response.status() {
            StatusCode::OK => parse(&body::read(response, MAX_TOKEN_BODY as u64, "token").await?),
            _ => refused(response, credential).await,
        }
    };
    ask.await.map_err(|error| error.doing(doing))
}

async fn refused(response: Response, credential: Option<&Credential>) -> Result<Option<Token>> {
    let refusal = Refusal::read(response).await;
    match refusal.status {
        // Docker Hub answers 401 here, GitLab 403.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ok(None),
        StatusCode::BAD_REQUEST if matches!(credential, Some(Credential::IdentityToken(_))) => {
            Ok(None)
        }
        _ => Err(refusal.into_error()),
    }
}

fn request(
    mut url: Url,
    bearer: &Bearer,
    scopes: &[String],
    credential: Option<&Credential>,
) -> Result<Request> {
    if let Some(Credential::IdentityToken(token)) = credential {
        let form = Serializer::new(String::new())
            .append_pair("grant_type", "refresh_token")
            .append_pair("client_id", CLIENT)
            .append_pair("refresh_token", token.expose())
            .append_pair("service", &bearer.service)
            .append_pair("scope", &scopes.join(" "))
            .finish();
        let mut request = Request::new(Method::POST, url);
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(CONTENT_TYPE, form_type);
        *request.body_mut() = Some(Body::from(form));
        return Ok(request);
    }
    {
        let mut query = url.query_pairs_mut();
        if let Some(Credential::Basic { username, .. }) = credential {
            query.append_pair("account", username);
        }
        if !bearer.service.is_empty() {
            query.append_pair("service", &bearer.service);
        }
        for scope in scopes {
            query.append_pair("scope", scope);
        }
    }
    let authorization = credential.map(|credential| basic(&url, credential)).transpose()?;
    let mut request = Request::new(Method::GET, url);
    if let Some(authorization) = authorization.flatten() {
        authorization.attach(&mut request);
    }
    Ok(request)
}

/// User and password for the origin of `url`; an identity token has neither.
pub(super) fn basic(url: &Url, credential: &Credential) -> Result<Option<Authorization>> {
    let Credential::Basic { username, password } = credential else { return Ok(None) };
    let pair = zeroize::Zeroizing::new(format!("{username}:{}", password.expose()));
    let text = zeroize::Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    let value = HeaderValue::from_str(&text)
        .map_err(|_| Error::internal("base64 is not fit for a header"))?;
    Ok(Some(Authorization::new(url, value)))
}

fn parse(body: &[u8]) -> Result<Option<Token>> {
    let failed = |what: &str| {
        Error::new(Kind::AuthenticationFailed, format!("the token server answered {what}"))
    };
    // The parser's words may repeat the token.
    let answer: Answer = serde_json::from_slice(body).map_err(|_| failed("no token"))?;
    let given = |token: &Secret| !token.expose().is_empty();
    let token = answer.token.filter(given).or(answer.access_token.filter(given));
    let token = token.ok_or_else(|| failed("no token"))?;
    let text = zeroize::Zeroizing::new(format!("Bearer {}", token.expose()));
    let value = HeaderValue::from_str(&text)
        .map_err(|_| failed("a token with characters that no header may have"))?;
    let life = life(answer.expires_in);
    Ok(Some(Token { value, renew_at: Instant::now() + life.mul_f32(0.8) }))
}

/// How long a token is used. A clock is not asked: the server's may be wrong.
fn life(expires_in: Option<f64>) -> Duration {
    let (shortest, longest) = TOKEN_LIFE;
    Duration::try_from_secs_f64(expires_in.unwrap_or_default())
        .unwrap_or(shortest)
        .clamp(shortest, longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_token_fit_for_a_header_is_taken() {
        for (body, message) in [
            ("", "the token server answered no token"),
            ("[]", "the token server answered no token"),
            (r#"{"token":""}"#, "the token server answered no token"),
            (r#"{"token":5}"#, "the token server answered no token"),
            (
                r#"{"token":"a\r\nX: canary"}"#,
                "the token server answered a token with characters that no header may have",
            ),
        ] {
            let error = parse(body.as_bytes()).map(|_| ()).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        for body in [r#"{"token":"t","access_token":"u"}"#, r#"{"token":"","access_token":"t"}"#] {
            let token = parse(body.as_bytes()).unwrap().unwrap();
            assert_eq!(token.value, "Bearer t");
        }
    }

    #[test]
    fn a_tokens_life_is_believed_within_bounds() {
        for (expires_in, seconds) in [
            (None, 60),
            (Some(0.0), 60),
            (Some(-5.0), 60),
            (Some(300.5), 300),
            (Some(1e300), 60),
            (Some(1e9), 86_400),
        ] {
            assert_eq!(life(expires_in).as_secs(), seconds, "{expires_in:?}");
        }
    }
}
