//! Compresses a stream in one pass, on all processors, to the same bytes each time.
//!
//! The stream is cut into blocks at fixed offsets, each block is compressed by itself, and the results are joined in
//! order: where a block is cut and what it is compressed with don't depend on threads or timing. gzip blocks get the 32 KiB
//! before them as dictionary and form one member (RFC 1952); zstd blocks are frames of their own (RFC 8878). Of blocks that take
//! much memory few are compressed at once.

use std::num::NonZero;

use bytes::{Bytes, BytesMut};
use flate2::{Compress, Compression as Level, FlushCompress, Status};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio_util::task::AbortOnDropHandle;

use super::{Chunks, Codec, CodecMemory};
use crate::error::{Error, Result};
use crate::image::Compression;
use crate::limits::{COMPRESSION_THREADS, GZIP_BLOCK, ZSTD_BLOCK};

/// Bytes before a block that deflate may refer back to.
const WINDOW: usize = 32 << 10;

/// Header of a gzip member without name and time, made on an unknown system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// An empty block of deflate marked as the last one.
const DEFLATE_END: [u8; 2] = [3, 0];

/// Compresses a stream.
pub fn compress(chunks: Chunks, codec: Codec, memory: &CodecMemory) -> Chunks {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let workers = Workers { codec, memory: memory.clone() };
    compress_on(chunks, workers, processors.min(COMPRESSION_THREADS))
}

fn compress_on(chunks: Chunks, workers: Workers, threads: usize) -> Chunks {
    let codec = workers.codec;
    match codec.format() {
        Compression::Zstd => zstd(chunks, codec.level(), workers, threads),
        _ => gzip(chunks, codec.level().unsigned_abs(), workers, threads),
    }
}

fn zstd(chunks: Chunks, level: i32, workers: Workers, threads: usize) -> Chunks {
    let frame = move |block: Block| {
        ::zstd::bulk::compress(&block.bytes, level)
            .map(Bytes::from)
            .map_err(|error| Error::internal(format!("zstd failed: {error}")))
    };
    blocks(chunks, ZSTD_BLOCK)
        .map_ok(move |block| workers.clone().work(move || frame(block)))
        .try_buffered(threads)
        .boxed()
}

fn gzip(chunks: Chunks, level: u32, workers: Workers, threads: usize) -> Chunks {
    let deflated = blocks(chunks, GZIP_BLOCK)
        .map_ok(move |block| workers.clone().work(move || deflate(&block, level)))
        .try_buffered(threads)
        .boxed();
    stream::try_unfold(GzipMember::Start(deflated), GzipMember::next).boxed()
}

/// Those who compress blocks, each on a thread and with its share of memory.
#[derive(Clone)]
struct Workers {
    codec: Codec,
    memory: CodecMemory,
}

// === impl Workers ===

impl Workers {
    async fn work<T: Send + 'static>(
        self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        // In a task of its own: this future may not be polled for long, where the network takes nothing, and must not hold a
        // share meanwhile that others wait for.
        let worked = AbortOnDropHandle::new(tokio::spawn(async move {
            let share = self.memory.encoder(self.codec).await;
            let work = move || {
                let _share = share;
                work()
            };
            tokio::task::spawn_blocking(work).await
        }));
        let stopped = |error| Error::internal(format!("compression stopped: {error}"));
        worked.await.map_err(stopped)?.map_err(stopped)?
    }
}

// === blocks ===

/// A piece of the stream at a fixed offset.
struct Block {
    /// The last bytes of the block before.
    window: Bytes,
    bytes: Bytes,
}

/// Cuts a stream into blocks of `size` bytes; the last may be shorter. An empty stream is one empty block.
fn blocks(chunks: Chunks, size: usize) -> stream::BoxStream<'static, Result<Block>> {
    let cutting = Cutting { chunks, size, rest: Bytes::new(), window: Bytes::new(), any: false };
    stream::try_unfold(cutting, Cutting::next).boxed()
}

