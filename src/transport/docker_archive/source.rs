//! Reads one image of a Docker archive.

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream};

use super::image::ArchivedImage;
use super::listing::{self, Item, LISTING};
use super::reference::Selector;
use crate::blob::Chunks;
use crate::error::{Error, Kind, Result};
use crate::image::{Descriptor, Digest, Manifest};
use crate::limits::MAX_ARCHIVE_MANIFEST;
use crate::transport::ImageSource;
use crate::transport::local::{Archive, UserPath};

/// An image being read.
pub(super) struct DockerArchiveSource {
    image: ArchivedImage,
}

impl DockerArchiveSource {
    /// Opens an archive and finds the image that is meant, with all its parts.
    pub(super) async fn open(path: &UserPath, selector: Option<&Selector>) -> Result<Self> {
        let archive = Archive::open(path).await?;
        let items = read_listing(&archive).await?;
        let chosen = listing::choose(&items, selector)?;
        Ok(Self { image: ArchivedImage::open(&archive, &items[chosen]).await? })
    }
}

/// Reads the listing of an archive, which every Docker archive has.
pub(super) async fn read_listing(archive: &Archive) -> Result<Vec<Item>> {
    let bytes = archive.read(LISTING, MAX_ARCHIVE_MANIFEST).await?.ok_or_else(|| {
        let error = archive.fault(format!("it has no `{LISTING}`, so it is not a Docker archive"));
        match archive.find("oci-layout") {
            Ok(Some(_)) => error.hint("it holds an OCI layout: try `oci-archive:`"),
            _ => error,
        }
    })?;
    listing::parse(&bytes).map_err(|error| archive.in_archive(error))
}

#[async_trait]
impl ImageSource for DockerArchiveSource {
    async fn manifest(&self, instance: Option<&Descriptor>) -> Result<Manifest> {
        match instance {
            None => self.image.manifest().await.cloned(),
            Some(instance) => {
                let message = format!("the archive holds no manifest `{}`", instance.digest);
                Err(Error::new(Kind::NotFound, message))
            }
        }
    }

    async fn blob(&self, descriptor: &Descriptor) -> Result<Chunks> {
        let config = self.image.config();
        if Digest::of(config) == descriptor.digest {
            let bytes: Bytes = config.clone();
            return Ok(stream::iter([Ok(bytes)]).boxed());
        }
        self.image.layer(&descriptor.digest).ok_or_else(|| {
            let message = format!("the image has no blob `{}`", descriptor.digest);
            Error::new(Kind::NotFound, message)
        })
    }
}
