//! Whether a registry has a blob, and what its answers say of what it has.

use reqwest::header::{CONTENT_LENGTH, HeaderMap};
use reqwest::{Method, StatusCode};

use super::call::Call;
use super::client::Client;
use crate::error::{Error, Kind, Result};
use crate::image::Digest;

/// What a registry tells of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It is there, in its full length.
    Present(Word),
    /// It isn't there, or what is there has another length or digest.
    Absent,
    /// The registry can't tell.
    Unknown,
}

/// What an answer about a blob says of its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It is the one that was asked for.
    Confirmed,
    /// Nothing, or something of another algorithm.
    Silence,
}

/// Asks whether a blob is there.
pub(super) async fn presence(client: &Client, digest: &Digest, size: u64) -> Result<Presence> {
    let call = Call::new(Method::HEAD, client.url(&["blobs", &digest.to_string()])?);
    let response = match client.download(call).await {
        // Some registries let everybody GET, and want credentials for HEAD.
        Err(error) if client.lacks_credentials(&error) => return Ok(Presence::Unknown),
        response => response?,
    };
    let elsewhere = client.is_elsewhere(&response);
    match response.status() {
        // Where the bytes are kept nobody knows more of them than their length.
        StatusCode::OK if elsewhere => Ok(found(digest, response.headers(), size, Word::Silence)),
        StatusCode::OK => match word(response.headers(), digest) {
            Ok(word) => Ok(found(digest, response.headers(), size, word)),
            Err(other) => {
                tracing::warn!(%digest, %other, "the registry has another blob there, sending it again");
                Ok(Presence::Absent)
            }
        },
        StatusCode::NOT_FOUND => Ok(Presence::Absent),
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => Ok(Presence::Unknown),
        // Addresses that are signed for GET are no good for HEAD.
        _ if elsewhere => Ok(Presence::Unknown),
        _ => Err(client.refusal(response).await),
    }
}

fn found(digest: &Digest, headers: &HeaderMap, size: u64, word: Word) -> Presence {
    match content_length(headers) {
        Some(length) if length == size => Presence::Present(word),
        Some(length) => {
            tracing::warn!(%digest, length, size, "the registry's blob has another size, sending it again");
            Presence::Absent
        }
        None => Presence::Unknown,
    }
}

/// What an answer says of a digest; the error is another digest that it names instead, or beside it.
fn word(headers: &HeaderMap, digest: &Digest) -> Result<Word, Digest> {
    let named: Vec<Digest> = content_digests(headers).collect();
    let other = |named: &&Digest| *named != digest && named.algorithm() == digest.algorithm();
    match named.iter().find(other) {
        Some(other) => Err(other.clone()),
        None if named.contains(digest) => Ok(Word::Confirmed),
        None => Ok(Word::Silence),
    }
}

/// What a registry says of what it has stored. Fails if that is something else.
pub(super) fn agrees(headers: &HeaderMap, digest: &Digest) -> Result<Word> {
    word(headers, digest).map_err(|stored| {
        let message = format!("the registry says that it has stored `{stored}` instead");
        Error::new(Kind::ContentMismatch, message)
    })
}

/// The digest that an answer is about, if it tells one that we understand, and no others.
pub(super) fn content_digest(headers: &HeaderMap) -> Option<Digest> {
    let mut named = content_digests(headers);
    let first = named.next()?;
    named.all(|other| other == first).then_some(first)
}

fn content_digests(headers: &HeaderMap) -> impl Iterator<Item = Digest> {
    let values = headers.get_all("docker-content-digest").into_iter();
    values.filter_map(|value| value.to_str().ok()?.parse().ok())
}

/// The length that an answer declares; for a HEAD that of what a GET would have.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn headers_that_contradict_each_other_confirm_nothing() {
        let (ours, other) = (Digest::of(b"ours"), Digest::of(b"other"));
        let (own, foreign, long) =
            (ours.to_string(), other.to_string(), format!("sha512:{}", "0".repeat(128)));
        for (values, expected, named) in [
            (&[][..], Ok(Word::Silence), None),
            (&[&own][..], Ok(Word::Confirmed), Some(&ours)),
            (&[&own, &own], Ok(Word::Confirmed), Some(&ours)),
            (&[&foreign], Err(()), Some(&other)),
            (&[&own, &foreign], Err(()), None),
            (&[&foreign, &own], Err(()), None),
            (&[&long], Ok(Word::Silence), None),
        ] {
            let name = HeaderName::from_static("docker-content-digest");
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
            }
            let word = agrees(&headers, &ours).map_err(|error| {
                assert!(error.to_string().ends_with(&format!("stored `{other}` instead")));
            });
            assert_eq!(word, expected, "{values:?}");
            if values != [&long] {
                assert_eq!(content_digest(&headers).as_ref(), named, "{values:?}");
            }
        }
    }
}
