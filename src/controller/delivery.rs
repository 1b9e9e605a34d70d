//! What one attempt does: look whether anything is to be done, and may be done, and then do it.
//!
//! What was pushed before and has changed at neither end costs one request to each: their digests are compared with those
//! that status has recorded, and not with each other, since layers or manifests may have been converted on the way. What
//! the destination holds is overwritten as `overwritePolicy` says, which is looked at once more right before the name changes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::decide::Outcome;
use super::executor::Engine;
use super::failure::Failure;
use super::resources::{self, Recorded};
use super::status::{BUNDLE_FAILED, BUNDLE_SKIPPED, preview};
use crate::api::conditions::{self, RECONCILING};
use crate::api::v1alpha1::{ImagePush, Mode, OverwritePolicy};
use crate::engine::{Progress, Standing, Wanted};
use crate::error::{Error, Kind, Result, Side};
use crate::image::Digest;
use crate::options::{BundleClues, CustomResources, Overwrites, PushOptions};

/// What an attempt is to achieve, beside the options of the push.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Delivery {
    /// Whether anything is written.
    pub(crate) mode: Mode,
    /// What becomes of something else at the destination.
    pub(crate) overwrite: OverwritePolicy,
    /// What status has recorded.
    pub(crate) known: Known,
    /// What is known of the image's bundle.
    #[serde(default, skip_serializing_if = "BundleClues::is_empty")]
    pub(crate) clues: BundleClues,
}

/// What the last success left, as far as it is about the same push.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Known {
    /// Digest of what was read; `None` if something else was to be pushed then.
    pub(crate) source: Option<Digest>,
    /// Digest of what this destination held then.
    pub(crate) destination: Option<Digest>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    /// Nothing.
    Leave,
    /// Push.
    Push,
    /// Push, whatever is there: nobody has looked.
    PushUnseen,
    /// Push only if that would change nothing: the destination holds something else than what was recorded.
    Compare,
}

/// Makes one attempt.
pub(crate) async fn deliver(
    engine: &dyn Engine,
    options: &PushOptions,
    delivery: &Delivery,
    progress: &Arc<dyn Progress>,
    wanted: &Wanted,
) -> Result<Outcome> {
    let options = &PushOptions { clues: delivery.clues.clone(), ..options.clone() };
    let cancel = wanted.cancel();
    if delivery.mode == Mode::DryRun {
        let found = engine.preview(options, cancel).await?;
        return Ok(Outcome::Previewed(Box::new(preview(&found))));
    }
    let (course, standing) = Box::pin(look(engine, options, delivery, cancel)).await?;
    match course {
        Course::Leave => return Ok(Outcome::Unchanged),
        Course::Compare => {
            // What goes beside the image doesn't matter, and isn't looked for.
            let alone = PushOptions { custom_resources: CustomResources::Never, ..options.clone() };
            if !engine.preview(&alone, cancel).await?.already_present {
                return refusal(options, delivery.overwrite, standing.destination.as_ref());
            }
        }
        Course::Push | Course::PushUnseen => {}
    }
    let overwrites = overwrites(delivery, course, &standing);
    let options = &*Box::new(PushOptions { overwrites, ..options.clone() });
    match engine.push(options, progress, wanted).await {
        Ok(pushed) => Ok(Outcome::Pushed(Box::new(pushed))),
        Err(error) => Box::pin(outrun(engine, options, delivery, cancel, error)).await,
    }
}

/// What the destination's name has to have still, right before it is changed: a push takes its time.
fn overwrites(delivery: &Delivery, course: Course, now: &Standing) -> Option<Overwrites> {
    let known = delivery.known.destination.is_some();
    let matters = match delivery.overwrite {
        OverwritePolicy::Replace => false,
        OverwritePolicy::IfNotPresent => true,
        // What is there at first is overwritten, whatever it is.
        OverwritePolicy::FailOnDrift => known,
    };
    let there = || now.destination.clone().map_or(Overwrites::Nothing, Overwrites::Digest);
    (matters && course != Course::PushUnseen).then(there)
}

/// A push failed: perhaps since somebody else was faster.
async fn outrun(
    engine: &dyn Engine,
    options: &PushOptions,
    delivery: &Delivery,
    cancel: &CancellationToken,
    error: Error,
) -> Result<Outcome> {
    let expected = options.overwrites.as_ref();
    let Some(expected) = expected.filter(|_| error.kind() == Kind::DestinationExists) else {
        return Err(error);
    };
    let now = engine.standing(options, cancel).await?.destination;
    match now.as_ref() {
        // What was taken away is nobody's to keep.
        None => Err(error.transient()),
        // It was refused for another reason.
        there if expected.matches(there) => Err(error),
        there => refusal(options, delivery.overwrite, there),
    }
}

