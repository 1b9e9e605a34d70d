//! `dir:PATH`: one image in a directory, readable as skopeo's flat layout and as an OCI layout at once.
//!
//! The directory holds one image and is replaced whole. It is built beside its place and exchanged with what is there
//! in one step; `publish` says what happens where that can't be done. `store` knows the names in it.

mod destination;
mod publish;
mod source;
mod store;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use super::local::UserPath;
use super::{ImageDestination, ImageReference, ImageSource, Locality, Reference, Transport};
use crate::access::Access;
use crate::error::{Error, Kind, Result};
use destination::DirDestination;
use source::DirSource;

/// The transport.
pub(super) struct Dir;

/// The image of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
struct DirReference {
    path: PathBuf,
}

impl Transport for Dir {
    fn name(&self) -> &'static str {
        "dir"
    }

    fn summary(&self) -> &'static str {
        "a directory with one image, as flat files and in the OCI image layout"
    }

    fn syntax(&self) -> &'static str {
        "PATH"
    }

    fn locality(&self) -> Locality {
        Locality::NodeLocal
    }

    fn parse(&self, details: &str) -> Result<Reference> {
        let problem = match details {
            "" => "the path is empty",
            path if path.contains('\0') => "the path holds a NUL character",
            path => return Ok(Arc::new(DirReference { path: path.into() })),
        };
        Err(Error::new(Kind::InvalidReference, problem))
    }
}

impl fmt::Display for DirReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dir:{}", self.path.display())
    }
}

#[async_trait]
impl ImageReference for DirReference {
    fn transport(&self) -> &'static dyn Transport {
        &Dir
    }

    async fn source(&self, access: &Access) -> Result<Box<dyn ImageSource>> {
        Ok(Box::new(DirSource::open(UserPath::new(&self.path, access)).await?))
    }

    async fn destination(&self, access: &Access) -> Result<Box<dyn ImageDestination>> {
        Ok(Box::new(DirDestination::open(UserPath::new(&self.path, access)).await?))
    }
}
