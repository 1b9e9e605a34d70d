//! What the two names of a push have now, at the least cost: one request to each registry.

use tokio_util::sync::CancellationToken;

use super::progress::NoProgress;
use super::retry::retry;
use super::session::until;
use crate::access::CheckTurn;
use crate::error::{Error, Kind, Result, Side};
use crate::image::Digest;
use crate::options::{Endpoint, PushOptions};

/// The digests that the two names of a push have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Digest of the manifest or index that the source's name points to; `None` if there is none.
    pub source: Option<Digest>,
    /// Digest of the manifest or index that the destination's name points to; `None` if there is none.
    pub destination: Option<Digest>,
}

/// See [`super::standing()`].
pub(super) async fn standing(
    options: &PushOptions,
    cancel: &CancellationToken,
) -> Result<Standing> {
    let (source, destination) = (&options.source, &options.destination);
    let of_source = async {
        let _turn = turn(source).await;
        let opened = source.reference.source(&source.access).await?;
        match retry(options.retry, &NoProgress, || opened.digest()).await {
            Ok(digest) => Ok(Some(digest)),
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    };
    let of_destination = async {
        let _turn = turn(destination).await;
        let opened = destination.reference.destination(&destination.access).await?;
        let current = retry(options.retry, &NoProgress, || opened.current()).await?;
        Ok(current.map(|current| current.digest))
    };
    let on = |side| move |error: Error| error.during("looking at what is there").on(side);
    let both = async {
        let (source, destination) = futures::join!(of_source, of_destination);
        Ok(Standing {
            source: source.map_err(on(Side::Source))?,
            destination: destination.map_err(on(Side::Destination))?,
        })
    };
    until(cancel, both).await
}

/// Waits until the side's registry may be looked at, if it is in one.
async fn turn(side: &Endpoint) -> Option<CheckTurn> {
    let repository = side.reference.repository()?;
    Some(side.access.network.check_turn(&repository.registry).await)
}
