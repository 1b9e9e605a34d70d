//! `oci-archive:FILE[:NAME]`: an OCI layout in one tar file (OCI image specification v1.1, image layout).
//!
//! Read in place, whatever made it, compressed or not. Written in one pass into a file beside it and published by one
//! rename; other named images of an archive that is there are taken along. `store` is an archive being read, `source` and
//! `destination` are the two ends of a push.

mod destination;
mod source;
mod store;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use super::local::UserPath;
use super::local::layout::{Selection, parse_details};
use super::{ImageDestination, ImageReference, ImageSource, Locality, Reference, Transport};
use crate::access::Access;
use crate::error::{Error, Kind, Result};
use destination::OciArchiveDestination;
use source::OciArchiveSource;

/// The transport.
pub(super) struct OciArchive;

/// An image of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OciArchiveReference {
    path: PathBuf,
    name: Option<String>,
}

impl Transport for OciArchive {
    fn name(&self) -> &'static str {
        "oci-archive"
    }

    fn summary(&self) -> &'static str {
        "a tar file with an OCI image layout"
    }

    fn syntax(&self) -> &'static str {
        "FILE[:NAME]"
    }

    fn locality(&self) -> Locality {
        Locality::NodeLocal
    }

    fn parse(&self, details: &str) -> Result<Reference> {
        let (path, selection) = parse_details(details)?;
        let name = match selection {
            Selection::Only => None,
            Selection::Named(name) => Some(name),
            Selection::At(place) => {
                let message =
                    format!("`@{place}` is not a name, and an archive's images are known by name");
                return Err(Error::new(Kind::InvalidReference, message));
            }
        };
        Ok(Arc::new(OciArchiveReference { path, name }))
    }
}

impl fmt::Display for OciArchiveReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci-archive:{}", self.path.display())?;
        match &self.name {
            None => Ok(()),
            Some(name) => write!(f, ":{name}"),
        }
    }
}

#[async_trait]
impl ImageReference for OciArchiveReference {
    fn transport(&self) -> &'static dyn Transport {
        &OciArchive
    }

    async fn source(&self, access: &Access) -> Result<Box<dyn ImageSource>> {
        let selection = self.name.clone().map_or(Selection::Only, Selection::Named);
        let source = OciArchiveSource::open(&UserPath::new(&self.path, access), &selection).await;
        Ok(Box::new(source.map_err(|error| error.doing(format!("opening `{self}`")))?))
    }

    async fn destination(&self, access: &Access) -> Result<Box<dyn ImageDestination>> {
        let destination =
            OciArchiveDestination::open(UserPath::new(&self.path, access), self.name.clone()).await;
        Ok(Box::new(destination.map_err(|error| error.doing(format!("opening `{self}`")))?))
    }
}

#[cfg(test)]
mod tests;
