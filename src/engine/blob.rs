//! Moves one blob: looks whether it is there, else streams it through the stages that its action asks for.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _};

use super::belief::{Belief, believed_at};
use super::copy::Copy;
use super::heal::Doubt;
use super::plan::LayerAction;
use super::progress::{BlobOutcome, Event, Progress};
use super::retry::retry;
use super::width::Turn;
use crate::blob::{Blob, Chunks, Expected, compress, decompress, observe, verify};
use crate::error::{Error, Kind, Result, Side};
use crate::image::{Compression, Descriptor, Digest};
use crate::limits::MAX_CONFIG_SIZE;
use crate::options::Retry;
use crate::transport::{BlobKind, ImageSource, Reused};

/// A blob that is at the destination.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CopiedBlob {
    /// Digest at the destination.
    pub(super) digest: Digest,
    /// Size at the destination, in bytes.
    pub(super) size: u64,
    pub(super) outcome: BlobOutcome,
}

/// Reads a config into memory.
pub(super) async fn read_config(
    source: &dyn ImageSource,
    policy: Retry,
    progress: &dyn Progress,
    config: &Descriptor,
) -> Result<Bytes> {
    let read = || async {
        if config.size > MAX_CONFIG_SIZE {
            let message = format!(
                "the config has {} bytes, more than the limit of {MAX_CONFIG_SIZE}",
                config.size
            );
            return Err(Error::new(Kind::LimitExceeded, message));
        }
        let chunks = source.blob(config).await?;
        let (chunks, _) = Blob::verified(chunks, config).into_parts();
        let whole = chunks.try_fold(BytesMut::new(), |mut whole, chunk| async move {
            whole.extend_from_slice(&chunk);
            Ok(whole)
        });
        whole.await.map(BytesMut::freeze).map_err(|error| distrusted(source, config, error))
    };
    retry(policy, progress, read).await.map_err(|error| {
        error.during(format!("reading config `{}`", config.digest)).on(Side::Source)
    })
}

/// Copies a config; `bytes` are its content where it has been read, and so compared with its digest, already.
pub(super) async fn copy_config(
    copy: &Copy<'_>,
    config: &Descriptor,
    bytes: Option<&Bytes>,
) -> Result<CopiedBlob> {
    copy_as_it_is(copy, config, BlobKind::Config, bytes).await
}

/// Copies a layer as its action says. `diff_id` is what its uncompressed bytes must be.
pub(super) async fn copy_layer(
    copy: &Copy<'_>,
    layer: &Descriptor,
    action: LayerAction,
    diff_id: Option<&Digest>,
) -> Result<CopiedBlob> {
    match action {
        LayerAction::Keep => copy_as_it_is(copy, layer, BlobKind::Layer, None).await,
        LayerAction::Leave => {
            copy.progress.event(Event::BlobStarted {
                digest: &layer.digest,
                size: layer.size,
                kind: BlobKind::Layer,
            });
            Ok(finished(copy, layer, &layer.digest, layer.size, BlobOutcome::Left))
        }
        LayerAction::Compress(_) | LayerAction::Decompress => {
            rewrite(copy, layer, action, diff_id).await
        }
    }
}

async fn copy_as_it_is(
    copy: &Copy<'_>,
    descriptor: &Descriptor,
    kind: BlobKind,
    bytes: Option<&Bytes>,
) -> Result<CopiedBlob> {
    let (mut first, belief) = (true, &Belief::default());
    let outcome = retry(copy.retry, copy.progress.as_ref(), || {
        let first = std::mem::replace(&mut first, false);
        async move {
            let mut turn = copy.state.width.turn().await;
            begun(copy, descriptor, kind, first);
            let outcome = look_and_send(copy, descriptor, (kind, bytes), belief, &mut turn).await;
            if let Err(error) = &outcome {
                turn.failed(error);
            }
            outcome
        }
    })
    .await?;
    Ok(finished(copy, descriptor, &descriptor.digest, descriptor.size, outcome))
}

async fn look_and_send<'a>(
    copy: &'a Copy<'_>,
    descriptor: &Descriptor,
    (kind, bytes): (BlobKind, Option<&Bytes>),
    belief: &Belief,
    turn: &mut Turn<'a>,
) -> Result<BlobOutcome> {
    match reused(copy, descriptor).await.map_err(|error| on_destination(error, descriptor))? {
        Some(Reused::Present) => {
            belief.check_found(copy, descriptor).await?;
            return Ok(BlobOutcome::Reused);
        }
        Some(Reused::Mounted) => return Ok(BlobOutcome::Mounted),
        None => {}
    }
    let _permit = copy.state.width.send(turn, descriptor.size).await;
    match (bytes, believed_at(copy, descriptor)) {
        (Some(bytes), _) => {
            put(copy, descriptor, Blob::compared(bytes.clone(), descriptor), kind).await?;
        }
        (None, None) => {
            let blob =
                observed(copy, descriptor, kind, open(copy, descriptor, Blob::verified).await?);
            put(copy, descriptor, blob, kind).await?;
        }
        (None, Some(place)) => belief.send(copy, descriptor, kind, &place).await?,
    }
    Ok(BlobOutcome::Sent)
}

/// Looks for a blob, as far as the destination's word is still taken for it.
async fn reused(copy: &Copy<'_>, descriptor: &Descriptor) -> Result<Option<Reused>> {
    match copy.doubt {
        Doubt::None => copy.destination.reuse_blob(descriptor, copy.mount_from).await,
        Doubt::Mounts => copy.destination.reuse_blob(descriptor, None).await,
        Doubt::All => Ok(None),
    }
}

