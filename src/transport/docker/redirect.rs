//! Where a registry may send us: redirects, and the addresses of upload sessions.
//!
//! Pure decisions about text from outside. Addresses are resolved by RFC 3986 against the URL of the request.

use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Method, StatusCode};
use url::{Origin, Url};

use super::error::{origin, place, status_words};
use crate::error::{Error, Kind, Result};

/// The place a redirect leads to. Any host will do, since no credential goes along, but never with less protection.
pub(super) fn follow(from: &Url, headers: &HeaderMap) -> Result<Url> {
    let to = location(from, headers)?;
    check(from, &to)?;
    Ok(to)
}

/// Whether an answer is a redirect.
pub(super) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// The place where a request is to be repeated that writes, or that only the registry itself can answer: one of the same
/// origin. A redirect that would turn it into GET is not followed (RFC 9110, section 15.4).
pub(super) fn repeat(
    method: &Method,
    status: StatusCode,
    from: &Url,
    headers: &HeaderMap,
) -> Result<Url> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    if !reads && !matches!(status.as_u16(), 307 | 308) {
        let message = format!(
            "the registry redirects {method} by {}, which is not followed",
            status_words(status)
        );
        return Err(refused(message).hint("check that the host is a registry, and its scheme"));
    }
    let to = location(from, headers)?;
    if to.origin() != from.origin() {
        return Err(stranger(from, &to, &format!("redirects {method}")).hint(OWN_ADDRESS));
    }
    check(from, &to)?;
    Ok(to)
}

/// The address of an upload session. A blob goes to the registry that the user named, and to those origins that the user
/// allows for that (`allowed` are all of them).
pub(super) fn session(
    registry: &str,
    allowed: &[Origin],
    from: &Url,
    headers: &HeaderMap,
) -> Result<Url> {
    let to = location(from, headers)?;
    if !allowed.contains(&to.origin()) {
        // What is less protected is allowed to nobody.
        let hint = match check(from, &to) {
            Ok(()) => format!(
                "{OWN_ADDRESS}; `--upload-host {registry}={}`, of the command line or of the operator, allows \
                 another host",
                place(&to)
            ),
            Err(_) => OWN_ADDRESS.to_owned(),
        };
        return Err(stranger(from, &to, "wants the blob to be sent").hint(hint));
    }
    check(from, &to)?;
    Ok(to)
}

/// What to do about a registry that leads to another origin than its own.
const OWN_ADDRESS: &str =
    "the registry, or a proxy before it, has to answer with its own address in `Location`";

/// The error for a place of another origin; `what` the registry does with it.
fn stranger(from: &Url, to: &Url, what: &str) -> Error {
    let (from, to) = (origin(from), origin(to));
    refused(format!("the registry at `{from}` {what} to `{to}`, which is not followed"))
}

/// The error for redirects without end, by way of these places.
pub(super) fn endless<'a>(limit: usize, places: impl Iterator<Item = &'a Url>) -> Error {
    let mut places: Vec<String> = places.map(origin).collect();
    places.dedup();
    let places = places.join("`, `");
    refused(format!("the registry redirects more than {limit} times, by way of `{places}`"))
}

/// The error for a redirect of a request whose body is used up.
pub(super) fn too_late(to: &Url) -> Error {
    let message = format!("the registry redirects to `{}` when the blob has been sent", origin(to));
    refused(message)
}

fn location(from: &Url, headers: &HeaderMap) -> Result<Url> {
    let mut values = headers.get_all(LOCATION).iter();
    let value = values.next().ok_or_else(|| refused("the registry's answer lacks `Location`"))?;
    if values.any(|other| other != value) {
        return Err(refused("the registry's answer has two different `Location`s"));
    }
    let malformed = || refused("the registry's answer has a malformed `Location`");
    let text = value.to_str().map_err(|_| malformed())?;
    if text.is_empty() {
        return Err(malformed());
    }
    let mut to = from.join(text).map_err(|_| malformed())?;
    to.set_fragment(None);
    Ok(to)
}