struct Cutting {
    chunks: Chunks,
    size: usize,
    rest: Bytes,
    window: Bytes,
    any: bool,
}

impl Cutting {
    async fn next(mut self) -> Result<Option<(Block, Self)>> {
        let mut block = BytesMut::with_capacity(self.size);
        while block.len() < self.size {
            if self.rest.is_empty() {
                match self.chunks.try_next().await? {
                    Some(chunk) => self.rest = chunk,
                    None => break,
                }
            }
            let take = self.rest.len().min(self.size - block.len());
            block.extend_from_slice(&self.rest.split_to(take));
        }
        if block.is_empty() && self.any {
            return Ok(None);
        }
        self.any = true;
        let bytes = block.freeze();
        // A copy: a slice would hold the whole block.
        let window = Bytes::copy_from_slice(&bytes[bytes.len().saturating_sub(WINDOW)..]);
        let window = std::mem::replace(&mut self.window, window);
        Ok(Some((Block { window, bytes }, self)))
    }
}

// === gzip ===

/// A block of deflate that ends at a byte boundary, and the checksum of what went in.
struct Deflated {
    bytes: Bytes,
    plain: Plain,
}

/// What a gzip trailer says of the uncompressed bytes.
#[derive(Clone, Default)]
struct Plain {
    checksum: crc32fast::Hasher,
    len: u64,
}

fn deflate(block: &Block, level: u32) -> Result<Deflated> {
    let failed =
        |error: &dyn std::fmt::Display| Error::internal(format!("deflate failed: {error}"));
    let mut state = Compress::new(Level::new(level), false);
    if !block.window.is_empty() {
        state.set_dictionary(&block.window).map_err(|error| failed(&error))?;
    }
    let mut out = Vec::with_capacity(block.bytes.len() / 2 + 64);
    loop {
        let taken = usize::try_from(state.total_in()).unwrap_or(usize::MAX);
        let input = block.bytes.get(taken..).unwrap_or_default();
        out.reserve(out.capacity().max(4096) / 2);
        let status = state
            .compress_vec(input, &mut out, FlushCompress::Sync)
            .map_err(|error| failed(&error))?;
        let all_in = state.total_in() == block.bytes.len() as u64;
        // Room left means that nothing is waiting to be written.
        if all_in && status != Status::StreamEnd && out.len() < out.capacity() {
            break;
        }
    }
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&block.bytes);
    let plain = Plain { checksum, len: block.bytes.len() as u64 };
    Ok(Deflated { bytes: Bytes::from(out), plain })
}

/// Puts header and trailer around the blocks.
enum GzipMember {
    Start(stream::BoxStream<'static, Result<Deflated>>),
    Body(stream::BoxStream<'static, Result<Deflated>>, Plain),
    End,
}

impl GzipMember {
    async fn next(self) -> Result<Option<(Bytes, Self)>> {
        match self {
            Self::Start(blocks) => {
                let body = Self::Body(blocks, Plain::default());
                Ok(Some((Bytes::from_static(&GZIP_HEADER), body)))
            }
            Self::Body(mut blocks, mut plain) => match blocks.try_next().await? {
                Some(block) => {
                    plain.checksum.combine(&block.plain.checksum);
                    plain.len += block.plain.len;
                    Ok(Some((block.bytes, Self::Body(blocks, plain))))
                }
                None => Ok(Some((trailer(plain), Self::End))),
            },
            Self::End => Ok(None),
        }
    }
}

fn trailer(plain: Plain) -> Bytes {
    let mut out = BytesMut::with_capacity(DEFLATE_END.len() + 8);
    out.extend_from_slice(&DEFLATE_END);
    out.extend_from_slice(&plain.checksum.finalize().to_le_bytes());
    // The length field holds the length modulo 2^32.
    out.extend_from_slice(&plain.len.to_le_bytes()[..4]);
    out.freeze()
}

#[cfg(test)]
mod tests;
