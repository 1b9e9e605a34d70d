//! Decompresses a stream, whatever it is compressed with.
//!
//! The decoder runs on a blocking thread between two short queues; it ends when either end of the stream is dropped.
//! Output is bounded: by its ratio to the input, and each decoder by its memory.

use std::io::{self, BufRead as _, BufReader, Read};

use bytes::{Bytes, BytesMut};
use flate2::bufread::GzDecoder;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::mpsc;

use super::Chunks;
use crate::error::{Error, Kind, Result};
use crate::image::Compression;
use crate::limits::{CHUNK, EXPANSION_GRACE, MAX_EXPANSION, MAX_XZ_MEMORY, MAX_ZSTD_WINDOW_LOG};

/// Chunks waiting on each side of the decoder.
const QUEUE: usize = 2;

/// Bytes that tell how a stream is compressed.
const MAGIC: usize = 6;

/// Decompresses a stream; one that is not compressed passes as it is.
pub fn decompress(chunks: Chunks) -> Chunks {
    stream::once(start(chunks)).try_flatten().boxed()
}

/// Looks at the first bytes and chooses the decoder.
async fn start(mut chunks: Chunks) -> Result<Chunks> {
    let mut head = BytesMut::new();
    while head.len() < MAGIC {
        match chunks.try_next().await? {
            Some(chunk) => head.extend_from_slice(&chunk),
            None => break,
        }
    }
    let compression = Compression::detect(&head);
    let whole = stream::once(async move { Ok(head.freeze()) }).chain(chunks).boxed();
    match compression {
        Compression::None => Ok(whole),
        _ => Ok(decode(whole, compression)),
    }
}

fn decode(mut chunks: Chunks, compression: Compression) -> Chunks {
    let (to_decoder, from_stream) = mpsc::channel(QUEUE);
    let (to_stream, decoded) = mpsc::channel(QUEUE);
    tokio::task::spawn_blocking(move || run(compression, from_stream, &to_stream));
    // Feeding is part of the returned stream: nothing runs on when that is dropped.
    let feed = async move {
        while let Some(chunk) = chunks.next().await {
            if to_decoder.send(chunk).await.is_err() {
                break;
            }
        }
    };
    let feed = stream::once(feed).filter_map(|()| std::future::ready(None));
    let decoded =
        stream::unfold(
            decoded,
            |mut decoded| async move { Some((decoded.recv().await?, decoded)) },
        );
    stream::select(feed, decoded).boxed()
}

/// Decodes until the end of the input, an error, or nobody wants more.
fn run(
    compression: Compression,
    input: mpsc::Receiver<Result<Bytes>>,
    output: &mpsc::Sender<Result<Bytes>>,
) {
    let mut source = Source { input, current: Bytes::new(), failed: None, taken: 0 };
    let result = match compression {
        Compression::Gzip => gzip(&mut source, output),
        Compression::Zstd => zstd(&mut source, output),
        Compression::Bzip2 => bzip2(&mut source, output),
        Compression::Xz => xz(&mut source, output),
        Compression::None => Ok(()),
    };
    if let Err(cause) = result {
        let message = format!("the {compression} data is corrupt: {cause}");
        let error = match (source.failed.take(), cause.get_ref().and_then(|c| c.downcast_ref())) {
            (Some(error), _) => error,
            (None, Some(Bomb)) => Error::new(Kind::LimitExceeded, Bomb.to_string()),
            (None, None) => Error::new(Kind::ContentMismatch, message),
        };
        // Nobody listening any more is as good as having told them.
        let _ = output.blocking_send(Err(error));
    }
}

/// A stream that expands beyond all reason.
#[derive(Debug, thiserror::Error)]
#[error("the compressed data expands to more than {MAX_EXPANSION} times its size")]
struct Bomb;

/// The compressed stream as the blocking reader that decoders want.
struct Source {
    input: mpsc::Receiver<Result<Bytes>>,
    current: Bytes,
    failed: Option<Error>,
    taken: u64,
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
        self.taken += taken as u64;
        Ok(taken)
    }
}

/// All members of a gzip file; what follows the last one must be nothing or zeros.
fn gzip(source: &mut Source, output: &mpsc::Sender<Result<Bytes>>) -> io::Result<()> {
    let mut produced = 0;
    let mut input = BufReader::with_capacity(CHUNK, source);
    loop {
        let mut decoder = GzDecoder::new(input);
        loop {
            let chunk = chunk_of(&mut decoder)?;
            let taken = decoder.get_ref().get_ref().taken;
            if chunk.is_empty() {
                break;
            }
            if !deliver(chunk, taken, &mut produced, output)? {
                return Ok(());
            }
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

fn zstd(source: &mut Source, output: &mpsc::Sender<Result<Bytes>>) -> io::Result<()> {
    let mut decoder = ::zstd::stream::read::Decoder::new(source)?;
    decoder.window_log_max(MAX_ZSTD_WINDOW_LOG)?;
    pump(decoder, |decoder| decoder.get_ref().get_ref().taken, output)
}

fn bzip2(source: &mut Source, output: &mpsc::Sender<Result<Bytes>>) -> io::Result<()> {
    let decoder = ::bzip2::read::MultiBzDecoder::new(source);
    pump(decoder, |decoder| decoder.get_ref().taken, output)
}

fn xz(source: &mut Source, output: &mpsc::Sender<Result<Bytes>>) -> io::Result<()> {
    let stream =
        liblzma::stream::Stream::new_stream_decoder(MAX_XZ_MEMORY, liblzma::stream::CONCATENATED)
            .map_err(io::Error::other)?;
    let decoder = liblzma::read::XzDecoder::new_stream(source, stream);
    pump(decoder, |decoder| decoder.get_ref().taken, output)
}

fn pump<D: Read>(
    mut decoder: D,
    taken: impl Fn(&D) -> u64,
    output: &mpsc::Sender<Result<Bytes>>,
) -> io::Result<()> {
    let mut produced = 0;
    loop {
        let chunk = chunk_of(&mut decoder)?;
        if chunk.is_empty() || !deliver(chunk, taken(&decoder), &mut produced, output)? {
            return Ok(());
        }
    }
}

/// Reads up to a chunk; less only at the end.
fn chunk_of(decoder: &mut impl Read) -> io::Result<Bytes> {
    let mut chunk = Vec::with_capacity(CHUNK);
    decoder.take(CHUNK as u64).read_to_end(&mut chunk)?;
    Ok(Bytes::from(chunk))
}

/// Hands a chunk on. `false` means that nobody wants more.
fn deliver(
    chunk: Bytes,
    taken: u64,
    produced: &mut u64,
    output: &mpsc::Sender<Result<Bytes>>,
) -> io::Result<bool> {
    *produced += chunk.len() as u64;
    if *produced > EXPANSION_GRACE && *produced / MAX_EXPANSION > taken {
        return Err(io::Error::other(Bomb));
    }
    Ok(output.blocking_send(Ok(chunk)).is_ok())
}

#[cfg(test)]
mod tests;
