//! The requests that bring one blob into one session.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode};

use super::call::Call;
use super::client::Client;
use super::error::{Refusal, unexpected};
use super::manner::Manner;
use super::presence::{Presence, Word, agrees, presence};
use super::session::{Session, held};
use crate::blob::{Chunks, Identity};
use crate::error::{Error, Kind};
use crate::image::Digest;

/// Why a blob didn't get there.
pub(super) enum Failure {
    /// There was no answer, or the stream broke, or the answer makes no sense.
    Broken(Error),
    /// The registry answered, but not as hoped.
    Refused(Refusal),
    /// The registry takes pieces and doesn't keep them.
    Forgetful,
}

type Result<T, E = Failure> = std::result::Result<T, E>;

/// What passes from the source's stream to the registry.
#[derive(Clone, Default)]
pub(super) struct Passing(Arc<Passed>);

#[derive(Default)]
struct Passed {
    bytes: AtomicU64,
    failure: OnceLock<Error>,
}

/// The way of one blob's bytes.
pub(super) struct Sending<'a> {
    pub(super) client: &'a Client,
    pub(super) session: &'a mut Session,
    pub(super) manner: Manner,
}

// === impl Sending ===

impl Sending<'_> {
    /// Sends a blob of which the registry has the first `start` bytes; `chunks` are the others. Returns what the registry
    /// says of the digest.
    pub(super) async fn known(
        &mut self,
        (digest, size): (&Digest, u64),
        start: u64,
        chunks: Chunks,
    ) -> Result<Word> {
        match (start, self.manner) {
            (0, _) if size == 0 => {
                // No body would make anybody look at the stream, which verifies at its end.
                chunks.try_for_each(async |_| Ok(())).await?;
            }
            (0, Manner::Whole) => return self.put(digest, size, chunks).await,
            // Only the last answer was lost.
            _ if start == size => {}
            (_, Manner::Pieces(piece)) => self.pieces(start, piece, chunks).await?,
            (0, _) => self.patch(content(Some(size)), chunks).await.map(drop)?,
            _ => self.patch(part(start, size - start), chunks).await.map(drop)?,
        }
        self.finish(digest, size).await
    }

    /// Sends a blob that is still being made.
    pub(super) async fn unknown(&mut self, identity: &Identity, chunks: Chunks) -> Result<Word> {
        match self.manner {
            Manner::Pieces(piece) => self.pieces(0, piece, chunks).await?,
            _ => self.patch(content(None), chunks).await.map(drop)?,
        }
        // An answer that comes before the last byte has left ends the request, and nothing more is asked of the stream.
        let Some((digest, size)) = identity.get() else { return Err(answered_early().into()) };
        self.finish(digest, size).await
    }

    /// Sends everything with the request that ends the session.
    async fn put(&self, digest: &Digest, size: u64, chunks: Chunks) -> Result<Word> {
        let mut call = self.finishing(digest);
        call.headers = content(Some(size));
        let response = self.client.upload(&call, chunks).await?;
        self.stored(response, digest, size).await
    }

    async fn pieces(&mut self, start: u64, piece: u64, mut chunks: Chunks) -> Result<()> {
        let (mut at, mut rest) = (start, BytesMut::new());
        while let Some(bytes) = gather(&mut chunks, &mut rest, piece).await? {
            let length = bytes.len() as u64;
            let response = self.patch(part(at, length), stream::iter([Ok(bytes)]).boxed()).await?;
            // ECR answers 201 to pieces, and what it says that it has stands still.
            let stands_still = held(response.headers()).is_some_and(|held| held <= at);
            if response.status() == StatusCode::CREATED || stands_still {
                return Err(Failure::Forgetful);
            }
            at += length;
        }
        Ok(())
    }

    /// Sends bytes without ending the session.
    async fn patch(&mut self, headers: HeaderMap, chunks: Chunks) -> Result<Response> {
        let mut call = Call::session(Method::PATCH, self.session.url().clone());
        call.headers = headers;
        let response = self.client.upload(&call, chunks).await?;
        // Some registries answer 201 or 204 here, which says the same.
        if !response.status().is_success() {
            return Err(Failure::Refused(self.client.read_refusal(response).await));
        }
        self.session.follow(&response)?;
        Ok(response)
    }

    /// Ends the session whose bytes are all there.
    async fn finish(&self, digest: &Digest, size: u64) -> Result<Word> {
        let mut call = self.finishing(digest);
        call.ends = size;
        let response = self.client.send(&call).await?;
        self.stored(response, digest, size).await
    }

    fn finishing(&self, digest: &Digest) -> Call<'static> {
        let mut url = self.session.url().clone();
        url.query_pairs_mut().append_pair("digest", &digest.to_string());
        Call::session(Method::PUT, url)
    }

    /// Makes sure that the registry has the blob, as far as it tells: it need not say what it has stored.
    async fn stored(&self, response: Response, digest: &Digest, size: u64) -> Result<Word> {
        match response.status() {
            StatusCode::CREATED => Ok(agrees(response.headers(), digest)?),
            status if status.is_success() => match presence(self.client, digest, size).await? {
                Presence::Present(word) => Ok(word),
                Presence::Absent | Presence::Unknown => Err(unexpected(status).into()),
            },
            _ => Err(Failure::Refused(self.client.read_refusal(response).await)),
        }
    }
}