/// What status tells of the image's bundle.
pub(crate) fn clues(object: &ImagePush, known: &Known) -> BundleClues {
    let wish = object.spec.custom_resources.as_ref();
    // A dry run foretells what applying would do, and so finds the same.
    let for_cluster = wish.is_some_and(|wish| wish.apply.is_some());
    let kept = resources::kept(object);
    let (seen, bundle) = match (skipped(object), kept) {
        (Some(source), _) => (Some(source), None),
        (None, Some(Recorded { source, bundle })) => (Some(source), bundle),
        (None, None) => (None, None),
    };
    let source = object.status.as_ref().and_then(|status| status.source.as_ref());
    let finished = source.and_then(|source| source.digest.parse().ok());
    BundleClues { left_over: owes_bundle(object, known), for_cluster, seen, bundle, finished }
}

/// The image at the source that has a bundle which can't be used.
fn skipped(object: &ImagePush) -> Option<Digest> {
    let status = object.status.as_ref()?;
    let decision = &status.custom_resources.as_ref()?.decision;
    let source = status.source.as_ref().filter(|_| decision == BUNDLE_SKIPPED)?;
    source.digest.parse().ok()
}

/// Whether an earlier attempt may have brought the image and ended before its bundle was beside it: it failed there, has named
/// the image and not come to its end, or was under way when nobody looked after it any more. Of a push that has come to its
/// end a later attempt that didn't says nothing: the source that is recorded tells whether another image is in place by now.
fn owes_bundle(object: &ImagePush, known: &Known) -> bool {
    let Some(status) = &object.status else { return false };
    let failed = status.custom_resources.as_ref().is_some_and(|it| it.decision == BUNDLE_FAILED);
    let unfinished = status.artifact.is_some() && status.source.is_none();
    let under_way = conditions::is_true(&status.conditions, RECONCILING);
    failed || unfinished || (under_way && known.source.is_none())
}

/// What was recorded of the last success.
pub(crate) fn known(object: &ImagePush, push_digest: &str) -> Known {
    let Some(status) = &object.status else { return Known::default() };
    let parse = |text: &String| text.parse().ok();
    let same = status.observed_spec_digest.as_deref() == Some(push_digest);
    let source = status.source.as_ref().filter(|_| same).map(|source| &source.digest);
    let here = Some(object.spec.destination.reference.as_str());
    let artifact = status.artifact.as_ref().filter(|it| it.reference.as_deref() == here);
    Known {
        source: source.and_then(parse),
        destination: artifact.and_then(|artifact| parse(&artifact.digest)),
    }
}

async fn look(
    engine: &dyn Engine,
    options: &PushOptions,
    delivery: &Delivery,
    cancel: &CancellationToken,
) -> Result<(Course, Standing)> {
    let Delivery { overwrite, known, .. } = delivery;
    let replaces = *overwrite == OverwritePolicy::Replace;
    let alone = options.custom_resources == CustomResources::Never;
    // What goes beside the image may have changed while both names have not; and alone it overwrites no image.
    let only_beside = options.custom_resources == CustomResources::Only;
    let unknown = known.source.is_none() || known.destination.is_none();
    if only_beside || (replaces && (unknown || !alone)) {
        // Whatever is there, the push finds out what has to be done.
        return Ok((Course::PushUnseen, Standing::default()));
    }
    let standing = engine.standing(options, cancel).await?;
    let same = known.source.is_some() && known.source == standing.source;
    Ok(match course(*overwrite, known, &standing) {
        Course::Leave if same && !alone => (Course::Push, standing),
        course => (course, standing),
    })
}

fn course(overwrite: OverwritePolicy, known: &Known, now: &Standing) -> Course {
    let Some(destination) = &now.destination else { return Course::Push };
    let ours = known.destination.as_ref() == Some(destination);
    let source_is_same = known.source.is_some() && known.source == now.source;
    match overwrite {
        _ if ours && source_is_same => Course::Leave,
        OverwritePolicy::Replace => Course::Push,
        // What we pushed stays although the source has moved.
        OverwritePolicy::IfNotPresent if ours && known.source.is_some() => Course::Leave,
        OverwritePolicy::FailOnDrift if ours || known.destination.is_none() => Course::Push,
        OverwritePolicy::IfNotPresent | OverwritePolicy::FailOnDrift => Course::Compare,
    }
}

/// The destination holds something that may not be overwritten.
fn refusal(
    options: &PushOptions,
    overwrite: OverwritePolicy,
    now: Option<&Digest>,
) -> Result<Outcome> {
    let reference = &options.destination.reference;
    let digest = now.map_or_else(String::new, ToString::to_string);
    match overwrite {
        OverwritePolicy::FailOnDrift => {
            Ok(Outcome::Failed(Failure::drifted(&reference.to_string(), &digest)))
        }
        OverwritePolicy::IfNotPresent | OverwritePolicy::Replace => {
            let message =
                format!("`{reference}` holds {digest}, which is not what would be pushed");
            let error = Error::new(Kind::DestinationExists, message).on(Side::Destination);
            Err(error.hint("choose another tag, or set `overwritePolicy` to Replace"))
        }
    }
}

#[cfg(test)]
mod tests;
