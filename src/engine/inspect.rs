//! Reads what a name points to, without copying anything.

use tokio_util::sync::CancellationToken;

use super::blob::read_config;
use super::progress::NoProgress;
use super::session::until;
use super::tree::Reader;
use crate::error::{Error, Result, Side};
use crate::image::{Config, Manifest};
use crate::options::{Endpoint, Retry};

/// What a name points to.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// The manifest or index.
    pub manifest: Manifest,
    /// The config, if it is a container image.
    pub config: Option<Config>,
}

/// See [`super::inspect()`].
pub(super) async fn inspect(
    endpoint: &Endpoint,
    retry: Retry,
    cancel: &CancellationToken,
) -> Result<Inspected> {
    until(cancel, read(endpoint, retry)).await
}

async fn read(endpoint: &Endpoint, retry: Retry) -> Result<Inspected> {
    let opened = endpoint.reference.source(&endpoint.access).await;
    let source = opened.map_err(|error| error.on(Side::Source))?;
    let reader = Reader::new(source.as_ref(), endpoint.reference.digest(), retry, &NoProgress);
    let manifest = reader.named().await?;
    let Some(image) = manifest.as_image().filter(|image| image.is_container_image()) else {
        return Ok(Inspected { manifest, config: None });
    };
    let bytes = read_config(source.as_ref(), retry, &NoProgress, &image.config).await?;
    let config = Config::parse(&bytes).map_err(|error| {
        let reading = format!("reading config `{}`", image.config.digest);
        Error::from(error).doing(reading).on(Side::Source)
    })?;
    Ok(Inspected { manifest, config: Some(config) })
}
