//! What comes back from a registry, or doesn't, turned into our errors.
//!
//! Kind and class are decided here by status and error code (distribution specification v1.1, "Error Codes"), and by
//! the type of a connection's failure; never by words. Messages hold no query strings and no bodies but the specification's
//! own error document.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use jiff::Timestamp;
use oci_client::errors::{OciEnvelope, OciErrorCode};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use url::Url;

use super::{body, session, tls_fault, tunnel_fault};
use crate::error::{Class, Error, Kind, RAISE_LIMIT, lacks_descriptors};
use crate::limits::{DEFAULT_PAUSE, MAX_ERROR_BODY, MAX_ERROR_SHOWN};

/// An answer that is not what we hoped for.
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// The code and message of the registry's first error.
    pub(super) first: Option<(OciErrorCode, String)>,
    /// How many bytes of an upload the registry says that it has.
    pub(super) held: Option<u64>,
    retry_after: Option<Duration>,
    /// Who has answered.
    pub(super) who: Who,
}

/// Who has refused something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// The registry, which has been shown a credential or has not.
    Registry { shown: bool },
    /// Another host, by its place.
    Other(String),
}

/// Registries hardly ever have such a limit; proxies have one unless they are told otherwise.
const BODY_TOO_LARGE: &str = "raise the limit of the registry, or of the proxy in front of it, for \
                              what one request may carry (nginx: `client_max_body_size`)";

// === impl Refusal ===

impl Refusal {
    /// Reads what the registry says of its refusal.
    pub(super) async fn read(response: Response) -> Self {
        let (status, held) = (response.status(), session::held(response.headers()));
        let retry_after = retry_after(response.headers(), Timestamp::now());
        // Without a body the status alone has to do.
        let body = body::read(response, MAX_ERROR_BODY as u64, "error").await.unwrap_or_default();
        let who = Who::Registry { shown: false };
        Self { status, first: first_error(&body), held, retry_after, who }
    }

