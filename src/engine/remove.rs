//! Takes back a name that was pushed.

use tokio_util::sync::CancellationToken;

use super::progress::NoProgress;
use super::retry::retry;
use super::session::until;
use crate::error::{Result, Side};
use crate::image::Digest;
use crate::options::{Endpoint, Retry};
use crate::transport::Removed;

/// See [`super::remove()`].
pub(super) async fn remove(
    endpoint: &Endpoint,
    expected: &Digest,
    policy: Retry,
    cancel: &CancellationToken,
) -> Result<Removed> {
    let removal = async {
        let destination = endpoint.reference.destination(&endpoint.access).await?;
        retry(policy, &NoProgress, || destination.remove(expected)).await
    };
    until(cancel, removal).await.map_err(|error| error.on(Side::Destination))
}