/// The next piece of a stream, of `length` bytes or what is left; `None` at the end. What is over stays in `rest`.
async fn gather(chunks: &mut Chunks, rest: &mut BytesMut, length: u64) -> Result<Option<Bytes>> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    while rest.len() < length {
        match chunks.try_next().await? {
            Some(chunk) => rest.extend_from_slice(&chunk),
            None => break,
        }
    }
    let piece = rest.split_to(rest.len().min(length)).freeze();
    Ok((!piece.is_empty()).then_some(piece))
}

fn answered_early() -> Error {
    Error::new(Kind::RegistryUnavailable, "the registry answered before it had the blob")
}

fn content(size: Option<u64>) -> HeaderMap {
    let octets = HeaderValue::from_static("application/octet-stream");
    let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, octets)]);
    if let Some(size) = size {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
    }
    headers
}

/// Content that starts at an offset; the range has the protocol's form, which is not that of HTTP.
fn part(start: u64, length: u64) -> HeaderMap {
    let mut headers = content(Some(length));
    let range = format!("{start}-{}", start + length - 1);
    if let Ok(range) = HeaderValue::try_from(range) {
        headers.insert(CONTENT_RANGE, range);
    }
    headers
}

// === impl Passing ===

impl Passing {
    /// The stream without its first `start` bytes. Counts what passes, and keeps the error by which it ends: that
    /// has to come back as it is, not as what HTTP makes of it.
    pub(super) fn observe(&self, chunks: Chunks, start: u64) -> Chunks {
        let (counted, heard) = (Arc::clone(&self.0), Arc::clone(&self.0));
        skip(chunks, start)
            .inspect_ok(move |chunk| {
                counted.bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            })
            .inspect_err(move |error| {
                // A second error of a stream that has failed would tell nothing.
                let _ = heard.failure.set(error.clone());
            })
            .boxed()
    }

    /// How many bytes have passed.
    pub(super) fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// The error by which the stream ended.
    pub(super) fn failure(&self) -> Option<Error> {
        self.0.failure.get().cloned()
    }
}

fn skip(chunks: Chunks, mut left: u64) -> Chunks {
    if left == 0 {
        return chunks;
    }
    let skipped = move |mut chunk: Bytes| {
        let passed = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        left -= passed as u64;
        let rest = chunk.split_off(passed);
        std::future::ready(Ok((!rest.is_empty()).then_some(rest)))
    };
    chunks.try_filter_map(skipped).boxed()
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Broken(error)
    }
}
