//! `docker://`: images in registries, by the OCI distribution specification v1.1.
//!
//! `reference` parses names; `client` sends every request (a `call`) and decides about addresses, with `auth`, `challenge`, `scope` and
//! `token` for credentials, `redirect` and `realm` for where they may go and `echo` for what comes back of them; `connections` has one HTTP client or another send
//! it; `source` and `destination` speak the protocol, with `reuse` for blobs that are there, `upload` for the others (its
//! requests are in `sending`, its sessions in `session`, and what registries want otherwise in `manner`), `publish`, `named` and
//! `readback` for manifests and names, and `referrers` for attachments; `error` turns what comes back into ours.

mod auth;
mod body;
mod call;
mod challenge;
mod client;
mod connections;
mod destination;
mod download;
mod echo;
mod error;
mod foreign;
mod manner;
mod named;
mod places;
mod presence;
mod publish;
mod readback;
mod realm;
mod redirect;
mod reference;
mod referrers;
mod refused;
mod removal;
mod replay;
mod reuse;
mod scope;
mod sending;
mod session;
mod source;
mod tls_fault;
mod token;
mod tunnel_fault;
mod upload;

use std::sync::Arc;

pub(super) use reference::DockerReference;

use super::{Locality, Reference, Transport};
use crate::error::Result;

/// The transport.
#[derive(Debug)]
pub(super) struct Docker;

impl Transport for Docker {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn summary(&self) -> &'static str {
        "an image in a registry"
    }

    fn syntax(&self) -> &'static str {
        "//[HOST[:PORT]/]NAME[:TAG|@DIGEST]"
    }

    fn locality(&self) -> Locality {
        Locality::Remote
    }

    fn parse(&self, details: &str) -> Result<Reference> {
        Ok(Arc::new(DockerReference::parse(details)?))
    }
}
