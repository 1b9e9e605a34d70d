//! The transport that images in memory belong to.

use crate::error::{Error, Result};
use crate::transport::{Locality, Reference, Transport};

pub(super) struct MemoryTransport;

impl Transport for MemoryTransport {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn summary(&self) -> &'static str {
        "images in the memory of a test"
    }

    fn syntax(&self) -> &'static str {
        "NAME"
    }

    fn locality(&self) -> Locality {
        Locality::NodeLocal
    }

    fn parse(&self, _details: &str) -> Result<Reference> {
        Err(Error::internal("tests make these references themselves"))
    }
}
