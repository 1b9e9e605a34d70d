//! Digest and size of a stream, computed beside its way onward.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::task::JoinHandle;

use super::{Chunks, Identity};
use crate::error::{Error, Kind, Result};
use crate::image::{Algorithm, Descriptor, Digest, Hasher};

/// Chunks shorter than this are hashed in place: handing them to a thread costs more.
const INLINE: usize = 32 << 10;

/// What a stream has to be.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes, where that is known.
    pub size: Option<u64>,
}

/// Passes the stream on and fails it unless it is what is expected.
///
/// With a known size the last chunk is held back until everything has been compared, so that a receiver that
/// counts bytes never gets all of a wrong blob. At most one chunk past the size is read.
pub fn verify(chunks: Chunks, expected: Expected) -> Chunks {
    let Expected { digest, size } = expected;
    let digest = Some((Hashing::new(digest.algorithm()), digest));
    let verifying = Verifying { chunks, digest, size, total: 0, done: false };
    stream::try_unfold(verifying, Verifying::next).boxed()
}

/// Passes the stream on and fails it unless it has `size` bytes; as [`verify`], but for the digest.
pub fn check_size(chunks: Chunks, size: u64) -> Chunks {
    let verifying = Verifying { chunks, digest: None, size: Some(size), total: 0, done: false };
    stream::try_unfold(verifying, Verifying::next).boxed()
}

/// Passes the stream on and settles `identity` at its end.
pub fn measure(chunks: Chunks, identity: Identity) -> Chunks {
    measuring(chunks, identity, None)
}

/// The same, but fails the stream unless it has this digest: by one computation, where the identity is of its algorithm.
pub fn measure_as(chunks: Chunks, identity: Identity, digest: Digest) -> Chunks {
    if digest.algorithm() == Algorithm::Sha256 {
        return measuring(chunks, identity, Some(digest));
    }
    measuring(verify(chunks, Expected { digest, size: None }), identity, None)
}

fn measuring(chunks: Chunks, identity: Identity, expected: Option<Digest>) -> Chunks {
    let hashing = Hashing::new(Algorithm::Sha256);
    let measuring = Measuring { chunks, identity, expected, hashing, total: 0 };
    stream::try_unfold(measuring, Measuring::next).boxed()
}

struct Verifying {
    chunks: Chunks,
    /// What is known of the digest by now, and what it has to be.
    digest: Option<(Hashing, Digest)>,
    size: Option<u64>,
    total: u64,
    done: bool,
}

struct Measuring {
    chunks: Chunks,
    identity: Identity,
    /// What the digest has to be, if that is known.
    expected: Option<Digest>,
    hashing: Hashing,
    total: u64,
}

/// Hashes chunks in order on blocking threads, one chunk behind the stream.
struct Hashing {
    state: State,
    /// How many bytes.
    total: u64,
}

enum State {
    Idle(Hasher),
    Busy(JoinHandle<Hasher>),
}

// === impl Expected ===

impl Expected {
    /// What a descriptor says.
    pub fn of(descriptor: &Descriptor) -> Self {
        Self { digest: descriptor.digest.clone(), size: Some(descriptor.size) }
    }
}

// === impl Verifying ===

impl Verifying {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>> {
        if self.done {
            return Ok(None);
        }
        let Some(chunk) = self.chunks.try_next().await? else {
            self.compare().await?;
            return Ok(None);
        };
        self.total += chunk.len() as u64;
        if self.size.is_some_and(|size| self.total > size) {
            return Err(self.too_long());
        }
        if let Some((hashing, digest)) = self.digest.take() {
            self.digest = Some((hashing.add(chunk.clone()).await?, digest));
        }
        if self.size == Some(self.total) {
            self = self.finish().await?;
        }
        Ok(Some((chunk, self)))
    }

    /// Everything expected has come: nothing more may, and the digest must be right.
    async fn finish(mut self) -> Result<Self> {
        while let Some(extra) = self.chunks.try_next().await? {
            if !extra.is_empty() {
                return Err(self.too_long());
            }
        }
        self.compare().await?;
        self.done = true;
        Ok(self)
    }

    async fn compare(&mut self) -> Result<()> {
        if let Some(size) = self.size.filter(|size| *size != self.total) {
            let message = format!("the content has {} bytes instead of {size}", self.total);
            return Err(Error::new(Kind::ContentMismatch, message));
        }
        let Some((hashing, expected)) = self.digest.take() else { return Ok(()) };
        let actual = hashing.finish().await?;
        if actual != expected {
            return Err(other_digest(&actual, &expected));
        }
        Ok(())
    }

    fn too_long(&self) -> Error {
        let size = self.size.unwrap_or_default();
        Error::new(Kind::ContentMismatch, format!("the content goes on after its {size} bytes"))
    }
}

fn other_digest(actual: &Digest, expected: &Digest) -> Error {
    let message = format!("the content has the digest `{actual}` instead of `{expected}`");
    Error::new(Kind::ContentMismatch, message)
}

// === impl Measuring ===

impl Measuring {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>> {
        if let Some(chunk) = self.chunks.try_next().await? {
            self.total += chunk.len() as u64;
            self.hashing = self.hashing.add(chunk.clone()).await?;
            return Ok(Some((chunk, self)));
        }
        let digest = self.hashing.finish().await?;
        if let Some(expected) = self.expected.filter(|expected| *expected != digest) {
            return Err(other_digest(&digest, &expected));
        }
        self.identity.settle(digest, self.total);
        Ok(None)
    }
}

// === impl Hashing ===

