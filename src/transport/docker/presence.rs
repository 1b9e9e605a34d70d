//! Whether a registry has a blob, and what its answers say of what it has.

use reqwest::header::{CONTENT_LENGTH, HeaderMap};
use reqwest::{Method, StatusCode};

use super::client::{Call, Client};
use crate::error::{Error, Kind, Result};
use crate::image::Digest;

/// What a registry tells of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It is there, in its full length.
    Present,
    /// It isn't there, or what is there has another length.
    Absent,
    /// The registry can't tell.
    Unknown,
}

/// Asks whether a blob is there.
pub(super) async fn presence(client: &Client, digest: &Digest, size: u64) -> Result<Presence> {
    let call = Call::new(Method::HEAD, client.url(&["blobs", &digest.to_string()])?);
    let response = client.download(call).await?;
    match response.status() {
        StatusCode::OK => Ok(of_length(digest, content_length(response.headers()), size)),
        StatusCode::NOT_FOUND => Ok(Presence::Absent),
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => Ok(Presence::Unknown),
        // Addresses that are signed for GET are no good for HEAD.
        _ if client.is_elsewhere(&response) => Ok(Presence::Unknown),
        _ => Err(client.refusal(response).await),
    }
}

fn of_length(digest: &Digest, length: Option<u64>, size: u64) -> Presence {
    match length {
        Some(length) if length == size => Presence::Present,
        Some(length) => {
            tracing::warn!(%digest, length, size, "the registry's blob has another size, sending it again");
            Presence::Absent
        }
        None => Presence::Unknown,
    }
}

/// Fails if the registry says that it has stored something else.
pub(super) fn agrees(headers: &HeaderMap, digest: &Digest) -> Result<()> {
    match content_digest(headers) {
        Some(stored) if stored.algorithm() == digest.algorithm() && stored != *digest => {
            let message = format!("the registry says that it has stored `{stored}` instead");
            Err(Error::new(Kind::ContentMismatch, message))
        }
        _ => Ok(()),
    }
}

/// The digest that an answer is about, if it tells one that we understand.
pub(super) fn content_digest(headers: &HeaderMap) -> Option<Digest> {
    headers.get("docker-content-digest")?.to_str().ok()?.parse().ok()
}

/// The length that an answer declares; for a HEAD that of what a GET would have.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
