//! Uploads of blobs (distribution specification v1.1, "Pushing Blobs").
//!
//! A session is opened by POST and lives at the address that the registry's latest answer gives. A blob whose digest is known
//! goes there in one PUT; one that is still being made goes in one PATCH, and a PUT then tells its digest.

use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use tokio::time::timeout;
use url::Url;

use super::client::{Call, Client};
use super::redirect;
use crate::blob::{Blob, Chunks, Identity};
use crate::error::{Error, Kind, Result};
use crate::image::Digest;
use crate::limits::UPLOAD_CANCEL_TIMEOUT;
use crate::transport::Repository;

/// An upload session.
pub(super) struct Session {
    /// Where the next request goes; each answer may change it.
    url: Url,
}

/// What came of asking for a mount.
pub(super) enum Mount {
    /// The blob is there now.
    Mounted,
    /// It has to be sent, by this session.
    Session(Session),
    /// The registry doesn't do it.
    No,
}

/// Opens a session.
pub(super) async fn start(client: &Client) -> Result<Session> {
    let call = Call::new(Method::POST, client.url(&["blobs", "uploads", ""])?);
    let response = client.send(&call).await?;
    match response.status() {
        StatusCode::ACCEPTED => Session::at(&response),
        _ => Err(client.refusal(response).await),
    }
}

/// Asks the registry to link a blob from another of its repositories.
pub(super) async fn mount(client: &Client, digest: &Digest, from: &Repository) -> Result<Mount> {
    let mut url = client.url(&["blobs", "uploads", ""])?;
    url.query_pairs_mut().append_pair("mount", &digest.to_string()).append_pair("from", &from.path);
    let call = Call { other: Some(from), ..Call::new(Method::POST, url) };
    let response = match client.send(&call).await {
        Ok(response) => response,
        // The token server may not let us read there; we may still write here.
        Err(error) if [Kind::AuthenticationFailed, Kind::AccessDenied].contains(&error.kind()) => {
            return Ok(Mount::No);
        }
        Err(error) => return Err(error),
    };
    match response.status() {
        StatusCode::CREATED => Ok(Mount::Mounted),
        StatusCode::ACCEPTED => Session::at(&response).map(Mount::Session),
        // It may refuse for want of a right to read there, or know no mounts.
        status if status.is_client_error() || status.is_server_error() => Ok(Mount::No),
        _ => Err(client.refusal(response).await),
    }
}

// === impl Session ===

impl Session {
    fn at(response: &Response) -> Result<Self> {
        Ok(Self { url: redirect::session(response.url(), response.headers())? })
    }

    /// Sends a blob and ends the session, one way or the other.
    pub(super) async fn send(mut self, client: &Client, blob: Blob) -> Result<()> {
        let sent = self.try_send(client, blob).await;
        if sent.is_err() {
            self.cancel(client).await;
        }
        sent
    }

    async fn try_send(&mut self, client: &Client, blob: Blob) -> Result<()> {
        let (chunks, identity) = blob.into_parts();
        if let Some((digest, size)) = identity.get() {
            let mut call = self.finishing(digest);
            call.headers = content(Some(size));
            let response = client.upload(&call, chunks).await?;
            return stored(client, response, digest, size).await;
        }
        self.stream(client, chunks).await?;
        self.finish(client, &identity).await
    }

    /// Sends bytes whose number isn't known.
    async fn stream(&mut self, client: &Client, chunks: Chunks) -> Result<()> {
        let mut call = Call::new(Method::PATCH, self.url.clone());
        call.headers = content(None);
        let response = client.upload(&call, chunks).await?;
        // Some registries answer 201 or 204 here, which says the same.
        if !response.status().is_success() {
            return Err(client.refusal(response).await);
        }
        *self = Self::at(&response)?;
        Ok(())
    }

    async fn finish(&self, client: &Client, identity: &Identity) -> Result<()> {
        let (digest, size) = identity.settled()?;
        let response = client.send(&self.finishing(digest)).await?;
        stored(client, response, digest, size).await
    }

    fn finishing(&self, digest: &Digest) -> Call<'static> {
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair("digest", &digest.to_string());
        Call::new(Method::PUT, url)
    }

    /// Tells the registry to forget the session. Whether it does makes no difference to us.
    async fn cancel(&self, client: &Client) {
        let call = Call::new(Method::DELETE, self.url.clone());
        if !matches!(timeout(UPLOAD_CANCEL_TIMEOUT, client.send(&call)).await, Ok(Ok(_))) {
            tracing::debug!("an upload session could not be cancelled, and is left to expire");
        }
    }
}

/// Makes sure that the registry has the blob, and has it as ours.
async fn stored(client: &Client, response: Response, digest: &Digest, size: u64) -> Result<()> {
    match response.status() {
        StatusCode::CREATED => agrees(response.headers(), digest),
        status if status.is_success() => {
            if present(client, digest, size).await? {
                return Ok(());
            }
            Err(super::error::unexpected(status))
        }
        _ => Err(client.refusal(response).await),
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

/// Whether the registry has a blob. One that can't tell counts as not having it.
pub(super) async fn present(client: &Client, digest: &Digest, size: u64) -> Result<bool> {
    let call = Call::new(Method::HEAD, client.url(&["blobs", &digest.to_string()])?);
    let response = client.download(call).await?;
    match response.status().as_u16() {
        // Another size means that what is there is broken.
        200 => Ok(content_length(response.headers()) == Some(size)),
        404 | 405 | 501 => Ok(false),
        // Addresses that are signed for GET are no good for HEAD.
        _ if client.is_elsewhere(&response) => Ok(false),
        _ => Err(client.refusal(response).await),
    }
}

fn content(size: Option<u64>) -> HeaderMap {
    let octets = HeaderValue::from_static("application/octet-stream");
    let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, octets)]);
    if let Some(size) = size {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
    }
    headers
}
