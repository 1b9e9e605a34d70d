//! `oci:PATH[:NAME|:@INDEX]`: images in OCI layout directories (OCI image specification v1.1, image layout).
//!
//! A layout holds any number of images; `index.json` names them. Writing never touches another image: new content is
//! collected in a directory of our own and moved in at commit, under a lock, before `index.json` is replaced.
//! `store` reads and fills layouts, `source` and `destination` are the two ends of a push.

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
use destination::LayoutDestination;
use source::LayoutSource;

/// The transport.
pub(super) struct Oci;

/// An image of a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OciReference {
    path: PathBuf,
    selection: Selection,
}

impl Transport for Oci {
    fn name(&self) -> &'static str {
        "oci"
    }

    fn summary(&self) -> &'static str {
        "a directory in the OCI image layout, holding any number of images"
    }

    fn syntax(&self) -> &'static str {
        "PATH[:NAME|:@INDEX]"
    }

    fn locality(&self) -> Locality {
        Locality::NodeLocal
    }

    fn parse(&self, details: &str) -> Result<Reference> {
        let (path, selection) = parse_details(details)?;
        Ok(Arc::new(OciReference { path, selection }))
    }
}

impl fmt::Display for OciReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci:{}", self.path.display())?;
        match &self.selection {
            Selection::Only => Ok(()),
            Selection::Named(name) => write!(f, ":{name}"),
            Selection::At(place) => write!(f, ":@{place}"),
        }
    }
}

#[async_trait]
impl ImageReference for OciReference {
    fn transport(&self) -> &'static dyn Transport {
        &Oci
    }

    async fn source(&self, access: &Access) -> Result<Box<dyn ImageSource>> {
        let path = UserPath::new(&self.path, access);
        Ok(Box::new(LayoutSource::open(path, self.selection.clone()).await?))
    }

    async fn destination(&self, access: &Access) -> Result<Box<dyn ImageDestination>> {
        let name = match &self.selection {
            Selection::Only => None,
            Selection::Named(name) => Some(name.clone()),
            Selection::At(_) => {
                let message =
                    format!("`{self}` names a place in `index.json`, which can only be read");
                let error = Error::new(Kind::InvalidReference, message);
                return Err(error.hint("give the image a name, as in `oci:PATH:NAME`"));
            }
        };
        let path = UserPath::new(&self.path, access);
        Ok(Box::new(LayoutDestination::open(path, name).await?))
    }
}
