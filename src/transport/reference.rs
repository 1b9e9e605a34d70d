//! Names of images across transports: `transport:details`.

use super::{Reference, TRANSPORTS, Transport};
use crate::error::{Error, Kind, Result};

/// The transport that a destination without one is tried as.
const DEFAULT_TRANSPORT: &str = "docker";

/// The names of all transports, in their order.
pub fn names() -> Vec<&'static str> {
    TRANSPORTS.iter().map(|transport| transport.name()).collect()
}

/// Parses the name of an image that is read.
///
/// The name is cut at the first colon. A name without a transport means local containers-storage.
pub fn parse(name: &str) -> Result<Reference> {
    if let Some((transport, details)) = known(name) {
        return parse_details(name, transport, details);
    }
    if names_a_transport(name) {
        return Err(unknown_transport(name));
    }
    // Until that transport exists, a bare name can't be looked up anywhere.
    Err(Error::new(
        Kind::InvalidReference,
        format!("`{name}` names an image in local containers-storage, which is not supported yet"),
    )
    .hint(format!("name the transport, as in `docker://{name}`; known transports: {}", list())))
}

/// Parses the name of an image that is written.
///
/// A name without a known transport is a Docker name if it parses as one.
pub fn parse_destination(name: &str) -> Result<Reference> {
    if let Some((transport, details)) = known(name) {
        return parse_details(name, transport, details);
    }
    if names_a_transport(name) {
        return Err(unknown_transport(name));
    }
    let docker = TRANSPORTS.iter().find(|transport| transport.name() == DEFAULT_TRANSPORT);
    docker
        .and_then(|docker| docker.parse(&format!("//{name}")).ok())
        .ok_or_else(|| unknown_transport(name))
}

/// Cuts a name at its first colon if a known transport stands before it.
fn known(name: &str) -> Option<(&'static dyn Transport, &str)> {
    let (prefix, details) = name.split_once(':')?;
    let transport = TRANSPORTS.iter().find(|transport| transport.name() == prefix)?;
    Some((*transport, details))
}

/// `foo://x` can't be a Docker name.
fn names_a_transport(name: &str) -> bool {
    name.contains("://")
}

fn parse_details(name: &str, transport: &dyn Transport, details: &str) -> Result<Reference> {
    transport.parse(details).map_err(|error| {
        let form = format!("the form is `{}:{}`", transport.name(), transport.syntax());
        error.doing(format!("parsing `{name}`")).hint(form)
    })
}

fn unknown_transport(name: &str) -> Error {
    let message = match name.split_once(':') {
        Some((prefix, _)) => {
            format!("`{name}` is not an image name, and `{prefix}` is not a transport")
        }
        None => format!("`{name}` is not an image name"),
    };
    Error::new(Kind::InvalidReference, message).hint(format!("known transports: {}", list()))
}

fn list() -> String {
    names().join(", ")
}
