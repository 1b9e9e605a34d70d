//! What a registry asks for when it answers 401: `WWW-Authenticate` of RFC 9110, section 11.6.1.
//!
//! A pure parser of text from outside. It understands the schemes Basic and Bearer and steps over others.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

use crate::access::{Bearer, Challenge};
use crate::limits::{MAX_CHALLENGE_PARAMETER, MAX_CHALLENGES};

/// A challenge that we can follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) challenge: Challenge,
    /// The scope that the token we sent lacks, if that is what is wrong with it (RFC 6750, section 3.1).
    pub(super) missing: Option<String>,
}

/// One scheme with its parameters.
type Scheme = (String, Vec<(String, String)>);

/// The first challenge that we can follow and that `serves` us; if none does, the first that we can follow.
pub(super) fn choose(headers: &HeaderMap, serves: impl Fn(&Challenge) -> bool) -> Option<Offer> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter().take(MAX_CHALLENGES);
    // The names and addresses in it are ASCII; what else stands there is for people.
    let texts = values.map(|value| String::from_utf8_lossy(value.as_bytes()));
    let schemes = texts.flat_map(|text| schemes(&text));
    let mut offers: Vec<Offer> =
        schemes.filter_map(|(scheme, parameters)| follow(&scheme, parameters)).collect();
    let best = offers.iter().position(|offer| serves(&offer.challenge)).unwrap_or_default();
    (best < offers.len()).then(|| offers.swap_remove(best))
}

fn follow(scheme: &str, parameters: Vec<(String, String)>) -> Option<Offer> {
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Offer { challenge: Challenge::Basic, missing: None });
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut bearer, mut scope, mut error) = (Bearer::default(), None, String::new());
    for (name, value) in parameters {
        match name.to_ascii_lowercase().as_str() {
            "realm" => bearer.realm = value,
            "service" => bearer.service = value,
            "scope" => scope = Some(value),
            "error" => error = value,
            _ => {}
        }
    }
    let missing = scope.filter(|_| error == "insufficient_scope");
    // It is kept in mind for long, and stands in each request for a token.
    let fits = bearer.realm.len().max(bearer.service.len()) <= MAX_CHALLENGE_PARAMETER;
    (!bearer.realm.is_empty() && fits)
        .then_some(Offer { challenge: Challenge::Bearer(bearer), missing })
}

/// Cuts a header's value into schemes with their parameters; stops where the text is malformed.
fn schemes(text: &str) -> Vec<Scheme> {
    let mut schemes: Vec<Scheme> = vec![];
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (word, after) = token(rest);
        if word.is_empty() {
            return schemes;
        }
        let Some(value) = after.trim_start().strip_prefix('=') else {
            schemes.push((word.to_owned(), vec![]));
            rest = after;
            continue;
        };
        let Some((value, after)) = value_of(value.trim_start()) else { return schemes };
        let Some((_, parameters)) = schemes.last_mut() else { return schemes };
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
    use reqwest::header::HeaderValue;

    use super::*;

    /// What is chosen by somebody whom any challenge serves.
    fn check(values: &[&str], expected: Option<&Challenge>) {
        let found = choose(&headers(values), |_| true).map(|offer| offer.challenge);
        assert_eq!(found.as_ref(), expected, "{values:?}");
    }

    fn headers(values: &[&str]) -> HeaderMap {
        let value = |text: &&str| (WWW_AUTHENTICATE, HeaderValue::from_str(text).unwrap());
        let mut headers = HeaderMap::new();
        headers.extend(values.iter().map(value));
        headers
    }

    #[test]
    fn the_size_of_what_is_kept_in_mind_is_bounded() {
        let (longest, longer) =
            ("x".repeat(MAX_CHALLENGE_PARAMETER), "x".repeat(MAX_CHALLENGE_PARAMETER + 1));
        let value =
            |realm: &str, service: &str| format!(r#"Bearer realm="{realm}",service="{service}""#);
        check(&[&value(&longest, &longest)], Some(&bearer(&longest, &longest)));
        for value in [value(&longer, "s"), value("r", &longer)] {
            check(&[&value], None);
            check(&[&value, "Basic"], Some(&Challenge::Basic));
        }
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
        check(
            &["NTLM", "Negotiate", "Basic realm=\"x\", charset=\"UTF-8\""],
            Some(&Challenge::Basic),
        );
        let hub = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",\
                   scope=\"repository:a:pull,push\",error=\"insufficient_scope\"";
        check(&[hub], Some(&bearer("https://auth.docker.io/token", "registry.docker.io")));
        check(&["BEARER service=s , REALM = \"https://a/\""], Some(&bearer("https://a/", "s")));
        check(&["Bearer realm=\"a\\\"b\\\\\""], Some(&bearer("a\"b\\", "")));
        check(&["Bearer realm=\"r, Basic realm=x\""], Some(&bearer("r, Basic realm=x", "")));
        check(&["Bearer realm=\"r\", Basic realm=\"x\""], Some(&bearer("r", "")));
        check(&["Bearer service=\"s\", Basic realm=\"x\""], Some(&Challenge::Basic));
        check(&["Bearer realm=\"é\"", "Basic"], Some(&bearer("é", "")));
        check(&["Bearer realm=\"r\",realm=\"s\""], Some(&bearer("s", "")));
    }

    #[test]
    fn malformed_challenges_are_no_challenges() {
        for text in [
            "",
            ",",
            "=",
            "=x",
            "\"",
            "\"Bearer",
            "Bearer",
            "Bearer realm",
            "Bearer realm=",
            "Bearer realm=\"\"",
            "Bearer realm=\"open",
            "Bearer realm=\"open\\",
            "Bearer =\"x\"",
            "Bearer, realm",
            "realm=\"https://a/\"",
            "Digest realm=\"Basic\"",
            "Basically realm=\"x\"",
            "(Basic)",
            "Bearer\u{a0}realm=\"x\"",
        ] {
            check(&[text], None);
        }
        check(&[&format!("Bearer realm=\"{}\"", "\\".repeat(60_001))], None);
        check(&[&format!("{} Basic", "x ".repeat(32 << 10))], Some(&Challenge::Basic));
        check(&[&",".repeat(64 << 10)], None);
        let many = vec!["Negotiate"; MAX_CHALLENGES];
        check(&[many.as_slice(), &["Basic"]].concat(), None);
    }

    #[test]
    fn a_challenge_that_serves_us_goes_before_one_that_does_not() {
        let both = headers(&["Basic realm=\"x\", Bearer realm=\"r\""]);
        let chosen = |serves: fn(&Challenge) -> bool| choose(&both, serves).unwrap().challenge;
        assert_eq!(chosen(|_| true), Challenge::Basic);
        assert_eq!(chosen(|challenge| *challenge != Challenge::Basic), bearer("r", ""));
        assert_eq!(chosen(|_| false), Challenge::Basic);
    }

    #[test]
    fn a_missing_right_is_told_from_a_token_that_is_none() {
        let missing = |text: &str| choose(&headers(&[text]), |_| true).unwrap().missing;
        let scope = "Bearer realm=\"r\",scope=\"repository:a:delete\"";
        assert_eq!(missing(scope), None);
        assert_eq!(missing(&format!("{scope},error=\"invalid_token\"")), None);
        assert_eq!(
            missing(&format!("{scope},error=\"insufficient_scope\"")).as_deref(),
            Some("repository:a:delete")
        );
    }
}
