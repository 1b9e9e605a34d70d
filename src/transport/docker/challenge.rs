//! What a registry asks for when it answers 401: `WWW-Authenticate` of RFC 9110, section 11.6.1.
//!
//! A pure parser of text from outside. It understands the schemes Basic and Bearer and steps over others.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// A way of identifying ourselves that we can follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token from a token server.
    Bearer(Bearer),
}

/// Where tokens are to be had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bearer {
    /// The token server's URL, as the registry wrote it.
    pub(super) realm: String,
    /// The name that the token server knows the registry by.
    pub(super) service: String,
}

/// One scheme with its parameters.
type Offer = (String, Vec<(String, String)>);

/// The first challenge that we can follow.
pub(super) fn choose(headers: &HeaderMap) -> Option<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter();
    let offers = values.filter_map(|value| value.to_str().ok()).flat_map(offers);
    offers.into_iter().find_map(|(scheme, parameters)| follow(&scheme, parameters))
}

fn follow(scheme: &str, parameters: Vec<(String, String)>) -> Option<Challenge> {
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut bearer = Bearer::default();
    for (name, value) in parameters {
        match name.to_ascii_lowercase().as_str() {
            "realm" => bearer.realm = value,
            "service" => bearer.service = value,
            _ => {}
        }
    }
    (!bearer.realm.is_empty()).then_some(Challenge::Bearer(bearer))
}

/// Cuts a header's value into schemes with their parameters; stops where the text is malformed.
fn offers(text: &str) -> Vec<Offer> {
    let mut offers: Vec<Offer> = vec![];
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (word, after) = token(rest);
        if word.is_empty() {
            return offers;
        }
        let Some(value) = after.trim_start().strip_prefix('=') else {
            offers.push((word.to_owned(), vec![]));
            rest = after;
            continue;
        };
        let Some((value, after)) = value_of(value.trim_start()) else { return offers };
        let Some((_, parameters)) = offers.last_mut() else { return offers };
        parameters.push((word.to_owned(), value));
        rest = after;
    }
}

/// The token at the start, and what follows.
fn token(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(c)));
    text.split_at(end.unwrap_or(text.len()))
}

/// The value at the start, quoted or not, and what follows.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = token(text);
        return Some((value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[&str], expected: Option<&Challenge>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        assert_eq!(choose(&headers).as_ref(), expected, "{values:?}");
    }

    fn bearer(realm: &str, service: &str) -> Challenge {
        let (realm, service) = (realm.to_owned(), service.to_owned());
        Challenge::Bearer(Bearer { realm, service })
    }

    #[test]
    fn the_first_scheme_we_know_is_chosen() {
        check(&[], None);
        check(&["Basic realm=\"x\""], Some(&Challenge::Basic));
        check(&["basic"], Some(&Challenge::Basic));
        check(&["Negotiate, Basic realm=x"], Some(&Challenge::Basic));
        check(&["Negotiate abc==", "Basic realm=x"], Some(&Challenge::Basic));
        let hub = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",\
                   scope=\"repository:a:pull,push\",error=\"insufficient_scope\"";
        check(&[hub], Some(&bearer("https://auth.docker.io/token", "registry.docker.io")));
        check(&["BEARER service=s , REALM = \"https://a/\""], Some(&bearer("https://a/", "s")));
        check(&["Bearer realm=\"a\\\"b\\\\\""], Some(&bearer("a\"b\\", "")));
        check(&["Bearer realm=\"r\", Basic realm=\"x\""], Some(&bearer("r", "")));
        check(&["Bearer service=\"s\", Basic realm=\"x\""], Some(&Challenge::Basic));
    }

    #[test]
    fn malformed_challenges_are_no_challenges() {
        for text in ["", ",", "=x", "Bearer realm=\"open", "Bearer realm", "Digest realm=\"Basic\""]
        {
            check(&[text], None);
        }
        check(&[&format!("Bearer realm=\"{}\"", "\\".repeat(60_001))], None);
    }
}