impl Hashing {
    fn new(algorithm: Algorithm) -> Self {
        Self { state: State::Idle(Hasher::new(algorithm)), total: 0 }
    }

    /// Waits for the chunk before, then starts with this one.
    async fn add(self, chunk: Bytes) -> Result<Self> {
        let total = self.total + chunk.len() as u64;
        let mut hasher = self.settle().await?;
        if chunk.len() < INLINE {
            hasher.update(&chunk);
            return Ok(Self { state: State::Idle(hasher), total });
        }
        let work = move || {
            hasher.update(&chunk);
            hasher
        };
        Ok(Self { state: State::Busy(tokio::task::spawn_blocking(work)), total })
    }

    async fn settle(self) -> Result<Hasher> {
        match self.state {
            State::Idle(hasher) => Ok(hasher),
            State::Busy(work) => {
                work.await.map_err(|error| Error::internal(format!("hashing stopped: {error}")))
            }
        }
    }

    async fn finish(self) -> Result<Digest> {
        let bytes = self.total;
        let digest = self.settle().await?.finish();
        tracing::trace!(%digest, bytes, "hashed");
        Ok(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Blob;
    use crate::image::MediaType;

    fn chunks(parts: &[&'static [u8]]) -> Chunks {
        let parts: Vec<Result<Bytes>> =
            parts.iter().map(|part| Ok(Bytes::from_static(part))).collect();
        stream::iter(parts).boxed()
    }

    /// The bytes that came through, and how it ended.
    async fn through(mut chunks: Chunks) -> (Vec<u8>, Result<()>) {
        let mut got = Vec::new();
        loop {
            match chunks.try_next().await {
                Ok(Some(chunk)) => got.extend_from_slice(&chunk),
                Ok(None) => return (got, Ok(())),
                Err(error) => return (got, Err(error)),
            }
        }
    }

    async fn check(parts: &[&'static [u8]], digest_of: &[u8], size: Option<u64>, message: &str) {
        let expected = Expected { digest: Digest::of(digest_of), size };
        let (got, end) = through(verify(chunks(parts), expected)).await;
        match end {
            Ok(()) => assert_eq!((message, got), ("", parts.concat())),
            Err(error) => {
                assert_eq!(error.to_string(), message);
                assert_eq!(error.kind(), Kind::ContentMismatch);
                if let Some(size) = size {
                    assert!((got.len() as u64) < size, "all of a wrong blob got through");
                }
            }
        }
    }

    #[tokio::test]
    async fn only_the_right_bytes_get_through_to_the_end() {
        check(&[b"ab", b"c"], b"abc", Some(3), "").await;
        check(&[b"ab", b"", b"c", b""], b"abc", None, "").await;
        check(&[], b"", Some(0), "").await;
        check(&[b"ab", b"cd"], b"abc", Some(3), "the content goes on after its 3 bytes").await;
        check(&[b"abc", b"d"], b"abc", Some(3), "the content goes on after its 3 bytes").await;
        check(&[b"ab"], b"abc", Some(3), "the content has 2 bytes instead of 3").await;
        let message = format!(
            "the content has the digest `{}` instead of `{}`",
            Digest::of(b"abd"),
            Digest::of(b"abc")
        );
        check(&[b"ab", b"d"], b"abc", Some(3), &message).await;
    }

    #[tokio::test]
    async fn where_the_digest_is_believed_the_size_is_not() {
        let cases: [(&[&'static [u8]], &str); 4] = [
            (&[b"xy", b"", b"z", b""], ""),
            (&[b"ab"], "the content has 2 bytes instead of 3"),
            (&[b"abc", b"d"], "the content goes on after its 3 bytes"),
            (&[b"abcd"], "the content goes on after its 3 bytes"),
        ];
        for (parts, message) in cases {
            let descriptor = Descriptor::of(MediaType::OCTET_STREAM, b"abc");
            let (got, end) =
                through(Blob::believed(chunks(parts), &descriptor).into_parts().0).await;
            let ended = end.map_err(|error| error.to_string()).err().unwrap_or_default();
            assert_eq!((ended.as_str(), got.len() == 3), (message, message.is_empty()));
        }
    }

    #[tokio::test]
    async fn an_endless_stream_is_stopped_at_its_size() {
        let endless = stream::repeat_with(|| Ok(Bytes::from_static(&[0; 4096]))).boxed();
        let expected = Expected { digest: Digest::of(b""), size: Some(10_000) };
        let (got, end) = through(verify(endless, expected)).await;
        assert!(got.len() <= 10_000);
        assert_eq!(end.unwrap_err().to_string(), "the content goes on after its 10000 bytes");
    }

    #[tokio::test]
    async fn large_chunks_are_hashed_on_threads_in_their_order() {
        let parts: Vec<Bytes> = (0..20u8).map(|n| Bytes::from(vec![n; 100_000])).collect();
        let whole: Vec<u8> = parts.concat();
        let stream = stream::iter(parts.into_iter().map(Ok)).boxed();
        let descriptor = Descriptor::of(MediaType::OCTET_STREAM, &whole);
        let (got, end) = through(Blob::verified(stream, &descriptor).into_parts().0).await;
        end.unwrap();
        assert!(got == whole);
    }

    #[tokio::test]
    async fn a_measured_blob_knows_itself_at_its_end() {
        let blob = Blob::measured(chunks(&[b"ab", b"c"]));
        let (stream, identity) = blob.into_parts();
        assert!(identity.get().is_none());
        through(stream).await.1.unwrap();
        assert_eq!(identity.settled().unwrap(), (&Digest::of(b"abc"), 3));
    }
}
