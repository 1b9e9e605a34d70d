//! Lets somebody look at the uncompressed bytes of a layer while it passes, so that it need not be read once more.
//!
//! The stream itself passes unchanged, and never fails because of the look: what can't be decompressed is told to the
//! observer only. Decoding goes on piece by piece, on blocking threads that are given back between two chunks, one chunk
//! behind the stream. Once the observer wants no more, nothing is decoded. Decoders that hold a window wait until there is memory
//! for it, and the stream with them; the first bytes tell how much that is.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use flate2::write::MultiGzDecoder;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::Chunks;
use super::codec_memory::{Reach, window};
use crate::error::{Error, Result};
use crate::image::Compression;
use crate::limits::{LOOK_SHARE_LOG, MAX_EXPANDED_LAYER, MAX_LOOK_WINDOW_LOG};

/// Chunks shorter than this are decoded in place: handing them to a thread costs more.
const INLINE: usize = 8 << 10;

/// Takes the uncompressed bytes of a layer as they pass.
///
/// If the layer breaks off it is dropped without having been told of an end.
pub trait LayerObserver: Send + 'static {
    /// Takes the next bytes, and returns whether more are wanted.
    fn take(&mut self, bytes: &[u8]) -> bool;

    /// All bytes that were wanted have come. The fault says why not: the data can't be decompressed.
    fn end(self: Box<Self>, fault: Option<String>);
}

/// The memory that looking at layers may take: that of the largest window, or of several smaller ones. Clones share it.
#[derive(Clone, Debug)]
pub struct Looks {
    /// In shares of 8 MiB ([`LOOK_SHARE_LOG`]).
    shares: Arc<Semaphore>,
}

/// Passes the stream on, which has `size` bytes if that is known, and shows `observer` what it decompresses to.
pub fn observe(
    chunks: Chunks,
    size: Option<u64>,
    observer: Box<dyn LayerObserver>,
    looks: &Looks,
) -> Chunks {
    let decoding = Decoding::Idle(Box::new(Decoder::new(observer)));
    let observing = Observing { chunks, left: size, decoding, looks: looks.clone(), share: None };
    stream::try_unfold(observing, Observing::next).boxed()
}

struct Observing {
    chunks: Chunks,
    /// Bytes that are still to come, where that is known: who writes a blob may not ask for what comes after the last.
    left: Option<u64>,
    decoding: Decoding,
    looks: Looks,
    /// Held while there is a decoder that holds a window.
    share: Option<OwnedSemaphorePermit>,
}

enum Decoding {
    Idle(Box<Decoder>),
    Busy(JoinHandle<Box<Decoder>>),
    Ended,
}

/// A decoder that is fed, and what it feeds.
struct Decoder {
    /// The first bytes, until they tell how the layer is compressed.
    head: BytesMut,
    /// What it may hold of the memory for windows.
    shares: u32,
    stage: Stage,
    fault: Option<String>,
}

enum Stage {
    Unknown(Sink),
    Plain(Sink),
    Gzip(Box<MultiGzDecoder<Sink>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Sink>>),
    /// Nothing more is decoded.
    Stopped(Sink),
    Taken,
}

/// Hands bytes to the observer.
struct Sink {
    observer: Box<dyn LayerObserver>,
    left: u64,
    wanted: bool,
}

// === impl Observing ===

impl Observing {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>> {
        let Some(chunk) = self.chunks.try_next().await? else {
            self.end().await?;
            return Ok(None);
        };
        self.left = self.left.map(|left| left.saturating_sub(chunk.len() as u64));
        self.take_share(&chunk).await;
        self.show(chunk.clone()).await?;
        if self.left == Some(0) {
            self.end().await?;
        }
        Ok(Some((chunk, self)))
    }

    /// Waits until there is memory for a decoder, if it will hold a window once it has these bytes.
    async fn take_share(&mut self, chunk: &[u8]) {
        let Decoding::Idle(decoder) = &mut self.decoding else { return };
        if let Some(shares) = decoder.begin(chunk) {
            self.share = Arc::clone(&self.looks.shares).acquire_many_owned(shares).await.ok();
        }
    }

    async fn show(&mut self, chunk: Bytes) -> Result<()> {
        let Some(mut decoder) = self.settle().await? else { return Ok(()) };
        if decoder.is_done() {
            self.share = None;
        }
        self.decoding = if chunk.len() < INLINE || decoder.is_done() {
            decoder.push(&chunk);
            Decoding::Idle(decoder)
        } else {
            Decoding::Busy(tokio::task::spawn_blocking(move || {
                decoder.push(&chunk);
                decoder
            }))
        };
        Ok(())
    }

    async fn end(&mut self) -> Result<()> {
        if let Some(decoder) = self.settle().await? {
            let work = tokio::task::spawn_blocking(move || decoder.end());
            work.await.map_err(|error| stopped(&error))?;
        }
        self.share = None;
        Ok(())
    }

    async fn settle(&mut self) -> Result<Option<Box<Decoder>>> {
        match std::mem::replace(&mut self.decoding, Decoding::Ended) {
            Decoding::Idle(decoder) => Ok(Some(decoder)),
            Decoding::Busy(work) => work.await.map(Some).map_err(|error| stopped(&error)),
            Decoding::Ended => Ok(None),
        }
    }
}

fn stopped(cause: &tokio::task::JoinError) -> Error {
    Error::internal(format!("looking at a layer stopped: {cause}"))
}

// === impl Looks ===

impl Default for Looks {
    fn default() -> Self {
        Self { shares: Arc::new(Semaphore::new(1 << (MAX_LOOK_WINDOW_LOG - LOOK_SHARE_LOG))) }
    }
}

