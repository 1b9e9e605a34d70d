//! Takes our secrets out of what somebody says who was sent them: a status or a log has more readers than a Secret.
//!
//! They are found as they were sent, and as they look within a URL, a form or a document.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::access::{Credential, Secret};

/// Shortest secret that is looked for in what others say: hiding a shorter one would only show where it stands.
const SHORTEST: usize = 4;

/// What stands in the place of a secret.
const HIDDEN: &str = "[hidden]";

/// Reads the first character of a text that was written in some way: adds its bytes, and says how long it was in the text.
type Reading = fn(&str, &mut Vec<u8>) -> usize;

/// Ways to write a text in which some characters look otherwise, with a character that every such text has.
const READINGS: [(char, Reading); 3] = [('%', of_url), ('+', of_form), ('\\', of_document)];

/// Takes a credential out of what somebody said.
pub(super) fn hide(credential: &Credential, words: &mut String) {
    let secrets = match credential {
        Credential::Basic { username, password } => {
            let pair = Secret::new(format!("{username}:{}", password.expose()));
            let encoded = Secret::new(STANDARD_NO_PAD.encode(pair.expose()));
            let for_url = Secret::new(URL_SAFE_NO_PAD.encode(pair.expose()));
            vec![password.clone(), encoded, for_url]
        }
        Credential::IdentityToken(token) | Credential::RegistryToken(token) => vec![token.clone()],
    };
    for secret in &secrets {
        hide_secret(secret.expose(), words);
    }
}

/// The same for what a credential became on its way.
pub(super) fn hide_secret(secret: &str, words: &mut String) {
    if secret.len() < SHORTEST {
        return;
    }
    if words.contains(secret) {
        *words = words.replace(secret, HIDDEN);
    }
    for (mark, read) in READINGS {
        if words.contains(mark) {
            *words = without(secret, words, read);
        }
    }
}

/// What is left of a text when all that reads as the secret is hidden.
fn without(secret: &str, words: &str, read: Reading) -> String {
    // Each byte is a character of its own: what is read need not be text.
    let wide = |bytes: &[u8]| Zeroizing::new(bytes.iter().copied().map(char::from).collect());
    let (mut bytes, mut places) = (Zeroizing::new(vec![]), vec![]);
    let mut at = 0;
    while let Some(rest) = words.get(at..).filter(|rest| !rest.is_empty()) {
        let known = bytes.len();
        let length = read(rest, &mut bytes);
        places
            .extend(bytes[known..].iter().flat_map(|byte| vec![at; char::from(*byte).len_utf8()]));
        at += length;
    }
    places.push(words.len());
    let (text, secret): (Zeroizing<String>, Zeroizing<String>) =
        (wide(&bytes), wide(secret.as_bytes()));
    let (mut left, mut shown) = (String::new(), 0);
    for (start, found) in text.match_indices(secret.as_str()) {
        left.push_str(words.get(shown..places[start]).unwrap_or_default());
        left.push_str(HIDDEN);
        shown = places[start + found.len()];
    }
    left.push_str(words.get(shown..).unwrap_or_default());
    left
}

fn as_it_is(text: &str, bytes: &mut Vec<u8>) -> usize {
    let length = text.chars().next().map_or(1, char::len_utf8);
    bytes.extend(text.bytes().take(length));
    length
}

/// RFC 3986, section 2.1.
fn of_url(text: &str, bytes: &mut Vec<u8>) -> usize {
    let digits = text.strip_prefix('%').and_then(|rest| rest.get(..2));
    match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
        Some(byte) => {
            bytes.push(byte);
            3
        }
        None => as_it_is(text, bytes),
    }
}

/// `application/x-www-form-urlencoded`, where a blank is a plus.
fn of_form(text: &str, bytes: &mut Vec<u8>) -> usize {
    if text.starts_with('+') {
        bytes.push(b' ');
        return 1;
    }
    of_url(text, bytes)
}

/// A string of JSON within a string (RFC 8259, section 7), as far as others than control characters are written so.
fn of_document(text: &str, bytes: &mut Vec<u8>) -> usize {
    let Some(escaped) = text.strip_prefix('\\') else { return as_it_is(text, bytes) };
    if let Some(plain) = escaped.bytes().next().filter(|byte| b"\"\\/".contains(byte)) {
        bytes.push(plain);
        return 2;
    }
    let digits = escaped.strip_prefix('u').and_then(|digits| digits.get(..4));
    let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    match code.and_then(char::from_u32) {
        Some(character) => {
            bytes.extend(character.to_string().bytes());
            6
        }
        None => as_it_is(text, bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(credential: &Credential, words: &str) -> String {
        let mut words = words.to_owned();
        hide(credential, &mut words);
        words
    }

    #[test]
    fn a_registry_that_repeats_a_secret_is_not_quoted() {
        let alice = Credential::basic("alice", Secret::new("sesame"));
        assert_eq!(hidden(&alice, "alice:sesame, no"), "alice:[hidden], no");
        assert_eq!(hidden(&alice, "Basic YWxpY2U6c2VzYW1l="), "Basic [hidden]=");
        assert_eq!(hidden(&alice, "open"), "open");
        assert_eq!(hidden(&Credential::basic("alice", Secret::new("")), "no"), "no");
        let token = Credential::IdentityToken(Secret::new("sesame"));
        assert_eq!(hidden(&token, "sesame sesame"), "[hidden] [hidden]");
    }

    #[test]
    fn a_secret_is_found_however_it_was_written() {
        let token = Credential::IdentityToken(Secret::new("a b/\"é+%41\\"));
        for words in [
            "a b/\"é+%41\\",
            "a%20b%2F%22%C3%A9%2B%2541%5C",
            "a%20b%2f%22%c3%a9%2b%2541%5c",
            "%61 b/%22é%2B%2541\\",
            "a+b%2F%22%C3%A9%2B%2541%5C",
            r#"a b\/\"é+%41\\"#,
            r"a b/\u0022\u00e9+%41\\",
        ] {
            let around = format!("é%zz \\x+ {words} 100% \\u00 {words}");
            assert_eq!(
                hidden(&token, &around),
                "é%zz \\x+ [hidden] 100% \\u00 [hidden]",
                "{words}"
            );
        }
        let other = "a%20b %e9+ \\u00e9 \\";
        assert_eq!(hidden(&token, other), other);
        let pair = Credential::basic("alice", Secret::new("??>>~~"));
        assert_eq!(hidden(&pair, "YWxpY2U6Pz8+Pn5+ YWxpY2U6Pz8-Pn5-"), "[hidden] [hidden]");
        assert_eq!(hidden(&pair, "auth=YWxpY2U6Pz8%2BPn5%2B"), "auth=[hidden]");
    }
}
