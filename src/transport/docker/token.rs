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
use super::call::About;
use super::connections::Connections;
use super::error::{Refusal, place};
use super::{echo, realm};
use crate::access::{Bearer, Credential, NoToken, Secret, Token};
use crate::error::{Error, Kind, Result};
use crate::limits::{MAX_TOKEN, MAX_TOKEN_BODY, MAX_TOKEN_DEPTH, TOKEN_LIFE};

/// The name by which token servers know this client.
const CLIENT: &str = "imagepush";

#[derive(Deserialize)]
struct Answer {
    token: Option<Secret>,
    access_token: Option<Secret>,
    expires_in: Option<f64>,
}

/// Fetches a token for `scopes`.
pub(super) async fn fetch(
    connections: &Connections,
    bearer: &Bearer,
    scopes: &[String],
    credential: Option<&Credential>,
) -> Result<Token, NoToken> {
    let url = token_server(connections, bearer).map_err(NoToken::Failed)?;
    let doing = format!("asking `{}` for a token", place(&url));
    let failed = |error: Error| NoToken::Failed(error.doing(doing));
    let ask = async {
        let request = request(url, bearer, scopes, credential)?;
        let response = connections.execute(request, Connections::PATIENCE).await?;
        connections.warn(&response, |words| hide(credential, words));
        if response.status() != StatusCode::OK {
            return Ok(Err(read_refusal(response, credential).await));
        }
        parse(&body::read(response, MAX_TOKEN_BODY as u64, "token").await?).map(Ok)
    };
    match ask.await {
        Ok(Ok(token)) => Ok(token),
        Ok(Err(refusal)) if is_refusal(refusal.status, credential) => {
            Err(NoToken::Refused(refusal.words_of("its token server")))
        }
        Ok(Err(refusal)) => Err(failed(refusal.into_error())),
        Err(error) => Err(failed(error)),
    }
}

/// Reads what a token server says of its refusal, but for the credential, should it repeat it.
async fn read_refusal(response: Response, credential: Option<&Credential>) -> Refusal {
    let mut refusal = Refusal::read(response).await;
    refusal.hide(|words| hide(credential, words));
    refusal
}

fn hide(credential: Option<&Credential>, words: &mut String) {
    if let Some(credential) = credential {
        echo::hide(credential, words);
    }
}

fn token_server(connections: &Connections, bearer: &Bearer) -> Result<Url> {
    let trusted = |url: &Url| connections.trusts(url);
    realm::check(&connections.base()?, &bearer.realm, trusted).map_err(|reason| {
        let message = format!("the registry names a token server that is not followed: {reason}");
        Error::new(Kind::AuthenticationFailed, message)
            .hint(
                "credentials go to the registry's own host or domain; `--token-server`, of the command line \
                 or of the operator, names another that you trust",
            )
    })
}

