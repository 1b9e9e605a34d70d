//! Takes back a name that was pushed.

use super::progress::NoProgress;
use super::retry::retry;
use super::session::until;
use crate::error::{Result, Side};
use crate::image::Digest;
use crate::options::{Endpoint, Retry};
use crate::transport::{Gate, Removed, Wanted};

/// See [`super::remove()`].
pub(super) async fn remove(
    endpoint: &Endpoint,
    expected: &Digest,
    policy: Retry,
    wanted: &Wanted,
) -> Result<Removed> {
    let gate = Gate::new(wanted.clone());
    let removal = async {
        let destination = endpoint.reference.destination(&endpoint.access).await?;
        retry(policy, &NoProgress, || destination.remove(expected, &gate)).await
    };
    until(wanted.cancel(), removal).await.map_err(|error| error.on(Side::Destination))
}
