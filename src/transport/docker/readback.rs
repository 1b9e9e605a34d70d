//! Reads back what was written: registries have answered 201 for what they did not keep.

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::client::Client;
use super::presence::{Presence, presence};
use super::reference::Target;
use super::source::get_manifest;
use crate::error::{Error, Kind, Result};
use crate::image::{Descriptor, Manifest};
use crate::limits::PARALLEL_SMALL_BLOBS;

/// Compares the manifest that a name has with ours, and asks for each of its blobs. The manifests of an index are read
/// back one by one when they are written.
pub(super) async fn verify(client: &Client, manifest: &Manifest, target: &Target) -> Result<()> {
    let found = match get_manifest(client, target).await {
        Err(error) if error.kind() == Kind::NotFound => {
            return Err(missing(
                "the registry does not have the manifest that it has taken".into(),
            ));
        }
        found => found?,
    };
    if found.bytes() != manifest.bytes() {
        let message = format!("the name has `{}` by now", found.digest());
        return Err(as_read(Error::new(Kind::ContentMismatch, message), target)
            .hint("somebody else writes the same name, or the registry changes manifests"));
    }
    let Some(image) = manifest.as_image() else { return Ok(()) };
    // A foreign layer may have stayed where its URLs point.
    let elsewhere = |blob: &Descriptor| blob.media_type.is_foreign_layer() && !blob.urls.is_empty();
    let blobs = image.blobs().filter(|blob| !elsewhere(blob));
    let checks: Vec<_> = blobs.map(|blob| is_there(client, blob)).collect();
    stream::iter(checks).buffer_unordered(PARALLEL_SMALL_BLOBS).try_collect().await
}

/// What is read by a tag may be out of date, in a replica or a cache: then it is right the next time.
pub(super) fn as_read(error: Error, target: &Target) -> Error {
    if matches!(target, Target::Tag(_)) { error.transient() } else { error }
}

async fn is_there(client: &Client, blob: &Descriptor) -> Result<()> {
    match presence(client, &blob.digest, blob.size).await? {
        // A registry that can't tell is not asked for more than that.
        Presence::Present(_) | Presence::Unknown => Ok(()),
        Presence::Absent => {
            let digest = &blob.digest;
            Err(missing(format!("the registry does not have blob `{digest}` that it has taken")))
        }
    }
}

fn missing(message: String) -> Error {
    Error::new(Kind::ContentMissing, message)
        .hint("the registry loses what it is given; see whether it is being cleaned up or is out of space")
}