/// Whether a token server doesn't accept the credential, as opposed to being in trouble.
fn is_refusal(status: StatusCode, credential: Option<&Credential>) -> bool {
    match status {
        // Docker Hub answers 401 here, GitLab 403.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => true,
        // RFC 6749, section 5.2: `invalid_grant`.
        StatusCode::BAD_REQUEST => matches!(credential, Some(Credential::IdentityToken(_))),
        _ => false,
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
        authorization.attach(&mut request, About::Other);
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

/// A token that the user gave for the registry itself.
pub(super) fn given(url: &Url, token: &Secret) -> Result<Authorization> {
    let value = value(token).ok_or_else(|| {
        let message = "the registry token has characters that no header may have";
        Error::new(Kind::InvalidOptions, message)
    })?;
    Ok(Authorization::new(url, value))
}

fn value(token: &Secret) -> Option<HeaderValue> {
    let text = zeroize::Zeroizing::new(format!("Bearer {}", token.expose()));
    HeaderValue::from_str(&text).ok().filter(|value| value.as_bytes().is_ascii())
}

fn parse(body: &[u8]) -> Result<Token> {
    let failed = |what: &str| {
        Error::new(Kind::AuthenticationFailed, format!("the token server answered {what}"))
    };
    if depth(body) > MAX_TOKEN_DEPTH {
        return Err(failed("a document that is nested too deeply"));
    }
    // The parser's words may repeat the token.
    let answer: Answer = serde_json::from_slice(body).map_err(|_| failed("no token"))?;
    let filled = |token: &Secret| !token.expose().is_empty();
    let token = answer.token.filter(filled).or(answer.access_token.filter(filled));
    let token = token.ok_or_else(|| failed("no token"))?;
    if token.expose().len() > MAX_TOKEN {
        return Err(failed(&format!("a token of more than the limit of {MAX_TOKEN} bytes")));
    }
    let value =
        value(&token).ok_or_else(|| failed("a token with characters that no header may have"))?;
    let (stated, life) = lives(answer.expires_in);
    let now = Instant::now();
    Ok(Token { value, renew_at: now + life * 4 / 5, doubtful_at: now + stated * 4 / 5 })
}

/// How long a token lives by the server's word, and for how long we take it to. A clock is not asked: the server's may be
/// wrong, and ours may jump.
fn lives(expires_in: Option<f64>) -> (Duration, Duration) {
    let (shortest, longest) = TOKEN_LIFE;
    let stated = expires_in.map(Duration::try_from_secs_f64).and_then(Result::ok);
    let stated = stated.unwrap_or(shortest).min(longest);
    (stated, stated.max(shortest))
}

/// How deep arrays and objects are nested in a JSON text, or more for a text that is none.
fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => depth += 1,
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
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
            let token = parse(body.as_bytes()).unwrap();
            assert_eq!(token.value, "Bearer t");
        }
    }

    #[test]
    fn the_size_of_a_token_is_bounded() {
        let answer = |size: usize| format!(r#"{{"token":"{}"}}"#, "t".repeat(size));
        assert!(parse(answer(MAX_TOKEN).as_bytes()).is_ok());
        let error = parse(answer(MAX_TOKEN + 1).as_bytes()).map(|_| ()).unwrap_err();
        let message = "the token server answered a token of more than the limit of 16384 bytes";
        assert_eq!(error.to_string(), message);
    }

    #[test]
    fn a_tokens_life_is_believed_within_bounds() {
        for (expires_in, stated, life) in [
            (None, 60, 60),
            (Some(0.0), 0, 60),
            (Some(2.0), 2, 60),
            (Some(-5.0), 60, 60),
            (Some(300.5), 300, 300),
            (Some(1e300), 60, 60),
            (Some(1e9), 86_400, 86_400),
        ] {
            let (found, taken) = lives(expires_in);
            assert_eq!((found.as_secs(), taken.as_secs()), (stated, life), "{expires_in:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_at_four_fifths_of_its_life_and_no_clock_is_believed() {
        let text = r#"{"token":"t","expires_in":300,"issued_at":"1999-01-01T00:00:00Z"}"#;
        let token = parse(text.as_bytes()).unwrap();
        let (now, after) = (Instant::now(), Duration::from_mins(4));
        assert_eq!((token.renew_at, token.doubtful_at), (now + after, now + after));
        let token = parse(br#"{"token":"t","expires_in":2}"#).unwrap();
        assert_eq!(token.renew_at, now + Duration::from_secs(48));
        assert_eq!(token.doubtful_at, now + Duration::from_millis(1600));
    }

    #[test]
    fn an_answer_is_not_nested_deeply() {
        let nested = |depth: usize| {
            let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
            format!(r#"{{"token":"t","x":{open}"\"[[[[[[[[[[[[[[[[["{close}}}"#)
        };
        assert!(parse(nested(MAX_TOKEN_DEPTH).as_bytes()).is_ok());
        let error = parse(nested(MAX_TOKEN_DEPTH + 1).as_bytes()).map(|_| ()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the token server answered a document that is nested too deeply"
        );
    }
}
