//! Foreign layers: those that a registry need not hold, since their `urls` say where they are.
//!
//! The addresses are the image's author's choice, so that none is asked unless whoever runs the program has listed its host.
//! What comes from there is verified like any blob, and nobody is told who we are.

use std::sync::Arc;

use url::Url;

use super::call::Call;
use super::client::Client;
use super::{download, error};
use crate::blob::Chunks;
use crate::error::{Class, Error, Kind, Result};
use crate::image::Descriptor;
use crate::limits::MAX_LAYER_ADDRESSES;

/// Opens a layer that the registry has said to be `absent`, at the first of its addresses that is listed and has it.
pub(super) async fn blob(
    client: &Arc<Client>,
    descriptor: &Descriptor,
    absent: Error,
) -> Result<Chunks> {
    let urls = addresses(descriptor);
    if absent.kind() != Kind::NotFound || urls.is_empty() {
        return Err(absent);
    }
    let mut failure: Option<Error> = None;
    let listed = urls.iter().filter(|url| client.may_fetch_layers_from(url));
    for url in listed.take(MAX_LAYER_ADDRESSES) {
        match download::from(client, Call::foreign(url.clone()), descriptor).await {
            Ok(chunks) => return Ok(chunks),
            // One that may help the next time tells more than one that never will.
            Err(error) if error.class() == Class::Transient => failure = Some(error),
            Err(error) => failure = Some(failure.unwrap_or(error)),
        }
    }
    Err(failure.unwrap_or_else(|| not_fetched(client, &urls, &absent)))
}

/// Where a layer is, if it is one that may be elsewhere.
fn addresses(descriptor: &Descriptor) -> Vec<Url> {
    if !descriptor.media_type.is_foreign_layer() {
        return vec![];
    }
    let urls = descriptor.urls.iter().filter_map(|url| Url::parse(url).ok());
    urls.filter(|url| url.has_host() && url.username().is_empty()).collect()
}

fn not_fetched(client: &Client, urls: &[Url], absent: &Error) -> Error {
    if let Some(url) = urls.iter().find(|url| client.lists(url)) {
        let message = format!(
            "{absent}; the layer is a foreign one, and `{}` is less protected than the registry",
            error::origin(url)
        );
        return Error::new(absent.kind(), message);
    }
    let place = urls.first().map(error::place).unwrap_or_default();
    let message = format!(
        "{absent}; the layer is a foreign one, and nothing is fetched from `{place}`, where it may be"
    );
    let hint = format!(
        "push to a registry or a layout, which leave such a layer where it is; or \
         `--foreign-layer-host {place}`, of the command line or of the operator, has it fetched"
    );
    Error::new(absent.kind(), message).hint(hint)
}
