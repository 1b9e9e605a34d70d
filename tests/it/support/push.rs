//! Pushes through the library, as a user who gives two names and nothing else.

use std::sync::Arc;

use imagepush::access::Access;
use imagepush::engine::{self, NoProgress, Progress, Pushed};
use imagepush::error::Result;
use imagepush::options::{Endpoint, Layers, Platforms, PushOptions, Retry};
use imagepush::transport::{self, Reference};
use tokio_util::sync::CancellationToken;

/// The options of a push that takes the image as it is, with all its platforms, and never tries again.
pub(crate) fn options(source: &str, destination: &str) -> PushOptions {
    let end = |reference: Reference| Endpoint { reference, access: Access::default() };
    PushOptions {
        source: end(transport::parse(source).unwrap()),
        destination: end(transport::parse(destination).unwrap()),
        platforms: Platforms::All,
        format: None,
        layers: Layers::DoNotCompress,
        retry: Retry::new(0, None).unwrap(),
    }
}

/// Pushes with those options.
pub(crate) async fn push(source: &str, destination: &str) -> Result<Pushed> {
    run(&options(source, destination)).await
}

/// Pushes.
pub(crate) async fn run(options: &PushOptions) -> Result<Pushed> {
    let progress: Arc<dyn Progress> = Arc::new(NoProgress);
    engine::push(options, &progress, &CancellationToken::new()).await
}
