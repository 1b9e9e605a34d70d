//! A look at an object that is being deleted.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use kube::{Api, Resource as _, ResourceExt as _};
use kube_runtime::controller::Action;
use kube_runtime::reflector::ObjectRef;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::claims;
use super::cleanup::{self, Course};
use super::events::Told;
use super::executor::Sweep;
use super::finalizer;
use super::prepare::prepare;
use super::reconcile::Context;
use super::removal::{Finished, Tried};
use super::resolve::Unresolved;
use super::resources;
use crate::api::reasons::events::{DELETED, DELETION_SKIPPED};
use crate::api::v1alpha1::{DeletionPolicy, ImagePush};
use crate::engine::Wanted;
use crate::image::Digest;
use crate::limits::CLEANUP_PATIENCE;
use crate::transport::{self, Removed};

/// Between two looks at an attempt that was called off; its end wakes the object, too.
const UNTIL_ENDED: Duration = Duration::from_secs(2);

/// Calls the attempt off, waits for its end, has cleaned up, and lets the object go.
pub(super) async fn look(
    object: &ImagePush,
    context: &Arc<Context>,
) -> Result<Action, kube::Error> {
    let uid = object.uid().unwrap_or_default();
    context.metrics.deleting(&uid);
    if !finalizer::is_set(object) {
        forget(context, &uid);
        return Ok(Action::await_change());
    }
    let memory = context.attempts.recall(&uid);
    if memory.attempt.as_ref().is_some_and(|record| record.outcome.is_none()) {
        // What it might still write has to be known before it is taken away.
        context.attempts.cancel(&uid);
        return Ok(Action::requeue(UNTIL_ENDED));
    }
    // By this process alone: the API server's clock, which has told when it was deleted, may be another.
    let since =
        context.attempts.update(&uid, |it| *it.deleted_since.get_or_insert_with(Instant::now));
    let is_late = since.is_some_and(|since| since.elapsed() > CLEANUP_PATIENCE);
    if memory.sweep != Sweep::Done && !is_late && !cleanup::is_forced(object) {
        context.attempts.sweep(ObjectRef::from_obj(object), uid);
        return Ok(Action::requeue(UNTIL_ENDED));
    }
    let mut object = object.clone();
    if let Some(status) = memory.unseen_status(&object) {
        object.status = Some(status.clone());
    }
    let Poll::Ready(of_bundle) = bundle(&object, context, &uid) else {
        // Its end wakes the object.
        return Ok(Action::await_change());
    };
    if !context.claims.is_complete() {
        // Of a namespace that isn't listed yet, nobody knows what is of use to it.
        return Ok(Action::requeue(claims::UNKNOWN));
    }
    let shared = context.claims.is_shared(&object);
    let of_image = match cleanup::course(&object, &memory, shared) {
        Course::Release(reason) => released(&object, reason),
        Course::Remove(digest) => {
            let Some(finished) = context.removals.finished(&uid) else {
                start(object, digest, context, &uid);
                return Ok(Action::await_change());
            };
            context.metrics.removal(finished.word());
            Some(ended(&object, &digest, &finished))
        }
    };
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<ImagePush> = Api::namespaced(context.client.clone(), &namespace);
    finalizer::set(&api, &object, false).await?;
    for told in of_bundle.into_iter().chain(of_image) {
        context.recorder.tell(object.object_ref(&()), told);
    }
    forget(context, &uid);
    Ok(Action::await_change())
}

/// The object is gone.
fn forget(context: &Context, uid: &str) {
    context.attempts.forget(uid);
    context.removals.forget(uid);
    context.prunings.forget(uid);
}

/// Has what was applied taken away, beside all looks. Once that has ended, what there is to tell of it, if anything.
fn bundle(object: &ImagePush, context: &Arc<Context>, uid: &str) -> Poll<Option<Told>> {
    let account = match resources::course(object) {
        resources::Course::Leave(reason) => return Poll::Ready(resources::left(object, reason)),
        resources::Course::Prune(account) => account,
    };
    if let Some(finished) = context.prunings.finished(uid) {
        return Poll::Ready(resources::ended(object, &finished));
    }
    let (reference, applier) = (ObjectRef::from_obj(object), context.applier.clone());
    let namespace = reference.namespace.clone().unwrap_or_default();
    let of = (reference.clone(), uid.to_owned(), account);
    context.prunings.start(uid, reference, namespace, move |cancel| {
        let (applier, (object, uid, account)) = (applier.clone(), of.clone());
        async move { resources::prune(&applier, &object, &uid, &account, &cancel).await }
    });
    Poll::Pending
}

/// Has the image taken away, beside all looks.
fn start(object: ImagePush, digest: Digest, context: &Arc<Context>, uid: &str) {
    let reference = transport::parse(&object.spec.destination.reference).ok();
    let registry = reference.as_ref().and_then(|reference| reference.repository());
    let registry = registry.map_or_else(String::new, |name| name.registry.clone());
    let (key, context) = (ObjectRef::from_obj(&object), context.clone());
    let (removals, object) = (context.removals.clone(), Arc::new(object));
    removals.start(uid, key, registry, move |cancel| {
        attempt(object.clone(), digest.clone(), context.clone(), cancel)
    });
}

/// One try. The Secrets are read anew for each.
async fn attempt(
    object: Arc<ImagePush>,
    digest: Digest,
    context: Arc<Context>,
    cancel: CancellationToken,
) -> Tried<Removed> {
    match prepare(&object, &context).await {
        Ok(prepared) => {
            let leads = Arc::new(context.leadership.clone());
            let wanted = Wanted::until_cancelled(&cancel).while_holds(leads);
            cleanup::remove(&prepared.options, &digest, &wanted).await
        }
        Err(Unresolved::Failure(failure)) => Tried::Failed(failure.message),
        Err(Unresolved::Api(cause)) => Tried::Failed(cause.to_string()),
    }
}

/// What there is to tell of an object whose image stays; nothing where that was to be expected.
fn released(object: &ImagePush, reason: &str) -> Option<Told> {
    let reference = &object.spec.destination.reference;
    let (name, namespace) = (object.name_any(), object.namespace());
    tracing::info!(name, namespace, reason, "what was pushed stays");
    let wanted = object.spec.deletion_policy == DeletionPolicy::Delete;
    let pushed = object.status.as_ref().is_some_and(|status| status.artifact.is_some());
    let note = format!("`{reference}` stays: {reason}");
    (wanted && pushed).then(|| Told::normal(DELETION_SKIPPED, "Delete", note))
}

fn ended(object: &ImagePush, digest: &Digest, finished: &Finished<Removed>) -> Told {
    let reference = &object.spec.destination.reference;
    let (name, namespace) = (object.name_any(), object.namespace());
    tracing::info!(name, namespace, reference, ?finished, "cleaned up");
    let skipped = |why: &str| {
        let note = format!("`{reference}` stays, which was {digest}: {why}");
        Told::warning(DELETION_SKIPPED, "Delete", note)
    };
    match finished {
        Finished::Settled(Removed::Done) => {
            Told::normal(DELETED, "Delete", format!("`{reference}` was taken away"))
        }
        Finished::Settled(Removed::Absent) => {
            Told::normal(DELETED, "Delete", format!("`{reference}` was gone already"))
        }
        Finished::Settled(Removed::Changed(current)) => {
            skipped(&format!("somebody else has made it {current}"))
        }
        Finished::Settled(Removed::Unsupported) => skipped("the registry can't take a tag away"),
        Finished::GivenUp(why) => {
            skipped(&format!("it could not be taken away for too long; the last time, {why}"))
        }
    }
}
