//! Where a registry may send us: redirects of downloads, and the addresses of upload sessions.
//!
//! Pure decisions about text from outside. Both are resolved by RFC 3986 against the URL of the request.

use reqwest::header::{HeaderMap, LOCATION};
use url::Url;

use super::error::origin;
use crate::error::{Error, Kind, Result};

/// The place a redirect leads to. Any host will do, since no credential goes along, but never with less protection.
pub(super) fn follow(from: &Url, headers: &HeaderMap) -> Result<Url> {
    let to = location(from, headers)?;
    check(from, &to)?;
    Ok(to)
}

/// The address of an upload session. A blob goes to the registry that the user named and nowhere else.
pub(super) fn session(from: &Url, headers: &HeaderMap) -> Result<Url> {
    let to = location(from, headers)?;
    if to.origin() != from.origin() {
        let message = format!(
            "the registry at `{}` wants the blob to be sent to `{}`, which is not followed",
            origin(from),
            origin(&to)
        );
        return Err(refused(message).hint(
            "the registry, or a proxy before it, has to answer with its own address in `Location`",
        ));
    }
    check(from, &to)?;
    Ok(to)
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

fn check(from: &Url, to: &Url) -> Result<()> {
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

    #[test]
    fn sessions_stay_at_the_registry() {
        for (location, url) in [
            ("/v2/a/uploads/1?s=a%2Fb;c&t=", "https://r.example/v2/a/uploads/1?s=a%2Fb;c&t="),
            ("2", "https://r.example/v2/a/blobs/uploads/2"),
            ("?y=2", "https://r.example/v2/a/blobs/uploads/?y=2"),
            ("//r.example/z", "https://r.example/z"),
            ("https://R.example:443/z#f", "https://r.example/z"),
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
            (&["/é"], "the registry's answer has a malformed `Location`"),
            (&["//u:p@r.example/"], "the registry leads to an address with a user name"),
        ] {
            check(session, locations, Err(message));
        }
    }

    #[test]
    fn redirects_keep_their_protection() {
        check(follow, &["https://cdn.example/b?sig=1"], Ok("https://cdn.example/b?sig=1"));
        for (location, to) in [
            ("http://cdn.example/b?canary", "http://cdn.example"),
            ("ftp://cdn.example/b", "ftp://cdn.example"),
            ("file:///etc/passwd", "file://"),
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
