//! Takes a tag away.
//!
//! Only the tag: deleting its manifest would take every other tag of the same image with it. Registries that can't do
//! that (Docker's own up to version 2) keep it.

use reqwest::{Method, StatusCode};

use super::call::Call;
use super::client::Client;
use super::named;
use super::reference::Target;
use crate::error::Result;
use crate::image::Digest;
use crate::transport::{Gate, Removed};

/// Takes the tag away if it points to this digest. Between looking and taking away somebody may move it: the specification
/// has no condition for deletions.
pub(super) async fn remove(
    client: &Client,
    target: &Target,
    expected: &Digest,
    gate: &Gate,
) -> Result<Removed> {
    let Target::Tag(tag) = target else { return Ok(Removed::Unsupported) };
    match named::look(client, target).await? {
        None => return Ok(Removed::Absent),
        Some(current) if current.digest != *expected => {
            return Ok(Removed::Changed(current.digest));
        }
        Some(_) => {}
    }
    let url = client.url(&["manifests", tag])?;
    let call = Call { gate: Some(gate), ..Call::new(Method::DELETE, url) };
    let response = client.send(&call).await?;
    match response.status() {
        StatusCode::OK | StatusCode::ACCEPTED | StatusCode::NO_CONTENT => Ok(Removed::Done),
        StatusCode::NOT_FOUND => Ok(Removed::Absent),
        // "Deleting Tags" of the specification: a registry that doesn't offer it answers 400 or 405.
        StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
            Ok(Removed::Unsupported)
        }
        _ => Err(client.refusal(response).await),
    }
}
