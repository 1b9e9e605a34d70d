//! The push: reads one image (or index) from a source and makes the destination hold it.
//!
//! `plan` decides, without I/O, what has to be done; `copy` walks the image and does it, blob by blob. Everything runs
//! inside the caller's task: dropping the future of [`push`] stops it, and the destination is as it was.

mod aside;
mod belief;
mod beside;
mod blob;
mod choose;
mod companion;
mod copied;
mod copy;
mod copy_state;
mod heal;
mod inspect;
mod origin;
mod plan;
mod present;
mod progress;
mod remove;
mod retry;
mod session;
mod source_image;
mod standing;
mod tree;
mod width;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use aside::aside;
pub use beside::{Beside, Decision};
pub use companion::{Companion, Ends, Motion};
pub use inspect::Inspected;
pub use origin::{Opened, Origin};
pub use progress::{BlobOutcome, Event, NoProgress, Progress};
pub use source_image::SourceImage;
pub use standing::Standing;

use crate::error::Result;
use crate::image::{Digest, MediaType, Platform};
use crate::options::{Endpoint, Platforms, PushOptions, Retry};
use crate::transport::Removed;
pub use crate::transport::{StillWanted, Wanted};

/// What a push did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// What the source's reference names.
    pub source: SourceImage,
    /// Digest of the manifest or index that the destination's name points to now.
    pub digest: Digest,
    /// Digest that the name pointed to when the push began, if that was another one. Whoever wrote it after that has been
    /// overwritten, too.
    pub replaced: Option<Digest>,
    /// Media type of that manifest or index.
    pub media_type: MediaType,
    /// Its size and that of everything it points to, in bytes; shared blobs count once. `None` where an index was in
    /// place already, so that nothing below it was read.
    pub size_bytes: Option<u64>,
    /// Its image manifests: itself, or those of the index.
    pub manifests: Vec<PushedManifest>,
    /// What happened to the blobs.
    pub blobs: BlobCounts,
    /// Bytes of blobs that were sent.
    pub bytes_sent: u64,
    /// Whether the image was in place and nothing of it was written.
    pub already_present: bool,
    /// What was done about what goes beside it; nothing if it went alone.
    pub beside: Option<Beside>,
}

/// One image of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedManifest {
    /// Digest at the destination.
    pub digest: Digest,
    /// Its platform, where the index names one.
    pub platform: Option<Platform>,
    /// Size of the manifest in bytes.
    pub size_bytes: u64,
}

/// How many blobs were sent, found in place, or mounted from another repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlobCounts {
    /// Sent.
    pub sent: u64,
    /// Found at the destination.
    pub reused: u64,
    /// Linked by the registry from another repository.
    pub mounted: u64,
}

/// What a push would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// What the source's reference names.
    pub source: SourceImage,
    /// Digest the destination would have; `None` if layers have to be compressed to know it.
    pub digest: Option<Digest>,
    /// Media type the destination would have.
    pub media_type: MediaType,
    /// Whether the destination has it already.
    pub already_present: bool,
    /// The images that would be copied.
    pub images: Vec<PreviewImage>,
    /// What would be done about what goes beside the image; nothing if it goes alone.
    pub beside: Option<Beside>,
}

/// One image of a preview.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviewImage {
    /// Digest of its manifest at the source.
    pub source_digest: Digest,
    /// Its platform, where the index names one.
    pub platform: Option<Platform>,
    /// What would happen to each of its blobs, layers bottom first, then the config.
    pub blobs: Vec<PreviewBlob>,
}

/// One blob of a preview.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviewBlob {
    /// Digest at the source.
    pub digest: Digest,
    /// Size at the source, in bytes.
    pub size_bytes: u64,
    /// What would happen to it, in a word: `keep`, `compress`, `decompress`, `leave`.
    pub action: &'static str,
}

/// Makes the destination hold the source's image.
///
/// **Flow.** Read the source's manifest; plan; compare with what the destination has, and be done if that is the same;
/// copy blobs, manifests of instances, the named manifest; commit.
///
/// **Guarantees.** Every byte is verified by digest and size. On error, on cancellation, and when the future is dropped, the
/// destination's name has what it had before; if the outcome of the last step is unknown, the error says so. So it does if
/// the name was changed, and what was written is then not found to be right.
///
/// **While wanted.** `wanted` is a [`CancellationToken`], or with it something else that the push depends on
/// ([`Wanted::while_holds`]), such as a lease. Cancelling interrupts all waiting at once, but not the exchange by which the
/// name changes; right before that the rest is asked. Once the name has changed, the push goes on to its end.
///
/// **Errors** name the side and the object; a cancelled push has the kind `Cancelled`, and one that isn't wanted for another
/// reason that reason's error.
pub async fn push(
    options: &PushOptions,
    progress: &Arc<dyn Progress>,
    wanted: impl Into<Wanted>,
) -> Result<Pushed> {
    push_with(options, &companion::Alone, progress, wanted).await
}