/// Whether an address may be followed: one with no less protection, and without a user name.
pub(super) fn check(from: &Url, to: &Url) -> Result<()> {
    match (from.scheme(), to.scheme()) {
        (_, "https") | ("http", "http") => {}
        _ => {
            let message = format!(
                "the registry at `{}` leads to `{}`, which is less protected",
                origin(from),
                origin(to)
            );
            return Err(refused(message));
        }
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Err(refused("the registry leads to an address with a user name"));
    }
    Ok(())
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(Kind::RegistryUnavailable, message).permanent()
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn headers(locations: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for location in locations {
            headers.append(LOCATION, HeaderValue::from_bytes(location.as_bytes()).unwrap());
        }
        headers
    }

    fn check(
        decide: fn(&Url, &HeaderMap) -> Result<Url>,
        locations: &[&str],
        expected: Result<&str, &str>,
    ) {
        let from = Url::parse("https://r.example/v2/a/blobs/uploads/?x=1").unwrap();
        let found = decide(&from, &headers(locations));
        let found = found.map(String::from).map_err(|error| error.to_string());
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(found, expected, "{locations:?}");
    }

    /// A session of a registry beside which `https://up.example:444` takes uploads.
    fn session(from: &Url, headers: &HeaderMap) -> Result<Url> {
        let up = Url::parse("https://up.example:444").unwrap().origin();
        let home = Url::parse("https://r.example").unwrap().origin();
        super::session("r.example", &[home, up], from, headers)
    }

    #[test]
    fn sessions_stay_at_the_registry() {
        for (location, url) in [
            ("/v2/a/uploads/1?s=a%2Fb;c&t=", "https://r.example/v2/a/uploads/1?s=a%2Fb;c&t="),
            ("2", "https://r.example/v2/a/blobs/uploads/2"),
            ("?y=2", "https://r.example/v2/a/blobs/uploads/?y=2"),
            ("//r.example/z", "https://r.example/z"),
            ("https://R.example:443/z#f", "https://r.example/z"),
            ("https://UP.example:444/z?s=1", "https://up.example:444/z?s=1"),
        ] {
            check(session, &[location], Ok(url));
        }
        check(session, &["/a", "/a"], Ok("https://r.example/a"));
        for (location, to) in [
            ("https://evil.example/z", "https://evil.example"),
            ("//evil.example/z", "https://evil.example"),
            ("https://r.example:444/z?canary", "https://r.example:444"),
            ("http://r.example/z", "http://r.example"),
            ("https://r.example@evil.example/", "https://evil.example"),
            ("\\\\evil.example/z", "https://evil.example"),
            ("/\\evil.example/z", "https://evil.example"),
            ("https://r.example./z", "https://r.example."),
            ("https://r.xn--exmple-4nf/z", "https://r.xn--exmple-4nf"),
            ("file:///etc/passwd", "file://"),
            ("javascript:alert(1)", "javascript://"),
            ("https://up.example/z", "https://up.example"),
            ("http://up.example:444/z", "http://up.example:444"),
            ("https://sub.up.example:444/z", "https://sub.up.example:444"),
        ] {
            let message = format!(
                "the registry at `https://r.example` wants the blob to be sent to `{to}`, \
                 which is not followed"
            );
            check(session, &[location], Err(&message));
        }
        for (locations, message) in [
            (&[][..], "the registry's answer lacks `Location`"),
            (&["/a", "/b"], "the registry's answer has two different `Location`s"),
            (&[""], "the registry's answer has a malformed `Location`"),
            (&["https://[/"], "the registry's answer has a malformed `Location`"),
            (&["https://r.example:99999/"], "the registry's answer has a malformed `Location`"),
            (&["https://"], "the registry's answer has a malformed `Location`"),
            (&["/é"], "the registry's answer has a malformed `Location`"),
            (&["//u:p@r.example/"], "the registry leads to an address with a user name"),
        ] {
            check(session, locations, Err(message));
        }
    }

    #[test]
    fn a_session_never_loses_its_protection() {
        // Whoever may be sent blobs in plain HTTP, may not once they have gone out by TLS.
        let url = |text: &str| Url::parse(text).unwrap();
        let (home, up) = (url("http://r.example"), url("https://up.example"));
        let to = headers(&["http://r.example/2"]);
        let allowed = [home.origin(), up.origin()];
        let error = super::session("r.example", &allowed, &up, &to).unwrap_err();
        let message = "the registry at `https://up.example` leads to `http://r.example`, which is \
                       less protected";
        assert_eq!(error.to_string(), message);
    }

    #[test]
    fn what_writes_is_repeated_at_the_registry_only() {
        let check = |method: &Method, status: u16, location: &str, expected: Result<&str, &str>| {
            let from = Url::parse("https://r.example/v2/a").unwrap();
            let status = StatusCode::from_u16(status).unwrap();
            let found = repeat(method, status, &from, &headers(&[location]));
            let found = found.map(String::from).map_err(|error| error.to_string());
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(found, expected, "{method} {status} {location}");
        };
        let away = "the registry at `https://r.example` redirects PUT to `https://evil.example`, which is \
                    not followed";
        let down = "the registry at `https://r.example` redirects PUT to `http://r.example`, which is not \
                    followed";
        for status in [307, 308] {
            check(&Method::PUT, status, "/b?x", Ok("https://r.example/b?x"));
            check(&Method::PUT, status, "https://evil.example/", Err(away));
            check(&Method::PUT, status, "http://r.example/", Err(down));
        }
        for (method, name) in [
            (Method::POST, "POST"),
            (Method::PUT, "PUT"),
            (Method::PATCH, "PATCH"),
            (Method::DELETE, "DELETE"),
        ] {
            for (status, words) in
                [(301, "301 Moved Permanently"), (302, "302 Found"), (303, "303 See Other")]
            {
                let message =
                    format!("the registry redirects {name} by {words}, which is not followed");
                check(&method, status, "/b", Err(&message));
            }
        }
        check(&Method::HEAD, 302, "/b", Ok("https://r.example/b"));
    }

    #[test]
    fn redirects_keep_their_protection() {
        check(follow, &["https://cdn.example/b?sig=1"], Ok("https://cdn.example/b?sig=1"));
        for (location, to) in [
            ("http://cdn.example/b?canary", "http://cdn.example"),
            ("ftp://cdn.example/b", "ftp://cdn.example"),
            ("file:///etc/passwd", "file://"),
            ("data:text/plain,x", "data://"),
            ("unix:/run/docker.sock", "unix://"),
        ] {
            let message = format!(
                "the registry at `https://r.example` leads to `{to}`, which is less protected"
            );
            check(follow, &[location], Err(&message));
        }
        let message = "the registry leads to an address with a user name";
        check(follow, &["https://u@cdn.example/"], Err(message));
    }
}
