//! Writes a stream into a range of a file.
//!
//! The next chunks are fetched while those before them are written. Whoever holds `guard` owns the range; the guard
//! travels with each write, so that a write still under way after its caller is gone can't hit the range's next owner.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use tokio::task::JoinHandle;

use crate::blob::Chunks;
use crate::error::{Error, Result};
use crate::limits::CHUNK;

/// The file written to, and its name in errors.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) file: Arc<File>,
    pub(super) path: Arc<Path>,
}

/// Writes all chunks from `offset` on and returns how many bytes they had, with the guard.
///
/// Never writes past `room` bytes.
pub(super) async fn pour<G: Send + 'static>(
    target: Target,
    offset: u64,
    room: Option<u64>,
    mut chunks: Chunks,
    guard: G,
) -> Result<(u64, G)> {
    let mut written = 0;
    let mut writing = Writing::Idle(guard);
    loop {
        let (batch, length) = next_batch(&mut chunks).await?;
        let guard = writing.settle().await?;
        if batch.is_empty() {
            return Ok((written, guard));
        }
        if room.is_some_and(|room| written + length > room) {
            return Err(Error::internal("a blob is longer than the range it was given"));
        }
        let (target, at) = (target.clone(), offset + written);
        written += length;
        writing = Writing::Busy(tokio::task::spawn_blocking(move || {
            write_batch(&target, &batch, at).map(|()| guard)
        }));
    }
}

enum Writing<G> {
    Idle(G),
    Busy(JoinHandle<Result<G>>),
}

impl<G> Writing<G> {
    async fn settle(self) -> Result<G> {
        match self {
            Self::Idle(guard) => Ok(guard),
            Self::Busy(work) => work.await.map_err(|error| super::stopped(&error))?,
        }
    }
}

/// Gathers chunks worth a write: sockets give smaller ones.
async fn next_batch(chunks: &mut Chunks) -> Result<(Vec<Bytes>, u64)> {
    let mut batch = Vec::new();
    let mut length = 0;
    while length < CHUNK {
        let Some(chunk) = chunks.try_next().await? else { break };
        length += chunk.len();
        if !chunk.is_empty() {
            batch.push(chunk);
        }
    }
    Ok((batch, length as u64))
}

fn write_batch(target: &Target, batch: &[Bytes], mut at: u64) -> Result<()> {
    for chunk in batch {
        target.write(chunk, at)?;
        at += chunk.len() as u64;
    }
    Ok(())
}
