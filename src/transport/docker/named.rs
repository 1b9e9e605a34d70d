//! What a name in a registry has now.

use reqwest::{Method, Response};

use super::client::Client;
use super::presence::{content_digest, content_length};
use super::reference::Target;
use super::source::{ask_manifest, get_manifest, media_type};
use crate::error::{Kind, Result};
use crate::transport::Current;

/// Asks by HEAD, and by GET where that tells too little.
pub(super) async fn look(client: &Client, target: &Target) -> Result<Option<Current>> {
    let response = match ask_manifest(client, Method::HEAD, target).await {
        // Some registries let everybody GET, and want credentials for HEAD.
        Err(error) if client.lacks_credentials(&error) => return read(client, target).await,
        response => response?,
    };
    match response.status().as_u16() {
        200 => match described(&response) {
            Some(current) => Ok(Some(current)),
            None => read(client, target).await,
        },
        404 => Ok(None),
        405 | 501 => read(client, target).await,
        _ => Err(client.refusal(response).await),
    }
}

/// What the name has, from the manifest itself.
async fn read(client: &Client, target: &Target) -> Result<Option<Current>> {
    match get_manifest(client, target).await {
        Ok(manifest) => Ok(Some(Current::of(&manifest))),
        // What can't be read is not our image, and is about to be replaced.
        Err(error)
            if [Kind::NotFound, Kind::InvalidImage, Kind::TransportUnsupported]
                .contains(&error.kind()) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What the head of an answer tells of a manifest, if it tells all.
fn described(response: &Response) -> Option<Current> {
    Some(Current {
        digest: content_digest(response.headers())?,
        media_type: media_type(response)?,
        size: content_length(response.headers())?,
        config: None,
    })
}
