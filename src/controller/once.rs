//! One attempt for an object that is in no cluster: what `imagepush apply` does.
//!
//! The steps of a look at an object in a row: resolve → validate → run → status. Two things differ: files are within reach
//! here, and nobody tries again, so that nothing is ever reported as under way.

use std::sync::Arc;
use std::time::Duration;

use jiff::{Timestamp, Unit};
use tokio_util::sync::CancellationToken;

use super::decide::Outcome;
use super::delivery::{Delivery, Known, deliver};
use super::digests;
use super::executor::RealEngine;
use super::failure::Failure;
use super::resolve;
pub use super::resolve::Secrets;
use super::status::{Draft, timed_out};
use super::validate;
use crate::access::Network;
use crate::api::v1alpha1::{ImagePush, ImagePushSpec};
use crate::engine::{Progress, Wanted};
use crate::error::{Error, Kind, Result};
use crate::options::{BundleClues, PushOptions};

/// An object that can be run.
#[derive(Debug)]
pub struct Prepared {
    object: ImagePush,
    options: PushOptions,
    timeout: Option<Duration>,
}

/// Gets an object ready. A status that it has already is left behind.
///
/// Everything that is wrong with the object or its Secrets is an error here, of the kinds `InvalidOptions` and
/// `InvalidReference`; nothing is read but what is given. The attempt will use connections of `network`.
pub fn prepare(mut object: ImagePush, secrets: &Secrets, network: &Network) -> Result<Prepared> {
    object.status = None;
    let spec = &object.spec;
    if let Some(name) =
        resolve::names(spec).into_iter().find(|name| !secrets.named.contains_key(*name))
    {
        let message = format!("there is no secret `{name}` for it");
        return Err(Error::new(Kind::InvalidOptions, message)
            .hint("put the Secret into the same file, with the object's namespace"));
    }
    if let Some(account) = resolve::accounts(spec).into_iter().next() {
        let message = format!("service account `{account}` is in a cluster only");
        return Err(Error::new(Kind::InvalidOptions, message)
            .hint("name a Secret by `secretRef`, and put it into the same file"));
    }
    if spec.digest_output.is_some() {
        let message = "the ConfigMap of `digestOutput` is in a cluster only";
        return Err(Error::new(Kind::InvalidOptions, message)
            .hint("leave it out; `status.artifact.digest` of the output has the digest"));
    }
    if spec.custom_resources.as_ref().is_some_and(|wish| wish.apply.is_some()) {
        let message = "`customResources.apply` needs a cluster to apply in";
        return Err(Error::new(Kind::InvalidOptions, message)
            .hint("leave it out; `imagepush bundle show` prints what could be applied"));
    }
    let unusable = |failure: Failure| Error::new(Kind::InvalidOptions, failure.message);
    let source = resolve::access(&spec.source, secrets, network).map_err(unusable)?;
    let destination = resolve::access(&spec.destination, secrets, network).map_err(unusable)?;
    if spec.source.volume.is_some() || spec.destination.volume.is_some() {
        let message = "a `volume` is mounted by a Job, and there is no cluster here";
        return Err(Error::new(Kind::TransportUnsupported, message)
            .hint("leave it out, and name the path where the files are"));
    }
    let options = validate::options(spec, source, destination)?;
    let timeout = spec.timeout.as_deref().map(validate::duration).transpose()?;
    Ok(Prepared { object, options, timeout })
}

// === impl Prepared ===

impl Prepared {
    /// The object as it is asked for.
    pub fn object(&self) -> &ImagePush {
        &self.object
    }

    /// Makes the attempt, unless the object is suspended. Returns the object with its status, and how it went.
    pub async fn run(
        self,
        progress: &Arc<dyn Progress>,
        cancel: &CancellationToken,
    ) -> (ImagePush, Result<()>) {
        let Self { mut object, options, timeout } = self;
        let digest = digests::push(&object);
        let mut draft = Draft::new(&object, now());
        let attempt = async {
            if object.spec.suspend {
                draft.suspended();
                return Ok(());
            }
            let ImagePushSpec { mode, overwrite_policy: overwrite, .. } = object.spec;
            let known = Known::default();
            let delivery = Delivery { mode, overwrite, known, clues: BundleClues::default() };
            let wanted = Wanted::until_cancelled(cancel);
            let work = deliver(&RealEngine, &options, &delivery, progress, &wanted);
            let outcome = Box::pin(work).await?;
            draft.now = now();
            match outcome {
                Outcome::Pushed(pushed) => draft.pushed(&object, &pushed, &digest),
                Outcome::Previewed(preview) => draft.previewed(&object, &preview, &digest),
                Outcome::Unchanged => draft.unchanged(&object, &digest),
                Outcome::Cancelled => return Err(Error::cancelled()),
                Outcome::Failed(failure) => {
                    return Err(Error::new(Kind::DestinationExists, failure.message));
                }
            }
            // One attempt has no history.
            draft.status.history.clear();
            Ok(())
        };
        let done = match timeout {
            None => attempt.await,
            Some(timeout) => tokio::time::timeout(timeout, attempt)
                .await
                .unwrap_or_else(|_| Err(timed_out(timeout))),
        };
        if let Err(error) = &done {
            draft.now = now();
            draft.gave_up(&failure(error));
        }
        object.status = Some(draft.status);
        (object, done)
    }
}

/// What was called off isn't stalled: the next run may do it.
fn failure(error: &Error) -> Failure {
    match error.kind() {
        Kind::Cancelled => Failure::from(&error.clone().transient()),
        _ => Failure::from(error),
    }
}

/// Status has whole seconds.
fn now() -> Timestamp {
    Timestamp::now().round(Unit::Second).unwrap_or_else(|_| Timestamp::now())
}
