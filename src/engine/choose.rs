//! Finds out which of several names is meant: the first that has an image.

use tokio_util::sync::CancellationToken;

use super::progress::NoProgress;
use super::session::until;
use super::tree::Reader;
use crate::error::{Error, Kind, Result, Side};
use crate::options::{Endpoint, Retry};

/// See [`super::choose()`].
pub(super) async fn choose(
    mut candidates: Vec<Endpoint>,
    retry: Retry,
    cancel: &CancellationToken,
) -> Result<Endpoint> {
    if candidates.len() == 1
        && let Some(only) = candidates.pop()
    {
        return Ok(only);
    }
    let mut failures = vec![];
    for candidate in candidates {
        match until(cancel, has_image(&candidate, retry)).await {
            Ok(()) => return Ok(candidate),
            Err(error) if error.is_absence() => failures.push(error.to_string()),
            Err(error) => {
                return Err(error.hint("name the image in full: which one is meant must not depend on what can be reached"));
            }
        }
    }
    let message = format!("none of the names has an image: {}", failures.join("; "));
    Err(Error::new(Kind::NotFound, message).on(Side::Source))
}

async fn has_image(candidate: &Endpoint, retry: Retry) -> Result<()> {
    let Endpoint { reference, access } = candidate;
    let opened = reference.source(access).await.map_err(|error| error.on(Side::Source))?;
    let reader = Reader::new(opened.as_ref(), reference.digest(), retry, &NoProgress);
    reader.named().await.map(drop)
}
