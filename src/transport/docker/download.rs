//! Downloads of blobs that go on where a connection broke (RFC 9110, "Range Requests").
//!
//! What comes out is one stream, which the engine verifies as a whole: bytes that a registry puts together wrongly don't pass.
//! A break costs a new request only, not what has arrived already. Starting again from the beginning is the engine's.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use reqwest::header::{CONTENT_RANGE, ETAG, HeaderValue, RANGE};
use reqwest::{Method, Response, StatusCode};

use super::body::Incoming;
use super::call::Call;
use super::client::Client;
use super::error::{Refusal, Who, place};
use crate::blob::Chunks;
use crate::error::{Class, Error, Kind, Result};
use crate::image::Descriptor;
use crate::limits::{MAX_RESUMES, MIN_RESUME_PROGRESS};

/// A blob on its way to us.
struct Download {
    client: Arc<Client>,
    call: Call<'static>,
    incoming: Incoming,
    /// Tells whether the content is the same after a break, where the registry says so.
    etag: Option<HeaderValue>,
    size: u64,
    /// Bytes that have been handed on.
    passed: u64,
    /// Bytes that come again and are dropped.
    repeated: u64,
    /// How often it has gone on, and from where the last time.
    resumes: u32,
    resumed_at: u64,
}

/// Opens a blob.
pub(super) async fn blob(client: &Arc<Client>, descriptor: &Descriptor) -> Result<Chunks> {
    let call = Call::new(Method::GET, client.url(&["blobs", &descriptor.digest.to_string()])?);
    from(client, call, descriptor).await
}

/// Opens a blob by this request.
pub(super) async fn from(
    client: &Arc<Client>,
    call: Call<'static>,
    descriptor: &Descriptor,
) -> Result<Chunks> {
    let response = client.download(call.clone()).await?;
    if call.foreign && response.status() != StatusCode::OK {
        return Err(foreign_refusal(response).await);
    }
    if response.status() != StatusCode::OK {
        return Err(client.refusal(response).await);
    }
    let download = Download {
        client: Arc::clone(client),
        call,
        etag: response.headers().get(ETAG).cloned(),
        incoming: Incoming::new(response),
        size: descriptor.size,
        passed: 0,
        repeated: 0,
        resumes: 0,
        resumed_at: 0,
    };
    let next =
        async |mut download: Download| Ok(download.next().await?.map(|chunk| (chunk, download)));
    Ok(stream::try_unfold(download, next).boxed())
}

/// The error for a host that doesn't give out a foreign layer. Nobody has been shown a credential, so none is wrong.
async fn foreign_refusal(response: Response) -> Error {
    let place = place(response.url());
    if response.status() == StatusCode::UNAUTHORIZED {
        let message = format!("`{place}` wants credentials, and is given none");
        return Error::new(Kind::AccessDenied, message);
    }
    let mut refusal = Refusal::read(response).await;
    refusal.who = Who::Other(place);
    refusal.into_error()
}

// === impl Download ===

impl Download {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            match self.incoming.next().await {
                Ok(None) => return Ok(None),
                Ok(Some(chunk)) => {
                    if let Some(chunk) = self.fresh(chunk) {
                        self.passed += chunk.len() as u64;
                        return Ok(Some(chunk));
                    }
                }
                Err(error) if self.may_resume(&error) => self.resume(error).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// What of a chunk has not been handed on before.
    fn fresh(&mut self, mut chunk: Bytes) -> Option<Bytes> {
        let repeated = self.repeated.min(chunk.len() as u64);
        self.repeated -= repeated;
        let fresh = chunk.split_off(usize::try_from(repeated).unwrap_or_default());
        (!fresh.is_empty()).then_some(fresh)
    }

    /// A download that never gets far from one break to the next is given up.
    fn may_resume(&self, error: &Error) -> bool {
        let progress = self.passed - self.resumed_at;
        error.class() == Class::Transient
            && (1..self.size).contains(&self.passed)
            && self.resumes < MAX_RESUMES
            && (self.resumes == 0 || progress >= MIN_RESUME_PROGRESS)
    }

    /// Asks for the rest. Where that isn't to be had, the break remains the error.
    async fn resume(&mut self, error: Error) -> Result<()> {
        tracing::debug!(%error, at = self.passed, "a download broke, asking for the rest");
        let mut call = self.call.clone();
        let range = HeaderValue::from_str(&format!("bytes={}-", self.passed));
        call.headers.insert(RANGE, range.map_err(|_| error.clone())?);
        let Ok(response) = self.client.download(call).await else { return Err(error) };
        self.repeated = self.repeated_by(&response).ok_or(error)?;
        self.incoming = Incoming::new(response);
        self.resumes += 1;
        self.resumed_at = self.passed;
        Ok(())
    }

    /// How many bytes an answer repeats; `None` if it is not the rest of the same content, nor all of it.
    fn repeated_by(&self, response: &Response) -> Option<u64> {
        let headers = response.headers();
        let same = |etag: &HeaderValue| headers.get(ETAG).is_none_or(|other| other == etag);
        if !self.etag.as_ref().is_none_or(same) {
            return None;
        }
        match response.status() {
            StatusCode::OK => Some(self.passed),
            StatusCode::PARTIAL_CONTENT => {
                let range = headers.get(CONTENT_RANGE)?.to_str().ok()?;
                let last = self.size.checked_sub(1)?;
                let expected = format!("bytes {}-{last}/{}", self.passed, self.size);
                (range == expected).then_some(0)
            }
            _ => None,
        }
    }
}
