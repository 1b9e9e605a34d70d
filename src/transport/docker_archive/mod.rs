//! `docker-archive:`: what `docker save` writes and `docker load` reads.
//!
//! A tar file with the images' uncompressed layers, their configs, and a listing (`manifest.json`). It holds no manifests:
//! reading makes one (Docker version 2, schema 2) of the config and the layers, always the same one for the same image.
//! What identifies an image there is therefore its config.

mod destination;
mod image;
mod legacy;
mod listing;
mod name;
mod reference;
mod source;

use std::sync::Arc;

use reference::DockerArchiveReference;

use super::{Locality, Reference, Transport};
use crate::error::Result;

/// The transport.
#[derive(Debug)]
pub(super) struct DockerArchive;

impl Transport for DockerArchive {
    fn name(&self) -> &'static str {
        "docker-archive"
    }

    fn summary(&self) -> &'static str {
        "an archive as `docker save` writes it"
    }

    fn syntax(&self) -> &'static str {
        "FILE[:NAME:TAG|:@INDEX]"
    }

    fn locality(&self) -> Locality {
        Locality::NodeLocal
    }

    fn parse(&self, details: &str) -> Result<Reference> {
        Ok(Arc::new(DockerArchiveReference::parse(details)?))
    }
}

#[cfg(test)]
mod tests;