    /// Takes something out of what the registry chose to say: its message, and a code of its own.
    pub(super) fn hide(&mut self, hide: impl Fn(&mut String)) {
        if let Some((code, message)) = &mut self.first {
            hide(message);
            if let OciErrorCode::Other(code) = code {
                hide(code);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn coded(status: u16, code: Option<OciErrorCode>) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or_default();
        Self {
            status,
            first: code.map(|code| (code, String::new())),
            held: None,
            retry_after: None,
            who: Who::Registry { shown: false },
        }
    }

    /// The code, if the registry gave one.
    pub(super) fn code(&self) -> Option<&OciErrorCode> {
        self.first.as_ref().map(|(code, _)| code)
    }

    /// The error, for requests whose refusal has no special meaning.
    pub(super) fn into_error(self) -> Error {
        if self.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            return tunnel_fault::wants_credentials();
        }
        let (kind, class) = classify(self.status, self.code());
        let retry_after = self.retry_after;
        let mut error = Error::new(kind, self.words());
        if let Some(hint) = next_step(self.status) {
            error = error.hint(hint);
        }
        match (class, retry_after) {
            (Class::Permanent, _) => error.permanent(),
            (Class::Transient, None) => error.transient(),
            (Class::Transient, Some(wait)) => error.after(wait),
        }
    }

    /// What the registry answered, in words.
    pub(super) fn words(&self) -> String {
        match &self.who {
            Who::Registry { .. } => self.words_of("the registry"),
            Who::Other(place) => self.words_of(&format!("`{place}`")),
        }
    }

    /// What somebody answered, in words.
    pub(super) fn words_of(&self, who: &str) -> String {
        let status = status_words(self.status);
        match &self.first {
            None => format!("{who} answered {status}"),
            Some((code, message)) => {
                let said = match (code_name(code), message.as_str()) {
                    (code, "") => code,
                    (code, message) => format!("{code}: {message}"),
                };
                let said: String = said.chars().take(MAX_ERROR_SHOWN).collect();
                format!("{who} answered {status} ({said})")
            }
        }
    }
}

/// An answer whose status is none that the protocol has for the request.
pub(super) fn unexpected(status: StatusCode) -> Error {
    let message =
        format!("the registry answered {}, which means nothing here", status_words(status));
    Error::new(Kind::RegistryUnavailable, message)
        .permanent()
        .hint("check that the host is a registry")
}

/// The registry's own name for a status, such as `404 Not Found`.
pub(super) fn status_words(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

/// What to do about a status that says it all.
fn next_step(status: StatusCode) -> Option<&'static str> {
    match status.as_u16() {
        413 => Some(BODY_TOO_LARGE),
        507 => Some("the registry has no room left; make some, or have the quota raised"),
        _ => None,
    }
}

fn classify(status: StatusCode, code: Option<&OciErrorCode>) -> (Kind, Class) {
    use Class::{Permanent, Transient};
    use OciErrorCode as Code;
    match (status.as_u16(), code) {
        (429, _) | (400..500, Some(Code::Toomanyrequests)) => (Kind::RateLimited, Transient),
        // The upload session is gone; another one may live longer.
        (_, Some(Code::BlobUploadUnknown | Code::BlobUploadInvalid)) => {
            (Kind::RegistryUnavailable, Transient)
        }
        // A blob that was there has gone.
        (_, Some(Code::ManifestBlobUnknown)) => (Kind::RegistryUnavailable, Transient),
        (400..500, Some(Code::DigestInvalid | Code::SizeInvalid)) => {
            (Kind::ContentMismatch, Permanent)
        }
        (400..500, Some(Code::NameInvalid)) => (Kind::InvalidReference, Permanent),
        (401, _) => (Kind::AuthenticationFailed, Permanent),
        (403 | 407 | 413 | 507, _) => (Kind::AccessDenied, Permanent),
        (404 | 410, _) => (Kind::NotFound, Permanent),
        (405 | 501, _) => (Kind::TransportUnsupported, Permanent),
        (408 | 499 | 500 | 502 | 503 | 504 | 522, _) => (Kind::RegistryUnavailable, Transient),
        _ => (Kind::RegistryUnavailable, Permanent),
    }
}

fn first_error(body: &[u8]) -> Option<(OciErrorCode, String)> {
    let envelope: OciEnvelope = serde_json::from_slice(body).ok()?;
    envelope.errors.into_iter().next().map(|first| (first.code, first.message))
}

/// The code as the registry writes it.
fn code_name(code: &OciErrorCode) -> String {
    let value = serde_json::to_value(code).ok();
    value.as_ref().and_then(|value| value.as_str()).unwrap_or_default().to_owned()
}

/// `Retry-After` of RFC 9110: seconds, or a date. A date that has passed means now.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

/// The pause that an answer asks of everybody who talks to the host.
pub(super) fn pause(response: &Response) -> Option<Duration> {
    let asked = retry_after(response.headers(), Timestamp::now());
    match response.status() {
        // A date that has passed, or none at all, is still a wish to slow down.
        StatusCode::TOO_MANY_REQUESTS => Some(asked.unwrap_or_default().max(DEFAULT_PAUSE)),
        StatusCode::SERVICE_UNAVAILABLE => asked.map(|asked| asked.max(DEFAULT_PAUSE)),
        _ => None,
    }
}

/// A request that was not sent, because the host wants none for longer than anybody waits.
pub(super) fn paused(place: &str, left: Duration) -> Error {
    let seconds = left.as_secs();
    let message = format!("`{place}` wants no requests for another {seconds} s");
    Error::new(Kind::RateLimited, message).after(left)
}

/// A body that broke off. Its head was good, so that nothing is wrong with certificates.
pub(super) fn of_broken_body(failure: &reqwest::Error, url: &Url) -> Error {
    let message = format!("the connection to `{}` broke: {}", place(url), innermost(failure));
    Error::new(Kind::NetworkError, message)
}

/// A request that got no answer at all.
pub(super) fn of_failure(failure: &reqwest::Error, url: &Url) -> Error {
    // What our own parts said while the HTTP library connected.
    if let Some(own) = find::<Error>(failure) {
        return own.clone();
    }
    let place = place(url);
    if let Some(tls) = find::<rustls::Error>(failure) {
        return tls_fault::explain(tls, &place);
    }
    let proxy = find::<tunnel_fault::Fault>(failure);
    if let Some(error) = proxy.and_then(|fault| tunnel_fault::explain(fault, &place)) {
        return error;
    }
    if failure.is_timeout() {
        let message = format!("connecting to `{place}` took too long");
        return Error::new(Kind::Timeout, message);
    }
    if find::<hyper::Error>(failure).is_some_and(hyper::Error::is_parse) {
        let message = format!("`{place}` answers with something that is not HTTP");
        return Error::new(Kind::NetworkError, message)
            .permanent()
            .hint("check the port, and whether the registry speaks TLS there");
    }
    let cause = innermost(failure);
    let message = if failure.is_connect() {
        format!("cannot connect to `{place}`: {cause}")
    } else {
        format!("the connection to `{place}` broke: {cause}")
    };
    let error = Error::new(Kind::NetworkError, message);
    if find::<io::Error>(failure).is_some_and(lacks_descriptors) {
        return error.hint(RAISE_LIMIT);
    }
    if is_refused(failure) {
        return error.hint("check that the registry runs, and its host and port");
    }
    error
}

/// A request that was sent, and not answered in time.
pub(super) fn no_answer(url: &Url, waited: Duration) -> Error {
    let seconds = waited.as_secs();
    Error::new(Kind::Timeout, format!("`{}` did not answer within {seconds} s", place(url)))
}

/// Whether the other side answered a TLS handshake with something else, or hung up on it.
pub(super) fn speaks_no_tls(failure: &reqwest::Error) -> bool {
    let other = matches!(find::<rustls::Error>(failure), Some(rustls::Error::InvalidMessage(_)));
    let hung_up = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset];
    let io = find::<io::Error>(failure).map(io::Error::kind);
    failure.is_connect() && (other || io.is_some_and(|kind| hung_up.contains(&kind)))
}

/// Whether nothing listens there.
pub(super) fn is_refused(failure: &reqwest::Error) -> bool {
    find::<io::Error>(failure).is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Host and port of a URL, for messages.
pub(super) fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Scheme, host and port of a URL, for messages.
pub(super) fn origin(url: &Url) -> String {
    format!("{}://{}", url.scheme(), place(url))
}

/// The words of the innermost cause; reqwest's own would repeat the URL with its query.
pub(super) fn innermost(error: &(dyn StdError + 'static)) -> String {
    let cause = causes(error).filter(|cause| !cause.is::<reqwest::Error>()).last();
    cause.map_or_else(|| "the request failed".to_owned(), ToString::to_string)
}

fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    causes(error).filter_map(|cause| cause.downcast_ref::<T>()).last()
}

/// An error and its causes. An `io::Error` hides the one it wraps from `source`.
fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| cause(*error))
}

fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    match wrapped {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

#[cfg(test)]
mod tests;