/// The same as [`push`], with a companion that has its turns.
pub async fn push_with(
    options: &PushOptions,
    companion: &dyn Companion,
    progress: &Arc<dyn Progress>,
    wanted: impl Into<Wanted>,
) -> Result<Pushed> {
    let (source, destination) = (&options.source.reference, &options.destination.reference);
    let doing = || format!("pushing `{source}` to `{destination}`");
    let pushed = session::push(options, companion, progress, &wanted.into()).await;
    pushed.map_err(|error| error.doing(doing()))
}

/// Gives a companion its turns for an image that the destination has already, and that stays as it is.
pub async fn accompany(
    options: &PushOptions,
    companion: &dyn Companion,
    progress: &Arc<dyn Progress>,
    wanted: impl Into<Wanted>,
) -> Result<Pushed> {
    let (source, destination) = (&options.source.reference, &options.destination.reference);
    let doing = || format!("pushing what belongs to `{source}` to `{destination}`");
    let done = session::accompany(options, companion, progress, &wanted.into()).await;
    done.map_err(|error| error.doing(doing()))
}

/// Tells what [`push`] would do. Reads manifests only and writes nothing.
pub async fn preview(options: &PushOptions, cancel: &CancellationToken) -> Result<Preview> {
    preview_with(options, &companion::Alone, cancel).await
}

/// The same as [`preview`], with a companion that says what it would do.
pub async fn preview_with(
    options: &PushOptions,
    companion: &dyn Companion,
    cancel: &CancellationToken,
) -> Result<Preview> {
    let (source, destination) = (&options.source.reference, &options.destination.reference);
    let doing = || format!("planning the push of `{source}` to `{destination}`");
    session::preview(options, companion, cancel).await.map_err(|error| error.doing(doing()))
}

/// Tells what [`accompany`] would do. Writes nothing.
pub async fn foresee(
    options: &PushOptions,
    companion: &dyn Companion,
    cancel: &CancellationToken,
) -> Result<Preview> {
    let (source, destination) = (&options.source.reference, &options.destination.reference);
    let doing = || format!("planning to push what belongs to `{source}` to `{destination}`");
    session::foresee(options, companion, cancel).await.map_err(|error| error.doing(doing()))
}

/// Opens a source to read more of an image than [`inspect()`] does.
pub async fn open(
    endpoint: Endpoint,
    platforms: Platforms,
    retry: Retry,
    cancel: &CancellationToken,
) -> Result<Opened> {
    let doing = format!("reading `{}`", endpoint.reference);
    let opened = Opened::open(endpoint, platforms, retry, Arc::new(NoProgress));
    session::until(cancel, opened).await.map_err(|error| error.doing(doing))
}

/// Takes a name away if it points to this digest; what it points to is left to the place's own cleaning.
pub async fn remove(
    endpoint: &Endpoint,
    expected: &Digest,
    retry: Retry,
    wanted: &Wanted,
) -> Result<Removed> {
    let doing = || format!("taking `{}` away", endpoint.reference);
    remove::remove(endpoint, expected, retry, wanted).await.map_err(|error| error.doing(doing()))
}

/// Tells which digests the two names of a push have now, by one request to each registry. Writes nothing.
///
/// The registries' word is taken for it: this is for finding out whether anything has changed since it was looked at closely.
pub async fn standing(options: &PushOptions, cancel: &CancellationToken) -> Result<Standing> {
    let (source, destination) = (&options.source.reference, &options.destination.reference);
    let doing = || format!("comparing `{source}` and `{destination}` with what they were");
    standing::standing(options, cancel).await.map_err(|error| error.doing(doing()))
}

/// Reads the manifest or index that a name points to and, for a container image, its config. Writes nothing.
pub async fn inspect(
    endpoint: &Endpoint,
    retry: Retry,
    cancel: &CancellationToken,
) -> Result<Inspected> {
    let doing = || format!("inspecting `{}`", endpoint.reference);
    inspect::inspect(endpoint, retry, cancel).await.map_err(|error| error.doing(doing()))
}

/// Finds the first of several names that has an image, where it is open which of them is meant.
///
/// A name whose registry can't be asked ends the search with its error: what is meant must not depend on what can be
/// reached. A single name is not asked for.
pub async fn choose(
    candidates: Vec<Endpoint>,
    retry: Retry,
    cancel: &CancellationToken,
) -> Result<Endpoint> {
    choose::choose(candidates, retry, cancel).await
}

#[cfg(test)]
mod tests;
