//! Decompresses a stream, whatever it is compressed with.
//!
//! The decoder runs on a blocking thread between two short queues; it ends when either end of the stream is dropped.
//! Output is bounded, and so is each decoder's memory.

use std::io::{self, BufRead as _, BufReader, Read};

use bytes::{Bytes, BytesMut};
use flate2::bufread::GzDecoder;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::mpsc;

use super::Chunks;
use super::codec_memory::{CodecMemory, Reach, Share};
use crate::error::{Error, Kind, Result};
use crate::image::Compression;
use crate::limits::{
    CHUNK, MAX_EXPANDED_LAYER, MAX_USUAL_WINDOW_LOG, MAX_XZ_MEMORY, MAX_ZSTD_WINDOW_LOG,
};

/// Chunks waiting on each side of the decoder.
const QUEUE: usize = 2;

/// Decompresses a stream; one that is not compressed passes as it is. A decoder that takes much memory waits for its share.
pub fn decompress(chunks: Chunks, memory: &CodecMemory) -> Chunks {
    decompress_within(chunks, memory, MAX_EXPANDED_LAYER)
}

/// Decompresses a stream to at most `limit` bytes.
fn decompress_within(chunks: Chunks, memory: &CodecMemory, limit: u64) -> Chunks {
    stream::once(start(chunks, memory.clone(), limit)).try_flatten().boxed()
}

/// How a stream is decompressed.
struct Way {
    compression: Compression,
    reach: Reach,
    /// Held for as long as the decoder is there.
    _share: Share,
}

/// Looks at the first bytes and chooses the decoder.
async fn start(mut chunks: Chunks, memory: CodecMemory, limit: u64) -> Result<Chunks> {
    let mut head = BytesMut::new();
    while head.len() < Reach::HEAD {
        match chunks.try_next().await? {
            Some(chunk) => head.extend_from_slice(&chunk),
            None => break,
        }
    }
    let compression = Compression::detect(&head);
    let reach = Reach::of(compression, &head);
    let whole = stream::once(async move { Ok(head.freeze()) }).chain(chunks).boxed();
    if compression == Compression::None {
        return Ok(whole);
    }
    let way = Way { compression, reach, _share: memory.decoder(reach).await };
    Ok(decode(whole, way, limit))
}

fn decode(mut chunks: Chunks, way: Way, limit: u64) -> Chunks {
    let (to_decoder, from_stream) = mpsc::channel(QUEUE);
    let (to_stream, decoded) = mpsc::channel(QUEUE);
    let output = Output { chunks: to_stream, produced: 0, limit };
    let work = tokio::task::spawn_blocking(move || run(&way, from_stream, output));
    // Feeding is part of the returned stream: nothing runs on when that is dropped.
    let feed = async move {
        while let Some(chunk) = chunks.next().await {
            if to_decoder.send(chunk).await.is_err() {
                break;
            }
        }
    };
    let feed = stream::once(feed).filter_map(|()| std::future::ready(None));
    let decoded = stream::unfold(Some((decoded, work)), |state| async move {
        let (mut decoded, work) = state?;
        if let Some(chunk) = decoded.recv().await {
            return Some((chunk, Some((decoded, work))));
        }
        // A decoder that broke down has told of no error: its silence is not the end of the data.
        let ended = work.await;
        let broken = ended.err().map(|error| Error::internal(format!("decoding stopped: {error}")));
        broken.map(|error| (Err(error), None))
    });
    stream::select(feed, decoded).boxed()
}

/// Decodes until the end of the input, an error, or nobody wants more.
fn run(way: &Way, input: mpsc::Receiver<Result<Bytes>>, mut output: Output) {
    let mut source = Source { input, current: Bytes::new(), failed: None };
    let compression = way.compression;
    let result = match compression {
        Compression::Gzip => gzip(&mut source, &mut output),
        Compression::Zstd => zstd(&mut source, &mut output, way.reach),
        Compression::Bzip2 => bzip2(&mut source, &mut output),
        Compression::Xz => xz(&mut source, &mut output),
        Compression::None => Ok(()),
    };
    if let Err(cause) = result {
        let message = format!("the {compression} data is corrupt: {cause}");
        let limit = cause.get_ref().and_then(|cause| cause.downcast_ref::<TooLarge>());
        let error = match (source.failed.take(), limit) {
            (Some(error), _) => error,
            (None, Some(limit)) => Error::new(Kind::LimitExceeded, limit.to_string()),
            (None, None) => Error::new(Kind::ContentMismatch, message),
        };
        // Nobody listening any more is as good as having told them.
        let _ = output.chunks.blocking_send(Err(error));
    }
}

