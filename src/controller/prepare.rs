//! Gets ready what an attempt needs: Secrets, and the options made with them.

use kube::{Client, ResourceExt as _};

use super::failure::Failure;
use super::{digests, resolve, validate};
use crate::access::Network;
use crate::api::v1alpha1::ImagePush;
use crate::options::PushOptions;

/// What an attempt needs.
pub(crate) struct Prepared {
    pub(crate) options: PushOptions,
    /// Digest of how the sides are reached.
    pub(crate) access: String,
}

/// Reads what the object names, and makes options of it.
pub(crate) async fn prepare(
    object: &ImagePush,
    client: &Client,
    network: &Network,
) -> Result<Prepared, Failure> {
    let namespace = object.namespace().unwrap_or_default();
    let secrets = resolve::secrets(client, &namespace, &object.spec).await?;
    let source = resolve::access(&object.spec.source, &secrets, network)?;
    let destination = resolve::access(&object.spec.destination, &secrets, network)?;
    let options = validate::options(&object.spec, source, destination)
        .and_then(|options| validate::reachable(&options).map(|()| options))
        .map_err(|error| Failure::from(&error))?;
    Ok(Prepared { options, access: digests::access(object, &resolve::fingerprint(&secrets)) })
}
