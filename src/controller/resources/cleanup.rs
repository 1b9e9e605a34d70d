//! What becomes of applied objects when their ImagePush is deleted.
//!
//! With `prune` they go with it, and else they stay. As with the image, trying has an end: whoever applied may be gone, and
//! neither a namespace nor a person waits for that.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube_runtime::reflector::ObjectRef;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Applier;
use crate::api::v1alpha1::{Apply, ImagePush, Mode};
use crate::apply::{owner_value, prune_all};
use crate::controller::cleanup::{is_forced, is_late};
use crate::controller::decide::{Decision, Step};
use crate::controller::failure::Failure;
use crate::limits::{CLEANUP_RETRY, CLEANUP_TIMEOUT};

/// How a try went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tried {
    /// The object may go.
    Settled,
    /// Try again after this time.
    Again(Duration),
}

/// Whether an object has applied something that has to go with it, or is about to.
pub(crate) fn is_wanted(object: &ImagePush, decision: &Decision) -> bool {
    let Some(apply) = apply_of(object) else { return false };
    let status = decision.status.custom_resources.as_ref();
    let applied = status.and_then(|status| status.applied.as_ref());
    let starts = decision.step == Step::Start && object.spec.mode == Mode::Apply;
    // While an attempt runs, status does not say yet what it has applied.
    let stored = object.status.as_ref().and_then(|status| status.inventory.as_ref());
    apply.prune && (starts || applied.is_some_and(|it| !it.dry_run) || stored.is_some())
}

/// Takes away what was applied, if that is wanted.
pub(crate) async fn settle(applier: &Applier, object: &ImagePush, now: Timestamp) -> Tried {
    let Some(apply) = apply_of(object).filter(|apply| apply.prune) else { return Tried::Settled };
    let (name, namespace) = (object.name_any(), object.namespace());
    let reason = match () {
        () if object.spec.suspend => "the object is suspended",
        () if is_forced(object) => "somebody has asked for it by annotation",
        () if is_late(object, now) => "it could not be done for too long",
        () => return again(applier, object, &apply.service_account_name).await,
    };
    tracing::info!(name, namespace, reason, "what was applied stays");
    Tried::Settled
}

async fn again(applier: &Applier, object: &ImagePush, account: &str) -> Tried {
    let (name, namespace) = (object.name_any(), object.namespace());
    let retry = |error: String| {
        tracing::warn!(name, namespace, error, "what was applied could not be taken away");
        Tried::Again(CLEANUP_RETRY)
    };
    match timeout(CLEANUP_TIMEOUT, clean(applier, object, account)).await {
        Ok(Ok(pruned)) => {
            tracing::info!(name, namespace, pruned, "what was applied was taken away");
            Tried::Settled
        }
        Ok(Err(failure)) => retry(failure.message),
        Err(_) => retry(format!("it took longer than {} s", CLEANUP_TIMEOUT.as_secs())),
    }
}

async fn clean(applier: &Applier, object: &ImagePush, account: &str) -> Result<usize, Failure> {
    let reference = ObjectRef::from_obj(object);
    let uid = object.uid().unwrap_or_default();
    let journal = applier.journal(&reference, &uid, &CancellationToken::new());
    let known = journal.read().await.map_err(|error| Failure::from(&error))?;
    if known.is_empty() {
        return Ok(0);
    }
    let who = applier.who(&reference, account).await?;
    let owner = owner_value(&reference.name);
    let report = prune_all(&who, &applier.kinds, &owner, &known, &journal).await;
    match report.failure {
        Some(error) => Err(Failure::from(&error)),
        None => Ok(report.pruned),
    }
}

fn apply_of(object: &ImagePush) -> Option<&Apply> {
    object.spec.custom_resources.as_ref()?.apply.as_ref()
}
