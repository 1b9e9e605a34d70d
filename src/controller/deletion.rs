//! A look at an object that is being deleted.

use std::time::Duration;

use jiff::Timestamp;
use kube::{Api, ResourceExt as _};
use kube_runtime::controller::Action;
use kube_runtime::reflector::ObjectRef;

use super::cleanup::{self, Course, Tried};
use super::executor::Sweep;
use super::finalizer;
use super::prepare::prepare;
use super::reconcile::{Context, may_have_jobs};
use super::resources;
use crate::api::v1alpha1::ImagePush;
use crate::limits::CLEANUP_RETRY;

/// Between two looks at an attempt that was called off; its end wakes the object, too.
const UNTIL_ENDED: Duration = Duration::from_secs(2);

/// Calls the attempt off, waits for its end, cleans up, and lets the object go.
pub(super) async fn look(object: &ImagePush, context: &Context) -> Result<Action, kube::Error> {
    let uid = object.uid().unwrap_or_default();
    if !finalizer::is_set(object) {
        context.attempts.forget(&uid);
        return Ok(Action::await_change());
    }
    let memory = context.attempts.recall(&uid);
    if memory.attempt.as_ref().is_some_and(|record| record.outcome.is_none()) {
        // What it might still write has to be known before it is taken away.
        context.attempts.cancel(&uid);
        return Ok(Action::requeue(UNTIL_ENDED));
    }
    let now = Timestamp::now();
    let jobs = may_have_jobs(object, context) && memory.sweep != Sweep::Done;
    if jobs && !cleanup::is_late(object, now) {
        context.attempts.sweep(ObjectRef::from_obj(object), uid);
        return Ok(Action::requeue(UNTIL_ENDED));
    }
    let mut object = object.clone();
    if let Some(status) = &memory.status {
        object.status = Some(status.clone());
    }
    if let Tried::Again(wait) = resources::settle(&context.applier, &object, Timestamp::now()).await
    {
        return Ok(Action::requeue(wait));
    }
    let shared = context.claims.is_shared(&object);
    let course = cleanup::course(&object, &memory, shared, now);
    match clean(&object, context, course).await {
        Tried::Again(wait) => Ok(Action::requeue(wait)),
        Tried::Settled => {
            let namespace = object.namespace().unwrap_or_default();
            let api: Api<ImagePush> = Api::namespaced(context.client.clone(), &namespace);
            finalizer::set(&api, &object, false).await?;
            context.attempts.forget(&uid);
            Ok(Action::await_change())
        }
    }
}

async fn clean(object: &ImagePush, context: &Context, course: Course) -> Tried {
    let (name, namespace) = (object.name_any(), object.namespace());
    let digest = match course {
        Course::Release(reason) => {
            tracing::info!(name, namespace, reason, "what was pushed stays");
            return Tried::Settled;
        }
        Course::Remove(digest) => digest,
    };
    match prepare(object, context).await {
        Ok(prepared) => cleanup::remove(&prepared.options, &digest).await,
        Err(failure) => {
            let error = failure.message;
            tracing::warn!(name, namespace, error, "the image can't be taken away");
            Tried::Again(CLEANUP_RETRY)
        }
    }
}
