//! Pushes through the library, as a user who gives two names and nothing else.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use imagepush::access::Access;
use imagepush::blob::{Blob, CodecMemory, Pace};
use imagepush::engine::{self, NoProgress, Progress, Pushed};
use imagepush::error::Result;
use imagepush::image::Manifest;
use imagepush::options::{
    BundleClues, CustomResources, Endpoint, Layers, Platforms, PushOptions, Retry,
};
use imagepush::transport::{self, BlobKind, ImageDestination, Reference};
use tokio_util::sync::CancellationToken;

use super::{canary, images};

/// The options of a push that takes the image as it is and alone, with all its platforms, and never tries again.
pub(crate) fn options(source: &str, destination: &str) -> PushOptions {
    let end = |reference: Reference| Endpoint { reference, access: Access::default() };
    PushOptions {
        source: end(transport::parse(source).unwrap()),
        destination: end(transport::parse(destination).unwrap()),
        platforms: Platforms::All,
        format: None,
        layers: Layers::DoNotCompress,
        retry: Retry::new(0, None).unwrap(),
        verify_source: false,
        custom_resources: CustomResources::Never,
        clues: BundleClues::default(),
        pace: Pace::default(),
        codecs: CodecMemory::default(),
        verify_after_push: false,
        overwrites: None,
    }
}

/// Pushes with those options.
pub(crate) async fn push(source: &str, destination: &str) -> Result<Pushed> {
    run(&options(source, destination)).await
}

/// Pushes.
pub(crate) async fn run(options: &PushOptions) -> Result<Pushed> {
    let progress: Arc<dyn Progress> = Arc::new(NoProgress);
    let pushed = engine::push(options, &progress, &CancellationToken::new()).await;
    canary::none_is_in("the outcome of a push", format!("{pushed:?}"), &[]);
    pushed
}

/// A destination that has the blobs of an image and is to get its manifest next.
pub(crate) async fn halfway(reference: &str) -> (Box<dyn ImageDestination>, Manifest) {
    let content = images::image(7);
    let destination = transport::parse(reference).unwrap();
    let destination = destination.destination(&Access::default()).await.unwrap();
    let bytes = Bytes::from(content.blobs[content.digest()].clone());
    let manifest = Manifest::parse(bytes, None).unwrap();
    for blob in manifest.as_image().unwrap().blobs() {
        let bytes = Bytes::from(content.blobs[&blob.digest.to_string()].clone());
        let blob = Blob::verified(stream::iter([Ok(bytes)]).boxed(), blob);
        destination.put_blob(blob, BlobKind::Layer).await.unwrap();
    }
    (destination, manifest)
}