/// How many shares a decoder takes for a window of these bytes; `None` if it may not have it.
fn shares_for(window: u64) -> Option<u32> {
    let shares = window.div_ceil(1 << LOOK_SHARE_LOG).max(1).next_power_of_two();
    u32::try_from(shares)
        .ok()
        .filter(|shares| *shares <= 1 << (MAX_LOOK_WINDOW_LOG - LOOK_SHARE_LOG))
}

// === impl Decoder ===

impl Decoder {
    fn new(observer: Box<dyn LayerObserver>) -> Self {
        let sink = Sink { observer, left: MAX_EXPANDED_LAYER, wanted: true };
        Self { head: BytesMut::new(), shares: 1, stage: Stage::Unknown(sink), fault: None }
    }

    /// How many shares it will hold if the next bytes start the decoding of zstd.
    fn begin(&mut self, chunk: &[u8]) -> Option<u32> {
        if !matches!(self.stage, Stage::Unknown(_)) || self.head.len() + chunk.len() < Reach::HEAD {
            return None;
        }
        let first: Vec<u8> = self.head.iter().chain(chunk).copied().take(Reach::HEAD).collect();
        if Compression::detect(&first) != Compression::Zstd {
            return None;
        }
        self.shares = shares_for(window(&first)?)?;
        Some(self.shares)
    }

    fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Stopped(_))
    }

    fn push(&mut self, chunk: &[u8]) {
        if self.is_done() {
            return;
        }
        let pushed = match &mut self.stage {
            Stage::Unknown(_) => {
                self.head.extend_from_slice(chunk);
                if self.head.len() < Reach::HEAD { Ok(()) } else { self.start() }
            }
            Stage::Plain(sink) => sink.write_all(chunk),
            Stage::Gzip(decoder) => decoder.write_all(chunk),
            Stage::Zstd(decoder) => decoder.write_all(chunk),
            Stage::Stopped(_) | Stage::Taken => Ok(()),
        };
        if let Err(cause) = pushed {
            self.stop(&cause);
        }
    }

    /// Chooses the decoder by the first bytes, and gives them to it.
    fn start(&mut self) -> io::Result<()> {
        let Stage::Unknown(sink) = std::mem::replace(&mut self.stage, Stage::Taken) else {
            return Ok(());
        };
        let head = std::mem::take(&mut self.head);
        self.stage = match Compression::detect(&head) {
            Compression::None => Stage::Plain(sink),
            Compression::Gzip => Stage::Gzip(Box::new(MultiGzDecoder::new(sink))),
            Compression::Zstd => match window(&head).filter(|it| shares_for(*it).is_none()) {
                Some(window) => {
                    self.fault = Some(too_far(window));
                    Stage::Stopped(sink)
                }
                None => Stage::Zstd(Box::new(self.zstd(sink)?)),
            },
            other => {
                self.fault = Some(format!("it is compressed with {other}"));
                Stage::Stopped(sink)
            }
        };
        self.push(&head);
        Ok(())
    }

    /// Frames that come later may have no larger window than there is room for.
    fn zstd(&self, sink: Sink) -> io::Result<zstd::stream::write::Decoder<'static, Sink>> {
        let mut decoder = zstd::stream::write::Decoder::new(sink)?;
        decoder.window_log_max(LOOK_SHARE_LOG + self.shares.ilog2())?;
        Ok(decoder)
    }

    /// Decodes nothing more. That is a fault, unless the observer has what it wanted.
    fn stop(&mut self, cause: &io::Error) {
        if let Some(sink) = std::mem::replace(&mut self.stage, Stage::Taken).into_sink() {
            if sink.wanted {
                self.fault = Some(format!("its data can't be decompressed: {cause}"));
            }
            self.stage = Stage::Stopped(sink);
        }
    }

    fn end(mut self) {
        let started = if matches!(self.stage, Stage::Unknown(_)) { self.start() } else { Ok(()) };
        let finished = started.and_then(|()| match &mut self.stage {
            Stage::Gzip(decoder) => decoder.try_finish(),
            Stage::Zstd(decoder) => decoder.flush(),
            Stage::Unknown(_) | Stage::Plain(_) | Stage::Stopped(_) | Stage::Taken => Ok(()),
        });
        if let Err(cause) = finished {
            self.stop(&cause);
        }
        if let Some(sink) = self.stage.into_sink() {
            sink.observer.end(self.fault);
        }
    }
}

fn too_far(window: u64) -> String {
    let limit = 1_u64 << MAX_LOOK_WINDOW_LOG;
    format!(
        "decompressing it takes a window of {window} bytes, which is beyond the limit of {limit}; compress it without a long window, or attach the bundle to the image"
    )
}

// === impl Stage ===

impl Stage {
    fn into_sink(self) -> Option<Sink> {
        match self {
            Self::Unknown(sink) | Self::Plain(sink) | Self::Stopped(sink) => Some(sink),
            // Dropped as it is it would write what it still has.
            Self::Gzip(mut decoder) => Some(std::mem::replace(decoder.get_mut(), Sink::nobody())),
            Self::Zstd(decoder) => Some(decoder.into_inner()),
            Self::Taken => None,
        }
    }
}

// === impl Sink ===

impl Sink {
    /// One that takes nothing, for a decoder that is about to be dropped.
    fn nobody() -> Self {
        struct Nobody;
        impl LayerObserver for Nobody {
            fn take(&mut self, _: &[u8]) -> bool {
                false
            }
            fn end(self: Box<Self>, _: Option<String>) {}
        }
        Self { observer: Box::new(Nobody), left: 0, wanted: false }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(|| {
            io::Error::other(format!("it expands to more than {MAX_EXPANDED_LAYER} bytes"))
        })?;
        self.wanted = self.wanted && self.observer.take(bytes);
        if self.wanted { Ok(bytes.len()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