async fn rewrite(
    copy: &Copy<'_>,
    layer: &Descriptor,
    action: LayerAction,
    diff_id: Option<&Digest>,
) -> Result<CopiedBlob> {
    let mut first = true;
    let (digest, size) = retry(copy.retry, copy.progress.as_ref(), || {
        let first = std::mem::replace(&mut first, false);
        async move {
            let _permit = copy.state.width.rewrite().await;
            begun(copy, layer, BlobKind::Layer, first);
            let (chunks, _) = open(copy, layer, Blob::verified).await?.into_parts();
            let blob = rewritten(copy, layer, action, diff_id, chunks);
            let identity = blob.identity().clone();
            put(copy, layer, blob, BlobKind::Layer).await?;
            let (digest, size) = identity.settled()?;
            Ok((digest.clone(), size))
        }
    })
    .await?;
    Ok(finished(copy, layer, &digest, size, BlobOutcome::Sent))
}

/// A layer's bytes as its action says: what they are when uncompressed is compared with the diff ID, and hashed once.
fn rewritten(
    copy: &Copy<'_>,
    layer: &Descriptor,
    action: LayerAction,
    diff_id: Option<&Digest>,
    chunks: Chunks,
) -> Blob {
    let codecs = &copy.state.codecs;
    let seen = |plain: Chunks| {
        let plain = match copy.companion.observer(layer) {
            Some(observer) => observe(plain, None, observer, &copy.state.looks),
            None => plain,
        };
        reading(plain, format!("decompressing layer `{}`", layer.digest))
    };
    // One that is not compressed has been compared with its diff ID as it came.
    let is_plain = layer.media_type.layer_compression() == Some(Compression::None);
    let is_compared = is_plain && diff_id == Some(&layer.digest);
    let plain = if is_compared { chunks } else { decompress(chunks, codecs) };
    let diff_id = diff_id.filter(|_| !is_compared);
    match (action, diff_id) {
        (LayerAction::Compress(codec), None) => {
            Blob::measured(compress(seen(plain), codec, codecs))
        }
        (LayerAction::Compress(codec), Some(diff_id)) => {
            let expected = Expected { digest: diff_id.clone(), size: None };
            Blob::measured(compress(seen(verify(plain, expected)), codec, codecs))
        }
        (_, None) => Blob::measured(seen(plain)),
        (_, Some(diff_id)) => Blob::measured_as(plain, diff_id.clone()).map_chunks(seen),
    }
}

/// Opens a blob of the source: checked, its errors named, its progress told.
pub(super) async fn open(
    copy: &Copy<'_>,
    descriptor: &Descriptor,
    check: fn(Chunks, &Descriptor) -> Blob,
) -> Result<Blob> {
    let doing = format!("reading blob `{}`", descriptor.digest);
    let chunks = copy.source.blob(descriptor).await;
    let chunks = chunks.map_err(|error| error.during(doing.clone()).on(Side::Source))?;
    let chunks = copy.pace.limit(chunks);
    let (progress, digest) = (Arc::clone(copy.progress), descriptor.digest.clone());
    let advanced = move |chunk: &Bytes| {
        progress.event(Event::BlobAdvanced { digest: &digest, bytes: chunk.len() as u64 });
    };
    let checked = check(chunks, descriptor);
    Ok(checked.map_chunks(|chunks| reading(chunks.inspect_ok(advanced).boxed(), doing)))
}

/// The same blob, seen by whoever wants to see it.
pub(super) fn observed(
    copy: &Copy<'_>,
    descriptor: &Descriptor,
    kind: BlobKind,
    blob: Blob,
) -> Blob {
    let observer = copy.companion.observer(descriptor).filter(|_| kind == BlobKind::Layer);
    let Some(observer) = observer else { return blob };
    blob.map_chunks(|chunks| observe(chunks, Some(descriptor.size), observer, &copy.state.looks))
}

/// Marks the errors of a stream as the source's.
fn reading(chunks: Chunks, doing: String) -> Chunks {
    chunks.map_err(move |error| error.during(doing.clone()).on(Side::Source)).boxed()
}

/// Hands a blob to the destination. Errors of the source pass unchanged: they say already whose they are.
pub(super) async fn put(
    copy: &Copy<'_>,
    descriptor: &Descriptor,
    blob: Blob,
    kind: BlobKind,
) -> Result<()> {
    let result = copy.destination.put_blob(blob, kind).await;
    result.map_err(|error| match error.side() {
        Some(Side::Source) => distrusted(copy.source, descriptor, error),
        _ => on_destination(error, descriptor),
    })
}

/// A blob that is wrong may be right where the source reads it next.
fn distrusted(source: &dyn ImageSource, descriptor: &Descriptor, error: Error) -> Error {
    let wrong = error.kind() == Kind::ContentMismatch;
    if wrong && source.distrust(descriptor) { error.transient() } else { error }
}

fn on_destination(error: Error, descriptor: &Descriptor) -> Error {
    error.during(format!("writing blob `{}`", descriptor.digest)).on(Side::Destination)
}

fn begun(copy: &Copy<'_>, descriptor: &Descriptor, kind: BlobKind, first: bool) {
    let (digest, size) = (&descriptor.digest, descriptor.size);
    copy.progress.event(if first {
        Event::BlobStarted { digest, size, kind }
    } else {
        Event::BlobRestarted { digest }
    });
}

fn finished(
    copy: &Copy<'_>,
    source: &Descriptor,
    digest: &Digest,
    size: u64,
    outcome: BlobOutcome,
) -> CopiedBlob {
    copy.progress.event(Event::BlobFinished { digest: &source.digest, outcome });
    copy.state.record(digest, outcome);
    CopiedBlob { digest: digest.clone(), size, outcome }
}
