//! Where the next page of a list is: the `Link` header of RFC 8288, as the distribution specification uses it.
//!
//! Pure decisions about text from outside. A page is asked for with our credentials, so it has to be at the registry.

use reqwest::header::{HeaderMap, LINK};
use url::Url;

use super::super::error::origin;
use crate::error::{Error, Kind, Result};

/// The address of the page after the one that came from `from`, if there is one.
pub(super) fn next(from: &Url, headers: &HeaderMap) -> Result<Option<Url>> {
    let mut targets = Vec::new();
    for value in headers.get_all(LINK) {
        let text = value.to_str().map_err(|_| malformed())?;
        targets.extend(targets_of_next(text)?);
    }
    targets.dedup();
    match targets[..] {
        [] => Ok(None),
        [target] => resolve(from, target).map(Some),
        _ => Err(refused("the registry names two different next pages")),
    }
}

fn resolve(from: &Url, target: &str) -> Result<Url> {
    let mut to = from.join(target).map_err(|_| malformed())?;
    to.set_fragment(None);
    if to.origin() != from.origin() {
        let message = format!(
            "the registry at `{}` has the next page at `{}`, which is not followed",
            origin(from),
            origin(&to)
        );
        return Err(refused(message));
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Err(refused("the registry leads to an address with a user name"));
    }
    Ok(to)
}

/// The targets of the links that lead to the next page, of a list such as `<a>; rel="next", <b>; rel=last`.
fn targets_of_next(mut text: &str) -> Result<Vec<&str>> {
    let mut targets = Vec::new();
    loop {
        text = text.trim_matches([' ', '\t', ',']);
        if text.is_empty() {
            return Ok(targets);
        }
        let (target, rest) =
            text.strip_prefix('<').and_then(|text| text.split_once('>')).ok_or_else(malformed)?;
        let (parameters, rest) = split_unquoted(rest, ',')?;
        if is_next(parameters)? {
            targets.push(target);
        }
        text = rest;
    }
}

fn is_next(mut parameters: &str) -> Result<bool> {
    while !parameters.is_empty() {
        let (parameter, rest) = split_unquoted(parameters, ';')?;
        parameters = rest;
        let Some((name, value)) = parameter.split_once('=') else { continue };
        if name.trim().eq_ignore_ascii_case("rel") {
            // Only the first one counts (RFC 8288, section 3.3).
            let value = value.trim().trim_matches('"');
            return Ok(value.split_whitespace().any(|kind| kind.eq_ignore_ascii_case("next")));
        }
    }
    Ok(false)
}

/// Splits at the first separator that doesn't stand in quotes.
fn split_unquoted(text: &str, separator: char) -> Result<(&str, &str)> {
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            c if c == separator && !quoted => return Ok((&text[..at], &text[at + 1..])),
            _ => {}
        }
    }
    if quoted { Err(malformed()) } else { Ok((text, "")) }
}

fn malformed() -> Error {
    refused("the registry's answer has a malformed `Link`")
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(Kind::RegistryUnavailable, message).permanent()
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn check(links: &[&str], expected: Result<Option<&str>, &str>) {
        let from = Url::parse("https://r.example/v2/a/referrers/sha256:1?artifactType=t").unwrap();
        let mut headers = HeaderMap::new();
        for link in links {
            headers.append(LINK, HeaderValue::from_bytes(link.as_bytes()).unwrap());
        }
        let found = next(&from, &headers);
        let found = found.map(|url| url.map(String::from)).map_err(|error| error.to_string());
        let expected = expected.map(|url| url.map(str::to_owned)).map_err(str::to_owned);
        assert_eq!(found, expected, "{links:?}");
    }

    #[test]
    fn the_next_page_is_found() {
        for links in [
            &["</v2/a/referrers/sha256:1?n=1>; rel=\"next\""][..],
            &["</v2/a/referrers/sha256:1?n=1>;rel=next"],
            &["<?n=1>; title=\"a, b; rel=prev\"; REL=\"last Next\"; rel=prev"],
            &["<?n=0>; rel=prev, <?n=1>; rel=next,"],
            &[
                "<?n=0>; rel=first",
                "<https://R.example:443/v2/a/referrers/sha256:1?n=1#x>; rel=next",
            ],
            &["<?n=1>; rel=next", "<?n=1>; rel=next"],
        ] {
            check(links, Ok(Some("https://r.example/v2/a/referrers/sha256:1?n=1")));
        }
        for links in
            [&[][..], &[""], &["<?n=1>"], &["<?n=1>; rel=prev; rel=next"], &["<x>; anchor"]]
        {
            check(links, Ok(None));
        }
    }

    #[test]
    fn a_page_elsewhere_is_not_followed() {
        for (link, to) in [
            ("<https://evil.example/v2/>; rel=next", "https://evil.example"),
            ("<//evil.example/v2/>; rel=next", "https://evil.example"),
            ("<http://r.example/v2/>; rel=next", "http://r.example"),
            ("<https://r.example:444/v2/>; rel=next", "https://r.example:444"),
            ("<https://r.example@evil.example/>; rel=next", "https://evil.example"),
            ("<https://169.254.169.254/?canary>; rel=next", "https://169.254.169.254"),
            ("<file:///etc/passwd>; rel=next", "file://"),
        ] {
            let message = format!(
                "the registry at `https://r.example` has the next page at `{to}`, which is not followed"
            );
            check(&[link], Err(&message));
        }
        for (link, message) in [
            (
                "<https://u:p@r.example/>; rel=next",
                "the registry leads to an address with a user name",
            ),
            ("</a>; rel=next, </b>; rel=next", "the registry names two different next pages"),
            ("/a; rel=next", "the registry's answer has a malformed `Link`"),
            ("</a; rel=next", "the registry's answer has a malformed `Link`"),
            ("</a>; rel=\"next", "the registry's answer has a malformed `Link`"),
            ("<https://[/>; rel=next", "the registry's answer has a malformed `Link`"),
            ("</é>; rel=next", "the registry's answer has a malformed `Link`"),
        ] {
            check(&[link], Err(message));
        }
    }
}