/// A stream that expands beyond its bound.
#[derive(Debug, thiserror::Error)]
#[error("the compressed data expands to more than {0} bytes")]
struct TooLarge(u64);

/// Where decoded chunks go, and how many bytes may still.
struct Output {
    chunks: mpsc::Sender<Result<Bytes>>,
    produced: u64,
    limit: u64,
}

impl Output {
    /// Hands a chunk on. `false` means that nobody wants more.
    fn deliver(&mut self, chunk: Bytes) -> io::Result<bool> {
        self.produced += chunk.len() as u64;
        if self.produced > self.limit {
            return Err(io::Error::other(TooLarge(self.limit)));
        }
        Ok(self.chunks.blocking_send(Ok(chunk)).is_ok())
    }
}

/// The compressed stream as the blocking reader that decoders want.
struct Source {
    input: mpsc::Receiver<Result<Bytes>>,
    current: Bytes,
    failed: Option<Error>,
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.input.blocking_recv() {
                Some(Ok(chunk)) => self.current = chunk,
                Some(Err(error)) => {
                    self.failed = Some(error);
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                None => return Ok(0),
            }
        }
        let taken = buffer.len().min(self.current.len());
        buffer[..taken].copy_from_slice(&self.current.split_to(taken));
        Ok(taken)
    }
}

/// All members of a gzip file; what follows the last one must be nothing or zeros.
fn gzip(source: &mut Source, output: &mut Output) -> io::Result<()> {
    let mut input = BufReader::with_capacity(CHUNK, source);
    loop {
        let mut decoder = GzDecoder::new(input);
        if !pump(&mut decoder, output)? {
            return Ok(());
        }
        input = decoder.into_inner();
        let rest = input.fill_buf()?;
        if rest.is_empty() {
            return Ok(());
        }
        if !rest.starts_with(&[0x1f]) {
            return only_zeros(input);
        }
    }
}

fn only_zeros(mut input: impl io::BufRead) -> io::Result<()> {
    loop {
        let rest = input.fill_buf()?;
        if rest.is_empty() {
            return Ok(());
        }
        if rest.iter().any(|byte| *byte != 0) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "garbage after its end"));
        }
        let len = rest.len();
        input.consume(len);
    }
}

/// All frames of zstd. None of them may look further back than the first: that is what there is memory for.
fn zstd(source: &mut Source, output: &mut Output, reach: Reach) -> io::Result<()> {
    let mut decoder = ::zstd::stream::read::Decoder::new(source)?;
    let far = reach == Reach::Far;
    decoder.window_log_max(if far { MAX_ZSTD_WINDOW_LOG } else { MAX_USUAL_WINDOW_LOG })?;
    pump(&mut decoder, output).map(|_| ())
}

fn bzip2(source: &mut Source, output: &mut Output) -> io::Result<()> {
    pump(&mut ::bzip2::read::MultiBzDecoder::new(source), output).map(|_| ())
}

fn xz(source: &mut Source, output: &mut Output) -> io::Result<()> {
    let stream =
        liblzma::stream::Stream::new_stream_decoder(MAX_XZ_MEMORY, liblzma::stream::CONCATENATED)
            .map_err(io::Error::other)?;
    pump(&mut liblzma::read::XzDecoder::new_stream(source, stream), output).map(|_| ())
}

/// Hands on all that a decoder gives. `false` means that nobody wants more.
fn pump(decoder: &mut impl Read, output: &mut Output) -> io::Result<bool> {
    loop {
        let chunk = chunk_of(decoder)?;
        if chunk.is_empty() {
            return Ok(true);
        }
        if !output.deliver(chunk)? {
            return Ok(false);
        }
    }
}

/// Reads up to a chunk; less only at the end.
fn chunk_of(decoder: &mut impl Read) -> io::Result<Bytes> {
    let mut chunk = Vec::with_capacity(CHUNK);
    decoder.take(CHUNK as u64).read_to_end(&mut chunk)?;
    Ok(Bytes::from(chunk))
}

#[cfg(test)]
mod tests;
